//! Plain Rust, for every CPU.

use crate::table::{Kernels, kernels};
#[cfg(feature = "training")]
use crate::training::TrainingKernels;
use crate::vector::Portable;

kernels!(scalar: Scalar, Portable<4>, registers: 8, rows: 1);

/// The kernels of any CPU.
pub(crate) static SCALAR: Kernels = scalar::KERNELS;
/// The kernels of training of any CPU.
#[cfg(feature = "training")]
pub(crate) static SCALAR_TRAINING: TrainingKernels = scalar::TRAINING;
