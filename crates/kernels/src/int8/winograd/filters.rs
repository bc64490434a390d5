//! Transform of weights, done once when a network is opened.

#![allow(clippy::needless_range_loop, reason = "rows and columns of matrices go by their indices, as in the formulas")]

use super::matrices::Integers;
use crate::int8::INT8_PANEL;
use crate::int8::vector::Sums;

/// Weights of a panel of outputs that lie side by side, of four channels.
const QUADS: usize = 4 * INT8_PANEL;

/// Weights of a panel of 16 outputs of a Winograd convolution.
///
/// `U = G·g·Gᵀ`, where the rows of `G` are times their divisors, is exact in integers. For each position and output, with `x` the
/// greatest `|U| + |U'|` of a pair of channels (the first two, the next two, …), 1 at least, the transformed weights are
/// `round(U · (127 / x))`, ties to even, and their scale is `((x / 127) · scale of the output) / (divisor of the row · divisor of the
/// column)`, in single precision. So those of a pair are at most 128 in all, and two products with bytes fit into 16 bits.
#[derive(Debug)]
pub struct Int8Filters<'a> {
    /// `[R][R][channels / 4][16][4]`
    pub weights: &'a [i8],
    /// Input channels, a multiple of 4.
    pub channels: usize,
    /// Scales of the outputs: 16.
    pub output_scales: &'a [f32],
    /// `[N²][plane]`, of which the first `channels · 16` of each plane are written: `[channels / 4][16][4]`.
    pub transformed: &'a mut [i8],
    /// From the transformed weights of one position to the next.
    pub plane: usize,
    /// `[N²][outputs]`, of which 16 of each plane are written: the negative sum of the transformed weights, times the
    /// [offset](crate::Int8Kernels::offset) of the inputs.
    pub sums: &'a mut [i32],
    /// `[N²][outputs]`, of which 16 of each plane are written.
    pub scales: &'a mut [f32],
    /// From the sums and scales of one position to the next.
    pub outputs: usize,
}

impl Int8Filters<'_> {
    #[inline]
    pub(crate) fn fits(&self, kernel: usize) -> bool {
        let planes = (kernel + 1) * (kernel + 1);
        let panel = self.channels.checked_mul(INT8_PANEL);
        let last =
            |plane: usize, length: usize| plane.checked_mul(planes - 1).and_then(|last| last.checked_add(length));
        let transformed = panel.and_then(|panel| last(self.plane, panel));
        let numbers = last(self.outputs, INT8_PANEL);
        self.channels.is_multiple_of(4)
            && panel.and_then(|panel| panel.checked_mul(kernel * kernel)).is_some_and(|all| all <= self.weights.len())
            && transformed.is_some_and(|needed| needed <= self.transformed.len())
            && numbers.is_some_and(|needed| needed <= self.sums.len() && needed <= self.scales.len())
            && self.output_scales.len() >= INT8_PANEL
    }
}

