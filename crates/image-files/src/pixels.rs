//! From a decoded image to gray or RGB values: a network's input, or bytes to keep in memory until they become one.

mod cut;

use image::{DynamicImage, ImageBuffer, Pixel};
use infer_core::{
    alexnet, lenet5,
    preprocess::{PreprocessError, Resize, gray, luma, resize_bilinear, resize_channels, rgb},
};

use self::cut::Cut;
use crate::ImageError;

/// An image in memory of its own, or of somebody else's (`Pixels<&[u8]>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pixels<V = Vec<u8>> {
    /// Values of a pixel: 1, gray, or 3, red, green and blue.
    pub channels: usize,
    /// Columns, at least 1.
    pub width: usize,
    /// Values row by row, at least one row, those of a pixel side by side.
    pub values: V,
}

/// An image that becomes a network's input.
#[derive(Debug, Clone, Copy)]
pub enum Picture<'a> {
    /// An image that a decoder has made.
    Decoded(&'a DynamicImage),
    /// Bytes, which are used where they are.
    Bytes(Pixels<&'a [u8]>),
}

impl<'a> From<&'a DynamicImage> for Picture<'a> {
    fn from(image: &'a DynamicImage) -> Self {
        Self::Decoded(image)
    }
}

impl<'a> From<Pixels<&'a [u8]>> for Picture<'a> {
    fn from(pixels: Pixels<&'a [u8]>) -> Self {
        Self::Bytes(pixels)
    }
}

/// Pixels as the number of their values says.
enum View<'a> {
    Gray((u32, u32)),
    Rgb((u32, u32), &'a [[u8; 3]]),
}

impl<'a> Pixels<&'a [u8]> {
    /// The columns and rows, and the pixels in colour.
    fn view(self) -> Result<View<'a>, ImageError> {
        let Self { channels, width, values } = self;
        if values.is_empty() || width == 0 {
            return Err(ImageError::Damaged(PreprocessError::Empty.to_string()));
        }
        if !matches!(channels, 1 | 3) {
            let expected = "expected 1 value a pixel (gray) or 3 (red, green, blue)";
            return Err(ImageError::Unsupported(format!("{expected}, found {channels}")));
        }
        let row = width.checked_mul(channels).filter(|row| values.len().is_multiple_of(*row));
        let size = row.and_then(|row| Some((u32::try_from(width).ok()?, u32::try_from(values.len() / row).ok()?)));
        match (size, channels) {
            (Some(size), 1) => Ok(View::Gray(size)),
            (Some(size), _) => Ok(View::Rgb(size, values.as_chunks().0)),
            (None, _) => {
                let (expected, found) = (format!("whole rows of {width} pixels with {channels} values"), values.len());
                Err(ImageError::Damaged(format!("expected {expected}, found {found} values")))
            }
        }
    }
}

/// Form in which images are kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Values of a pixel: 1, gray, or 3, red, green and blue.
    pub channels: usize,
    /// Sides of larger images.
    pub limit: Limit,
}

/// The most pixels that an image keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// A side that is longer becomes so long, whatever the other does.
    Sides(usize),
    /// An image whose shorter side is longer is shrunk to that, in proportion.
    ShorterSide(usize),
}

/// Writes the image as a network's input of `side` columns and rows: gray where it is one plane, red, green and blue where it is
/// three; 0 to 1. `invert` makes black white.
///
/// # Errors
/// It has no pixels, or values outside of 0 to 1, which floating-point images may; the input has other planes; bytes are no whole rows.
pub fn preprocess<'a>(
    image: impl Into<Picture<'a>>,
    resize: Resize,
    side: usize,
    invert: bool,
    input: &mut [f32],
) -> Result<(), ImageError> {
    let image = image.into();
    match input.len().checked_div(side * side) {
        Some(1) => with_values(image, Input { resize, side, values: input })?,
        Some(3) => with_colours(image, Input { resize, side, values: input })?,
        found => {
            let found = found.unwrap_or(0);
            return Err(ImageError::Unsupported(format!("expected a network's input of 1 or 3 planes, found {found}")));
        }
    }
    check(input)?;
    if invert {
        input.iter_mut().for_each(|value| *value = 1.0 - *value);
    }
    Ok(())
}

