//! State of an optimiser for one tensor from one step to the next, and its use by a device.

use std::borrow::Cow;

use dfdx::{
    shapes::Shape,
    tensor::{Cpu, Gradients, Tensor},
    tensor_ops::Device,
};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{OptimiserName, OptimiserOptions, Update, cpu};

/// Added to the norm where gradients are scaled by `clip_norm / norm`: PyTorch's value.
pub(super) const NORM_EPSILON: f64 = 1e-6;

/// Part of an optimiser's state of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatePart {
    /// Moving average of the gradients (Adam), or momentum (SGD).
    First,
    /// Moving average of the squared gradients (Adam).
    Second,
    /// Moving average of the weights.
    Average,
}

impl StatePart {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::First, Self::Second, Self::Average];

    /// Whether an optimiser with these options has it.
    pub fn is_kept(self, options: &OptimiserOptions) -> bool {
        match self {
            Self::First => options.name != OptimiserName::Sgd || options.momentum > 0.0,
            Self::Second => options.name != OptimiserName::Sgd,
            Self::Average => options.average.is_some(),
        }
    }

    /// Its name in checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
            Self::Average => "average",
        }
    }
}

/// A device on which an optimiser can run.
pub trait OptimiserDevice: Device<f32> {
    /// State of one tensor, and its update.
    type State: OptimiserState<Self>;
}

impl OptimiserDevice for Cpu {
    type State = cpu::CpuState;
}

#[cfg(feature = "cuda")]
impl OptimiserDevice for dfdx::tensor::Cuda {
    type State = cuda::CudaState;
}

/// State of an optimiser for one tensor of a network. Everything starts at zero, the average at the tensor's value.
pub trait OptimiserState<D: Device<f32>>: Sized {
    /// The norm of all gradients.
    type Norm: GradientNorm<D>;

    /// State for `tensor` with the parts that `options` need.
    ///
    /// # Errors
    /// The device's own.
    fn new<S: Shape>(tensor: &Tensor<S, f32, D>, options: &OptimiserOptions) -> Result<Self, D::Err>;

    /// The norm of no gradient yet, for as many tensors as there will be, to be used with a state of the same kind.
    ///
    /// # Errors
    /// The device's own.
    fn norm(&self, device: &D, tensors: usize) -> Result<Self::Norm, D::Err>;

    /// One step: changes `tensor` and what is remembered, and leaves the gradient zero, which `norm` clips or takes in before.
    ///
    /// # Errors
    /// The device's own.
    fn update<S: Shape>(
        &mut self,
        update: &Update,
        norm: NormUse<'_, Self::Norm>,
        tensor: &mut Tensor<S, f32, D>,
        gradients: &mut Gradients<f32, D>,
    ) -> Result<(), D::Err>;

    /// The values of a part in row-major order; none where the options do not need it.
    fn part(&self, part: StatePart) -> Option<Cow<'_, [f32]>>;

    /// Replaces a part that there is.
    ///
    /// # Errors
    /// The device's own.
    fn set_part(&mut self, part: StatePart, values: Vec<f32>) -> Result<(), D::Err>;
}

/// Use of the norm of all gradients in the update of one tensor.
#[derive(Debug)]
pub enum NormUse<'a, N> {
    /// All gradients are in, and are clipped by it.
    Clip(&'a N),
    /// The gradient is taken in, and stays as it is.
    Measure(&'a mut N),
}

/// The L2 norm of all gradients together, and the factor `min(1, largest / norm)` that clips them. Both stay where the device
/// computes them: nobody waits for them before [`GradientNorm::read`].
pub trait GradientNorm<D: Device<f32>>: Sized {
    /// Takes `tensor`'s gradient in.
    ///
    /// # Errors
    /// The device's own.
    fn add<S: Shape>(&mut self, tensor: &Tensor<S, f32, D>, gradients: &mut Gradients<f32, D>) -> Result<(), D::Err>;

    /// Makes the factor from the largest norm that there may be, after all gradients are in.
    ///
    /// # Errors
    /// The device's own.
    fn limit(&mut self, largest: f64) -> Result<(), D::Err>;

    /// The norm, before clipping.
    fn read(&self) -> f64;
}
