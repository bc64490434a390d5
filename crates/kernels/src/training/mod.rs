//! Kernels of training on the CPU: the transforms of Winograd convolutions with their transposes, and max-pooling that keeps
//! where its maxima were. The `trainer` crate builds its forward and backward passes from them and from matrix products; it
//! brings the memory and the threads. For the `training` feature only.
//!
//! Everything is channels-last: an image is `[row][column][channel]`, and channels are vectorised, so they must be a multiple
//! of [`LANES`](crate::LANES). With `d` a tile of inputs, `g` a filter and `y` a tile of outputs, a convolution is
//!
//! ```text
//! v = Bᵀ·d·B                input                for each tile and input channel
//! u = G·g·Gᵀ                filter               for each pair of channels
//! m = Σ v ⊙ u               a matrix product (tiles × input channels × output channels) for each of the N·N places of a tile
//! y = Aᵀ·m·A + b            output               for each tile and output channel
//! ```
//!
//! and the gradients (of the loss, of each of these) go through the transposes:
//!
//! ```text
//! ∂m = A·∂y·Aᵀ              output_transposed
//! ∂u = Σ over tiles v ⊙ ∂m, ∂v = Σ over output channels ∂m ⊙ u        matrix products
//! ∂g = Gᵀ·∂u·G              filter_transposed
//! ∂d += B·∂v·Bᵀ             input_transposed     tiles overlap
//! ```
//!
//! Where the sizes of a call do not fit each other, nothing is computed, and the result is [`Misfit`](crate::Misfit).

pub(crate) mod max_pool;
mod planes;
pub(crate) mod table;
pub(crate) mod transforms;

pub use max_pool::{MaxPool, MaxPoolGradient};
pub use planes::{Planes, PlanesMut};
pub use table::TrainingKernels;
