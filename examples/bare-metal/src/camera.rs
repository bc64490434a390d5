//! A camera that takes the same picture each time, line by line, with no frame in memory.

use infer_core::preprocess::{PreprocessError, luma, resize_bilinear};

/// Columns of a frame.
pub const WIDTH: usize = 320;

/// Rows of a frame.
pub const HEIGHT: usize = 240;

/// Red, green and blue at column `x`, row `y`: a bright ring on a ground that shades from corner to corner.
fn pixel(x: usize, y: usize) -> [u8; 3] {
    let (dx, dy) = (x.abs_diff(WIDTH / 2), y.abs_diff(HEIGHT / 2));
    let ground = (x + y) * 127 / (WIDTH + HEIGHT);
    let red = if (60 * 60..90 * 90).contains(&(dx * dx + dy * dy)) { 255 } else { ground };
    [red as u8, ground as u8, (2 * ground) as u8]
}

/// A picture as a network takes it: gray, 0 to 1, `SIDE` by `SIDE`.
///
/// # Errors
/// As [`resize_bilinear`].
pub fn take_picture<const SIDE: usize>(image: &mut [[f32; SIDE]; SIDE]) -> Result<(), PreprocessError> {
    resize_bilinear(WIDTH, HEIGHT, |x, y| luma(pixel(x, y)), image)
}
