//! Values between dfdx's tensors and the project's own kernels.
//!
//! dfdx gives nobody the address of a tensor's values, but it does give that of a gradient's. So values go in as the
//! gradient of `Σ probe · tensor` by `probe`, and come out as a gradient that is turned into a tensor: copies within the GPU.

use cudarc::driver::DevicePtr;
use dfdx::{
    shapes::{HasShape, Rank0, Shape},
    tensor::{Cuda, CudaError, Gradients, Tensor, Trace, ZerosTensor},
    tensor_ops::{Backward, SumTo, TryMul},
};

use super::engine::Address;

/// A copy of a tensor's values.
pub(crate) struct Copied<S: Shape> {
    probe: Tensor<S, f32, Cuda>,
    gradients: Gradients<f32, Cuda>,
}

impl<S: Shape> Copied<S> {
    /// Copies a tensor's values.
    ///
    /// # Errors
    /// The device's own.
    pub(crate) fn new(tensor: Tensor<S, f32, Cuda>) -> Result<Self, CudaError> {
        let probe = tensor.device().try_zeros_like(tensor.shape())?;
        let sum = probe.trace(Gradients::leaky()).try_mul(tensor)?.try_sum::<Rank0, _>()?;
        Ok(Self { gradients: sum.try_backward()?, probe })
    }

    /// Where they lie, row-major, as long as this is kept.
    ///
    /// # Errors
    /// None: there is memory already.
    pub(crate) fn address(&mut self) -> Result<Address, CudaError> {
        Ok(*self.gradients.get_or_alloc_mut(&self.probe)?.device_ptr())
    }
}

/// Values that kernels write, to become a tensor.
pub(crate) struct Written<S: Shape> {
    place: Tensor<S, f32, Cuda>,
    values: Gradients<f32, Cuda>,
}

impl<S: Shape> Written<S> {
    /// Values of this shape, all zero so far.
    ///
    /// # Errors
    /// The device's own.
    pub(crate) fn new(device: &Cuda, shape: &S) -> Result<Self, CudaError> {
        let place = device.try_zeros_like(shape)?;
        let mut values = Gradients::leaky();
        values.try_alloc_for(&place)?;
        Ok(Self { place, values })
    }

    /// Where they lie, row-major, as long as this is kept.
    ///
    /// # Errors
    /// None: there is memory already.
    pub(crate) fn address(&mut self) -> Result<Address, CudaError> {
        Ok(*self.values.get_or_alloc_mut(&self.place)?.device_ptr())
    }

    /// A copy of them as they are now.
    pub(crate) fn tensor(&self) -> Tensor<S, f32, Cuda> {
        self.values.get(&self.place)
    }
}
