//! Trains image classifiers with shapes checked by the compiler, and exports their weights as safetensors.

pub mod cli;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod data;
pub mod device;
pub mod export;
pub mod inputs;
pub mod model;
pub mod nn;
pub mod ops;
pub mod optimiser;
pub mod random;
pub mod times;
pub mod training;

// What `network!` names.
#[doc(hidden)]
pub use {anyhow, dfdx, image, image_files, infer_core};
