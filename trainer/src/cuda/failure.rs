//! Failures of NVIDIA's libraries that nobody else tells about.
//!
//! cudarc panics where giving memory back fails, and does so in destructors, where a second panic ends the program without
//! a word. So those calls report success ([`super::libraries::driver`]), and what went wrong is kept here until somebody
//! asks. The first failure is the one that counts: after it, a GPU often fails in everything.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use super::libraries::{CUBLAS, DRIVER, NVRTC, unrecorded};

/// An error of one of NVIDIA's libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// A `CUresult` of the driver.
    Driver(u32),
    /// A `cublasStatus_t` of cuBLAS.
    Cublas(u32),
}

/// A call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The function.
    pub call: &'static str,
    /// Its error.
    pub code: Code,
    /// Whether whoever made the call was told of success.
    hidden: bool,
}

static FIRST: Mutex<Option<Failure>> = Mutex::new(None);

/// Keeps a failure in mind, if it is the first one or the first one after which the GPU is of no more use.
pub(super) fn record(call: &'static str, code: Code, hidden: bool) {
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    let failure = Failure { call, code, hidden };
    match &*first {
        Some(before) if before.code.is_final() || (before.hidden && !failure.code.is_final()) => {}
        _ => *first = Some(failure),
    }
}

/// The failure that explains an error, where there was one.
pub fn first() -> Option<Failure> {
    *FIRST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets failures that were dealt with: before work that may be tried and fail.
pub(super) fn forget() {
    *FIRST.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// The failure that nobody was told of, where there was one.
///
/// # Errors
/// That failure.
pub fn check() -> Result<(), Failure> {
    match first() {
        Some(failure) if failure.hidden || failure.code.is_final() => Err(failure),
        _ => Ok(()),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.call, self.code)?;
        if self.code.is_final() {
            write!(f, "; this process cannot use the GPU any more")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl std::error::Error for Code {}

impl Code {
    /// Whether nothing works on the GPU after this error, until the process ends.
    pub fn is_final(self) -> bool {
        // Errors of memory and NVLink that cannot be corrected, then faults of kernels, then the unknown.
        matches!(self, Self::Driver(214 | 220 | 226 | 700 | 702 | 709 | 710 | 714..=719 | 721 | 999))
    }

    /// Whether memory ran out.
    pub fn is_out_of_memory(self) -> bool {
        matches!(self, Self::Driver(2) | Self::Cublas(3))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Driver(code) => write!(f, "{} (error {code})", unrecorded::error_text(code).to_string_lossy()),
            Self::Cublas(code) => {
                let name = match code {
                    1 => "CUBLAS_STATUS_NOT_INITIALIZED",
                    3 => "CUBLAS_STATUS_ALLOC_FAILED",
                    7 => "CUBLAS_STATUS_INVALID_VALUE",
                    8 => "CUBLAS_STATUS_ARCH_MISMATCH",
                    11 => "CUBLAS_STATUS_MAPPING_ERROR",
                    13 => "CUBLAS_STATUS_EXECUTION_FAILED",
                    14 => "CUBLAS_STATUS_INTERNAL_ERROR",
                    15 => "CUBLAS_STATUS_NOT_SUPPORTED",
                    _ => "unknown status",
                };
                write!(f, "{name} (status {code})")
            }
        }
    }
}

/// The versions and files of the libraries, as messages show them.
pub fn libraries() -> String {
    [&DRIVER, &CUBLAS, &NVRTC].map(ToString::to_string).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, as the failure is the process's.
    #[test]
    fn the_first_failure_that_matters_is_kept() {
        forget();
        assert_eq!(check(), Ok(()));
        record("cuMemAllocAsync", Code::Driver(2), false);
        assert_eq!(check(), Ok(()), "whoever called was told");
        record("cuMemFreeAsync", Code::Driver(1), true);
        record("cuMemFreeAsync", Code::Driver(201), true);
        assert_eq!(check().map_err(|failure| failure.code), Err(Code::Driver(1)));
        record("cuLaunchKernel", Code::Driver(700), false);
        record("cuMemFreeAsync", Code::Driver(700), true);
        let failure = check().unwrap_err();
        assert_eq!(failure.call, "cuLaunchKernel");
        assert!(failure.to_string().ends_with("cannot use the GPU any more"), "{failure}");
        forget();
        assert_eq!(first(), None);
    }
}
