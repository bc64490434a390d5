//! Two-dimensional convolution.

use super::output_size;
use crate::safetensors::{SafeTensors, WeightsError};
use crate::tensor::Tensor;

/// `y[o, i, j] = b[o] + Σ over c, k, l of W[o, c, k, l] · x[c, i·STRIDE + k − PADDING, j·STRIDE + l − PADDING]`, `x` being 0
/// outside of its borders, with `x: [CI, IN, IN]`, `W: [CO, CI, KERNEL, KERNEL]`, `b: [CO]`, `y: [CO, OUT, OUT]`: a
/// cross-correlation, as PyTorch's `nn.Conv2d`.
///
/// With fewer channels in a filter, `GROUP` of the `CI`, there are `CI / GROUP` groups: the first of so many equal parts of the
/// outputs sees the first `GROUP` channels of the input, and so on, as with PyTorch's `groups`. Both numbers of channels must be
/// multiples of the number of groups; others do not compile:
/// ```
/// # use infer_core::layers::Conv2d;
/// let layer = Conv2d::<4, 2, 1, 1, 0, 1, 1, 2> { weight: &[[[[0.5]], [[2.0]]], [[[1.0]], [[3.0]]]], bias: &[0.0; 2] };
/// let mut output = [[[0.0]]; 2];
/// layer.forward(&[[[1.0]], [[2.0]], [[3.0]], [[4.0]]], &mut output);
/// assert_eq!(output, [[[0.5 + 4.0]], [[3.0 + 12.0]]]);
/// ```
/// ```compile_fail
/// # use infer_core::layers::Conv2d;
/// let layer = Conv2d::<4, 2, 1, 1, 0, 1, 1, 3> { weight: &[[[[0.5]], [[2.0]], [[1.0]]]; 2], bias: &[0.0; 2] };
/// let mut output = [[[0.0]]; 2];
/// layer.forward(&[[[1.0]], [[2.0]], [[3.0]], [[4.0]]], &mut output);
/// ```
///
/// `OUT` must be `(IN + 2·PADDING − KERNEL) / STRIDE + 1`, rounded down; another does not compile:
/// ```
/// # use infer_core::{layers::Conv2d, tensor::Tensor};
/// let layer = Conv2d::<1, 2, 3, 1, 1, 4, 4> { weight: &[[[[0.5; 3]; 3]; 1]; 2], bias: &[0.0, 1.0] };
/// let image: Tensor<1, 4, 4> = [[[1.0; 4]; 4]];
/// let mut output = [[[0.0; 4]; 4]; 2];
/// layer.forward(&image, &mut output);
/// assert_eq!(output[1][0][0], 1.0 + 4.0 * 0.5);
/// ```
/// ```compile_fail
/// # use infer_core::{layers::Conv2d, tensor::Tensor};
/// let layer = Conv2d::<1, 2, 3, 1, 1, 4, 5> { weight: &[[[[0.5; 3]; 3]; 1]; 2], bias: &[0.0, 1.0] };
/// let image: Tensor<1, 4, 4> = [[[1.0; 4]; 4]];
/// let mut output = [[[0.0; 5]; 5]; 2];
/// layer.forward(&image, &mut output);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Conv2d<
    'w,
    const CI: usize,
    const CO: usize,
    const KERNEL: usize,
    const STRIDE: usize,
    const PADDING: usize,
    const IN: usize,
    const OUT: usize,
    const GROUP: usize = CI,
> {
    /// `[CO, GROUP, KERNEL, KERNEL]`
    pub weight: &'w [[[[f32; KERNEL]; KERNEL]; GROUP]; CO],
    /// `[CO]`
    pub bias: &'w [f32; CO],
}

impl<
    'w,
    const CI: usize,
    const CO: usize,
    const KERNEL: usize,
    const STRIDE: usize,
    const PADDING: usize,
    const IN: usize,
    const OUT: usize,
    const GROUP: usize,