/// Transforms the weights of a panel for the products of `V`, see [`Int8Filters`].
///
/// # Safety
/// The sizes of `filters` hold (see [`Int8Filters::fits`]).
#[inline(always)]
pub(crate) unsafe fn filters<V: Sums, const R: usize, const N: usize>(filters: Int8Filters<'_>) {
    let Int8Filters { weights, channels, output_scales, transformed, plane, sums, scales, outputs } = filters;
    let mut greatest = [[[1_i32; QUADS / 2]; N]; N];
    let mut values = [[[0_i32; QUADS]; N]; N];
    // SAFETY: `fits` says that there are R·R taps of all quads of channels, N·N planes of as many transformed ones, and 16 sums and
    // scales at each of N·N positions.
    unsafe {
        for quad in 0..channels / 4 {
            transform::<R, N>(weights.as_ptr().add(quad * QUADS), channels / 4 * QUADS, &mut values);
            let (pairs, _) = values.as_flattened().as_flattened().as_chunks::<2>();
            for (greatest, pair) in greatest.as_flattened_mut().as_flattened_mut().iter_mut().zip(pairs) {
                *greatest = (*greatest).max(pair[0].wrapping_abs().wrapping_add(pair[1].wrapping_abs()));
            }
        }
        let mut factors = [[[0_f32; QUADS]; N]; N];
        for i in 0..N {
            for j in 0..N {
                let divisor = (Integers::<R, N>::DIVISORS[i] * Integers::<R, N>::DIVISORS[j]) as f32;
                for output in 0..INT8_PANEL {
                    let greatest = greatest[i][j][output * 2].max(greatest[i][j][output * 2 + 1]) as f32;
                    factors[i][j][output * 4..output * 4 + 4].fill(127.0 / greatest);
                    let place = (i * N + j) * outputs + output;
                    *scales.as_mut_ptr().add(place) = greatest / 127.0 * *output_scales.as_ptr().add(output) / divisor;
                }
            }
        }
        let mut all = [[[0_i32; QUADS]; N]; N];
        for quad in 0..channels / 4 {
            transform::<R, N>(weights.as_ptr().add(quad * QUADS), channels / 4 * QUADS, &mut values);
            for position in 0..N * N {
                let (i, j) = (position / N, position % N);
                let target = transformed.as_mut_ptr().add(position * plane + quad * QUADS);
                let mut bytes = [0_i8; QUADS];
                let lanes = bytes.iter_mut().zip(&mut all[i][j]).zip(values[i][j].iter().zip(&factors[i][j]));
                for ((byte, all), (value, factor)) in lanes {
                    let value = round(*value as f32 * factor);
                    *byte = value as i8;
                    *all = all.wrapping_add(value);
                }
                target.cast::<[i8; QUADS]>().write(bytes);
            }
        }
        for position in 0..N * N {
            let all = &all[position / N][position % N];
            for output in 0..INT8_PANEL {
                let sum: i32 = (0..4).map(|k| all[output * 4 + k]).sum();
                *sums.as_mut_ptr().add(position * outputs + output) = -i32::from(V::OFFSET) * sum;
            }
        }
    }
}

/// The nearest integer of a value within ±2²², ties to even.
#[inline(always)]
fn round(value: f32) -> i32 {
    /// A float of this size has no room for fractions, so that adding it rounds; the integer is in its lowest bits.
    const ROUND: f32 = (3_u32 << 22) as f32;
    ((value + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
}

/// `G·g·Gᵀ` of a quad of channels, times the divisors. All sums here are far within 32 bits; they wrap, since checks of that would keep the
/// compiler from taking vectors.
///
/// # Safety
/// There are R·R taps at `weights`, `tap` from one to the next, of 64 weights each.
#[inline(always)]
unsafe fn transform<const R: usize, const N: usize>(
    weights: *const i8,
    tap: usize,
    values: &mut [[[i32; QUADS]; N]; N],
) {
    let matrix = const { Integers::<R, N>::FILTER };
    // Rows of G times the columns of the filter.
    let mut columns = [[[0_i32; QUADS]; R]; N];
    for i in 0..N {
        for column in 0..R {
            for row in 0..R {
                let factor = matrix[i][row];
                // SAFETY: as the caller says.
                let taps = unsafe { weights.add((row * R + column) * tap).cast::<[i8; QUADS]>().read_unaligned() };
                for (value, weight) in columns[i][column].iter_mut().zip(&taps) {
                    *value = value.wrapping_add(factor.wrapping_mul(i32::from(*weight)));
                }
            }
        }
    }
    for i in 0..N {
        for j in 0..N {
            let mut sums = [0_i32; QUADS];
            for column in 0..R {
                let factor = matrix[j][column];
                for (sum, value) in sums.iter_mut().zip(&columns[i][column]) {
                    *sum = sum.wrapping_add(factor.wrapping_mul(*value));
                }
            }
            values[i][j] = sums;
        }
    }
}
