//! The linear layer: weights and sizes; [`crate::ops`] does the sums.

use dfdx::{
    nn::{Module, ModuleVisitor, NonMutableModule, TensorCollection, TensorOptions},
    shapes::{Dtype, Rank1, Rank2},
    tensor::{Storage, Tape, Tensor},
    tensor_ops::Device,
};

use super::{Vectors, uniform};
use crate::ops::ConvDevice;

/// A linear layer from `I` to `O` values: `y = W·x + b`, as PyTorch's `nn.Linear`.
#[derive(Debug, Clone)]
pub struct Linear<const I: usize, const O: usize, D: Storage<E>, E: Dtype = f32> {
    /// `O` × `I`.
    pub weight: Tensor<Rank2<O, I>, E, D>,
    /// One value for each output.
    pub bias: Tensor<Rank1<O>, E, D>,
}

impl<const I: usize, const O: usize, D: ConvDevice, T: Tape<f32, D>> Module<Vectors<I, D, T>> for Linear<I, O, D> {
    type Output = Vectors<O, D, T>;
    type Error = D::Err;

    fn try_forward(&self, input: Vectors<I, D, T>) -> Result<Self::Output, D::Err> {
        D::linear(input, self.weight.clone(), self.bias.clone())
    }
}

impl<const I: usize, const O: usize, D: Storage<E>, E: Dtype> NonMutableModule for Linear<I, O, D, E> {}

impl<const I: usize, const O: usize, D: Device<f32>> TensorCollection<f32, D> for Linear<I, O, D> {
    type To<E2: Dtype, D2: Device<E2>> = Linear<I, O, D2, E2>;

    /// Resets to PyTorch's default, uniform within ±1/√I, from the device's random numbers.
    fn iter_tensors<V: ModuleVisitor<Self, f32, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::tensor(
                    "weight",
                    |layer| &layer.weight,
                    |layer| &mut layer.weight,
                    TensorOptions::reset_with(|weight| weight.try_fill_with_distr(uniform(I))),
                ),
                Self::tensor(
                    "bias",
                    |layer| &layer.bias,
                    |layer| &mut layer.bias,
                    TensorOptions::reset_with(|bias| bias.try_fill_with_distr(uniform(I))),
                ),
            ),
            |(weight, bias)| Linear { weight, bias },
        )
    }
}