> Conv2d<'w, CI, CO, KERNEL, STRIDE, PADDING, IN, OUT, GROUP>
{
    const SIZES_FIT: () = assert!(
        OUT > 0 && OUT == output_size(IN, KERNEL, STRIDE, PADDING),
        "the output size of a convolution is (IN + 2·PADDING − KERNEL) / STRIDE + 1"
    );
    const GROUPS_FIT: () = assert!(
        GROUP > 0 && CI.is_multiple_of(GROUP) && CO.is_multiple_of(CI / GROUP),
        "the groups of a convolution divide its channels"
    );
    /// Output channels of a group.
    const OUTPUTS: usize = CO / (CI / GROUP);

    /// Multiply-adds of one forward pass.
    pub const MULTIPLY_ADDS: usize = CO * OUT * OUT * GROUP * KERNEL * KERNEL;

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
    ///
    /// Goes output row by output row. Each input row that touches it is spread out once, so that tap `l` of the kernel
    /// meets output column `j` at `taps[l][j]`, and then serves every output channel: the innermost loops are plain vector
    /// operations of fixed length, without borders.
    pub fn forward<'o>(
        &self,
        input: &Tensor<CI, IN, IN>,
        output: &'o mut Tensor<CO, OUT, OUT>,
    ) -> &'o mut Tensor<CO, OUT, OUT> {
        const { (Self::SIZES_FIT, Self::GROUPS_FIT) };
        for (plane, bias) in output.iter_mut().zip(self.bias) {
            plane.as_flattened_mut().fill(*bias);
        }
        let (groups, _) = input.as_chunks::<GROUP>();
        for i in 0..OUT {
            let outputs = output.chunks_exact_mut(Self::OUTPUTS).zip(self.weight.chunks_exact(Self::OUTPUTS));
            for (input, (output, filters)) in groups.iter().zip(outputs) {
                for (c, plane) in input.iter().enumerate() {
                    for k in 0..KERNEL {
                        // A row above or below the image is zero and adds nothing.
                        let row = (i * STRIDE + k).checked_sub(PADDING).and_then(|y| plane.get(y));
                        let Some(row) = row else { continue };
                        let taps = Self::taps(row);
                        for (plane, filter) in output.iter_mut().zip(filters) {
                            for (sum, j) in plane[i].iter_mut().zip(0..OUT) {
                                let products = filter[c][k].iter().zip(&taps).map(|(weight, tap)| weight * tap[j]);
                                *sum += products.sum::<f32>();
                            }
                        }
                    }
                }
            }
        }
        output
    }

    /// `taps[l][j]`: the value of the row, 0 outside, that tap `l` meets at output column `j`.
    fn taps(row: &[f32; IN]) -> [[f32; OUT]; KERNEL] {
        let mut taps = [[0.0; OUT]; KERNEL];
        for (l, tap) in taps.iter_mut().enumerate() {
            for (j, value) in tap.iter_mut().enumerate() {
                let column = (j * STRIDE + l).checked_sub(PADDING).and_then(|x| row.get(x));
                *value = column.copied().unwrap_or(0.0);
            }
        }
        taps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::testing::values;
    use crate::tensor::{FloatArray, Scratch, flatten};
    use proptest::prelude::*;

    /// Compares with the formula of the documentation in f64.
    fn check<
        const CI: usize,
        const CO: usize,
        const KERNEL: usize,
        const STRIDE: usize,
        const PADDING: usize,
        const IN: usize,
        const OUT: usize,
    >(
        seed: u64,
    ) {
        let input = values(seed, CI * IN * IN);
        let weight = values(seed + 1, CO * CI * KERNEL * KERNEL);
        let bias: [f32; CO] = values(seed + 2, CO).try_into().unwrap();
        let mut scratch = Scratch::<8192>::new();
        let tensor = scratch.tensor::<CI, IN, IN>();
        tensor.values_mut().copy_from_slice(&input);
        let (rows, _) = weight.as_chunks::<KERNEL>();
        let (filters, _) = rows.as_chunks::<KERNEL>();
        let (channels, _) = filters.as_chunks::<CI>();
        let layer =
            Conv2d::<CI, CO, KERNEL, STRIDE, PADDING, IN, OUT> { weight: channels.try_into().unwrap(), bias: &bias };
        let mut output = std::boxed::Box::new([[[f32::NAN; OUT]; OUT]; CO]);
        layer.forward(tensor, &mut output);
        for o in 0..CO {
            for i in 0..OUT {
                for j in 0..OUT {
                    let mut expected = f64::from(bias[o]);
                    for c in 0..CI {
                        for k in 0..KERNEL {
                            for l in 0..KERNEL {
                                let (y, x) = (i * STRIDE + k, j * STRIDE + l);
                                if (PADDING..PADDING + IN).contains(&y) && (PADDING..PADDING + IN).contains(&x) {
                                    let value = input[(c * IN + y - PADDING) * IN + x - PADDING];
                                    let weight = weight[((o * CI + c) * KERNEL + k) * KERNEL + l];
                                    expected += f64::from(value) * f64::from(weight);
                                }
                            }
                        }
                    }
                    let found = f64::from(output[o][i][j]);
                    assert!((found - expected).abs() < 2e-5, "output {o} {i} {j}: {found} is not {expected}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn equals_the_formula(seed in 0_u64..1 << 40) {
            check::<1, 1, 1, 1, 0, 1, 1>(seed);
            check::<3, 4, 3, 1, 1, 8, 8>(seed);
            check::<2, 5, 5, 1, 2, 9, 9>(seed);
            check::<1, 3, 11, 4, 1, 31, 6>(seed);
            check::<4, 2, 3, 2, 0, 10, 4>(seed);
            check::<2, 3, 2, 3, 4, 5, 4>(seed);
            check::<2, 2, 5, 1, 4, 2, 6>(seed);
        }
    }

    #[test]
    fn a_one_by_one_kernel_scales() {
        let layer = Conv2d::<1, 1, 1, 1, 0, 2, 2> { weight: &[[[[3.0]]]], bias: &[1.0] };
        let mut output = [[[0.0; 2]; 2]];
        layer.forward(&[[[0.0, 1.0], [2.0, 3.0]]], &mut output);
        assert_eq!(flatten::<1, 2, 2, 4>(&output), &[1.0, 4.0, 7.0, 10.0]);
    }
}
