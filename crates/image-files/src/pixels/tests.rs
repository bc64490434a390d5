//! Images of every type, as inputs and as they are kept.

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

#[test]
fn bytes_are_what_an_image_of_them_is() {
    let (width, height) = (50, 31);
    let colour = noise(width, height);
    let gray = GrayImage::from_fn(width, height, |x, y| Luma([colour.get_pixel(x, y).0[0]]));
    for (channels, values, image) in [
        (1, gray.as_raw().clone(), DynamicImage::from(gray.clone())),
        (3, colour.as_raw().clone(), DynamicImage::from(colour.clone())),
    ] {
        for (resize, side, planes) in [(Resize::Exact, 28, 1), (Resize::Exact, 8, 3), (Resize::ShorterSide(12), 8, 3)] {
            let mut inputs = [vec![0.0; planes * side * side], vec![1.0; planes * side * side]];
            let pixels = Pixels { channels, width: width as usize, values: &values[..] };
            preprocess(pixels, resize, side, true, &mut inputs[0]).unwrap();
            preprocess(&image, resize, side, true, &mut inputs[1]).unwrap();
            assert_eq!(inputs[0], inputs[1], "{channels} {resize:?}");
        }
    }
}

#[test]
fn bytes_that_are_no_whole_image_are_refused() {
    let refused = |channels, width, count| {
        let pixels = Pixels { channels, width, values: &vec![0; count][..] };
        preprocess(pixels, Resize::Exact, 2, false, &mut [0.0; 4]).unwrap_err().to_string()
    };
    assert_eq!(refused(3, 4, 25), "expected whole rows of 4 pixels with 3 values, found 25 values");
    assert_eq!(
        refused(3, usize::MAX, 3),
        format!("expected whole rows of {} pixels with 3 values, found 3 values", usize::MAX)
    );
    assert_eq!(refused(4, 2, 16), "expected 1 value a pixel (gray) or 3 (red, green, blue), found 4");
    assert_eq!(refused(0, 2, 16), "expected 1 value a pixel (gray) or 3 (red, green, blue), found 0");
    for (width, count) in [(0, 0), (0, 4), (4, 0)] {
        assert_eq!(refused(1, width, count), PreprocessError::Empty.to_string());
    }
}
