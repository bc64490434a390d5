//! The matrices of Winograd's minimal filtering, multiplied to one column or row of a tile.

#![allow(clippy::needless_range_loop, reason = "rows and columns of matrices go by their indices, as in the formulas")]

use crate::vector::Vector;
use crate::winograd::matrices::Winograd;

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
