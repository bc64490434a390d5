//! From pixels to a network's input: luma or colour, bilinear resize, crop and normalisation if any, with no memory but the output.
//!
//! This is the first step of the flow (image → **preprocess** → forward → classify), the same for training, the
//! command line and firmware. Pixels are read in order, each once, so a camera can be resized while it is read.

mod luma;
mod resize;

pub use resize::{resize_bilinear, resize_channels, resize_part};

use crate::code::Code;

/// The longest side of a source image, in pixels.
pub const MAX_SIDE: usize = 1 << 24;

/// Why an image cannot be resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PreprocessError {
    /// The source image has no pixels.
    Empty,
    /// A side of the source image is longer than [`MAX_SIDE`].
    TooLarge {
        /// The side found, in pixels.
        side: usize,
    },
    /// A side of the image is resized to less than what is cut out of it reaches to.
    Crop {
        /// The least side of the resized image, in pixels.
        expected: usize,
        /// The side that it is resized to.
        found: usize,
    },
    /// A frame has another number of pixels than the network's input.
    Frame {
        /// Pixels of the input.
        expected: usize,
        /// Pixels of the frame.
        found: usize,
    },
}

impl PreprocessError {
    /// Reason, as a variant without its data.
    #[must_use]
    pub const fn kind(&self) -> Code {
        match self {
            Self::Empty => Code::EmptyImage,
            Self::TooLarge { .. } => Code::ImageTooLarge,
            Self::Crop { .. } => Code::CropTooLarge,
            Self::Frame { .. } => Code::FrameLength,
        }
    }

    /// Number of the reason, the same in all versions: see [`Code`].
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.kind() as u16
    }
}

impl core::fmt::Display for PreprocessError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("the image has no pixels"),
            Self::TooLarge { side } => write!(f, "a side of the image is {side} pixels, the most is {MAX_SIDE}"),
            Self::Crop { expected, found } => {
                write!(f, "expected a side to be resized to {expected} pixels or more, found {found}")
            }
            Self::Frame { expected, found } => write!(f, "expected a frame of {expected} pixels, found {found}"),
        }
    }
}

impl core::error::Error for PreprocessError {}

/// Resize of an image to a network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Resize {
    /// To the sides of the input, whatever the image's are to each other.
    Exact,
    /// The shorter side to so many pixels and the longer one in proportion, its fraction of a pixel cut off; the input is the
    /// centre of that, half a pixel going to the even side.
    ShorterSide(usize),
}

impl Resize {
    /// Columns and rows of the image of that width and height when it is resized for an input of those columns and rows.
    ///
    /// # Errors
    /// An image without pixels, or a longer side above [`MAX_SIDE`].
    pub fn sides(self, image: (usize, usize), input: (usize, usize)) -> Result<(usize, usize), PreprocessError> {
        let (width, height) = image;
        let Self::ShorterSide(shorter) = self else { return Ok(input) };
        let (short, long) = (width.min(height) as u64, width.max(height) as u64);
        let longer = (shorter as u64).saturating_mul(long).checked_div(short).ok_or(PreprocessError::Empty)?;
        let side = usize::try_from(longer).unwrap_or(usize::MAX);
        if side > MAX_SIDE {
            return Err(PreprocessError::TooLarge { side });
        }
        Ok(if width <= height { (shorter, side) } else { (side, shorter) })
    }

    /// The columns of the resized image and the first one of them that the input has, and the same of the rows.
    ///
    /// # Errors
    /// As [`Resize::sides`].
    pub fn placed(self, image: (usize, usize), input: (usize, usize)) -> Result<[(usize, usize); 2], PreprocessError> {
        let (columns, rows) = self.sides(image, input)?;
        let begin = |side: usize, cut: usize| (side, half_to_even(side.saturating_sub(cut)));
        Ok([begin(columns, input.0), begin(rows, input.1)])
    }
}

/// Half of a length, rounded to the nearest whole number, of two to the even one.
const fn half_to_even(length: usize) -> usize {
    let half = length / 2;
    half + (length % 2) * (half % 2)
}

