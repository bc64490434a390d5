//! Fully connected layer.

use crate::safetensors::{SafeTensors, WeightsError};

/// `y = x·Wᵀ + b` with `x: [IN]`, `W: [OUT, IN]`, `b: [OUT]`, `y: [OUT]`, as PyTorch's `nn.Linear`.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'w, const IN: usize, const OUT: usize> {
    /// `[OUT, IN]`
    pub weight: &'w [[f32; IN]; OUT],
    /// `[OUT]`
    pub bias: &'w [f32; OUT],
}

/// Partial sums of a dot product that go side by side, so that the compiler can use vector instructions.
const LANES: usize = 16;

impl<'w, const IN: usize, const OUT: usize> Linear<'w, IN, OUT> {
    /// Multiply-adds of one forward pass.
    pub const MULTIPLY_ADDS: usize = IN * OUT;

    /// The layer with the tensors `weight` and `bias` of a file, read in place.
    ///
    /// # Errors
    /// As [`SafeTensors::array`].
    pub fn from_safetensors<const CAPACITY: usize>(
        file: &SafeTensors<'w, CAPACITY>,
        weight: &'static str,
        bias: &'static str,
    ) -> Result<Self, WeightsError> {
        Ok(Self { weight: file.array(weight)?, bias: file.array(bias)? })
    }

    /// Writes the layer's output and returns it.
    pub fn forward<'o>(&self, input: &[f32; IN], output: &'o mut [f32; OUT]) -> &'o mut [f32; OUT] {
        for ((value, row), bias) in output.iter_mut().zip(self.weight).zip(self.bias) {
            *value = dot(input, row) + bias;
        }
        output
    }
}

/// Dot product of two vectors.
fn dot<const N: usize>(a: &[f32; N], b: &[f32; N]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::testing::values;
    use proptest::prelude::*;

    fn check<const IN: usize, const OUT: usize>(seed: u64) {
        let input: [f32; IN] = values(seed, IN).try_into().unwrap();
        let weight = values(seed + 1, IN * OUT);
        let weight: &[[f32; IN]; OUT] = weight.as_chunks().0.try_into().unwrap();
        let bias: [f32; OUT] = values(seed + 2, OUT).try_into().unwrap();
        let mut output = [f32::NAN; OUT];
        Linear { weight, bias: &bias }.forward(&input, &mut output);
        for o in 0..OUT {
            let expected: f64 =
                f64::from(bias[o]) + (0..IN).map(|i| f64::from(input[i]) * f64::from(weight[o][i])).sum::<f64>();
            assert!((f64::from(output[o]) - expected).abs() < 1e-5 * (1.0 + IN as f64).sqrt(), "output {o}");
        }
    }

    proptest! {
        #[test]
        fn equals_the_sum_in_f64(seed in 0_u64..1 << 40) {
            check::<1, 1>(seed);
            check::<15, 3>(seed);
            check::<16, 10>(seed);
            check::<100, 7>(seed);
            check::<1000, 5>(seed);
        }
    }
}
