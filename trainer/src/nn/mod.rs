//! The layers that dfdx lacks on stable Rust, or computes more slowly, as typed dfdx modules: their sizes are part of their types, so
//! that a network whose layers do not fit does not compile. [`network!`](crate::network) puts them together.

mod classes;
mod conv2d;
mod dropout;
mod flatten;
mod linear;
mod max_pool2d;
mod tower;

use dfdx::{
    shapes::Const,
    tensor::{NoneTape, Tensor},
};
use rand_distr::Uniform;

pub use classes::{Classes, Logits};
pub use conv2d::Conv2d;
pub use dropout::DropHalf;
pub use flatten::Flatten;
pub use linear::Linear;
pub use max_pool2d::MaxPool2d;
pub use tower::{Frozen, Tower};

use crate::ops;

/// A batch of square feature maps: batch × `C` channels × `SIDE` × `SIDE`.
pub type FeatureMaps<const C: usize, const SIDE: usize, D, T = NoneTape> =
    Tensor<(usize, Const<C>, Const<SIDE>, Const<SIDE>), f32, D, T>;

/// A batch of vectors: batch × `N`.
pub type Vectors<const N: usize, D, T = NoneTape> = ops::Vectors<Const<N>, D, T>;

/// PyTorch's default distribution for a layer that sums `fan_in` products: uniform within ±1/√`fan_in`.
fn uniform(fan_in: usize) -> Uniform<f32> {
    let bound = (fan_in as f32).sqrt().recip();
    Uniform::new(-bound, bound)
}
