//! Failures of NVIDIA's libraries that nobody else tells about.
//!
//! cudarc panics where giving memory back fails, and does so in destructors, where a second panic ends the program without
//! a word. So those calls report success ([`super::libraries::driver`]), and what went wrong is kept here until somebody
//! asks. The first failure is the one that counts: after it, a GPU often fails in everything.
//!
//! Each device has failures of its own, so that a run on one GPU does not end by what happens to another. Most of NVIDIA's
//! functions do not take a device: they work on the one whose context is current in the thread. dfdx and cudarc make theirs
//! current before they call, and here it is remembered which that was, for each thread. All functions of this module are about
//! the device of the thread that calls them. Failures in threads that have none count for all devices. Two runs on one device
//! share its failures, as they share its context, of which a fault makes an end for both.

use std::{
    cell::Cell,
    collections::BTreeMap,
    ffi::{c_int, c_void},
    fmt,
    sync::{Mutex, PoisonError},
};

use super::{
    compiler::CompilerError,
    libraries::{CUBLAS, DRIVER, NVRTC, unrecorded},
};

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

/// Failures of a device.
#[derive(Debug, Default)]
struct State {
    first: Option<Failure>,
    /// Why the last kernel could not be had, which the driver's codes cannot say.
    no_kernel: Option<CompilerError>,
}

/// Failures by the numbers of devices; where a thread had none, by no number.
static STATES: Mutex<BTreeMap<Option<c_int>, State>> = Mutex::new(BTreeMap::new());

/// The driver's contexts by their addresses, with their devices. A device has one, which is kept until the program ends.
static CONTEXTS: Mutex<BTreeMap<usize, c_int>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// The device that this thread works on.
    static DEVICE: Cell<Option<c_int>> = const { Cell::new(None) };
}

fn with_states<T>(work: impl FnOnce(&mut BTreeMap<Option<c_int>, State>) -> T) -> T {
    work(&mut STATES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The number of the device that this thread works on, where it works on one.
pub(super) fn device() -> Option<c_int> {
    DEVICE.get()
}

/// This thread works on the device of this number, until it makes the context of another its current one.
pub(super) fn work_on(ordinal: usize) {
    DEVICE.set(c_int::try_from(ordinal).ok());
}

/// This thread makes a context its current one.
pub(super) fn work_in(context: *mut c_void) {
    let contexts = CONTEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    DEVICE.set(contexts.get(&context.addr()).copied());
}

/// The context of a device that is being asked for; it is known when this is dropped.
pub(super) struct Retained {
    place: *mut *mut c_void,
    device: c_int,
}

impl Retained {
    /// # Safety
    /// The place must be writable until this is dropped.
    pub(super) unsafe fn new(place: *mut *mut c_void, device: c_int) -> Self {
        // SAFETY: the caller's promise. Where no context is made, none is there.
        unsafe { *place = std::ptr::null_mut() };
        Self { place, device }
    }
}

impl Drop for Retained {
    fn drop(&mut self) {
        // SAFETY: the promise of `new`, which wrote to the place.
        let context = unsafe { *self.place };
        if !context.is_null() {
            CONTEXTS.lock().unwrap_or_else(PoisonError::into_inner).insert(context.addr(), self.device);
        }
    }
}

/// Keeps a failure in mind, if it is the first one or the first one after which the GPU is of no more use.
pub(super) fn record(call: &'static str, code: Code, hidden: bool) {
    let failure = Failure { call, code, hidden };
    with_states(|states| {
        let first = &mut states.entry(DEVICE.get()).or_default().first;
        match first {
            Some(before) if before.code.is_final() || (before.hidden && !failure.code.is_final()) => {}
            _ => *first = Some(failure),
        }
    });
}

/// Keeps in mind why a kernel cannot be had.
pub(super) fn record_kernel(error: CompilerError) {
    with_states(|states| states.entry(DEVICE.get()).or_default().no_kernel = Some(error));
}

/// The reason why a kernel could not be had, where that was so, once.
pub(super) fn take_kernel() -> Option<CompilerError> {
    with_states(|states| states.get_mut(&DEVICE.get())?.no_kernel.take())
}

/// The failure that explains an error, where there was one.
pub fn first() -> Option<Failure> {
    let of = |device| with_states(|states| states.get(&device)?.first);
    of(DEVICE.get()).or_else(|| of(None))
}

/// Forgets failures that were dealt with: before work that may be tried and fail.
pub(super) fn forget() {
    with_states(|states| {
        for device in [DEVICE.get(), None] {
            if let Some(state) = states.get_mut(&device) {
                state.first = None;
            }
        }
    });
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

    #[test]
    fn the_first_failure_that_matters_is_kept() {
        work_on(90);
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

    #[test]
    fn devices_do_not_see_each_others_failures() {
        let mut values = [0_u8; 2];
        let contexts = values.each_mut().map(|value| std::ptr::from_mut(value).cast::<c_void>());
        for (context, device) in contexts.into_iter().zip([91, 92]) {
            let mut slot = std::ptr::null_mut();
            let place = &raw mut slot;
            // SAFETY: the place is writable as long as this lasts.
            let _retained = unsafe { Retained::new(place, device) };
            // SAFETY: as above; this is what the driver does.
            unsafe { *place = context };
        }
        work_in(contexts[0]);
        record("cuLaunchKernel", Code::Driver(700), false);
        record_kernel(CompilerError::Kernel("sum".to_string()));
        // A thread of the other's, as a run's.
        let other = contexts[1].expose_provenance();
        std::thread::spawn(move || {
            work_in(std::ptr::with_exposed_provenance_mut(other));
            assert_eq!((check(), first(), take_kernel()), (Ok(()), None, None));
            record("cuMemFreeAsync", Code::Driver(1), true);
            assert_eq!(check().map_err(|failure| failure.code), Err(Code::Driver(1)));
            forget();
            assert_eq!(check(), Ok(()));
        })
        .join()
        .unwrap();
        // And another one of the first's.
        let same = contexts[0].expose_provenance();
        std::thread::spawn(move || {
            work_in(std::ptr::with_exposed_provenance_mut(same));
            assert_eq!(check().map_err(|failure| failure.code), Err(Code::Driver(700)));
            assert_eq!(take_kernel(), Some(CompilerError::Kernel("sum".to_string())));
        })
        .join()
        .unwrap();
        assert_eq!(take_kernel(), None, "it is told once");
    }

    #[test]
    fn a_context_that_is_not_made_belongs_to_no_device() {
        let mut context = std::ptr::null_mut();
        // SAFETY: the place is writable as long as this lasts.
        drop(unsafe { Retained::new(&mut context, 93) });
        work_on(93);
        work_in(context);
        assert_eq!(DEVICE.get(), None);
    }
}
