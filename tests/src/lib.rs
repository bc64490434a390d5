//! Helpers of the cross-crate tests: weights and images by a formula, and files made of them.
//!
//! The tests themselves are in `tests/tests`: properties that tie trainer and infer-core together, golden values that
//! PyTorch made (`tests/golden`, by `tests/pytorch/golden.py`), ONNX's test cases of operators (`tests/onnx/golden.py`), losses
//! in training, the reader against the safetensors crate, and the programs from training to classified images.

pub mod file;
pub mod formula;
pub mod golden;

/// The Rust of the guides is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
mod embedding {}

/// A program of the workspace. `cargo test --workspace` builds it beside the tests.
///
/// # Panics
/// It was not built.
pub fn program(name: &str) -> std::path::PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let folder = test.ancestors().nth(2).expect("the test lies in target/PROFILE/deps");
    let path = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is missing: run `cargo test --workspace`", path.display());
    path
}
