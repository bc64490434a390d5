//! An optimiser's step of one tensor on CUDA: everything in one pass over memory, by one kernel of `kernels/optimiser.cu`; or, with
//! portable kernels, what is composed of dfdx's operations.
//!
//! The kernel reads gradients and changes weights where dfdx has them. Norm and scale of the gradients stay on the device.

use std::{borrow::Cow, sync::Arc};

use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, DeviceSlice, DriverError, sys::CUresult};
use dfdx::{
    shapes::{HasShape, Shape},
    tensor::{Cuda, CudaError, Gradients, Tensor},
};

use super::{
    GradientNorm, NORM_EPSILON, NormUse, OptimiserOptions, OptimiserState, Rule, StatePart, Update,
    portable::{PortableNorm, PortableState},
};
use crate::{
    cuda::{
        engine::{Engine, THREADS, address, blocks},
        exchange::{self, Address},
    },
    device::CudaKernels,
};

/// State of one tensor, by the kind of kernels that the device had when the optimiser was made.
#[derive(Debug)]
pub enum CudaState {
    /// In one pass.
    Fused(FusedState),
    /// Composed.
    Portable(PortableState<Cuda>),
}

/// The norm of gradients, of the same kind as the state.
#[derive(Debug)]
pub enum CudaNorm {
    /// By a kernel.
    Fused(FusedNorm),
    /// Composed.
    Portable(PortableNorm<Cuda>),
}

impl OptimiserState<Cuda> for CudaState {
    type Norm = CudaNorm;

    fn new<S: Shape>(tensor: &Tensor<S, f32, Cuda>, options: &OptimiserOptions) -> Result<Self, CudaError> {
        Ok(match Engine::of(tensor.device())?.kernels() {
            CudaKernels::Fused => Self::Fused(FusedState::new(tensor, options)?),
            CudaKernels::Portable => Self::Portable(PortableState::new(tensor, options)?),
        })
    }

    fn norm(&self, device: &Cuda, tensors: usize) -> Result<CudaNorm, CudaError> {
        Ok(match self {
            Self::Fused(state) => CudaNorm::Fused(FusedNorm::new(state.engine.clone(), tensors)?),
            Self::Portable(state) => CudaNorm::Portable(state.norm(device, tensors)?),
        })
    }

    fn update<S: Shape>(
        &mut self,
        update: &Update,
        norm: NormUse<'_, CudaNorm>,
        tensor: &mut Tensor<S, f32, Cuda>,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        match (self, norm) {
            (Self::Fused(state), NormUse::Clip(CudaNorm::Fused(norm))) => {
                state.update(update, Some(norm), tensor, gradients)
            }
            (Self::Fused(state), NormUse::Measure(CudaNorm::Fused(norm))) => {
                norm.add(tensor, gradients)?;
                state.update(update, None, tensor, gradients)
            }
            (Self::Portable(state), NormUse::Clip(CudaNorm::Portable(norm))) => {
                state.update(update, NormUse::Clip(norm), tensor, gradients)
            }
            (Self::Portable(state), NormUse::Measure(CudaNorm::Portable(norm))) => {
                state.update(update, NormUse::Measure(norm), tensor, gradients)
            }
            // Not for a norm that a state of the same optimiser made.
            _ => Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE).into()),
        }
    }

    fn part(&self, part: StatePart) -> Option<Cow<'_, [f32]>> {
        match self {
            Self::Fused(state) => state.part(part).as_ref().map(|values| state.engine.download(values).into()),
            Self::Portable(state) => state.part(part),
        }
    }

    fn set_part(&mut self, part: StatePart, values: Vec<f32>) -> Result<(), CudaError> {
        match self {
            Self::Fused(state) => state.set_part(part, &values),
            Self::Portable(state) => state.set_part(part, values),
        }
    }
}

impl GradientNorm<Cuda> for CudaNorm {
    fn add<S: Shape>(
        &mut self,
        tensor: &Tensor<S, f32, Cuda>,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        match self {
            Self::Fused(norm) => norm.add(tensor, gradients),
            Self::Portable(norm) => norm.add(tensor, gradients),
        }
    }

    fn limit(&mut self, largest: f64) -> Result<(), CudaError> {
        match self {
            Self::Fused(norm) => norm.limit(largest),
            Self::Portable(norm) => norm.limit(largest),
        }
    }

    fn read(&self) -> f64 {
        match self {
            Self::Fused(norm) => norm.engine.download(&norm.result)[0],
            Self::Portable(norm) => norm.read(),
        }
    }
}

/// `OptimiserUpdate` of the kernels.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct UpdateNumbers {
    regularisation: f32,
    shrink: f32,
    average_gain: f32,
}

/// `AdamRule` of the kernels.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct AdamNumbers {
    beta2: f32,
    gain1: f32,
    gain2: f32,
    step_size: f32,
    second_scale: f32,
    epsilon: f32,
}

// SAFETY: plain numbers, laid out as the structs of the same fields in `optimiser.cu`.
unsafe impl DeviceRepr for UpdateNumbers {}
// SAFETY: as above.
unsafe impl DeviceRepr for AdamNumbers {}

