//! Transform of a tile of inputs to bytes.

#![allow(clippy::needless_range_loop, reason = "rows and columns of matrices go by their indices, as in the formulas")]

use super::matrices::Integers;
use super::shorts::Shorts;
use crate::int8::vector::Sums;
use crate::winograd::image_tile::ImageTile;

/// One tile of a Winograd convolution's input, all channels, as bytes.
///
/// `V = Bᵀ·d·B` is exact in 16 bits. For each position of `V`, with `x` the greatest magnitude over the channels, 1 at least, and
/// `x'= x · 2ˢ` from 8,192 to 16,383: `m = ⌊127 · 2¹⁵ / x'⌋`, the bytes are `(V · 2ˢ · m + 2¹⁴) >> 15`, within ±127, with the
/// [offset](crate::Int8Kernels::offset) of the kernels added, and their scale is `2¹⁵⁻ˢ / m`, divided in single precision.
#[derive(Debug)]
pub struct Int8InputTile<'a> {
    /// The tile, whose channels are a multiple of 32.
    pub image: ImageTile<&'a [u8]>,
    /// `[N²][plane]`, of which the first values of each plane are written, one for each channel.
    pub output: &'a mut [u8],
    /// From one position to the next.
    pub plane: usize,
    /// `[N²]`
    pub scales: &'a mut [f32],
}

impl Int8InputTile<'_> {
    #[inline]
    pub(crate) fn fits(&self, planes: usize) -> bool {
        let channels = self.image.channels;
        let needed = self.plane.checked_mul(planes - 1).and_then(|last| last.checked_add(channels));
        self.image.fits()
            && channels.is_multiple_of(32)
            && channels > 0
            && needed.is_some_and(|needed| needed <= self.output.len())
            && self.scales.len() >= planes
    }
}

/// Transforms a tile, see [`Int8InputTile`].
///
/// # Safety
/// The sizes of `tile` hold (see [`Int8InputTile::fits`]), and the CPU has the instructions of `V`, whose
/// results are for `S`.
#[inline(always)]
pub(crate) unsafe fn input<V: Shorts, S: Sums, const R: usize, const N: usize>(tile: Int8InputTile<'_>) {
    let Int8InputTile { image, output, plane, scales } = tile;
    // SAFETY: each position is either one of the image's or zeros, and both hold as many channels as a part has, a multiple of the
    // lanes; the output holds a plane for each of the N·N positions.
    unsafe {
        let mut greatest = [[V::splat(0); N]; N];
        for (first, channels) in image.parts() {
            let positions = image.positions::<N>(first);
            for channel in (0..channels).step_by(V::LANES) {
                let values = transform::<V, R, N>(&positions, channel);
                for i in 0..N {
                    for j in 0..N {
                        greatest[i][j] = greatest[i][j].max_magnitude(values[i][j]);
                    }
                }
            }
        }
        let mut factors = [[(0, 0); N]; N];
        let mut magnitudes = [[0_f32; N]; N];
        for i in 0..N {
            for j in 0..N {
                magnitudes[i][j] = f32::from(greatest[i][j].greatest().max(1));
            }
        }
        // Only arithmetic of floats and their bits, of which the compiler takes many positions at once.
        let scales = scales.get_unchecked_mut(..N * N);
        let magnitudes = magnitudes.as_flattened().iter().zip(factors.as_flattened_mut());
        for (scale, (magnitude, factor)) in scales.iter_mut().zip(magnitudes) {
            *scale = self::scale(*magnitude, factor);
        }
        for (first, channels) in image.parts() {
            let positions = image.positions::<N>(first);
            for channel in (0..channels).step_by(V::LANES) {
                let values = transform::<V, R, N>(&positions, channel);
                for i in 0..N {
                    for j in 0..N {
                        let (shift, multiplier) = factors[i][j];
                        let target = output.as_mut_ptr().add((i * N + j) * plane + first + channel);
                        values[i][j].store_scaled(shift, multiplier, S::OFFSET, target);
                    }
                }
            }
        }
    }
}

/// Sets shift and multiplier for values of a magnitude from 1 to 16,383, an integer; their scale.
#[inline(always)]
fn scale(magnitude: f32, (shift, multiplier): &mut (i32, i16)) -> f32 {
    /// Bits of a float behind its exponent, and the exponent of one.
    const FRACTION: u32 = 23;
    const ONE: u32 = 127;
    let power = |exponent: u32| f32::from_bits((ONE + exponent) << FRACTION);
    let bits = magnitude.to_bits();
    // The first bit of the magnitude's 14, by its exponent.
    let exponent = (bits >> FRACTION) - ONE;
    let shifted = f32::from_bits((bits & ((1 << FRACTION) - 1)) | (ONE + 13) << FRACTION);
    // The quotient is nowhere so near below an integer that its rounding to 24 bits would reach it.
    let quotient = (127_u32 << 15) as f32 / shifted;
    // SAFETY: it is from 254 to 508.
    let whole = unsafe { quotient.to_int_unchecked::<i32>() };
    (*shift, *multiplier) = (13 - exponent as i32, whole as i16);
    power(2 + exponent) / whole as f32
}

/// `Bᵀ·d·B` of a vector's worth of channels.
///
/// # Safety
/// As many bytes can be read at each position behind `channel`, and the CPU has the instructions of `V`.
#[inline(always)]
unsafe fn transform<V: Shorts, const R: usize, const N: usize>(
    positions: &[[*const u8; N]; N],
    channel: usize,
) -> [[V; N]; N] {
    // SAFETY: as the caller says.
    unsafe {
        let mut columns = [[V::splat(0); N]; N];
        for j in 0..N {
            let mut x = [V::splat(0); N];
            for i in 0..N {
                x[i] = V::load(positions[i][j].add(channel));
            }
            columns[j] = line::<V, R, N>(x);
        }
        let mut rows = [[V::splat(0); N]; N];
        for i in 0..N {
            let mut x = [V::splat(0); N];
            for j in 0..N {
                x[j] = columns[j][i];
            }
            rows[i] = line::<V, R, N>(x);
        }
        rows
    }
}

/// `Bᵀ·x`. Rows of opposite points differ only in the signs of their odd coefficients.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn line<V: Shorts, const R: usize, const N: usize>(x: [V; N]) -> [V; N] {
    let matrix = const { Integers::<R, N>::INPUT };
    // SAFETY: as the caller says. Inputs are at most 127, and no row has coefficients of more than 10 in all: two transforms stay
    // below 12,701.
    unsafe {
        // Coefficients are constants: the compiler leaves out zeros and ones, and shifts for powers of two.
        let sum = |row: usize, parity: usize| {
            let mut sum = V::splat(0);
            for i in (parity..N).step_by(2) {
                sum = sum.add(x[i].mul(V::splat(matrix[row][i])));
            }
            sum
        };
        let mut y = [V::splat(0); N];
        // The point zero has even coefficients alone, and infinity odd ones.
        y[0] = sum(0, 0);
        y[N - 1] = sum(N - 1, 1);
        for j in (1..N - 1).step_by(2) {
            let (even, odd) = (sum(j, 0), sum(j, 1));
            y[j] = even.add(odd);
            y[j + 1] = even.sub(odd);
        }
        y
    }
}
