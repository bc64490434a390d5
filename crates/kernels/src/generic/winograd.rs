//! The transforms of a Winograd convolution: a tile of inputs before the matrix product, a row of tiles after it.
//! Channels are innermost, so each vector holds one value of as many channels and no lanes are ever exchanged.

#![allow(clippy::needless_range_loop, reason = "rows and columns of matrices go by their indices, as in the formulas")]

use crate::toom_cook::Winograd;
use crate::vector::Vector;
use crate::{BLOCK, InputTile, OutputTiles, PAD};

/// Channels of the positions outside of the image.
static ZEROS: [f32; InputTile::MAX_CHANNELS] = [0.0; InputTile::MAX_CHANNELS];

/// Runs a block for each number below a constant of at most 9, as that many blocks: the compiler unrolls not all of the
/// loops over the larger matrices by itself, and would look up at run time what it can know.
macro_rules! unrolled {
    ($i:ident < $n:expr, $body:block) => {
        unrolled!(@ $i $n, $body, 0 1 2 3 4 5 6 7 8)
    };
    (@ $i:ident $n:expr, $body:block, $($number:literal)*) => {
        $(if $number < $n {
            let $i: usize = $number;
            $body
        })*
    };
}
#[cfg(feature = "training")]
pub(crate) use unrolled;

/// `Bᵀ·x` for one column or row `x` of a tile. The loops over constant matrices unroll, and what multiplies a zero or a one
/// is left out; the two rows of a pair of points share their sums, as they differ only in signs.
#[inline(always)]
pub(crate) unsafe fn input_1d<V: Vector, const M: usize, const R: usize, const N: usize>(x: [V; N]) -> [V; N] {
    let matrix = const { &Winograd::<M, R, N>::INPUT };
    // SAFETY: arithmetic only, of a CPU that has it, as the caller says.
    unsafe {
        let mut y = [V::splat(0.0); N];
        unrolled!(j < N, {
            let paired = j >= Winograd::<M, R, N>::UNPAIRED && j + 1 < N;
            // The second of a pair is done with the first.
            if !paired || (j - Winograd::<M, R, N>::UNPAIRED).is_multiple_of(2) {
                // Terms with the same sign in rows j and j + 1, and those with opposite signs.
                let (mut same, mut opposite) = (None, None);
                unrolled!(k < N, {
                    let coefficient = matrix[j][k];
                    if coefficient != 0.0 {
                        let sum = if paired && matrix[j + 1][k] != coefficient { &mut opposite } else { &mut same };
                        *sum = Some(accumulate(*sum, coefficient, x[k]));
                    }
                });
                let zero = V::splat(0.0);
                let (same, opposite) = (same.unwrap_or(zero), opposite.unwrap_or(zero));
                if paired {
                    y[j] = same.add(opposite);
                    y[j + 1] = same.sub(opposite);
                } else {
                    y[j] = same;
                }
            }
        });
        y
    }
}

/// `Aᵀ·x` for one column or row `x` of a tile of products: of a pair of points, even powers take the sum and odd powers the
/// difference.
#[inline(always)]
pub(crate) unsafe fn output_1d<V: Vector, const M: usize, const R: usize, const N: usize>(x: [V; N]) -> [V; M] {
    let matrix = const { &Winograd::<M, R, N>::OUTPUT };
    // SAFETY: arithmetic only, of a CPU that has it, as the caller says.
    unsafe {
        let mut folded = x;
        let mut j = Winograd::<M, R, N>::UNPAIRED;
        while j + 1 < N {
            folded[j] = x[j].add(x[j + 1]);
            folded[j + 1] = x[j].sub(x[j + 1]);
            j += 2;
        }
        let mut y = [V::splat(0.0); M];
        unrolled!(i < M, {
            let mut sum = None;
            unrolled!(j < N, {
                let paired = j >= Winograd::<M, R, N>::UNPAIRED && j + 1 < N;
                // Where the sum and the difference lie, of which this power needs one.
                let other = paired && (j - Winograd::<M, R, N>::UNPAIRED) % 2 != i % 2;
                if matrix[i][j] != 0.0 && !other {
                    sum = Some(accumulate(sum, matrix[i][j].abs(), folded[j]));
                }
            });
            y[i] = sum.unwrap_or(V::splat(0.0));
        });
        y
    }
}

