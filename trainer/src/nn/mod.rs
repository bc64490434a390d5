//! The layers that dfdx lacks on stable Rust, as typed dfdx modules: their sizes are part of their types, so that a network
//! whose layers do not fit does not compile.
//!
//! Each layer also says what it costs ([`Layer`]), which is all that [`crate::model::Summary`] is made of.

mod conv2d;
mod dropout;
mod flatten;
mod max_pool2d;
mod tower;

use dfdx::{
    nn::modules::{Linear, ReLU},
    shapes::{Const, Dtype},
    tensor::{NoneTape, Storage, Tensor},
};

pub use conv2d::Conv2d;
pub use dropout::DropHalf;
pub use flatten::Flatten;
pub use max_pool2d::MaxPool2d;
pub use tower::Tower;

/// A batch of square feature maps: batch × `C` channels × `SIDE` × `SIDE`.
pub type FeatureMaps<const C: usize, const SIDE: usize, D, T = NoneTape> =
    Tensor<(usize, Const<C>, Const<SIDE>, Const<SIDE>), f32, D, T>;

/// A batch of vectors: batch × `N`.
pub type Vectors<const N: usize, D, T = NoneTape> = Tensor<(usize, Const<N>), f32, D, T>;

/// What a layer is and costs, for one image. Layers that keep the shape of whatever they get name no output of their own.
pub trait Layer {
    /// Its name in print, as PyTorch's.
    const KIND: &'static str;
    /// Sizes of its output, without the batch.
    const OUTPUT: &'static [usize] = &[];
    /// Trainable values.
    const PARAMETERS: usize = 0;
    /// Multiply-adds of a forward pass, counted as torchinfo does: each parameter once for each position it is used at.
    const MULTIPLY_ADDS: usize = 0;
}

impl<const I: usize, const O: usize, E: Dtype, D: Storage<E>> Layer for Linear<I, O, E, D> {
    const KIND: &'static str = "Linear";
    const OUTPUT: &'static [usize] = &[O];
    const PARAMETERS: usize = I * O + O;
    const MULTIPLY_ADDS: usize = I * O + O;
}

impl Layer for ReLU {
    const KIND: &'static str = "ReLU";
}
