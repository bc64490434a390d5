//! Maximum over square windows.

use super::output_size;
use crate::tensor::Tensor;

/// `y[c, i, j] = max over k, l < KERNEL of x[c, i·STRIDE + k, j·STRIDE + l]` with `x: [C, IN, IN]`, `y: [C, OUT, OUT]`, as
/// PyTorch's `nn.MaxPool2d` without padding. A NaN in a window gives NaN.
///
/// `OUT` must be `(IN − KERNEL) / STRIDE + 1`, rounded down; another does not compile:
/// ```
/// # use infer_core::{layers::MaxPool2d, tensor::Tensor};
/// let image: Tensor<1, 4, 4> = [[[0.0; 4]; 4]];
/// MaxPool2d::<2, 2, 4, 2>.forward(&image, &mut [[[0.0; 2]; 2]; 1]);
/// ```
/// ```compile_fail
/// # use infer_core::{layers::MaxPool2d, tensor::Tensor};
/// let image: Tensor<1, 4, 4> = [[[0.0; 4]; 4]];
/// MaxPool2d::<2, 2, 4, 3>.forward(&image, &mut [[[0.0; 3]; 3]; 1]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct MaxPool2d<const KERNEL: usize, const STRIDE: usize, const IN: usize, const OUT: usize>;

impl<const KERNEL: usize, const STRIDE: usize, const IN: usize, const OUT: usize> MaxPool2d<KERNEL, STRIDE, IN, OUT> {
    const SIZES_FIT: () = assert!(
        OUT > 0 && OUT == output_size(IN, KERNEL, STRIDE, 0),
        "the output size of a pooling layer is (IN − KERNEL) / STRIDE + 1"
    );

    /// Writes the layer's output and returns it.
    pub fn forward<'o, const C: usize>(
        &self,
        input: &Tensor<C, IN, IN>,
        output: &'o mut Tensor<C, OUT, OUT>,
    ) -> &'o mut Tensor<C, OUT, OUT> {
        const { Self::SIZES_FIT };
        for (input, output) in input.iter().zip(output.iter_mut()) {
            for (i, row) in output.iter_mut().enumerate() {
                // The maximum of each column over the window's rows, then of each window over its columns.
                let mut columns = [f32::NEG_INFINITY; IN];
                for input in input.iter().skip(i * STRIDE).take(KERNEL) {
                    for (column, value) in columns.iter_mut().zip(input) {
                        *column = maximum(*column, *value);
                    }
                }
                for (value, window) in row.iter_mut().zip(columns.windows(KERNEL).step_by(STRIDE)) {
                    *value = window.iter().copied().fold(f32::NEG_INFINITY, maximum);
                }
            }
        }
        output
    }
}

/// The greater of two values; NaN if one is.
fn maximum(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::testing::values;
    use crate::tensor::{FloatArray, Scratch};

    fn check<const C: usize, const KERNEL: usize, const STRIDE: usize, const IN: usize, const OUT: usize>() {
        let input = values((C * KERNEL + STRIDE * IN) as u64, C * IN * IN);
        let mut scratch = Scratch::<4096>::new();
        let tensor = scratch.tensor::<C, IN, IN>();
        tensor.values_mut().copy_from_slice(&input);
        let mut output = [[[f32::NAN; OUT]; OUT]; C];
        MaxPool2d::<KERNEL, STRIDE, IN, OUT>.forward(tensor, &mut output);
        for c in 0..C {
            for i in 0..OUT {
                for j in 0..OUT {
                    let mut expected = f32::NEG_INFINITY;
                    for k in 0..KERNEL {
                        for l in 0..KERNEL {
                            expected = expected.max(input[(c * IN + i * STRIDE + k) * IN + j * STRIDE + l]);
                        }
                    }
                    assert_eq!(output[c][i][j], expected);
                }
            }
        }
    }

    #[test]
    fn equals_the_naive_maximum() {
        check::<1, 1, 1, 1, 1>();
        check::<2, 2, 2, 7, 3>();
        check::<3, 3, 2, 11, 5>();
        check::<3, 3, 2, 15, 7>();
        check::<2, 3, 1, 5, 3>();
        check::<2, 2, 3, 10, 3>();
    }

    #[test]
    fn nan_spreads_to_its_windows_only() {
        let mut input = [[[1.0; 6]; 6]];
        input[0][0][0] = f32::NAN;
        let mut output = [[[0.0; 3]; 3]];
        MaxPool2d::<2, 2, 6, 3>.forward(&input, &mut output);
        assert!(output[0][0][0].is_nan());
        assert_eq!(output.as_flattened().as_flattened()[1..], [1.0; 8]);
    }
}
