//! A camera that takes the same picture each time, line by line, with no frame in memory.

use infer_core::preprocess::{PreprocessError, luma, resize_bilinear};

/// Columns of a frame.
pub const WIDTH: usize = 320;

/// Rows of a frame.
pub const HEIGHT: usize = 240;

/// Red, green and blue at column `x`, row `y`: a pair of light trousers, shaded from left to right, on black.
fn pixel(x: usize, y: usize) -> [u8; 3] {
    let (inside, between) = ((90..230).contains(&x), (147..173).contains(&x) && y > 75);
    if !inside || between {
        return [6, 4, 10];
    }
    let light = (250 - x / 3) as u8;
    [light, light - 20, light - 40]
}

/// A picture as a network takes it: gray, 0 to 1, `SIDE` by `SIDE`.
///
/// # Errors
/// As [`resize_bilinear`].
pub fn take_picture<const SIDE: usize>(image: &mut [[f32; SIDE]; SIDE]) -> Result<(), PreprocessError> {
    resize_bilinear(WIDTH, HEIGHT, |x, y| luma(pixel(x, y)), image)
}
