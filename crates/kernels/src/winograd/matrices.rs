//! The matrices of Winograd's minimal filtering, made by the Toom–Cook construction.
//!
//! `M` outputs of a filter of `R` taps need `N = M + R − 1` multiplications instead of `M·R` (Winograd 1980, *Arithmetic
//! Complexity of Computations*): with `d` of `N` inputs and `g` of `R` taps,
//!
//! ```text
//! y = Aᵀ · ((G·g) ⊙ (Bᵀ·d))        y[i] = Σ over r of d[i + r] · g[r]
//! ```
//!
//! and in two dimensions `Y = Aᵀ · ((G·g·Gᵀ) ⊙ (Bᵀ·d·B)) · A` (Lavin & Gray 2016, *Fast Algorithms for Convolutional
//! Neural Networks*, eq. 8), written F(M×M, R×R). The construction multiplies two polynomials by their values at `N − 1`
//! points and at infinity; its transpose is the filter. With the points `a`, `f[j] = Π over k ≠ j of (a[j] − a[k])`:
//!
//! - `Aᵀ[i][j] = a[j]^i`, and the column of infinity is 1 in the last row;
//! - `G[j][r] = a[j]^r / f[j]`, and the row of infinity is 1 in the last column;
//! - `Bᵀ[j]` are the coefficients of `Π over k ≠ j of (x − a[k])`, and the row of infinity those of the product of all.
//!
//! The points settle the rounding error (Barabasz, Anderson, Soodhalter & Gregg 2020, *Error Analysis and Improving the
//! Accuracy of Winograd Convolution for Deep Neural Networks*): small ones, in pairs ±a, few of them equally far from
//! zero. Those below had the least error of all that were tried with eighths. That they come in pairs also halves the work
//! of the transforms: rows of `Bᵀ` that belong to a and −a differ only in the signs of every other coefficient.

/// F(M×M, R×R) with `N = M + R − 1`.
pub struct Winograd<const M: usize, const R: usize, const N: usize>;

impl<const M: usize, const R: usize, const N: usize> Winograd<M, R, N> {
    const SIZES_FIT: () = assert!(N == M + R - 1 && N <= 9, "a filter of R taps reads M + R − 1 inputs for M outputs");

    /// Points that stand before the pairs: zero, where the number of finite points is odd.
    pub const UNPAIRED: usize = (N - 1) % 2;

    /// The finite points: zero where [`UNPAIRED`](Self::UNPAIRED) says so, then pairs a, −a.
    const POINTS: [f64; N] = {
        let () = Self::SIZES_FIT;
        let pairs: [f64; 4] = match N {
            4 => [1.0, 0.0, 0.0, 0.0],
            5 => [0.5, 1.25, 0.0, 0.0],
            6 => [0.625, 1.5, 0.0, 0.0],
            7 => [0.25, 0.875, 1.875, 0.0],
            8 => [0.5, 1.0, 2.0, 0.0],
            9 => [0.25, 0.625, 1.125, 2.0],
            _ => panic!("no points were chosen for this size"),
        };
        let mut points = [0.0; N];
        let mut j = Self::UNPAIRED;
        while j < N - 1 {
            points[j] = pairs[(j - Self::UNPAIRED) / 2];
            points[j + 1] = -points[j];
            j += 2;
        }
        points
    };

    /// `Bᵀ`, which transforms inputs.
    pub const INPUT: [[f32; N]; N] = {
        let mut matrix = [[0.0; N]; N];
        let mut j = 0;
        while j < N {
            // The product, coefficient by coefficient: times (x − a) is a shift less a multiple.
            let mut product = [0.0; N];
            product[0] = 1.0;
            let mut k = 0;
            while k < N - 1 {
                if k != j {
                    let mut i = N - 1;
                    while i > 0 {
                        product[i] = product[i - 1] - Self::POINTS[k] * product[i];
                        i -= 1;
                    }
                    product[0] *= -Self::POINTS[k];
                }
                k += 1;
            }
            let mut i = 0;
            while i < N {
                matrix[j][i] = product[i] as f32;
                i += 1;
            }
            j += 1;
        }
        matrix
    };

    /// `G`, which transforms filters, in f64: that is done once, ahead.
    pub const FILTER: [[f64; R]; N] = {
        let mut matrix = [[0.0; R]; N];
        let mut j = 0;
        while j < N - 1 {
            let mut f = 1.0;
            let mut k = 0;
            while k < N - 1 {
                if k != j {
                    f *= Self::POINTS[j] - Self::POINTS[k];
                }
                k += 1;
            }
            let mut power = 1.0 / f;
            let mut r = 0;
            while r < R {
                matrix[j][r] = power;
                power *= Self::POINTS[j];
                r += 1;
            }
            j += 1;
        }
        matrix[N - 1][R - 1] = 1.0;
        matrix
    };

    /// `Aᵀ`, which transforms products to outputs.
    pub const OUTPUT: [[f32; N]; M] = {
        let mut matrix = [[0.0; N]; M];
        let mut j = 0;
        while j < N - 1 {
            let mut power = 1.0;
            let mut i = 0;
            while i < M {
                matrix[i][j] = power as f32;
                power *= Self::POINTS[j];
                i += 1;
            }
            j += 1;
        }
        matrix[M - 1][N - 1] = 1.0;
        matrix
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The identity that the matrices stand for, in f64: exact but for the rounding of `Bᵀ` and `Aᵀ` to f32, of which only
    /// numbers with few digits occur.
    #[allow(clippy::needless_range_loop, reason = "as in the formula")]
    fn check<const M: usize, const R: usize, const N: usize>() {
        let (input, filter, output) =
            (Winograd::<M, R, N>::INPUT, Winograd::<M, R, N>::FILTER, Winograd::<M, R, N>::OUTPUT);
        // Both sides are linear in d and in g: unit vectors are enough.
        for d in 0..N {
            for g in 0..R {
                for (i, row) in output.iter().enumerate() {
                    let found: f64 = (0..N).map(|j| f64::from(row[j]) * filter[j][g] * f64::from(input[j][d])).sum();
                    let expected = if d == i + g { 1.0 } else { 0.0 };
                    assert!((found - expected).abs() < 1e-12, "F({M}, {R}): {found} is not {expected}");
                }
            }
        }
    }

    #[test]
    fn the_matrices_are_a_filter() {
        check::<2, 3, 4>();
        check::<3, 3, 5>();
        check::<4, 3, 6>();
        check::<5, 3, 7>();
        check::<6, 3, 8>();
        check::<4, 5, 8>();
        check::<5, 5, 9>();
    }

    #[test]
    fn f23_is_the_one_of_the_literature() {
        // Lavin & Gray 2016, eq. 6 to 8, but for the order of the points and the scale of the rows.
        type F23 = Winograd<2, 3, 4>;
        assert_eq!(
            F23::INPUT,
            [[-1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, -1.0, 0.0, 1.0]]
        );
        assert_eq!(F23::OUTPUT, [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, 1.0]]);
        assert_eq!(F23::FILTER, [[-1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]]);
    }
}
