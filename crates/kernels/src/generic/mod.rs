//! The kernels, each written once over [`Vector`](super::vector::Vector). A backend wraps them in functions that carry its
//! instructions; everything here is inlined into those.

pub(super) mod direct;
pub(super) mod gemm;
pub(super) mod peak;
pub(super) mod pool;
#[cfg(feature = "training")]
pub(super) mod pool_training;
#[cfg(feature = "training")]
pub(super) mod transform;
pub(super) mod winograd;
