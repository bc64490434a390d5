//! Direct convolution: the matrix product of windows with filters, where the windows are read where they lie in the image, so
//! that they need not be laid into rows first.

use crate::layout::BLOCK;
use crate::vector::Vector;

/// One row of outputs of a direct convolution, all channels: `y = max(Σ w·x + b, 0)`.
///
/// A window is `kernel` rows of `segments` runs of `segment` values.
#[derive(Debug)]
pub struct ConvRow<'a> {
    /// The image, from the first window's first value on.
    pub input: &'a [f32],
    /// Rows of a window.
    pub kernel: usize,
    /// Floats from one row of the image to the next.
    pub row: usize,
    /// Runs of a row of a window.
    pub segments: usize,
    /// Floats from one run to the next.
    pub between: usize,
    /// Values of a run.
    pub segment: usize,
    /// Floats from one window to the next.
    pub step: usize,
    /// `[outputs / 32][values of a window][32]`
    pub weights: &'a [f32],
    /// A multiple of 32.
    pub bias: &'a [f32],
    /// Positions of the output.
    pub columns: usize,
    /// Floats from one position of the output to the next, a multiple of 16: the channels that are stored.
    pub pixel: usize,
    /// `[columns][pixel]`
    pub output: &'a mut [f32],
}

impl ConvRow<'_> {
    #[inline]
    pub(crate) fn fits(&self) -> bool {
        // From the first value of the first window to the last one of the last.
        let span = |count: usize, distance: usize| count.checked_sub(1)?.checked_mul(distance);
        let needed = || {
            let rows = span(self.kernel, self.row)?;
            let windows = span(self.columns, self.step)?;
            span(self.segments, self.between)?.checked_add(self.segment)?.checked_add(rows)?.checked_add(windows)
        };
        let depth = self.kernel.checked_mul(self.segments).and_then(|runs| runs.checked_mul(self.segment));
        let weights = depth.and_then(|depth| depth.checked_mul(self.bias.len()));
        self.bias.len().is_multiple_of(BLOCK)
            && self.pixel > 0
            && self.pixel.is_multiple_of(BLOCK / 2)
            && self.pixel.next_multiple_of(BLOCK) == self.bias.len()
            && weights == Some(self.weights.len())
            && self.columns.checked_mul(self.pixel) == Some(self.output.len())
            && needed().is_some_and(|needed| needed <= self.input.len())
    }
}

/// One row of outputs of a convolution, for all channels, see [`ConvRow`].
///
/// As in the [matrix product](super::gemm), `REGISTERS` vectors hold a block of channels, or a half of it, and up to `ROWS`
/// neighbouring positions are computed at once. `HALF` vectors hold the 16 channels of a block that has no more.
///
/// # Safety
/// The sizes of `row` hold (see [`ConvRow::fits`]), and the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn row<V: Vector, const REGISTERS: usize, const HALF: usize, const ROWS: usize>(row: ConvRow<'_>) {
    const { assert!(BLOCK.is_multiple_of(REGISTERS * V::LANES) && HALF * V::LANES == BLOCK / 2) };
    let ConvRow { columns, pixel, .. } = row;
    let depth = row.kernel * row.segments * row.segment;
    // Groups of positions as equal as can be: see the matrix product.
    let groups = columns.div_ceil(ROWS).max(1);
    let (small, larger) = (columns / groups, columns % groups);
    for block in 0..row.bias.len() / BLOCK {
        // The last block may have 16 channels that are stored and 16 that are not.
        let lanes = BLOCK.min(pixel - block * BLOCK);
        let mut position = 0;
        for group in 0..groups {
            let count = small + usize::from(group < larger);
            let mut lane = 0;
            while lane < lanes {
                // SAFETY: `fits` says that the input holds the windows of all positions, that there are as many blocks of
                // weights as of biases, each as deep as a window, and that the output holds `pixel` channels for each
                // position, of which `lanes`, 16 or 32, are this block's.
                unsafe {
                    let tile = RowTile {
                        kernel: row.kernel,
                        row: row.row,
                        segments: row.segments,
                        segment: row.segment,
                        between: row.between,
                        input: row.input.as_ptr().add(position * row.step),
                        step: row.step,
                        weights: row.weights.as_ptr().add(block * BLOCK * depth + lane),
                        bias: row.bias.as_ptr().add(block * BLOCK + lane),
                        output: row.output.as_mut_ptr().add(position * pixel + block * BLOCK + lane),
                        pixel,
                    };
                    if lanes - lane < REGISTERS * V::LANES {
                        tile.positions::<V, HALF, ROWS>(count);
                    } else {
                        tile.positions::<V, REGISTERS, ROWS>(count);
                    }
                }
                lane += REGISTERS * V::LANES;
            }
            position += count;
        }
    }
}