/// The image in bytes, as large as the form allows. Where it is larger, it is resized as for a network's input; otherwise nothing
/// is lost but what rounding to bytes takes from colours and 16-bit values.
///
/// # Errors
/// As [`preprocess`].
pub fn keep(image: &DynamicImage, form: Form) -> Result<Pixels, ImageError> {
    let (size, values) = match form.channels {
        1 => with_values(image.into(), Keep(form.limit))?,
        3 => with_colours(image.into(), Keep(form.limit))?,
        found => return Err(ImageError::Unsupported(format!("expected to keep 1 or 3 channels, found {found}"))),
    };
    check(&values)?;
    let values = values.into_iter().map(byte).collect();
    Ok(Pixels { channels: form.channels, width: size.0, values })
}

/// The nearest level to a value from 0 to 1, of two the higher one; without a call of a function, as `round` is on many CPUs.
fn byte(value: f32) -> u8 {
    let level = 255.0 * value;
    let whole = level as u8;
    whole.saturating_add(u8::from(level - f32::from(whole) >= 0.5))
}

/// Consumer of an image's values.
trait Consumer<V> {
    type Output;

    /// `value(x, y)` has the values, 0 to 1, in column `x < width` of row `y < height`.
    fn apply(
        self,
        width: usize,
        height: usize,
        value: impl Fn(usize, usize) -> V,
    ) -> Result<Self::Output, PreprocessError>;
}

/// Resizes to a network's input. The compiler knows the sides of the networks here; others are made of parts.
struct Input<'a> {
    resize: Resize,
    side: usize,
    /// Planes, one behind the other.
    values: &'a mut [f32],
}

impl Consumer<f32> for Input<'_> {
    type Output = ();

    fn apply(
        self,
        width: usize,
        height: usize,
        value: impl Fn(usize, usize) -> f32,
    ) -> Result<Self::Output, PreprocessError> {
        match (self.resize, self.side) {
            (Resize::Exact, alexnet::SIDE) => {
                resize_bilinear(width, height, value, self.values.as_chunks_mut::<{ alexnet::SIDE }>().0)
            }
            (Resize::Exact, lenet5::SIDE) => {
                resize_bilinear(width, height, value, self.values.as_chunks_mut::<{ lenet5::SIDE }>().0)
            }
            _ => self.of_parts((width, height), |x, y| [value(x, y)]),
        }
    }
}

impl Consumer<[f32; 3]> for Input<'_> {
    type Output = ();

    fn apply(
        self,
        width: usize,
        height: usize,
        value: impl Fn(usize, usize) -> [f32; 3],
    ) -> Result<Self::Output, PreprocessError> {
        match self.side {
            alexnet::SIDE => self.at_once::<{ alexnet::SIDE }>((width, height), value),
            _ => self.of_parts((width, height), value),
        }
    }
}

impl Input<'_> {
    fn at_once<const SIDE: usize>(
        self,
        (width, height): (usize, usize),
        value: impl Fn(usize, usize) -> [f32; 3],
    ) -> Result<(), PreprocessError> {
        let planes = self.values.as_chunks_mut::<SIDE>().0.as_chunks_mut::<SIDE>().0.as_chunks_mut::<3>().0;
        planes.iter_mut().try_for_each(|planes| resize_channels(self.resize, width, height, &value, planes))
    }

    fn of_parts<const C: usize>(
        self,
        size: (usize, usize),
        value: impl Fn(usize, usize) -> [f32; C],
    ) -> Result<(), PreprocessError> {
        let side = self.side;
        let [(columns, left), (rows, top)] = self.resize.placed(size, (side, side))?;
        let cut = Cut { columns, rows, left, top, width: side, height: side };
        let pixels = cut.of(size, value)?;
        for (channel, plane) in self.values.chunks_exact_mut(side * side).enumerate() {
            plane.iter_mut().zip(&pixels).for_each(|(value, pixel)| *value = pixel[channel]);
        }
        Ok(())
    }
}

