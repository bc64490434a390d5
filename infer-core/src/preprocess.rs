//! From pixels to a network's input: luma, bilinear resize, normalisation if any, with no memory but the output.
//!
//! This is the first step of the flow (image → **preprocess** → forward → classify), the same for training, the
//! command line and firmware. Source rows are read in order, each once, so a camera can be resized line by line while
//! only one line is in memory.

use crate::code::Code;
use core::ops::Range;

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
            Self::Frame { expected, found } => write!(f, "expected a frame of {expected} pixels, found {found}"),
        }
    }
}

impl core::error::Error for PreprocessError {}

/// Luma of an 8-bit RGB pixel, 0 to 1: `(0.299 R + 0.587 G + 0.114 B) / 255` (ITU-R BT.601).
#[must_use]
pub fn luma([red, green, blue]: [u8; 3]) -> f32 {
    (0.299 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue)) / 255.0
}

/// Value of an 8-bit gray pixel, 0 to 1.
#[must_use]
pub fn gray(value: u8) -> f32 {
    f32::from(value) / 255.0
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
    input.iter_mut().zip(frame).for_each(|(value, pixel)| *value = gray(*pixel));
    Ok(())
}

/// Makes values have another mean and spread: `x = (x − mean) / std`, in place. The last step before the network, for
/// weights whose metadata `preprocessing` name a mean and a standard deviation; others take the values as they are.
pub fn normalise(values: &mut [f32], mean: f32, std: f32) {
    for value in values {
        *value = (*value - mean) / std;
    }
}

/// Resizes a one-channel image to `output.len()` rows of `W` columns: bilinear with half-pixel centres, antialiased
/// where it shrinks.
///
/// `pixel(x, y)` is the source value at column `x < width`, row `y < height`. Rows are asked for in order; within a row a
/// column may be asked for more than once. Values of the output lie within the range of the source's.
///
/// The same as torchvision's `Resize` on a tensor (`antialias=True`): output column `o` is the mean of the source
/// columns `s` weighted by `max(0, 1 − |(s + ½) − (o + ½)·scale| / max(scale, 1))`, with `scale = width / W`; rows alike.
///
/// ```
/// use infer_core::preprocess::{gray, resize_bilinear};
///
/// let camera = [[0_u8, 255], [255, 0]];
/// let mut input = [[0.0; 28]; 28];
/// resize_bilinear(2, 2, |x, y| gray(camera[y][x]), &mut input)?;
/// assert_eq!(input[0][0], 0.0);
/// assert_eq!(input[0][27], 1.0);
/// # Ok::<(), infer_core::preprocess::PreprocessError>(())
/// ```
///
/// # Errors
/// An image without pixels, or with a side above [`MAX_SIDE`].
pub fn resize_bilinear<const W: usize>(
    width: usize,
    height: usize,
    mut pixel: impl FnMut(usize, usize) -> f32,
    output: &mut [[f32; W]],
) -> Result<(), PreprocessError> {
    if width == 0 || height == 0 {
        return Err(PreprocessError::Empty);
    }
    let side = width.max(height);
    if side > MAX_SIDE {
        return Err(PreprocessError::TooLarge { side });
    }
    let columns = Axis { sources: width, outputs: W };
    let rows = Axis { sources: height, outputs: output.len() };

    output.as_flattened_mut().fill(0.0);
    for y in 0..height {
        let mut line = [0.0; W];
        for (o, value) in line.iter_mut().enumerate() {
            let (mut sum, mut total) = (0.0, 0.0);
            for x in columns.sources_of(o) {
                let weight = columns.weight(x, o);
                sum += weight * pixel(x, y);
                total += weight;
            }
            *value = sum / total;
        }
        for (o, row) in output.iter_mut().enumerate().take(rows.outputs_of(y).end).skip(rows.outputs_of(y).start) {
            let weight = rows.weight(y, o);
            for (sum, value) in row.iter_mut().zip(&line) {
                *sum += weight * value;
            }
        }
    }
    for (o, row) in output.iter_mut().enumerate() {
        let total: f32 = rows.sources_of(o).map(|y| rows.weight(y, o)).sum();
        for sum in row {
            *sum /= total;
        }
    }
    Ok(())
}

/// One axis of a resize. Positions are kept as integers, in units of `1 / (2 · outputs)` source pixels, so that windows
/// and weights are exact at any size.
struct Axis {
    sources: usize,
    outputs: usize,
}

impl Axis {
    /// Half the width of the triangle filter: one pixel of whichever grid is coarser.
    fn support(&self) -> i64 {
        2 * self.sources.max(self.outputs) as i64
    }

    /// Weight of `source` in `output`, 0 to 1, before normalisation.
    fn weight(&self, source: usize, output: usize) -> f32 {
        let distance = (2 * source as i64 + 1) * self.outputs as i64 - (2 * output as i64 + 1) * self.sources as i64;
        (1.0 - distance.unsigned_abs() as f32 / self.support() as f32).max(0.0)
    }

