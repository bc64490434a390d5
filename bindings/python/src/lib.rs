//! The Python module `alexnet`: a [`Classifier`](classify::Classifier) over the crate `classifier`, for numpy, Pillow and files.
//!
//! ```text
//! images (input) ─▶ classify: batches on threads, without the GIL ─▶ Answer, or Failure of one image (answer)
//! ```
//!
//! The file `alexnet.pyi` has the types and the documentation that Python's tools show.

mod answer;
mod classify;
mod error;
mod input;

/// The allocator, as weights and activations are read by the megabyte.
#[global_allocator]
static ALLOCATOR: large_pages::LargePages = large_pages::LargePages;

/// Classifies images on the CPU with AlexNet or LeNet-5.
#[pyo3::pymodule]
mod alexnet {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::answer::{Answer, Failure, Prediction};
    #[pymodule_export]
    use super::classify::Classifier;
    #[pymodule_export]
    use super::error::WeightsError;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
