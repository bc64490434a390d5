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
//! A network of your own is a struct of [`layers`] and a function that calls them in turn; [`lenet5`] is the example to
//! follow.
//!
//! # More classes
//! The networks tell [`CLASSES`] classes apart: 10, or as many as the environment variable `ALEXNET_CLASSES` says while this
//! crate is compiled.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod alexnet;
#[cfg(target_has_atomic = "ptr")]
mod arch;
pub mod classify;
pub mod layers;
pub mod lenet5;
// Threads share its tasks by an atomic counter, which the smallest CPUs (Cortex-M0) lack.
#[cfg(target_has_atomic = "ptr")]
pub mod packed;
pub mod preprocess;
pub mod safetensors;
pub mod tensor;
#[cfg(all(feature = "training", target_has_atomic = "ptr"))]
pub mod training;

/// How many classes [`alexnet`] and [`lenet5`] tell apart: 10, or the value of the environment variable `ALEXNET_CLASSES`, 10
/// to 256, when this crate was compiled.
pub const CLASSES: usize = match option_env!("ALEXNET_CLASSES") {
    None => 10,
    Some(text) => match usize::from_str_radix(text, 10) {
        Ok(classes) => classes,
        Err(_) => panic!("ALEXNET_CLASSES is not a number"),
    },
};

const _: () = assert!(10 <= CLASSES && CLASSES <= 256, "ALEXNET_CLASSES is not a number from 10 to 256");
