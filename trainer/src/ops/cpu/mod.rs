//! Convolution, local response normalisation and max-pooling written for [`Cpu`]: rayon over the images of a batch, matrix products by the `gemm` crate.
//!
//! Tensors' own memory is private to dfdx, so an operation copies its input out (`copy_into`, a `memcpy`) and reaches
//! gradients as plain vectors.

mod buffer;
mod conv2d;
mod linear;
mod local_response_norm;
mod matrix;
mod max_pool2d;
mod unfold;
mod winograd;

use std::mem::take;

use dfdx::{
    shapes::{HasShape, Shape},
    tensor::{Cpu, CpuError, Storage, Tensor},
};

use self::buffer::Buffer;

pub use conv2d::conv2d;
pub use linear::linear;
pub use local_response_norm::local_response_norm;
pub use max_pool2d::max_pool2d;
pub use winograd::tower;

/// Memory for a tensor of `len` values, all zero, or dfdx's error where there is not so much.
fn allocate(device: &Cpu, len: usize) -> Result<Vec<f32>, CpuError> {
    Ok(take(&mut *Storage::<f32>::try_alloc_len(device, len)?))
}

/// A copy of a contiguous tensor's values.
fn values<S: Shape>(tensor: &Tensor<S, f32, Cpu>) -> Buffer<f32> {
    let mut values = Buffer::new(tensor.shape().num_elements());
    tensor.copy_into(&mut values);
    values
}
