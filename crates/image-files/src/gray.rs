//! From a decoded image to gray values: a network's input, or bytes to keep in memory until they become one.

use image::{DynamicImage, ImageBuffer, Pixel};
use infer_core::preprocess::{PreprocessError, gray, luma, resize_bilinear};

use crate::ImageError;

/// A gray image in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gray {
    /// Columns, at least 1.
    pub width: usize,
    /// Values row by row, at least one row.
    pub pixels: Vec<u8>,
}

/// Writes the image as a network's input: gray, 0 to 1, resized to `input.len()` rows of `W` columns. `invert` makes black
/// white.
///
/// # Errors
/// It has no pixels, or values outside of 0 to 1, which floating-point images may.
pub fn preprocess<const W: usize>(
    image: &DynamicImage,
    invert: bool,
    input: &mut [[f32; W]],
) -> Result<(), ImageError> {
    with_values(image, Resize(input))?;
    let values = input.as_flattened_mut();
    check(values)?;
    if invert {
        values.iter_mut().for_each(|value| *value = 1.0 - *value);
    }
    Ok(())
}

/// The image in gray bytes, at most `SIDE` columns and rows. In a direction in which it is longer, it is resized to `SIDE` as
/// for a network's input; otherwise nothing is lost but what rounding to bytes takes from colours and 16-bit values.
///
/// # Errors
/// As [`preprocess`].
pub fn shrink<const SIDE: usize>(image: &DynamicImage) -> Result<Gray, ImageError> {
    let (width, values) = with_values(image, Shrink::<SIDE>)?;
    check(&values)?;
    Ok(Gray { width, pixels: values.into_iter().map(|value| (255.0 * value).round() as u8).collect() })
}

/// Consumer of an image's values.
trait GrayConsumer {
    type Output;

    /// `value(x, y)` is the gray value, 0 to 1, in column `x < width` of row `y < height`.
    fn apply(
        self,
        width: usize,
        height: usize,
        value: impl Fn(usize, usize) -> f32,
    ) -> Result<Self::Output, PreprocessError>;
}

/// Resizes to a network's input.
struct Resize<'a, const W: usize>(&'a mut [[f32; W]]);

impl<const W: usize> GrayConsumer for Resize<'_, W> {
    type Output = ();

    fn apply(
        self,
        width: usize,
        height: usize,
        value: impl Fn(usize, usize) -> f32,
    ) -> Result<Self::Output, PreprocessError> {
        resize_bilinear(width, height, value, self.0)
    }
}

/// Resizes where an image is longer than `SIDE`, to its width and its values row by row.
struct Shrink<const SIDE: usize>;

impl<const SIDE: usize> GrayConsumer for Shrink<SIDE> {
    type Output = (usize, Vec<f32>);

    fn apply(
        self,
        width: usize,
        height: usize,
        value: impl Fn(usize, usize) -> f32,
    ) -> Result<Self::Output, PreprocessError> {
        if width == 0 || height == 0 {
            return Err(PreprocessError::Empty);
        }
        // Rows and columns are resized independently, and those that keep their number keep their values.
        if width > SIDE {
            let mut rows = vec![[0.0; SIDE]; height.min(SIDE)];
            resize_bilinear(width, height, value, &mut rows)?;
            Ok((SIDE, rows.into_flattened()))
        } else if height > SIDE {
            let mut columns = vec![[0.0; SIDE]; width];
            resize_bilinear(height, width, |y, x| value(x, y), &mut columns)?;
            Ok((width, (0..SIDE).flat_map(|y| columns.iter().map(move |column| column[y])).collect()))
        } else {
            Ok((width, (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| value(x, y)).collect()))
        }
    }
}

fn with_values<C: GrayConsumer>(image: &DynamicImage, consumer: C) -> Result<C::Output, ImageError> {
    use DynamicImage as I;
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
        other => Err(ImageError::Unsupported(format!("pixels of the type {:?} are not supported", other.color()))),
    }
}

