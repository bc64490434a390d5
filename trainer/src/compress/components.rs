//! Principal components of values in `f64`: the directions in which they vary most.
//!
//! They are found by subspace iteration: a random subspace, which is somewhat larger than what is wanted, is multiplied by the
//! covariance and made orthonormal again until it keeps no more variance than before, and the components within it are those of
//! a small symmetric matrix (Rayleigh–Ritz). Halko, Martinsson & Tropp 2011, *Finding Structure with Randomness*, algorithm 4.4.
//! The covariance, of 4096×4096 values for AlexNet's layers, is never made.

use dfdx::{
    shapes::Axes2,
    tensor::{Cpu, Tensor, TensorFromVec},
    tensor_ops::{PermuteTo, TryMatMul},
};
use rand::Rng;
use rayon::prelude::*;

use crate::random;

/// Directions that are looked for beyond those that are wanted: the last ones converge slowly.
const MORE: usize = 32;

/// The share of all variance that an iteration must add for another one to follow.
const TOLERANCE: f64 = 1e-7;

/// The most iterations.
const ITERATIONS: usize = 100;

/// Sweeps of Jacobi's method, which needs about ten.
const SWEEPS: usize = 60;

/// A matrix of `f64` values.
type Matrix = Tensor<(usize, usize), f64, Cpu>;

/// Principal components of some vectors.
#[derive(Debug, Clone)]
pub struct Components {
    /// Mean of the vectors.
    pub mean: Vec<f64>,
    /// Variance in all directions together.
    pub total: f64,
    /// Variance in each of the directions, the greatest first.
    pub variances: Vec<f64>,
    /// Unit vectors at right angles to each other, a direction each. They are fewer than were asked for where the vectors do not
    /// vary in so many.
    pub directions: Vec<Vec<f64>>,
}

impl Components {
    /// The first `count` components of vectors of `width` values, which lie one after the other.
    #[must_use]
    pub fn of(values: &[f32], width: usize, count: usize) -> Self {
        let width = width.max(1);
        let samples = values.len() / width;
        let mut mean = vec![0.0; width];
        for row in values.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value) / samples as f64);
        }
        let rows = values.chunks_exact(width);
        let centred: Vec<f64> =
            rows.flat_map(|row| row.iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean)).collect();
        let total = squares(&centred);
        let centred = Cpu::default().tensor_from_vec(centred, (samples, width));

        let size = count.saturating_add(MORE).min(samples).min(width);
        let mut random = random::generator(0, b"subspace", 0, 0);
        let mut basis: Vec<f64> = (0..size * width).map(|_| random.gen_range(-1.0..1.0)).collect();
        orthonormalise(&mut basis, width);
        let (mut kept, mut projected) = (0.0, project(&centred, &basis));
        for _ in 0..ITERATIONS {
            let before = std::mem::replace(&mut kept, squares(&projected.as_vec()));
            if kept - before <= TOLERANCE * total {
                break;
            }
            basis = transposed(&projected).matmul(centred.clone()).as_vec();
            orthonormalise(&mut basis, width);
            projected = project(&centred, &basis);
        }

        let small = transposed(&projected).matmul(projected).as_vec();
        let (squares, vectors) = eigen(small, size);
        let basis = matrix(basis, width);
        let turned = matrix(vectors, size).matmul(basis).as_vec();
        // What is beyond the directions in which the vectors vary is zero but for rounding.
        let least = 1e-20 * total;
        let wanted = squares.iter().take(count).take_while(|square| **square > least).count();
        let samples = samples.max(1) as f64;
        Self {
            mean,
            total: total / samples,
            variances: squares[..wanted].iter().map(|square| square / samples).collect(),
            directions: turned.chunks_exact(width).take(wanted).map(<[f64]>::to_vec).collect(),
        }
    }

    /// The share of the variance, 0 to 1, that the first `rank` components keep.
    #[must_use]
    pub fn kept(&self, rank: usize) -> f64 {
        let kept: f64 = self.variances.iter().take(rank).sum();
        if self.total > 0.0 { (kept / self.total).min(1.0) } else { 1.0 }
    }
}