/// Luma of an 8-bit RGB pixel, 0 to 1: `(0.299 R + 0.587 G + 0.114 B) / 255` (ITU-R BT.601).
#[must_use]
pub fn luma(rgb: [u8; 3]) -> f32 {
    // Arm's ABI for CPUs without FPU.
    if cfg!(all(target_arch = "arm", target_abi = "eabi")) { luma::by_table(rgb) } else { luma::by_arithmetic(rgb) }
}

/// Value of an 8-bit gray pixel, 0 to 1.
#[must_use]
pub fn gray(value: u8) -> f32 {
    static GRAY: [f32; 256] = {
        let mut values = [0.0; 256];
        let mut value = 0;
        while value < values.len() {
            values[value] = value as f32 / 255.0;
            value += 1;
        }
        values
    };
    GRAY[usize::from(value)]
}

/// Values of an 8-bit RGB pixel, 0 to 1.
#[inline]
#[must_use]
pub fn rgb(pixel: [u8; 3]) -> [f32; 3] {
    pixel.map(gray)
}

/// Writes a gray frame that is as large as the network's input, row by row, into it: 0 to 1. The same values as those of
/// [`resize_bilinear`] for a frame of that size, without its arithmetic.
///
/// ```
/// let camera = [0_u8, 255, 51, 0];
/// let mut input = [[0.0; 2]; 2];
/// infer_core::preprocess::gray_frame(&camera, &mut input)?;
/// assert_eq!(input, [[0.0, 1.0], [0.2, 0.0]]);
/// # Ok::<(), infer_core::preprocess::PreprocessError>(())
/// ```
///
/// # Errors
/// [`PreprocessError::Frame`] for one of another size.
pub fn gray_frame<const W: usize>(frame: &[u8], input: &mut [[f32; W]]) -> Result<(), PreprocessError> {
    let input = input.as_flattened_mut();
    if frame.len() != input.len() {
        return Err(PreprocessError::Frame { expected: input.len(), found: frame.len() });
    }
    input.iter_mut().zip(frame).for_each(|(value, pixel)| *value = f32::from(*pixel) / 255.0);
    Ok(())
}

/// Makes values have another mean and spread: `x = (x − mean) / std`, in place. The last step before the network, for
/// weights whose metadata `preprocessing` name a mean and a standard deviation; others take the values as they are.
pub fn normalise(values: &mut [f32], mean: f32, std: f32) {
    for value in values {
        *value = (*value - mean) / std;
    }
}

/// [`normalise`] for each channel of an image: `x = (x − mean[c]) / std[c]`.
pub fn normalise_channels<const C: usize, const H: usize, const W: usize>(
    image: &mut [[[f32; W]; H]; C],
    mean: &[f32; C],
    std: &[f32; C],
) {
    for (plane, (mean, std)) in image.iter_mut().zip(mean.iter().zip(std)) {
        normalise(plane.as_flattened_mut(), *mean, *std);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_the_right_size_is_what_a_resize_makes_of_it() {
        let frame: std::vec::Vec<u8> = (0..=255).cycle().take(26 * 30).collect();
        let (mut direct, mut resized) = ([[7.0; 26]; 30], [[0.0; 26]; 30]);
        gray_frame(&frame, &mut direct).unwrap();
        resize_bilinear(26, 30, |x, y| gray(frame[26 * y + x]), &mut resized).unwrap();
        assert_eq!(direct, resized);
        let refused = PreprocessError::Frame { expected: 780, found: 779 };
        assert_eq!(gray_frame(&frame[1..], &mut direct), Err(refused));
    }

    #[test]
    fn each_channel_has_its_mean_and_deviation() {
        let mut image = [[[0.25, 0.75]], [[1.0, 0.0]], [[0.5, 0.5]]];
        normalise_channels(&mut image, &[0.25, 0.5, 0.0], &[0.5, 0.25, 2.0]);
        assert_eq!(image, [[[0.0, 1.0]], [[2.0, -2.0]], [[0.25, 0.25]]]);
        assert_eq!(rgb([255, 0, 51]), [1.0, 0.0, 0.2]);
    }

    #[test]
    fn halves_go_to_the_even_side() {
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(half_to_even), [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn the_mean_becomes_zero_and_the_deviation_one() {
        let mut values = [0.25, 0.75, 0.5];
        normalise(&mut values, 0.5, 0.25);
        assert_eq!(values, [-1.0, 1.0, 0.0]);
    }
}
