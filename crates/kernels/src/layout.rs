//! Layout of the memory that kernels share, and the error of memory that does not fit.

/// Output channels that are computed together and whose weights lie together: the same on every CPU, so that packed
/// weights can be used on all of them.
pub const BLOCK: usize = 32;

/// Channels of feature maps are a multiple of this: the lanes of the widest vector.
pub const LANES: usize = 16;

/// Floats left free behind each plane of a transformed tile, and each plane of products: without them, planes would lie a
/// power of two apart and compete for the same places of the cache.
pub const PAD: usize = 16;

/// A kernel was given memory that does not fit its sizes, and computed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit;

impl core::fmt::Display for Misfit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a kernel was given memory that does not fit its sizes")
    }
}

impl core::error::Error for Misfit {}