fn squares(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

/// Rows of `columns` values as a matrix.
fn matrix(values: Vec<f64>, columns: usize) -> Matrix {
    let rows = values.len() / columns.max(1);
    Cpu::default().tensor_from_vec(values, (rows, columns))
}

fn transposed(matrix: &Matrix) -> Matrix {
    matrix.clone().permute::<(usize, usize), Axes2<1, 0>>()
}

/// The coordinates of each vector along each row of `basis`.
fn project(vectors: &Matrix, basis: &[f64]) -> Matrix {
    let (_, width) = *dfdx::shapes::HasShape::shape(vectors);
    vectors.clone().matmul(transposed(&matrix(basis.to_vec(), width)))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Makes rows of `width` values orthonormal: Gram and Schmidt's method, modified, and done twice, which makes up for rounding.
/// A row that depends on those before it becomes zero.
fn orthonormalise(rows: &mut [f64], width: usize) {
    let lengths: Vec<f64> = rows.chunks_exact(width).map(|row| squares(row).sqrt()).collect();
    for (pass, least) in [1e-10, 0.5].into_iter().enumerate() {
        let mut rest = &mut *rows;
        for length in &lengths {
            let (row, others) = rest.split_at_mut(width);
            let now = squares(row).sqrt();
            let before = if pass == 0 { *length } else { 1.0 };
            let scale = if now > least * before { now.recip() } else { 0.0 };
            row.iter_mut().for_each(|value| *value *= scale);
            let row = &*row;
            others.par_chunks_exact_mut(width).for_each(|other| {
                let along = dot(row, other);
                other.iter_mut().zip(row).for_each(|(other, value)| *other -= along * value);
            });
            rest = others;
        }
    }
}

/// Eigenvalues of a symmetric matrix, the greatest first, and their eigenvectors as rows, by Jacobi's method.
fn eigen(mut a: Vec<f64>, size: usize) -> (Vec<f64>, Vec<f64>) {
    let mut vectors = vec![0.0; size * size];
    (0..size).for_each(|i| vectors[i * size + i] = 1.0);
    let scale = squares(&a);
    for _ in 0..SWEEPS {
        let beside = |(place, value): (usize, &f64)| if place / size == place % size { 0.0 } else { value * value };
        if a.iter().enumerate().map(beside).sum::<f64>() <= 1e-30 * scale {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                let between = a[p * size + q];
                if between == 0.0 {
                    continue;
                }
                // The angle that makes this element zero, at most 45°.
                let slope = (a[q * size + q] - a[p * size + p]) / (2.0 * between);
                let tangent = slope.signum() / (slope.abs() + slope.hypot(1.0));
                let cosine = tangent.hypot(1.0).recip();
                let sine = tangent * cosine;
                for k in 0..size {
                    let (left, right) = (a[k * size + p], a[k * size + q]);
                    a[k * size + p] = cosine * left - sine * right;
                    a[k * size + q] = sine * left + cosine * right;
                }
                turn(&mut a, size, (p, q), (cosine, sine));
                turn(&mut vectors, size, (p, q), (cosine, sine));
            }
        }
    }
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|i, j| a[j * size + j].total_cmp(&a[i * size + i]));
    let values = order.iter().map(|i| a[i * size + i].max(0.0)).collect();
    (values, order.iter().flat_map(|i| &vectors[i * size..][..size]).copied().collect())
}

