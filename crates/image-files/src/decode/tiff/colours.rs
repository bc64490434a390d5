//! From samples to colours.

use image::{DynamicImage, ImageBuffer, Luma, Pixel, Rgb};

use super::{
    layout::{Colour, SampleLayout},
    samples::Samples,
};
use crate::decode::cmyk;

/// The image of these samples; nothing if they are too few for its size.
pub fn convert(layout: &SampleLayout<'_>, samples: Samples) -> Option<DynamicImage> {
    // As Pillow does, which divides bytes alone.
    let samples = match samples {
        Samples::Words(words) if layout.premultiplied => {
            Samples::Bytes(words.into_iter().map(|word| (word >> 8) as u8).collect())
        }
        other => other,
    };
    match (layout.colour, samples) {
        (Colour::Gray { inverted }, Samples::Bytes(samples)) => {
            let most = (1_u16 << layout.bits.min(8)) - 1;
            let value = |sample: u8| {
                let value = (u16::from(sample) * 255 / most) as u8;
                if inverted { 255 - value } else { value }
            };
            buffer(layout, pixels(layout, &samples, |[gray]: [u8; 1]| Luma([value(gray)])))
        }
        (Colour::Gray { inverted }, Samples::Words(samples)) => {
            let value = |[gray]: [u16; 1]| Luma([if inverted { u16::MAX - gray } else { gray }]);
            buffer(layout, pixels(layout, &samples, value))
        }
        // The image crate has no gray floating-point images.
        (Colour::Gray { .. }, Samples::Floats(samples)) => {
            let rgb = samples.chunks_exact(layout.samples).map(|pixel| Rgb([pixel[0]; 3]));
            buffer(layout, rgb)
        }
        (Colour::Palette, Samples::Bytes(samples)) => {
            let colours = layout.palette.len() / 3;
            let colour = |index: u8| {
                [0, 1, 2].map(|channel| (layout.palette[channel * colours + usize::from(index) % colours] >> 8) as u8)
            };
            buffer(layout, samples.chunks_exact(layout.samples).map(|pixel| Rgb(colour(pixel[0]))))
        }
        (Colour::Rgb, Samples::Bytes(samples)) => buffer(layout, pixels(layout, &samples, Rgb)),
        (Colour::Rgb, Samples::Words(samples)) => buffer(layout, pixels(layout, &samples, Rgb)),
        (Colour::Rgb, Samples::Floats(samples)) => {
            buffer(layout, samples.chunks_exact(layout.samples).map(|pixel| Rgb([pixel[0], pixel[1], pixel[2]])))
        }
        (Colour::Cmyk, Samples::Bytes(samples)) => buffer(
            layout,
            samples.chunks_exact(layout.samples).map(|ink| Rgb(cmyk::to_rgb([ink[0], ink[1], ink[2], ink[3]]))),
        ),
        (Colour::Cmyk, Samples::Words(samples)) => {
            let high = |ink: u16| (ink >> 8) as u8;
            let rgb = |ink: &[u16]| Rgb(cmyk::to_rgb([high(ink[0]), high(ink[1]), high(ink[2]), high(ink[3])]));
            buffer(layout, samples.chunks_exact(layout.samples).map(rgb))
        }
        // JPEG data are RGB by now.
        (Colour::YCbCr, Samples::Bytes(samples)) if layout.compression == super::compression::Compression::Jpeg => {
            buffer(layout, pixels(layout, &samples, Rgb))
        }
        (Colour::YCbCr, Samples::Bytes(samples)) => buffer(
            layout,
            samples.chunks_exact(layout.samples).map(|pixel| Rgb(ycbcr(layout, [pixel[0], pixel[1], pixel[2]]))),
        ),
        // Refused by the layout.
        (Colour::Palette | Colour::YCbCr, Samples::Words(_) | Samples::Floats(_))
        | (Colour::Cmyk, Samples::Floats(_)) => None,
    }
}

/// An image of these pixels.
fn buffer<P: Pixel>(layout: &SampleLayout<'_>, pixels: impl Iterator<Item = P>) -> Option<DynamicImage>
where
    DynamicImage: From<ImageBuffer<P, Vec<P::Subpixel>>>,
{
    let (width, height) = (u32::try_from(layout.width).ok()?, u32::try_from(layout.height).ok()?);
    let mut values = Vec::with_capacity(layout.width * layout.height * usize::from(P::CHANNEL_COUNT));
    pixels.for_each(|pixel| values.extend_from_slice(pixel.channels()));
    ImageBuffer::<P, Vec<P::Subpixel>>::from_raw(width, height, values).map(DynamicImage::from)
}

/// The pixels' first `N` samples; divided by the next one where they were multiplied by it.
fn pixels<S: Divide, P, const N: usize>(
    layout: &SampleLayout<'_>,
    samples: &[S],
    pixel: impl Fn([S; N]) -> P,
) -> impl Iterator<Item = P> {
    samples.chunks_exact(layout.samples).map(move |all| {
        let colours: [S; N] = std::array::from_fn(|channel| all[channel]);
        pixel(if layout.premultiplied { colours.map(|colour| colour.divided(all[N])) } else { colours })
    })
}

/// Samples that may have been multiplied by transparency.
trait Divide: Copy {
    /// Values before they were multiplied by `alpha`.
    fn divided(self, alpha: Self) -> Self;
}

impl Divide for u8 {
    fn divided(self, alpha: Self) -> Self {
        (u16::from(self) * 255).checked_div(alpha.into()).map_or(0, |colour| colour.min(255) as u8)
    }
}

impl Divide for u16 {
    fn divided(self, alpha: Self) -> Self {
        (u32::from(self) * 65_535).checked_div(alpha.into()).map_or(0, |colour| colour.min(65_535) as u16)
    }
}

/// The colour of YCbCr samples (TIFF 6.0, section 21), rounded as libtiff does.
fn ycbcr(layout: &SampleLayout<'_>, [luma, blue, red]: [u8; 3]) -> [u8; 3] {
    let [black, white, blue_zero, blue_most, red_zero, red_most] = layout.reference;
    let scaled = |value: u8, zero: f64, most: f64, range: f64| {
        let span = if most == zero { 1.0 } else { most - zero };
        ((f64::from(value) - zero) * range / span).trunc()
    };
    let luma = scaled(luma, black, white, 255.0);
    let (blue, red) = (scaled(blue, blue_zero, blue_most, 127.0), scaled(red, red_zero, red_most, 127.0));
    let [of_red, of_green, of_blue] = layout.luma;
    let (red_factor, blue_factor) = (2.0 - 2.0 * of_red, 2.0 - 2.0 * of_blue);
    let green = (of_red * red_factor * red + of_blue * blue_factor * blue) / of_green;
    let rounded = |value: f64| (luma + (value + 0.5).floor()).clamp(0.0, 255.0) as u8;
    [rounded(red_factor * red), rounded(-green), rounded(blue_factor * blue)]
}
