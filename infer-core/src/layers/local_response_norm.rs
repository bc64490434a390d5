//! Local response normalisation.

use crate::tensor::Tensor;

/// `y[c, i, j] = x[c, i, j] / (2 + 10⁻⁴ · Σ over d of x[d, i, j]²)^0.75` where `d` goes over the five channels around `c`, from
/// `c − 2` to `c + 2`, as far as there are some: the normalisation of Krizhevsky, Sutskever & Hinton 2012, section 3.3, with its
/// constants. A channel with a large value holds down those beside it.
///
/// PyTorch's `nn.LocalResponseNorm` and Caffe's divide α by the number of channels: `LocalResponseNorm(5, alpha=5e-4, beta=0.75,
/// k=2)` is this one.
///
/// ```
/// # use infer_core::{layers::LocalResponseNorm, tensor::Tensor};
/// let maps: Tensor<1, 1, 1> = [[[200.0]]];
/// let mut output = [[[0.0]]];
/// LocalResponseNorm.forward(&maps, &mut output);
/// assert!((output[0][0][0] - 200.0 / 6_f32.powf(0.75)).abs() < 1e-4);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalResponseNorm;

impl LocalResponseNorm {
    /// Channels on each side of a channel that it is normalised by, n / 2 of the paper.
    pub const REACH: usize = 2;
    /// k of the paper: the sum where all values are 0.
    pub const K: f32 = 2.0;
    /// α of the paper: factor of the sum of squares.
    pub const ALPHA: f32 = 1e-4;
    /// β of the paper: the exponent.
    pub const BETA: f32 = 0.75;

    /// Writes the layer's output and returns it.
    pub fn forward<'o, const C: usize, const SIDE: usize>(
        &self,
        input: &Tensor<C, SIDE, SIDE>,
        output: &'o mut Tensor<C, SIDE, SIDE>,
    ) -> &'o mut Tensor<C, SIDE, SIDE> {
        for (c, output) in output.iter_mut().enumerate() {
            let around = || input.iter().take(c + Self::REACH + 1).skip(c.saturating_sub(Self::REACH));
            let Some(plane) = input.get(c) else { continue };
            for (i, (output, row)) in output.iter_mut().zip(plane).enumerate() {
                let mut sums = [0.0; SIDE];
                for row in around().filter_map(|plane| plane.get(i)) {
                    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * value);
                }
                for ((output, value), sum) in output.iter_mut().zip(row).zip(sums) {
                    // The power of −0.75 by roots, which are exact on every CPU.
                    const { assert!(Self::BETA == 0.75) };
                    let root = libm::sqrtf(Self::K + Self::ALPHA * sum);
                    *output = value / (root * libm::sqrtf(root));
                }
            }
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::testing::values;
    use crate::tensor::{FloatArray, Scratch};
    use proptest::prelude::*;

    /// Compares with the formula of the documentation in f64.
    fn check<const C: usize, const SIDE: usize>(seed: u64, factor: f32) {
        let input: std::vec::Vec<f32> = values(seed, C * SIDE * SIDE).iter().map(|value| value * factor).collect();
        let mut scratch = Scratch::<4096>::new();
        let tensor = scratch.tensor::<C, SIDE, SIDE>();
        tensor.values_mut().copy_from_slice(&input);
        let mut output = [[[f32::NAN; SIDE]; SIDE]; C];
        LocalResponseNorm.forward(tensor, &mut output);
        let area = SIDE * SIDE;
        for (place, found) in output.values().iter().enumerate() {
            let (c, position) = (place / area, place % area);
            let sum: f64 =
                (c.saturating_sub(2)..C.min(c + 3)).map(|d| f64::from(input[d * area + position]).powi(2)).sum();
            let expected = f64::from(input[place]) / (2.0 + 1e-4 * sum).powf(0.75);
            let error = (f64::from(*found) - expected).abs();
            assert!(error <= 1e-6 * expected.abs(), "{place}: {found} is not {expected}");
        }
    }

    proptest! {
        #[test]
        fn equals_the_formula(seed in 0_u64..1 << 40, factor in prop::sample::select(&[1e-3_f32, 1.0, 300.0, 1e6])) {
            check::<1, 3>(seed, factor);
            check::<2, 2>(seed, factor);
            check::<5, 4>(seed, factor);
            check::<17, 5>(seed, factor);
        }
    }
}