/// Turns two rows, `p` before `q`, in their plane.
fn turn(rows: &mut [f64], size: usize, (p, q): (usize, usize), (cosine, sine): (f64, f64)) {
    let (first, second) = rows.split_at_mut(q * size);
    let (first, second) = (&mut first[p * size..][..size], &mut second[..size]);
    for (left, right) in first.iter_mut().zip(second) {
        (*left, *right) = (cosine * *left - sine * *right, sine * *left + cosine * *right);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::Rng;

    use super::*;

    /// `samples` vectors of `width` values that vary in `rank` directions, each half as much as the one before, and hardly
    /// in others.
    fn vectors(seed: u64, samples: usize, width: usize, rank: usize, noise: f32) -> Vec<f32> {
        let mut random = random::generator(seed, b"vectors ", 0, 0);
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.gen_range(-1.0..1.0)).collect() };
        let (directions, mean) = (draw(rank * width), draw(width));
        let rows = (0..samples).flat_map(|_| {
            let mut row: Vec<f32> = draw(width).iter().zip(&mean).map(|(value, mean)| mean + noise * value).collect();
            for (power, (direction, along)) in (0..).zip(directions.chunks(width).zip(draw(rank))) {
                let along = along * 0.5_f32.powi(power);
                row.iter_mut().zip(direction).for_each(|(value, direction)| *value += along * direction);
            }
            row
        });
        rows.collect()
    }

    /// The covariance in f64, by its formula.
    fn covariance(values: &[f32], width: usize) -> Vec<f64> {
        let samples = values.len() / width;
        let column = |i: usize| values.iter().skip(i).step_by(width).map(|value| f64::from(*value));
        let mean: Vec<f64> = (0..width).map(|i| column(i).sum::<f64>() / samples as f64).collect();
        let element = |i: usize, j: usize| {
            let products = column(i).zip(column(j)).map(|(a, b)| (a - mean[i]) * (b - mean[j]));
            products.sum::<f64>() / samples as f64
        };
        (0..width * width).map(|place| element(place / width, place % width)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn they_are_the_covariances_eigenvectors(
            seed: u64,
            samples in 2_usize..60,
            width in 1_usize..50,
            rank in 1_usize..12,
            noise in 0.0_f32..0.5,
            count in 1_usize..12,
        ) {
            let values = vectors(seed, samples, width, rank, noise);
            let components = Components::of(&values, width, count);
            let covariance = covariance(&values, width);
            let total: f64 = (0..width).map(|i| covariance[i * width + i]).sum();
            prop_assert!((components.total - total).abs() < 1e-9 * total);
            let mut rest = covariance.clone();
            for (number, (direction, variance)) in components.directions.iter().zip(&components.variances).enumerate() {
                let image: Vec<f64> = covariance.chunks(width).map(|row| dot(row, direction)).collect();
                for (found, expected) in image.iter().zip(direction) {
                    prop_assert!((found - variance * expected).abs() < 1e-3 * total, "no eigenvector");
                }
                for (other, before) in components.directions[..=number].iter().enumerate() {
                    let expected = if other == number { 1.0 } else { 0.0 };
                    prop_assert!((dot(before, direction) - expected).abs() < 1e-9);
                }
                for (place, value) in rest.iter_mut().enumerate() {
                    *value -= variance * direction[place / width] * direction[place % width];
                }
            }
            prop_assert!(components.variances.is_sorted_by(|a, b| a >= b));
            // No direction is left in which they vary more: power iteration over what is left.
            let mut direction: Vec<f64> = (0..width).map(|i| 1.0 + (i % 7) as f64).collect();
            for _ in 0..50 {
                let length = squares(&direction).sqrt().max(1e-300);
                direction = rest.chunks(width).map(|row| dot(row, &direction) / length).collect();
            }
            let left = squares(&direction).sqrt();
            let last = if components.variances.len() < count { 0.0 } else { components.variances[count - 1] };
            prop_assert!(left <= last + 1e-4 * total, "{left} is left, {last} was taken");
        }

        #[test]
        fn what_is_kept_is_what_the_projections_keep(seed: u64, rank in 1_usize..10) {
            let (samples, width) = (40, 30);
            let values = vectors(seed, samples, width, 8, 0.2);
            let components = Components::of(&values, width, 10);
            // The variance of what a projection leaves out, vector by vector.
            let mut left = 0.0;
            for row in values.chunks(width) {
                let centred: Vec<f64> = row.iter().zip(&components.mean).map(|(v, mean)| f64::from(*v) - mean).collect();
                let mut rest = centred.clone();
                for direction in &components.directions[..rank] {
                    let along = dot(direction, &centred);
                    rest.iter_mut().zip(direction).for_each(|(rest, direction)| *rest -= along * direction);
                }
                left += squares(&rest) / samples as f64;
            }
            prop_assert!((components.kept(rank) - (1.0 - left / components.total)).abs() < 1e-9);
        }
    }

    #[test]
    fn vectors_that_do_not_vary_have_no_components() {
        let components = Components::of(&[0.25; 40], 8, 3);
        assert_eq!((components.directions.len(), components.total, components.kept(3)), (0, 0.0, 1.0));
        assert_eq!(components.mean, [0.25; 8]);
    }

    #[test]
    fn a_subspace_of_many_directions_converges() {
        // More than are looked for at once, and all alike: nothing tells them apart.
        let (samples, width) = (300, 200);
        let values = vectors(3, samples, width, 1, 1.0);
        let components = Components::of(&values, width, 20);
        let (all, _) = eigen(covariance(&values, width), width);
        let best: f64 = all[..20].iter().sum();
        assert!((components.kept(20) - best / components.total).abs() < 1e-4);
    }
}
