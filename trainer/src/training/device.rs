//! Devices on which networks can be trained, and which of them a run is to use.

use dfdx::tensor::Cpu;
use infer_core::describe::Description;

use crate::{
    device::{DeviceChoice, DeviceError, MemoryError},
    inputs::InputDevice,
    optimiser::OptimiserDevice,
    times::Times,
};

/// A device on which networks can be trained.
pub trait TrainDevice: InputDevice + OptimiserDevice {
    /// Steps that the device may be given before anybody waits for it and reads the results of the first of them.
    const STEPS_AHEAD: usize;

    /// Times of this device's work since the last call, waiting until it is done; none where that is not measured.
    ///
    /// # Errors
    /// The device's own.
    fn times(&self) -> Result<Option<Times>, DeviceError> {
        Ok(None)
    }

    /// Whether there is memory to train a network for so many classes by such batches.
    ///
    /// # Errors
    /// How much there is, and what would do.
    fn check_memory(&self, network: &Description, classes: usize, batch_size: usize) -> Result<(), MemoryError> {
        let _ = (network, classes, batch_size);
        Ok(())
    }

    /// Whether all went well that nobody was told of.
    ///
    /// # Errors
    /// What did not.
    fn check(&self) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl TrainDevice for Cpu {
    const STEPS_AHEAD: usize = 0;
}

/// The GPU has no work while the host waits for a step and prepares the next one: it does so once in sixteen.
#[cfg(feature = "cuda")]
impl TrainDevice for dfdx::tensor::Cuda {
    const STEPS_AHEAD: usize = 15;

    fn check_memory(&self, network: &Description, classes: usize, batch_size: usize) -> Result<(), MemoryError> {
        crate::cuda::memory::check_batch(self, network, classes, batch_size)
    }

    fn times(&self) -> Result<Option<Times>, DeviceError> {
        crate::cuda::memory::make_current(self);
        crate::cuda::timing::take().map_err(DeviceError::new)
    }

    fn check(&self) -> Result<(), DeviceError> {
        crate::cuda::memory::make_current(self);
        crate::cuda::failure::check().map_err(DeviceError::new)
    }
}

/// Where a run computes after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    /// The processor.
    Cpu,
    /// The NVIDIA GPU with this number.
    #[cfg(feature = "cuda")]
    Cuda(usize),
}

impl DeviceChoice {
    /// The device that the choice leads to here. `note` is told why `auto` is the processor where a GPU was possible.
    ///
    /// # Errors
    /// A GPU was asked for, and the program was built without support for it.
    #[cfg(not(feature = "cuda"))]
    pub fn select(self, _note: impl FnOnce(&str)) -> Result<Selected, String> {
        match self {
            Self::Auto | Self::Cpu => Ok(Selected::Cpu),
            Self::Cuda(_) => {
                Err(format!("--device {self}: this build of the trainer has no CUDA support; use --device cpu"))
            }
        }
    }

    /// The device that the choice leads to here. `note` is told why `auto` is the processor where a GPU was possible.
    ///
    /// # Errors
    /// None in this build; opening the GPU may fail later.
    #[cfg(feature = "cuda")]
    pub fn select(self, note: impl FnOnce(&str)) -> Result<Selected, String> {
        Ok(match self {
            Self::Cpu => Selected::Cpu,
            Self::Cuda(ordinal) => Selected::Cuda(ordinal),
            Self::Auto => match crate::cuda::find(0) {
                Ok(gpu) => Selected::Cuda(gpu.ordinal),
                Err(reason) => {
                    note(&format!("Computing on the processor: {reason}"));
                    Selected::Cpu
                }
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there() {
        assert_eq!(DeviceChoice::Cpu.select(|_| unreachable!()), Ok(Selected::Cpu));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn without_cuda_only_the_processor_can_be_had() {
        assert_eq!(DeviceChoice::Auto.select(|_| unreachable!()), Ok(Selected::Cpu));
        assert!(DeviceChoice::Cuda(1).select(|_| ()).unwrap_err().contains("--device cuda:1: this build"));
    }
}
