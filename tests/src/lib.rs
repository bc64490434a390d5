//! Helpers of the cross-crate tests: weights and images by a formula, and files made of them.
//!
//! The tests themselves are in `tests/tests`: properties that tie trainer and infer-core together, golden values that
//! PyTorch made (`tests/golden`, by `tests/pytorch/golden.py`), ONNX's test cases of operators (`tests/onnx/golden.py`), losses
//! in training, the reader against the safetensors crate, and the programs from training to classified images.

pub mod file;
pub mod formula;

/// The Rust of the guides is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
mod embedding {}
