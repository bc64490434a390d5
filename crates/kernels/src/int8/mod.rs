//! Kernels of 8-bit integers: products of activations and weights, summed exactly, and brought back to 7 or 14 bits. All
//! backends give the same bits.
//!
//! ```text
//! row, rows, int4, pool, winograd, peak   written once over vectors of any width
//!    │
//! portable (any CPU)   x86_64 (AVX2, AVX-VNNI, AVX-512 VNNI; amx)   aarch64 (NEON, with and without dot products)   wasm32   arm_dsp
//!    │
//! Int8Kernels    a table of functions, had from `Int8Backend::kernels` only where the CPU has the instructions
//! ```

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(arm_dsp)]
mod arm_dsp;
mod backend;
mod int4;
mod peak;
mod pool;
mod portable;
mod row;
mod rows;
mod table;
mod vector;
#[cfg(simd128)]
mod wasm32;
mod winograd;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(test)]
mod tests;

#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) use {vector::Sums, winograd::shorts::Shorts};

pub use backend::Int8Backend;
pub use int4::Int4Linear;
pub use pool::Int8PoolRow;
pub use row::{Int8Output, Int8Row, Scaling};
pub use rows::Int8Rows;
pub use table::Int8Kernels;
pub use vector::Activation;
pub use winograd::{Int8Filters, Int8InputTile, Int8OutputTile, Int8Products, Int8Tile};

/// Outputs that are computed together and whose weights lie together.
pub const INT8_PANEL: usize = 16;

/// Weights of 4 bits that share a factor.
pub const INT4_GROUP: usize = 32;
