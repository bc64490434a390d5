//! The kernels, each written once over [`Vector`](super::vector::Vector). A backend wraps them in functions that carry its
//! instructions; everything here is inlined into those.

pub(super) mod gemm;
pub(super) mod peak;
pub(super) mod pool;
pub(super) mod winograd;
