//! Convolution and max-pooling written for [`Cpu`]: rayon over the images of a batch, matrix products by the `gemm` crate.
//!
//! Tensors' own memory is private to dfdx, so an operation copies its input out (`copy_into`, a `memcpy`) and reaches
//! gradients as plain vectors. Buffers that become tensors come from dfdx's cache, which keeps every tensor's memory for
//! the next tensor of that size: fresh vectors would pile up there.

mod buffer;
mod conv2d;
mod matrix;
mod max_pool2d;
mod unfold;
mod winograd;

use std::mem::take;

use dfdx::{
    shapes::{HasShape, Shape},
    tensor::{Cpu, CpuError, Storage, Tensor},
};

pub use conv2d::conv2d;
pub use max_pool2d::max_pool2d;
pub use winograd::tower;

/// Memory for a tensor of `len` values, all zero.
fn allocate(device: &Cpu, len: usize) -> Result<Vec<f32>, CpuError> {
    Ok(take(&mut *Storage::<f32>::try_alloc_len(device, len)?))
}

/// A copy of a contiguous tensor's values, in memory that returns to dfdx's cache.
fn values<S: Shape>(
    tensor: &Tensor<S, f32, Cpu>,
) -> Result<impl std::ops::Deref<Target = Vec<f32>> + use<S>, CpuError> {
    let mut copy = Storage::<f32>::try_alloc_len(tensor.device(), tensor.shape().num_elements())?;
    tensor.copy_into(&mut copy);
    Ok(copy)
}
