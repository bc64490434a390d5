//! Functions of the driver whose failures nobody need keep in mind: names of errors, and the events that time is measured by.

use std::{
    ffi::{CStr, c_char, c_uint, c_void},
    ptr,
    sync::OnceLock,
};

use super::DRIVER;

call! { mod calls of DRIVER, missing 303;
    fn cuGetErrorName(code: c_uint, text: *mut *const c_char);
    fn cuEventCreate(event: *mut *mut c_void, flags: c_uint);
    fn cuEventRecord(event: *mut c_void, stream: *mut c_void);
    fn cuEventSynchronize(event: *mut c_void);
    fn cuEventElapsedTime(milliseconds: *mut f32, start: *mut c_void, end: *mut c_void);
}

fn checked(code: c_uint) -> Result<(), u32> {
    if code == 0 { Ok(()) } else { Err(code) }
}

/// The name of a driver's error, or "unknown error".
pub fn error_text(code: c_uint) -> &'static CStr {
    let mut text = ptr::null();
    // SAFETY: `text` is writable.
    if unsafe { calls::cuGetErrorName(code, &mut text) } != 0 || text.is_null() {
        return c"unknown error";
    }
    // SAFETY: the driver left a static, terminated text in it.
    unsafe { CStr::from_ptr(text) }
}

/// An event of the driver's, which records when a stream comes to it; kept until the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event(*mut c_void);

// SAFETY: events belong to the process, not to a thread.
unsafe impl Send for Event {}

impl Event {
    /// A new event; none where the driver has none to give.
    pub fn new() -> Option<Self> {
        let mut event = ptr::null_mut();
        // SAFETY: `event` is writable.
        (unsafe { calls::cuEventCreate(&mut event, 0) } == 0).then_some(Self(event))
    }

    /// Records the time at which `stream` comes to the work that is given to it next.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// The stream must be one of the current context's.
    pub unsafe fn record(self, stream: *mut c_void) -> Result<(), u32> {
        // SAFETY: the event is one of the driver's, and so is the stream, by the caller's promise.
        checked(unsafe { calls::cuEventRecord(self.0, stream) })
    }

    /// Waits until the event is recorded.
    ///
    /// # Errors
    /// The driver's.
    pub fn wait(self) -> Result<(), u32> {
        // SAFETY: the event is one of the driver's.
        checked(unsafe { calls::cuEventSynchronize(self.0) })
    }

    /// Milliseconds from `start` to this event.
    ///
    /// # Errors
    /// The driver's, too where one of them is not recorded yet.
    pub fn since(self, start: Self) -> Result<f32, u32> {
        let mut milliseconds = 0.0;
        // SAFETY: `milliseconds` is writable, and the events are the driver's.
        checked(unsafe { calls::cuEventElapsedTime(&mut milliseconds, start.0, self.0) }).map(|()| milliseconds)
    }
}
