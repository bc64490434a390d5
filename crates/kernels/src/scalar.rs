//! Plain Rust, for every CPU.

use crate::table::{Kernels, kernels};
use crate::vector::Portable;

kernels!(scalar: Scalar, Portable<4>, registers: 8, rows: 1);

/// The kernels of any CPU.
pub(crate) static SCALAR: Kernels = scalar::KERNELS;
