//! The linear layer: weights and sizes; [`crate::ops`] does the sums.

use dfdx::{
    nn::{Module, ModuleVisitor, NonMutableModule, TensorCollection, TensorOptions},
    shapes::{ConstDim, Dim, Dtype, HasShape},
    tensor::{Storage, Tape, Tensor},
    tensor_ops::Device,
};

use super::uniform;
use crate::ops::{ConvDevice, Vectors};

/// A linear layer: `y = W·x + b`, as PyTorch's `nn.Linear`. Its numbers of inputs and outputs are dimensions: a
/// [`Const`](dfdx::shapes::Const), or [`Classes`](super::Classes).
#[derive(Debug, Clone)]
pub struct Linear<I: Dim, O: Dim, D: Storage<E>, E: Dtype = f32> {
    /// Outputs × inputs.
    pub weight: Tensor<(O, I), E, D>,
    /// One value for each output.
    pub bias: Tensor<(O,), E, D>,
}

impl<I: Dim, O: Dim, D: Storage<E>, E: Dtype> Linear<I, O, D, E> {
    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.bias.shape().0.size()
    }
}

impl<I: Dim, O: Dim, D: ConvDevice> Linear<I, O, D> {
    /// The outputs for a batch of inputs. Without `input_gradient`, the backward pass may leave the gradient of the inputs out, as behind
    /// frozen layers.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    pub fn try_forward_with<T: Tape<f32, D>>(
        &self,
        input: Vectors<I, D, T>,
        input_gradient: bool,
    ) -> Result<Vectors<O, D, T>, D::Err> {
        D::linear(input, self.weight.clone(), self.bias.clone(), input_gradient)
    }
}

impl<I: Dim, O: Dim, D: ConvDevice, T: Tape<f32, D>> Module<Vectors<I, D, T>> for Linear<I, O, D> {
    type Output = Vectors<O, D, T>;
    type Error = D::Err;

    fn try_forward(&self, input: Vectors<I, D, T>) -> Result<Self::Output, D::Err> {
        self.try_forward_with(input, true)
    }
}

impl<I: Dim, O: Dim, D: Storage<E>, E: Dtype> NonMutableModule for Linear<I, O, D, E> {}

impl<I: ConstDim, O: ConstDim, D: Device<f32>> TensorCollection<f32, D> for Linear<I, O, D> {
    type To<E2: Dtype, D2: Device<E2>> = Linear<I, O, D2, E2>;

    /// Resets to PyTorch's default, uniform within ±1/√inputs, from the device's random numbers.
    fn iter_tensors<V: ModuleVisitor<Self, f32, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::tensor(
                    "weight",
                    |layer| &layer.weight,
                    |layer| &mut layer.weight,
                    TensorOptions::reset_with(|weight| weight.try_fill_with_distr(uniform(I::SIZE))),
                ),
                Self::tensor(
                    "bias",
                    |layer| &layer.bias,
                    |layer| &mut layer.bias,
                    TensorOptions::reset_with(|bias| bias.try_fill_with_distr(uniform(I::SIZE))),
                ),
            ),
            |(weight, bias)| Linear { weight, bias },
        )
    }
}