    /// The source positions with a weight above 0 in `output`.
    fn sources_of(&self, output: usize) -> Range<usize> {
        window(self.outputs, (2 * output as i64 + 1) * self.sources as i64, self.support(), self.sources)
    }

    /// The output positions in which `source` has a weight above 0.
    fn outputs_of(&self, source: usize) -> Range<usize> {
        window(self.sources, (2 * source as i64 + 1) * self.outputs as i64, self.support(), self.outputs)
    }
}

/// The positions `p < end` with `|(2p + 1) · step − centre| < support`.
fn window(step: usize, centre: i64, support: i64, end: usize) -> Range<usize> {
    let step = (step as i64).max(1);
    let first = ((centre - support).max(0) / step + 1) / 2;
    let last = ((centre + support + step - 1) / step) / 2;
    first as usize..(last as usize).min(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The formula of the documentation, position by position, in f64.
    fn oracle(width: usize, height: usize, source: &[f32], rows: usize, columns: usize) -> std::vec::Vec<f64> {
        let weight = |s: usize, o: usize, sources: usize, outputs: usize| {
            let scale = sources as f64 / outputs as f64;
            (1.0 - ((s as f64 + 0.5) - (o as f64 + 0.5) * scale).abs() / scale.max(1.0)).max(0.0)
        };
        let mut output = std::vec::Vec::new();
        for oy in 0..rows {
            for ox in 0..columns {
                let (mut sum, mut total) = (0.0, 0.0);
                for y in 0..height {
                    for x in 0..width {
                        let w = weight(y, oy, height, rows) * weight(x, ox, width, columns);
                        sum += w * f64::from(source[y * width + x]);
                        total += w;
                    }
                }
                output.push(sum / total);
            }
        }
        output
    }

    proptest! {
        #[test]
        fn equals_the_formula(width in 1_usize..60, height in 1_usize..60, rows in 1_usize..40, seed: u32) {
            let source: std::vec::Vec<f32> = (0..width * height)
                .map(|i| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 16_777_216.0)
                .collect();
            let mut output = std::vec![[0.0; 23]; rows];
            resize_bilinear(width, height, |x, y| source[y * width + x], &mut output).unwrap();
            for (ours, expected) in output.as_flattened().iter().zip(oracle(width, height, &source, rows, 23)) {
                prop_assert!((f64::from(*ours) - expected).abs() < 1e-5, "{ours} is not {expected}");
            }
        }
    }

    #[test]
    fn a_window_holds_all_weights_and_nothing_else() {
        for (sources, outputs) in [(28, 224), (224, 28), (7, 7), (1, 5), (5, 1), (1000, 224)] {
            let axis = Axis { sources, outputs };
            for o in 0..outputs {
                for s in 0..sources {
                    let inside = axis.weight(s, o) > 0.0;
                    assert_eq!(axis.sources_of(o).contains(&s), inside, "{sources}→{outputs}: {s} in {o}");
                    assert_eq!(axis.outputs_of(s).contains(&o), inside, "{sources}→{outputs}: {s} in {o}");
                }
            }
        }
    }

    #[test]
    fn same_size_changes_nothing() {
        let mut output = [[0.0; 5]; 3];
        resize_bilinear(5, 3, |x, y| (x * 10 + y) as f32, &mut output).unwrap();
        for (y, row) in output.iter().enumerate() {
            for (x, value) in row.iter().enumerate() {
                assert_eq!(*value, (x * 10 + y) as f32);
            }
        }
    }

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
    fn the_mean_becomes_zero_and_the_deviation_one() {
        let mut values = [0.25, 0.75, 0.5];
        normalise(&mut values, 0.5, 0.25);
        assert_eq!(values, [-1.0, 1.0, 0.0]);
    }

    #[test]
    fn luma_is_a_weighted_mean() {
        assert_eq!(luma([0; 3]), 0.0);
        assert!((luma([255; 3]) - 1.0).abs() < 1e-6);
        assert!((luma([255, 0, 0]) - 0.299).abs() < 1e-6);
        assert!((luma([0, 255, 0]) - 0.587).abs() < 1e-6);
        assert!((luma([0, 0, 255]) - 0.114).abs() < 1e-6);
    }

    #[test]
    fn refusals() {
        let mut output = [[0.0; 4]; 4];
        assert_eq!(resize_bilinear(0, 4, |_, _| 0.0, &mut output), Err(PreprocessError::Empty));
        assert_eq!(resize_bilinear(4, 0, |_, _| 0.0, &mut output), Err(PreprocessError::Empty));
        let side = MAX_SIDE + 1;
        assert_eq!(resize_bilinear(side, 1, |_, _| 0.0, &mut output), Err(PreprocessError::TooLarge { side }));
    }
}