/// Some neighbouring positions and channels.
#[derive(Clone, Copy)]
struct RowTile {
    kernel: usize,
    row: usize,
    segments: usize,
    segment: usize,
    between: usize,
    input: *const f32,
    step: usize,
    weights: *const f32,
    bias: *const f32,
    output: *mut f32,
    pixel: usize,
}

impl RowTile {
    /// `count` positions, at most `MOST` and 9.
    ///
    /// # Safety
    /// As [`compute`](Self::compute).
    #[inline(always)]
    unsafe fn positions<V: Vector, const REGISTERS: usize, const MOST: usize>(self, count: usize) {
        // SAFETY: as the caller says.
        unsafe {
            match count {
                1 => self.compute::<V, REGISTERS, 1>(),
                2 if MOST >= 2 => self.compute::<V, REGISTERS, 2>(),
                3 if MOST >= 3 => self.compute::<V, REGISTERS, 3>(),
                4 if MOST >= 4 => self.compute::<V, REGISTERS, 4>(),
                5 if MOST >= 5 => self.compute::<V, REGISTERS, 5>(),
                6 if MOST >= 6 => self.compute::<V, REGISTERS, 6>(),
                7 if MOST >= 7 => self.compute::<V, REGISTERS, 7>(),
                8 if MOST >= 8 => self.compute::<V, REGISTERS, 8>(),
                9 if MOST >= 9 => self.compute::<V, REGISTERS, 9>(),
                _ => (),
            }
        }
    }

    /// # Safety
    /// `input` can be read for the windows of `POSITIONS` positions, `weights` for a window of blocks, `bias` and, for each
    /// position, `output` for `REGISTERS` vectors; the CPU has the instructions of `V`.
    #[inline(always)]
    unsafe fn compute<V: Vector, const REGISTERS: usize, const POSITIONS: usize>(self) {
        // SAFETY: all offsets are within what the caller says can be read and written.
        unsafe {
            let mut sums = [[V::splat(0.0); REGISTERS]; POSITIONS];
            let mut weights = self.weights;
            for k in 0..self.kernel {
                for l in 0..self.segments {
                    let mut input = self.input.add(k * self.row + l * self.between);
                    for _ in 0..self.segment {
                        let mut lanes = [V::splat(0.0); REGISTERS];
                        for (v, lanes) in lanes.iter_mut().enumerate() {
                            *lanes = V::load(weights.add(v * V::LANES));
                        }
                        for (p, sums) in sums.iter_mut().enumerate() {
                            let input = V::splat(*input.add(p * self.step));
                            for (sum, lanes) in sums.iter_mut().zip(lanes) {
                                *sum = input.mul_add(lanes, *sum);
                            }
                        }
                        input = input.add(1);
                        weights = weights.add(BLOCK);
                    }
                }
            }
            for (p, sums) in sums.iter().enumerate() {
                for (v, sum) in sums.iter().enumerate() {
                    // In this order of operands a NaN stays NaN.
                    let value = V::splat(0.0).max(sum.add(V::load(self.bias.add(v * V::LANES))));
                    value.store(self.output.add(p * self.pixel + v * V::LANES));
                }
            }
        }
    }
}
