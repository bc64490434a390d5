//! Image files: whatever the bytes are, an image or an error, and the same each time; what is decoded becomes gray values and colours.

use image_files::{
    decode::{Options, decode},
    pixels::{Form, Limit, keep, preprocess},
};
use infer_core::preprocess::Resize;

use crate::planted_fault;

/// Images with more pixels are not resized.
const MOST_PIXELS: u64 = 1 << 20;

/// Runs the target: the input is the file. It is read once as it must be and once with damage accepted.
pub fn run(file: &[u8]) {
    [false, true]
        .into_iter()
        .for_each(|accept_damaged| check(file, Options { accept_damaged, orient: accept_damaged }));
}

fn check(file: &[u8], options: Options) {
    let image = match decode(file, options) {
        Ok(image) => image,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let (width, height) = (image.width(), image.height());
    assert!(width > 0 && height > 0, "an image without pixels");
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return;
    }
    let again = decode(file, options).expect("the file was decoded before");
    // Bytes, as a NaN is not equal to itself.
    assert_eq!((image.color(), image.as_bytes()), (again.color(), again.as_bytes()), "two readings differ");
    let (width, height) = (width as usize, height as usize);
    for (channels, resize, limit) in
        [(1, Resize::Exact, Limit::Sides(28)), (3, Resize::ShorterSide(31), Limit::ShorterSide(28))]
    {
        let mut input = vec![f32::NAN; channels * 28 * 28];
        let made = preprocess(&image, resize, 28, file.len() % 2 == 1, &mut input);
        let kept = keep(&image, Form { channels, limit });
        assert_eq!(made.is_ok(), kept.is_ok());
        let Ok(kept) = kept else { continue };
        let short = width.min(height);
        let sides = match limit {
            Limit::Sides(side) => (width.min(side), height.min(side)),
            Limit::ShorterSide(side) if short > side => (side * width / short, side * height / short),
            Limit::ShorterSide(_) => (width, height),
        };
        assert_eq!((kept.width, kept.values.len()), (sides.0, sides.0 * sides.1 * channels));
        assert!(input.iter().all(|value| (0.0..=1.0).contains(value)), "a value beyond black or white");
    }
    planted_fault(|| width > 4 * height);
}
