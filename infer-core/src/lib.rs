//! Forward passes of convolutional networks where there is no heap and no operating system.
//!
//! Images flow through it so:
//!
//! ```text
//! pixels ─▶ preprocess ─▶ alexnet / lenet5 (layers chained) ─▶ classify (softmax, top-k)
//!                                 ▲
//!           weights file ─▶ safetensors (read in place)
//! ```
//!
//! Nothing is allocated: weights are borrowed from wherever they lie (flash, a memory-mapped file), outputs are written
//! into a workspace that the caller owns and whose size is a constant. Shapes are const generics: layers that do not fit do
//! not compile. No function panics, on any input.
//!
//! A network is described once, as a list of its layers: [`mod@alexnet`], [`mod@alexnet_imagenet`], [`mod@alexnet_2012`],
//! [`mod@alexnet_low_rank`] and [`mod@lenet5`] are such lists, and so is a network of your own ([`network!`]). The compiler derives the rest: types, sizes, forward passes, tables.
#![no_std]
#![cfg_attr(not(test), deny(unsafe_code))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

// Vectors of fixed capacity stand in signatures.
pub use heapless;

/// The code of the README is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub mod alexnet;
pub mod alexnet_2012;
pub mod alexnet_imagenet;
pub mod alexnet_low_rank;
pub mod classify;
pub mod code;
pub mod describe;
pub mod int8;
pub mod layers;
pub mod lenet5;
mod network;
mod number;
pub mod packed;
pub mod preprocess;
pub mod safetensors;
pub mod tensor;
pub mod weights;
