//! The last layer, whose outputs are as many as there are classes: a number that is known when the program runs.

use dfdx::{
    nn::{Module, ModuleVisitor, NonMutableModule, TensorCollection, TensorOptions},
    shapes::{Const, ConstDim, Dim, Dtype, HasShape},
    tensor::{Storage, Tape, Tensor},
    tensor_ops::Device,
};

use super::{Vectors, uniform};
use crate::ops::ConvDevice;

/// Number of classes: a dimension whose size is a value.
///
/// dfdx lets the tensors of a module have constant dimensions only. As a constant, this one is 0, until
/// [`initialise`](crate::model::initialise) makes tensors of the number of classes at hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Classes(usize);

impl Dim for Classes {
    fn size(&self) -> usize {
        self.0
    }

    fn from_size(size: usize) -> Option<Self> {
        Some(Self(size))
    }
}

impl ConstDim for Classes {
    const SIZE: usize = 0;
}

impl From<usize> for Classes {
    fn from(classes: usize) -> Self {
        Self(classes)
    }
}

/// One value for each class and image, before softmax: batch × classes.
pub type Logits<D, T = dfdx::tensor::NoneTape> = Tensor<(usize, Classes), f32, D, T>;

/// A linear layer from `I` values to one for each class: `y = W·x + b`, as PyTorch's `nn.Linear`.
#[derive(Debug, Clone)]
pub struct Classifier<const I: usize, D: Storage<E>, E: Dtype = f32> {
    /// Classes × `I`.
    pub weight: Tensor<(Classes, Const<I>), E, D>,
    /// One value for each class.
    pub bias: Tensor<(Classes,), E, D>,
}

impl<const I: usize, D: Storage<E>, E: Dtype> Classifier<I, D, E> {
    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.bias.shape().0.size()
    }
}

impl<const I: usize, D: ConvDevice, T: Tape<f32, D>> Module<Vectors<I, D, T>> for Classifier<I, D> {
    type Output = Logits<D, T>;
    type Error = D::Err;

    fn try_forward(&self, input: Vectors<I, D, T>) -> Result<Self::Output, D::Err> {
        D::linear(input, self.weight.clone(), self.bias.clone())
    }
}

impl<const I: usize, D: Storage<E>, E: Dtype> NonMutableModule for Classifier<I, D, E> {}

impl<const I: usize, D: Device<f32>> TensorCollection<f32, D> for Classifier<I, D> {
    type To<E2: Dtype, D2: Device<E2>> = Classifier<I, D2, E2>;

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
            |(weight, bias)| Classifier { weight, bias },
        )
    }
}