fn values<P: Pixel, C: GrayConsumer>(
    image: &ImageBuffer<P, Vec<P::Subpixel>>,
    value: impl Fn(&P) -> f32,
    consumer: C,
) -> Result<C::Output, ImageError> {
    let pixel = |x: usize, y: usize| value(image.get_pixel(x as u32, y as u32));
    let output = consumer.apply(image.width() as usize, image.height() as usize, pixel);
    output.map_err(|error| ImageError::Damaged(error.to_string()))
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
mod tests {
    use image::{GrayAlphaImage, GrayImage, Luma, LumaA, Rgb, Rgb32FImage, RgbImage, Rgba, RgbaImage};
    use proptest::prelude::*;

    use super::*;

    fn input(image: impl Into<DynamicImage>, invert: bool) -> Result<[[f32; 2]; 2], ImageError> {
        let mut input = [[0.0; 2]; 2];
        preprocess(&image.into(), invert, &mut input).map(|()| input)
    }

    /// Noise in colour.
    fn noise(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let hash = (x * 400 + y + 1).wrapping_mul(2_654_435_761);
            Rgb([(hash >> 24) as u8, (hash >> 16) as u8, (hash >> 8) as u8])
        })
    }

    #[test]
    fn gray_values_are_exact_and_transparency_is_ignored() {
        let image = GrayImage::from_fn(2, 2, |x, y| Luma([if (x, y) == (1, 0) { 51 } else { 255 }]));
        assert_eq!(input(image.clone(), false).unwrap(), [[1.0, 51.0 / 255.0], [1.0, 1.0]]);
        assert_eq!(input(image, true).unwrap(), [[0.0, 1.0 - 51.0 / 255.0], [0.0, 0.0]]);
        let transparent = GrayAlphaImage::from_pixel(2, 2, LumaA([51, 0]));
        assert_eq!(input(transparent, false).unwrap(), [[51.0 / 255.0; 2]; 2]);
        let deep = ImageBuffer::<Luma<u16>, _>::from_pixel(2, 2, Luma([257]));
        assert_eq!(input(deep, false).unwrap(), [[257.0 / 65_535.0; 2]; 2]);
    }

    #[test]
    fn colour_becomes_luma() {
        let red = RgbImage::from_pixel(2, 2, Rgb([255, 0, 0]));
        assert!((input(red, false).unwrap()[0][0] - 0.299).abs() < 1e-6);
        let green = RgbaImage::from_pixel(2, 2, Rgba([0, 255, 0, 7]));
        assert!((input(green, false).unwrap()[1][1] - 0.587).abs() < 1e-6);
        let blue = ImageBuffer::<Rgb<u16>, _>::from_pixel(2, 2, Rgb([0, 0, 65_535]));
        assert!((input(blue, false).unwrap()[1][0] - 0.114).abs() < 1e-6);
    }

    #[test]
    fn floating_point_values_out_of_range_are_refused() {
        let of = |value| input(Rgb32FImage::from_pixel(2, 2, Rgb([value; 3])), false);
        assert!((of(0.5).unwrap()[0][0] - 0.5).abs() < 1e-6);
        assert_eq!(of(200.0).unwrap_err().to_string(), "expected pixel values of 0 to 1, found 200");
        assert_eq!(of(f32::NAN).unwrap_err().to_string(), "expected pixel values of 0 to 1, found NaN");
        assert_eq!(input(GrayImage::new(0, 3), false).unwrap_err().to_string(), "the image has no pixels");
    }

    proptest! {
        #[test]
        fn what_is_shrunk_becomes_the_same_input_but_for_rounding(width in 1_u32..40, height in 1_u32..40) {
            const SIDE: usize = 12;
            let image = DynamicImage::from(noise(width, height));
            let Gray { width: columns, pixels } = shrink::<SIDE>(&image).unwrap();
            let rows = pixels.len() / columns;
            prop_assert_eq!((columns, rows), (SIDE.min(width as usize), SIDE.min(height as usize)));
            let (mut expected, mut found) = ([[0.0; SIDE]; SIDE], [[0.0; SIDE]; SIDE]);
            preprocess(&image, false, &mut expected).unwrap();
            resize_bilinear(columns, rows, |x, y| gray(pixels[y * columns + x]), &mut found).unwrap();
            for (expected, found) in expected.as_flattened().iter().zip(found.as_flattened()) {
                prop_assert!((expected - found).abs() < 0.501 / 255.0, "{found} instead of {expected}");
            }
        }
    }

    #[test]
    fn what_is_small_and_gray_is_kept_as_it_is() {
        let image = GrayImage::from_fn(5, 3, |x, y| Luma([(50 * x + y) as u8]));
        let kept = shrink::<5>(&image.clone().into()).unwrap();
        assert_eq!(kept, Gray { width: 5, pixels: image.into_raw() });
        assert_eq!(shrink::<5>(&GrayImage::new(0, 3).into()).unwrap_err().to_string(), "the image has no pixels");
        let light = DynamicImage::from(Rgb32FImage::from_pixel(2, 2, Rgb([2.0; 3])));
        assert_eq!(shrink::<5>(&light).unwrap_err().to_string(), "expected pixel values of 0 to 1, found 2");
    }
}
