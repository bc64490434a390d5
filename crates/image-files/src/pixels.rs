//! From a decoded image to gray or RGB values: a network's input, or bytes to keep in memory until they become one.

use image::{DynamicImage, ImageBuffer, Pixel};
use infer_core::{
    alexnet, lenet5,
    preprocess::{PreprocessError, Resize, gray, luma, resize_bilinear, resize_channels, resize_part, rgb},
};

use crate::ImageError;

/// An image in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Values of a pixel: 1, gray, or 3, red, green and blue.
    pub channels: usize,
    /// Columns, at least 1.
    pub width: usize,
    /// Values row by row, at least one row, those of a pixel side by side.
    pub values: Vec<u8>,
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
/// It has no pixels, or values outside of 0 to 1, which floating-point images may; the input has other planes.
pub fn preprocess(
    image: &DynamicImage,
    resize: Resize,
    side: usize,
    invert: bool,
    input: &mut [f32],
) -> Result<(), ImageError> {
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
        1 => with_values(image, Keep(form.limit))?,
        3 => with_colours(image, Keep(form.limit))?,
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

/// A part of an image that is resized to `columns` × `rows`.
struct Cut {
    columns: usize,
    rows: usize,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Cut {
    fn whole((columns, rows): (usize, usize)) -> Self {
        Self { columns, rows, left: 0, top: 0, width: columns, height: rows }
    }

    /// Its pixels, row by row, made in squares whose size the compiler knows.
    fn of<const C: usize>(
        &self,
        size: (usize, usize),
        value: impl Fn(usize, usize) -> [f32; C],
    ) -> Result<Vec<[f32; C]>, PreprocessError> {
        match self.width.min(self.height) {
            64.. => self.of_squares::<C, 64>(size, value),
            7.. => self.of_squares::<C, 7>(size, value),
            _ => self.of_squares::<C, 1>(size, value),
        }
    }

    fn of_squares<const C: usize, const T: usize>(
        &self,
        size: (usize, usize),
        value: impl Fn(usize, usize) -> [f32; C],
    ) -> Result<Vec<[f32; C]>, PreprocessError> {
        let mut output = vec![[0.0; C]; self.width * self.height];
        let mut square = [[[0.0; T]; T]; C];
        // The last square of a side lies partly over the one before.
        let starts = |side: usize| (0..side.div_ceil(T)).map(move |number| (number * T).min(side.saturating_sub(T)));
        for (top, left) in starts(self.height).flat_map(|top| starts(self.width).map(move |left| (top, left))) {
            let place = (self.left + left, self.top + top);
            resize_part(size, (self.columns, self.rows), place, &value, &mut square)?;
            for (row, y) in output.chunks_exact_mut(self.width).skip(top).zip(0..T) {
                for (pixel, x) in row[left..].iter_mut().zip(0..T) {
                    *pixel = std::array::from_fn(|channel| square[channel][y][x]);
                }
            }
        }
        Ok(output)
    }
}

/// Red, green and blue of an image, those of a gray one the same.
fn with_colours<C: Consumer<[f32; 3]>>(image: &DynamicImage, consumer: C) -> Result<C::Output, ImageError> {
    use DynamicImage as I;
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
fn with_values<C: Consumer<f32>>(image: &DynamicImage, consumer: C) -> Result<C::Output, ImageError> {
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
mod tests {
    use image::{GrayAlphaImage, GrayImage, Luma, LumaA, Rgb, Rgb32FImage, RgbImage, Rgba, RgbaImage};
    use proptest::prelude::*;

    use super::*;

    fn input(image: impl Into<DynamicImage>, invert: bool) -> Result<[[f32; 2]; 2], ImageError> {
        let mut input = [[0.0; 2]; 2];
        preprocess(&image.into(), Resize::Exact, 2, invert, input.as_flattened_mut()).map(|()| input)
    }

    /// Noise in colour.
    fn noise(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let hash = (x * 400 + y + 1).wrapping_mul(2_654_435_761);
            Rgb([(hash >> 24) as u8, (hash >> 16) as u8, (hash >> 8) as u8])
        })
    }

    #[test]
    fn bytes_are_rounded_as_numbers_are() {
        for level in 0..=1020_u16 {
            for value in [f32::from(level) / 1020.0, (f32::from(level) / 1020.0).next_up(), -1e-5, 1.0 + 1e-5] {
                assert_eq!(byte(value), (255.0 * value).round() as u8, "{value}");
            }
        }
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

    fn form(channels: usize, limit: Limit) -> Form {
        Form { channels, limit }
    }

    proptest! {
        #[test]
        fn what_is_kept_becomes_the_same_input_but_for_rounding(width in 1_u32..90, height in 1_u32..90) {
            const SIDE: usize = 12;
            let image = DynamicImage::from(noise(width, height));
            for side in [SIDE, 37] {
                let Pixels { width: columns, values, .. } = keep(&image, form(1, Limit::Sides(side))).unwrap();
                let rows = values.len() / columns;
                prop_assert_eq!((columns, rows), (side.min(width as usize), side.min(height as usize)));
                if side > SIDE {
                    continue;
                }
                let (mut expected, mut found) = ([[0.0; SIDE]; SIDE], [[0.0; SIDE]; SIDE]);
                preprocess(&image, Resize::Exact, SIDE, false, expected.as_flattened_mut()).unwrap();
                resize_bilinear(columns, rows, |x, y| gray(values[y * columns + x]), &mut found).unwrap();
                for (expected, found) in expected.as_flattened().iter().zip(found.as_flattened()) {
                    prop_assert!((expected - found).abs() < 0.501 / 255.0, "{found} instead of {expected}");
                }
            }
        }

        #[test]
        fn colours_that_are_kept_are_those_of_the_input_of_that_size(width in 1_u32..200, height in 1_u32..200) {
            const SIDE: usize = 66;
            let image = DynamicImage::from(noise(width, height));
            let kept = keep(&image, form(3, Limit::ShorterSide(SIDE))).unwrap();
            let (short, long) = (width.min(height) as usize, width.max(height) as usize);
            let sides = if short <= SIDE { (short, long) } else { (SIDE, SIDE * long / short) };
            let rows = kept.values.len() / kept.width / 3;
            prop_assert_eq!((kept.width.min(rows), kept.width.max(rows), kept.channels), (sides.0, sides.1, 3));
            if short <= SIDE {
                prop_assert_eq!(&kept.values, image.as_bytes());
                return Ok(());
            }
            // The middle of it is the crop that a network would get.
            let mut planes = [[[0.0; SIDE]; SIDE]; 3];
            preprocess(&image, Resize::ShorterSide(SIDE), SIDE, false, planes.as_flattened_mut().as_flattened_mut()).unwrap();
            let place = |side: usize| ((side - SIDE) as f64 / 2.0).round_ties_even() as usize;
            let (left, top) = (place(kept.width), place(rows));
            for (x, y) in positions(SIDE, SIDE) {
                let pixel: [u8; 3] = kept.values.as_chunks().0[(top + y) * kept.width + left + x];
                let expected = [0, 1, 2].map(|channel| (255.0 * planes[channel][y][x]).round() as u8);
                prop_assert_eq!(pixel, expected);
            }
        }
    }

    #[test]
    fn what_is_made_of_parts_is_the_same_as_what_is_made_at_once() {
        const SIDE: usize = alexnet::SIDE;
        for (width, height, resize) in
            [(301, 244, Resize::ShorterSide(SIDE + 31)), (260, 300, Resize::Exact), (80, 50, Resize::ShorterSide(SIDE))]
        {
            let image = noise(width, height);
            let pixel = |x: usize, y: usize| rgb(image.get_pixel(x as u32, y as u32).0);
            let size = (width as usize, height as usize);
            let (mut once, mut parts) = (vec![0.0; 3 * SIDE * SIDE], vec![0.0; 3 * SIDE * SIDE]);
            Input { resize, side: SIDE, values: &mut once }.at_once::<SIDE>(size, pixel).unwrap();
            Input { resize, side: SIDE, values: &mut parts }.of_parts(size, pixel).unwrap();
            assert!(once == parts, "{width}×{height}");
        }
    }

    #[test]
    fn what_is_small_is_kept_as_it_is() {
        let image = GrayImage::from_fn(5, 3, |x, y| Luma([(50 * x + y) as u8]));
        let (one, three) = (form(1, Limit::Sides(5)), form(3, Limit::ShorterSide(3)));
        let kept = keep(&image.clone().into(), one).unwrap();
        assert_eq!(kept, Pixels { channels: 1, width: 5, values: image.clone().into_raw() });
        let coloured = keep(&image.clone().into(), three).unwrap();
        assert_eq!(coloured.values, image.into_raw().iter().flat_map(|value| [*value; 3]).collect::<Vec<_>>());
        for form in [one, three] {
            assert_eq!(keep(&GrayImage::new(0, 3).into(), form).unwrap_err().to_string(), "the image has no pixels");
            let light = DynamicImage::from(Rgb32FImage::from_pixel(2, 2, Rgb([2.0; 3])));
            let error = keep(&light, form).unwrap_err().to_string();
            assert_eq!(error, "expected pixel values of 0 to 1, found 2");
        }
    }

    #[test]
    fn colours_become_planes_whatever_their_type() {
        let of = |image: DynamicImage| {
            let mut planes = [0.0; 12];
            preprocess(&image, Resize::Exact, 2, false, &mut planes).map(|()| planes)
        };
        let expected = [[1.0; 4], [0.2; 4], [0.0; 4]].concat();
        let deep = ImageBuffer::<Rgb<u16>, _>::from_pixel(2, 2, Rgb([65_535, 13_107, 0]));
        for image in [
            RgbImage::from_pixel(2, 2, Rgb([255, 51, 0])).into(),
            RgbaImage::from_pixel(2, 2, Rgba([255, 51, 0, 7])).into(),
            DynamicImage::from(deep),
            Rgb32FImage::from_pixel(2, 2, Rgb([1.0, 0.2, 0.0])).into(),
        ] {
            assert_eq!(of(image).unwrap()[..], expected);
        }
        assert_eq!(of(GrayImage::from_pixel(2, 2, Luma([51])).into()).unwrap(), [0.2; 12]);
        let mut two = [0.0; 8];
        let error = preprocess(&GrayImage::new(2, 2).into(), Resize::Exact, 2, false, &mut two).unwrap_err();
        assert_eq!(error.to_string(), "expected a network's input of 1 or 3 planes, found 2");
    }
}