/// `sum + coefficient · x`, cheaper where there is no sum yet or the coefficient is ±1.
#[inline(always)]
pub(crate) unsafe fn accumulate<V: Vector>(sum: Option<V>, coefficient: f32, x: V) -> V {
    // SAFETY: arithmetic only, of a CPU that has it, as the caller says.
    unsafe {
        match sum {
            None if coefficient == 1.0 => x,
            None => x.mul(V::splat(coefficient)),
            Some(sum) if coefficient == 1.0 => sum.add(x),
            Some(sum) if coefficient == -1.0 => sum.sub(x),
            Some(sum) => x.mul_add(V::splat(coefficient), sum),
        }
    }
}

/// `V = Bᵀ·d·B` of one tile, for all channels, see [`InputTile`].
///
/// # Safety
/// The sizes of `tile` hold (see [`InputTile::fits`]), and the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn input<V: Vector, const M: usize, const R: usize, const N: usize>(tile: InputTile<'_>) {
    let InputTile { image, height, width, channels, top, left, output } = tile;
    let mut positions = [[ZEROS.as_ptr(); N]; N];
    for (i, row) in positions.iter_mut().enumerate() {
        for (j, position) in row.iter_mut().enumerate() {
            let (y, x) = (top + i as isize, left + j as isize);
            if (0..height as isize).contains(&y) && (0..width as isize).contains(&x) {
                *position = image.as_ptr().wrapping_add((y as usize * width + x as usize) * channels);
            }
        }
    }
    let plane = channels + PAD;
    let mut channel = 0;
    while channel < channels {
        // SAFETY: each position is either one of the image's, or the zeros, and both hold `channels` values, which is a
        // multiple of the lanes, as `fits` says; the output holds N·N planes.
        unsafe {
            let mut columns = [[V::splat(0.0); N]; N];
            for j in 0..N {
                let mut x = [V::splat(0.0); N];
                for i in 0..N {
                    x[i] = V::load(positions[i][j].add(channel));
                }
                columns[j] = input_1d::<V, M, R, N>(x);
            }
            for i in 0..N {
                let mut x = [V::splat(0.0); N];
                for j in 0..N {
                    x[j] = columns[j][i];
                }
                let y = input_1d::<V, M, R, N>(x);
                for (j, value) in y.into_iter().enumerate() {
                    value.store(output.as_mut_ptr().add((i * N + j) * plane + channel));
                }
            }
        }
        channel += V::LANES;
    }
}

/// `Y = max(Aᵀ·m·A + b, 0)` of a row of tiles, for all channels, see [`OutputTiles`].
///
/// # Safety
/// The sizes of `tiles` hold (see [`OutputTiles::fits`]), and the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn output<V: Vector, const M: usize, const R: usize, const N: usize>(tiles: OutputTiles<'_>) {
    let OutputTiles { products, plane, tiles, first, bias, width, output } = tiles;
    let channels = bias.len();
    for tile in 0..width.div_ceil(M) {
        let columns = M.min(width - tile * M);
        let mut channel = 0;
        while channel < channels {
            let (block, lane) = (channel / BLOCK, channel % BLOCK);
            // SAFETY: `fits` says that there are N·N planes of products with this tile and block in each, and that the
            // output holds M rows of `width` columns of `channels` values, which is a multiple of 32.
            unsafe {
                let products = products.as_ptr().add((block * tiles + first + tile) * BLOCK + lane);
                let mut rows = [[V::splat(0.0); M]; N];
                for i in 0..N {
                    let mut x = [V::splat(0.0); N];
                    for j in 0..N {
                        x[j] = V::load(products.add((i * N + j) * plane));
                    }
                    rows[i] = output_1d::<V, M, R, N>(x);
                }
                let bias = V::load(bias.as_ptr().add(channel));
                for j in 0..columns {
                    let mut x = [V::splat(0.0); N];
                    for i in 0..N {
                        x[i] = rows[i][j];
                    }
                    let y = output_1d::<V, M, R, N>(x);
                    for (i, value) in y.into_iter().enumerate() {
                        // In this order of operands a NaN stays NaN.
                        let value = V::splat(0.0).max(value.add(bias));
                        value.store(output.as_mut_ptr().add((i * width + tile * M + j) * channels + channel));
                    }
                }
            }
            channel += V::LANES;
        }
    }
}
