//! Kernels: the inner loops of forward and training passes, written once for every kind of CPU, and the choice between them.
//!
//! ```text
//! gemm, direct, max_pool, winograd, training     written once over vectors of any width
//!    │
//! scalar (any CPU)   x86_64 (AVX2, AVX-512)   aarch64 (NEON)   wasm32 (simd128): thin wrappers with the CPU's instructions
//!    │
//! Kernels   a table of functions, had from `Backend::kernels` only where the CPU has the instructions
//! ```
//!
//! What a kernel reads and writes is described by a struct of slices and sizes ([`Gemm`], [`InputTile`], [`OutputTiles`],
//! [`ConvRow`], [`PoolRow`], [`NormRow`]) that is checked once a call, so that the methods of [`Kernels`] are safe: where the sizes do not
//! hold, nothing is computed, and the result is [`Misfit`].
#![no_std]

#[cfg(test)]
extern crate std;

/// The code of the README is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod backend;
mod detect;
mod direct;
mod f16;
mod gemm;
mod int8;
mod layout;
mod line;
mod max_pool;
mod norm;
mod parallel;
mod peak;
mod scalar;
mod table;
#[cfg(feature = "training")]
pub mod training;
mod vector;
#[cfg(simd128)]
mod wasm32;
mod winograd;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(test)]
mod tests;

pub use backend::Backend;
pub use direct::ConvRow;
pub use f16::F16;
pub use gemm::{BESIDE, Gemm};
pub use int8::{
    Activation, INT4_GROUP, INT8_PANEL, Int4Linear, Int8Backend, Int8Filters, Int8InputTile, Int8Kernels, Int8Output,
    Int8OutputTile, Int8PoolRow, Int8Products, Int8Row, Int8Rows, Int8Tile, Scaling,
};
pub use layout::{BLOCK, LANES, Misfit, PAD};
pub use line::{Line, Number, numbers, numbers_mut};
pub use max_pool::PoolRow;
pub use norm::NormRow;
pub use parallel::{Parallel, Serial, for_each_chunk};
pub use table::Kernels;
pub use winograd::forward::{InputTile, OutputTiles};
pub use winograd::image_tile::ImageTile;
pub use winograd::matrices::Winograd;
pub use winograd::tile::Tile;