/// State of one tensor, flattened. Parts that are not kept are absent.
#[derive(Debug)]
pub struct FusedState {
    engine: Arc<Engine>,
    count: usize,
    first: Option<CudaSlice<f32>>,
    second: Option<CudaSlice<f32>>,
    average: Option<CudaSlice<f32>>,
}

impl FusedState {
    fn new<S: Shape>(tensor: &Tensor<S, f32, Cuda>, options: &OptimiserOptions) -> Result<Self, CudaError> {
        let engine = Engine::of(tensor.device())?;
        let count = tensor.shape().num_elements();
        let zeros = |part: StatePart| part.is_kept(options).then(|| engine.zeros(count)).transpose();
        let average = if StatePart::Average.is_kept(options) { Some(engine.upload(&tensor.as_vec())?) } else { None };
        Ok(Self { first: zeros(StatePart::First)?, second: zeros(StatePart::Second)?, count, average, engine })
    }

    fn part(&self, part: StatePart) -> &Option<CudaSlice<f32>> {
        match part {
            StatePart::First => &self.first,
            StatePart::Second => &self.second,
            StatePart::Average => &self.average,
        }
    }

    fn set_part(&mut self, part: StatePart, values: &[f32]) -> Result<(), CudaError> {
        if values.len() != self.count {
            return Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE).into());
        }
        let values = Some(self.engine.upload(values)?);
        match part {
            StatePart::First => self.first = values,
            StatePart::Second => self.second = values,
            StatePart::Average => self.average = values,
        }
        Ok(())
    }

    fn update<S: Shape>(
        &mut self,
        update: &Update,
        norm: Option<&FusedNorm>,
        tensor: &mut Tensor<S, f32, Cuda>,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let Update { regularisation, shrink, rule, average_decay } = *update;
        let numbers = UpdateNumbers { regularisation, shrink, average_gain: 1.0 - average_decay.unwrap_or(1.0) };
        let optional = |part: &Option<CudaSlice<f32>>| part.as_ref().map_or(0, address);
        let (first, second, average) = (optional(&self.first), optional(&self.second), optional(&self.average));
        let norm: Address = norm.map_or(0, |norm| address(&norm.result));
        let weights = exchange::unshared(tensor)?;
        let gradient: Address = *gradients.get_or_alloc_mut(tensor)?.device_ptr();
        let (count, grid) = (self.count, blocks(self.count.try_into().unwrap_or(u32::MAX)));
        // SAFETY: weights, gradient and parts have `count` values each: the tensor's, to which the state belongs. Adam keeps
        // both moments, and only those that are null may be missing.
        unsafe {
            match rule {
                Rule::Adam { betas: [_, beta2], gains: [gain1, gain2], step_size, second_scale, epsilon } => {
                    let rule = AdamNumbers { beta2, gain1, gain2, step_size, second_scale, epsilon };
                    let parameters = (count, numbers, rule, norm, weights, gradient, first, second, average);
                    self.engine.launch("optimiser_adam", grid, 1, parameters)
                }
                Rule::Sgd { momentum, rate } => {
                    let parameters = (count, numbers, momentum, rate, norm, weights, gradient, first, average);
                    self.engine.launch("optimiser_sgd", grid, 1, parameters)
                }
            }
        }?;
        Ok(())
    }
}

/// Values of a gradient that one block sums at least.
const SUMMED: usize = 16 * THREADS as usize;
/// The most blocks that sum one gradient.
const SUMS: usize = 1024;

/// The norm: sums of squares of parts of all gradients, then what follows from them.
#[derive(Debug)]
pub struct FusedNorm {
    engine: Arc<Engine>,
    sums: CudaSlice<f64>,
    /// Sums that are there already.
    used: usize,
    /// The norm and the scale.
    result: CudaSlice<f64>,
}

impl FusedNorm {
    fn new(engine: Arc<Engine>, tensors: usize) -> Result<Self, DriverError> {
        Ok(Self { sums: engine.allocate(SUMS * tensors)?, used: 0, result: engine.allocate(2)?, engine })
    }

    fn add<S: Shape>(
        &mut self,
        tensor: &Tensor<S, f32, Cuda>,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let count = tensor.shape().num_elements();
        let blocks = count.div_ceil(SUMMED).clamp(1, SUMS);
        if self.used + blocks > self.sums.len() {
            return Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE).into());
        }
        let gradient: Address = *gradients.get_or_alloc_mut(tensor)?.device_ptr();
        let sums = address(&self.sums) + (self.used * size_of::<f64>()) as u64;
        // SAFETY: the gradient has a value for each of the tensor's, and there is room for a sum of each block.
        unsafe { self.engine.launch("optimiser_squares", blocks as u32, 1, (count, gradient, sums)) }?;
        self.used += blocks;
        Ok(())
    }

    fn limit(&mut self, largest: f64) -> Result<(), CudaError> {
        let parameters = (self.used as u32, address(&self.sums), largest, NORM_EPSILON, address(&self.result));
        // SAFETY: so many sums were written, and the result has two values.
        unsafe { self.engine.launch("optimiser_clip", 1, 1, parameters) }?;
        Ok(())
    }
}