/// Resizes where an image is larger than its limit, to its columns and rows, and its values row by row.
struct Keep(Limit);

impl Consumer<f32> for Keep {
    type Output = ((usize, usize), Vec<f32>);

    fn apply(
        self,
        width: usize,
        height: usize,
        value: impl Fn(usize, usize) -> f32,
    ) -> Result<Self::Output, PreprocessError> {
        // Where each value is asked for more than once, it is not made of its pixel each time.
        let sides = self.0.sides(width, height)?;
        let all: Vec<_> = positions(width, height).map(|(x, y)| [value(x, y)]).collect();
        let kept = if sides == (width, height) {
            all
        } else {
            Cut::whole(sides).of((width, height), |x, y| all[y * width + x])?
        };
        Ok((sides, kept.into_flattened()))
    }
}

impl Consumer<[f32; 3]> for Keep {
    type Output = ((usize, usize), Vec<f32>);

    fn apply(
        self,
        width: usize,
        height: usize,
        value: impl Fn(usize, usize) -> [f32; 3],
    ) -> Result<Self::Output, PreprocessError> {
        let sides = self.0.sides(width, height)?;
        let kept = if sides == (width, height) {
            positions(width, height).map(|(x, y)| value(x, y)).collect()
        } else {
            Cut::whole(sides).of((width, height), value)?
        };
        Ok((sides, kept.into_flattened()))
    }
}

impl Limit {
    /// The columns and rows that an image keeps.
    fn sides(self, width: usize, height: usize) -> Result<(usize, usize), PreprocessError> {
        if width == 0 || height == 0 {
            return Err(PreprocessError::Empty);
        }
        let (most, resize) = match self {
            Self::Sides(side) => return Ok((width.min(side), height.min(side))),
            Self::ShorterSide(side) => (side, Resize::ShorterSide(side)),
        };
        if width.min(height) <= most { Ok((width, height)) } else { resize.sides((width, height), (0, 0)) }
    }
}

/// All places, row by row.
fn positions(width: usize, height: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)))
}

/// Red, green and blue of an image, those of a gray one the same.
fn with_colours<C: Consumer<[f32; 3]>>(picture: Picture<'_>, consumer: C) -> Result<C::Output, ImageError> {
    use DynamicImage as I;
    let image = match picture {
        Picture::Decoded(image) => image,
        Picture::Bytes(pixels) => {
            let (values, width) = (pixels.values, pixels.width);
            return match pixels.view()? {
                View::Gray(size) => applied(consumer, size, |x, y| [gray(values[y * width + x]); 3]),
                View::Rgb(size, pixels) => applied(consumer, size, |x, y| rgb(pixels[y * width + x])),
            };
        }
    };
    // Most photographs are RGB; of the others, all values are made once.
    match image {
        I::ImageRgb8(image) => {
            let (width, pixels) = (image.width() as usize, image.as_raw().as_chunks().0);
            applied(consumer, image.dimensions(), |x, y| rgb(pixels[y * width + x]))
        }
        I::ImageLuma8(image) => all_colours(image, |p| [gray(p.0[0]); 3], consumer),
        I::ImageLumaA8(image) => all_colours(image, |p| [gray(p.0[0]); 3], consumer),
        I::ImageRgba8(image) => all_colours(image, |p| rgb(p.to_rgb().0), consumer),
        I::ImageLuma16(image) => all_colours(image, |p| [gray16(p.0[0]); 3], consumer),
        I::ImageLumaA16(image) => all_colours(image, |p| [gray16(p.0[0]); 3], consumer),
        I::ImageRgb16(image) => all_colours(image, |p| p.0.map(gray16), consumer),
        I::ImageRgba16(image) => all_colours(image, |p| p.to_rgb().0.map(gray16), consumer),
        I::ImageRgb32F(image) => all_colours(image, |p| p.0, consumer),
        I::ImageRgba32F(image) => all_colours(image, |p| p.to_rgb().0, consumer),
        other => Err(unsupported(other)),
    }
}

