//! Image files: whatever the bytes are, an image or an error, and the same each time; what is decoded becomes gray values.

use image_files::{
    decode::{Options, decode},
    gray::{preprocess, shrink},
};

use crate::planted_fault;

/// Images with more pixels are not made gray.
const MOST_PIXELS: u64 = 1 << 20;

/// Runs the target: the input is the file. It is read once as it must be and once with damage accepted.
pub fn run(file: &[u8]) {
    [false, true].into_iter().for_each(|accept_damaged| check(file, Options { accept_damaged }));
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
    let mut input = [[f32::NAN; 28]; 28];
    let made = preprocess(&image, file.len() % 2 == 1, &mut input);
    let bytes = shrink::<28>(&image);
    assert_eq!(made.is_ok(), bytes.is_ok());
    if let Ok(gray) = bytes {
        assert_eq!(
            (gray.width, gray.pixels.len()),
            (width.min(28) as usize, (width.min(28) * height.min(28)) as usize)
        );
        assert!(input.as_flattened().iter().all(|value| (0.0..=1.0).contains(value)), "a value beyond black or white");
    }
    planted_fault(|| width == 3 * height);
}
