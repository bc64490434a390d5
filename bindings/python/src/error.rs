//! Errors as Python's exceptions, in the words of infer-cli.

use std::io;

use pyo3::{PyErr, create_exception, exceptions as python};

create_exception!(alexnet, WeightsError, python::PyValueError, "A file that cannot be used as weights, and why.");

/// The exception for weights or labels that cannot be opened: an `OSError` where the system said so, else a `WeightsError`.
pub fn of_weights(error: &anyhow::Error) -> PyErr {
    let words = format!("{error:#}");
    match error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) => python::PyFileNotFoundError::new_err(words),
        Some(io::ErrorKind::PermissionDenied) => python::PyPermissionError::new_err(words),
        Some(io::ErrorKind::InvalidData) | None => WeightsError::new_err(words),
        Some(_) => python::PyOSError::new_err(words),
    }
}