fn all_colours<P: Pixel, C: Consumer<[f32; 3]>>(
    image: &ImageBuffer<P, Vec<P::Subpixel>>,
    value: impl Fn(&P) -> [f32; 3],
    consumer: C,
) -> Result<C::Output, ImageError> {
    let values: Vec<_> = image.pixels().map(value).collect();
    applied(consumer, image.dimensions(), |x, y| values[y * image.width() as usize + x])
}

fn unsupported(image: &DynamicImage) -> ImageError {
    ImageError::Unsupported(format!("pixels of the type {:?} are not supported", image.color()))
}

fn applied<V, C: Consumer<V>>(
    consumer: C,
    (width, height): (u32, u32),
    value: impl Fn(usize, usize) -> V,
) -> Result<C::Output, ImageError> {
    consumer.apply(width as usize, height as usize, value).map_err(|error| ImageError::Damaged(error.to_string()))
}

/// Gray values of an image.
fn with_values<C: Consumer<f32>>(picture: Picture<'_>, consumer: C) -> Result<C::Output, ImageError> {
    use DynamicImage as I;
    let image = match picture {
        Picture::Decoded(image) => image,
        Picture::Bytes(pixels) => {
            let (values, width) = (pixels.values, pixels.width);
            return match pixels.view()? {
                View::Gray(size) => applied(consumer, size, |x, y| gray(values[y * width + x])),
                View::Rgb(size, pixels) => applied(consumer, size, |x, y| luma(pixels[y * width + x])),
            };
        }
    };
    match image {
        I::ImageLuma8(image) => values(image, |p| gray(p.0[0]), consumer),
        I::ImageLumaA8(image) => values(image, |p| gray(p.0[0]), consumer),
        I::ImageRgb8(image) => values(image, |p| luma(p.0), consumer),
        I::ImageRgba8(image) => values(image, |p| luma(p.to_rgb().0), consumer),
        I::ImageLuma16(image) => values(image, |p| gray16(p.0[0]), consumer),
        I::ImageLumaA16(image) => values(image, |p| gray16(p.0[0]), consumer),
        I::ImageRgb16(image) => values(image, |p| luma_of(p.0.map(gray16)), consumer),
        I::ImageRgba16(image) => values(image, |p| luma_of(p.to_rgb().0.map(gray16)), consumer),
        I::ImageRgb32F(image) => values(image, |p| luma_of(p.0), consumer),
        I::ImageRgba32F(image) => values(image, |p| luma_of(p.to_rgb().0), consumer),
        other => Err(unsupported(other)),
    }
}

fn values<P: Pixel, C: Consumer<f32>>(
    image: &ImageBuffer<P, Vec<P::Subpixel>>,
    value: impl Fn(&P) -> f32,
    consumer: C,
) -> Result<C::Output, ImageError> {
    let pixel = |x: usize, y: usize| value(image.get_pixel(x as u32, y as u32));
    applied(consumer, image.dimensions(), pixel)
}

/// Refuses values outside of 0 to 1.
fn check(values: &[f32]) -> Result<(), ImageError> {
    // Rounding may leave a weighted mean of ones just above 1.
    match values.iter().find(|value| !(-1e-5..=1.0 + 1e-5).contains(*value)) {
        Some(value) => Err(ImageError::Damaged(format!("expected pixel values of 0 to 1, found {value}"))),
        None => Ok(()),
    }
}

/// Value of a 16-bit gray pixel, 0 to 1.
fn gray16(value: u16) -> f32 {
    f32::from(value) / 65_535.0
}

/// Luma of a pixel with values of 0 to 1 (ITU-R BT.601).
fn luma_of([red, green, blue]: [f32; 3]) -> f32 {
    0.299 * red + 0.587 * green + 0.114 * blue
}

#[cfg(test)]
mod tests;
