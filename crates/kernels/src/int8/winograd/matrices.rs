//! The matrices of F(2×2, R×R) in integers: those of [`Winograd`](crate::winograd::matrices::Winograd) for the points 0, ±1 and ±2
//! and infinity, with the fractions of the filters' matrix taken out of its rows.

/// F(2×2, R×R), `N = R + 1`.
pub(super) struct Integers<const R: usize, const N: usize>;

impl<const R: usize, const N: usize> Integers<R, N> {
    /// The finite points, and a zero in the place of infinity.
    const POINTS: [i32; N] = {
        assert!(N == R + 1 && N.is_multiple_of(2) && N <= 6);
        let mut points = [0; N];
        let mut j = 1;
        while j < N - 1 {
            points[j] = if j % 2 == 1 { (j as i32 + 1) / 2 } else { -(j as i32) / 2 };
            j += 1;
        }
        points
    };

    /// `Bᵀ`, which transforms inputs: coefficients of `Π over k ≠ j of (x − a[k])`, and of the product of all.
    pub(super) const INPUT: [[i16; N]; N] = {
        let mut matrix = [[0; N]; N];
        let mut j = 0;
        while j < N {
            // The product, coefficient by coefficient: times (x − a) is a shift less a multiple.
            let mut product = [0; N];
            product[0] = 1;
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
                matrix[j][i] = product[i] as i16;
                i += 1;
            }
            j += 1;
        }
        matrix
    };

    /// `G`, which transforms filters, each row times its [`DIVISORS`](Self::DIVISORS): `a[j]^r`, and 1 in the last place.
    pub(super) const FILTER: [[i32; R]; N] = {
        let mut matrix = [[0; R]; N];
        let mut j = 0;
        while j < N - 1 {
            let mut power = 1;
            let mut r = 0;
            while r < R {
                matrix[j][r] = power;
                power *= Self::POINTS[j];
                r += 1;
            }
            j += 1;
        }
        matrix[N - 1][R - 1] = 1;
        matrix
    };

    /// `f[j] = Π over k ≠ j of (a[j] − a[k])`, and 1 for infinity.
    pub(super) const DIVISORS: [i32; N] = {
        let mut divisors = [1; N];
        let mut j = 0;
        while j < N - 1 {
            let mut k = 0;
            while k < N - 1 {
                if k != j {
                    divisors[j] *= Self::POINTS[j] - Self::POINTS[k];
                }
                k += 1;
            }
            j += 1;
        }
        divisors
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `y[i] = Σ over r of d[i + r] · g[r]` by the matrices, in integers times the product of the divisors.
    fn identity<const R: usize, const N: usize>() {
        let inputs: [i64; N] = core::array::from_fn(|i| (i * i) as i64 * 7 - 20 + i as i64);
        let taps: [i64; R] = core::array::from_fn(|r| 5 - 3 * r as i64);
        let common: i64 = Integers::<R, N>::DIVISORS.iter().map(|divisor| i64::from(*divisor)).product();
        for output in 0..2 {
            let sum: i64 = (0..N)
                .map(|j| {
                    let v: i64 = (0..N).map(|i| i64::from(Integers::<R, N>::INPUT[j][i]) * inputs[i]).sum();
                    let u: i64 = (0..R).map(|r| i64::from(Integers::<R, N>::FILTER[j][r]) * taps[r]).sum();
                    // The row of Aᵀ: powers of the points, and infinity in the last output.
                    let a = match (output, j + 1 == N) {
                        (0, last) => i64::from(!last),
                        (_, true) => 1,
                        _ => i64::from(Integers::<R, N>::POINTS[j]),
                    };
                    a * v * u * (common / i64::from(Integers::<R, N>::DIVISORS[j]))
                })
                .sum();
            let expected: i64 = (0..R).map(|r| inputs[output + r] * taps[r]).sum();
            assert_eq!(sum, expected * common);
        }
    }

    #[test]
    fn the_matrices_filter() {
        identity::<3, 4>();
        identity::<5, 6>();
    }

    #[test]
    fn rows_of_opposite_points_differ_in_the_signs_of_odd_coefficients() {
        let [_, plus, minus, plus2, minus2, _] = Integers::<5, 6>::INPUT;
        for (plus, minus) in [(plus, minus), (plus2, minus2)] {
            for (i, (a, b)) in plus.iter().zip(minus).enumerate() {
                assert_eq!(*a, if i % 2 == 0 { b } else { -b });
            }
        }
    }
}
