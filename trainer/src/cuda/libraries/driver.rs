//! The driver's functions that cudarc and dfdx call.
//!
//! Every failure is kept in mind ([`failure`]). Those that cudarc calls in destructors, and panics where they fail, report
//! success. Where there is nothing to allocate, copy or set, the driver is not asked: it may take 0 bytes for an error.

use std::{
    ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void},
    sync::OnceLock,
};

use cudarc::driver::{DriverError, sys::CUresult};

use super::{DRIVER, unrecorded};
use crate::cuda::{
    exchange,
    failure::{self, Code},
    timing,
};

/// Errors that cudarc 0.9 has names for; drivers newer than it have more, which it would take for values of an enumeration
/// that has none such.
fn known_result(code: c_uint) -> c_uint {
    match code {
        0..=8 | 34 | 46 | 100..=102 | 200..=202 | 205..=224 | 300..=304 | 400 | 401 | 500 | 600 | 700..=705 => code,
        708..=720 | 800..=810 | 900..=912 => code,
        _ => 999,
    }
}

/// `CUDA_ERROR_NOT_READY`, an answer and no failure.
const NOT_READY: c_uint = 600;

/// Keeps a failure in mind and passes it on.
pub(in crate::cuda) fn reported(call: &'static str, code: c_uint) -> c_uint {
    if code != 0 && code != NOT_READY {
        failure::record(call, Code::Driver(code), false);
    }
    known_result(code)
}

/// Keeps a failure in mind and reports success.
pub(in crate::cuda) fn kept(call: &'static str, code: c_uint) -> c_uint {
    if code != 0 {
        failure::record(call, Code::Driver(code), true);
    }
    0
}

/// Result code of one of these functions, as cudarc's result.
pub(crate) fn result(code: c_uint) -> Result<(), DriverError> {
    // SAFETY: the enumeration has each of the values that are known.
    unsafe { std::mem::transmute::<c_uint, CUresult>(known_result(code)) }.result()
}

// What is missing reports CUDA_ERROR_SHARED_OBJECT_INIT_FAILED.
forward! { mod calls of DRIVER, missing 303, reported;
    fn cuInit(flags: c_uint);
    fn cuDeviceGetCount(count: *mut c_int);
    fn cuDeviceGet(device: *mut c_int, ordinal: c_int);
    fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int);
    fn cuDeviceGetPCIBusId(name: *mut c_char, length: c_int, device: c_int);
    fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, device: c_int);
    fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, device: c_int), during unsafe {
        // SAFETY: the driver asks its callers for a writable place.
        failure::Retained::new(context, device)
    };
    fn cuDeviceGetDefaultMemPool(pool: *mut *mut c_void, device: c_int);
    fn cuMemPoolSetAttribute(pool: *mut c_void, attribute: c_uint, value: *mut c_void);
    fn cuCtxGetDevice(device: *mut c_int);
    fn cuEventCreate(event: *mut *mut c_void, flags: c_uint);
    fn cuEventRecord(event: *mut c_void, stream: *mut c_void);
    fn cuEventQuery(event: *mut c_void);
    fn cuEventSynchronize(event: *mut c_void);
    fn cuEventElapsedTime(milliseconds: *mut f32, start: *mut c_void, end: *mut c_void);
    fn cuMemHostAlloc(memory: *mut *mut c_void, bytes: usize, flags: c_uint);
    fn cuStreamCreate(stream: *mut *mut c_void, flags: c_uint);
    fn cuStreamSynchronize(stream: *mut c_void) unless exchange::is_asking();
    fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, flags: c_uint);
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    fn cuModuleLoad(module: *mut *mut c_void, file: *const c_char);
    fn cuLaunchKernel(
        function: *mut c_void, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint, block_y: c_uint,
        block_z: c_uint, shared_bytes: c_uint, stream: *mut c_void, parameters: *mut *mut c_void,
        extra: *mut *mut c_void
    ), during timing::kernel(function, stream);
}

// The calls of destructors.
forward! { mod last_calls of DRIVER, missing 303, kept;
    fn cuCtxSetCurrent(context: *mut c_void), during failure::work_in(context);
    fn cuDevicePrimaryCtxRelease_v2(device: c_int);
    fn cuEventDestroy_v2(event: *mut c_void);
    fn cuStreamDestroy_v2(stream: *mut c_void);
}

// Where there are no bytes, nothing is to be done; where somebody only asks for an address, it is told.
forward! { mod copies of DRIVER, missing 303, reported;
    fn cuMemsetD8_v2(pointer: u64, value: c_uchar, bytes: usize)
        unless exchange::answered_target(pointer) || bytes == 0;
    fn cuMemsetD8Async(pointer: u64, value: c_uchar, bytes: usize, stream: *mut c_void)
        unless exchange::answered_target(pointer) || bytes == 0, during timing::span("filling with zeros", stream);
    fn cuMemcpyHtoD_v2(target: u64, source: *const c_void, bytes: usize) unless bytes == 0;
    fn cuMemcpyHtoDAsync_v2(target: u64, source: *const c_void, bytes: usize, stream: *mut c_void) unless bytes == 0,
        during timing::span("copies from the host", stream);
    fn cuMemcpyDtoH_v2(target: *mut c_void, source: u64, bytes: usize)
        unless exchange::answered_source(source) || bytes == 0;
    fn cuMemcpyDtoHAsync_v2(target: *mut c_void, source: u64, bytes: usize, stream: *mut c_void)
        unless exchange::answered_source(source) || bytes == 0, during timing::span("copies to the host", stream);
    fn cuMemcpyDtoD_v2(target: u64, source: u64, bytes: usize) unless bytes == 0;
    fn cuMemcpyDtoDAsync_v2(target: u64, source: u64, bytes: usize, stream: *mut c_void) unless bytes == 0,
        during timing::span("copies within the GPU", stream);
}

forward! { mod releases of DRIVER, missing 303, kept;
    fn cuMemFree_v2(pointer: u64) unless pointer == 0;
    fn cuMemFreeAsync(pointer: u64, stream: *mut c_void) unless pointer == 0;
}

/// Gives the address 0 where there is nothing to allocate; false where there is.
///
/// # Safety
/// `pointer` must be writable.
unsafe fn allocated_nothing(pointer: *mut u64, bytes: usize) -> bool {
    if bytes == 0 {
        // SAFETY: the caller's promise.
        unsafe { *pointer = 0 };
    }
    bytes == 0
}

forward! { mod allocations of DRIVER, missing 303, reported;
    fn cuMemAlloc_v2(pointer: *mut u64, bytes: usize) unless unsafe {
        // SAFETY: the driver asks its callers for a writable place.
        allocated_nothing(pointer, bytes)
    };
    fn cuMemAllocAsync(pointer: *mut u64, bytes: usize, stream: *mut c_void) unless unsafe {
        // SAFETY: the driver asks its callers for a writable place.
        allocated_nothing(pointer, bytes)
    };
}

/// The description of a driver's error; "unknown error" where the driver has none for it. cudarc formats its errors with
/// it, and does not expect it to fail.
///
/// # Safety
/// `text` must be writable.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn cuGetErrorString(code: c_uint, text: *mut *const c_char) -> c_uint {
    // SAFETY: the caller gives a writable place.
    unsafe { *text = unrecorded::error_text(code).as_ptr() };
    0
}

/// Same as [`cuGetErrorString`].
///
/// # Safety
/// `text` must be writable.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn cuGetErrorName(code: c_uint, text: *mut *const c_char) -> c_uint {
    // SAFETY: the caller's promise.
    unsafe { cuGetErrorString(code, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_unknown_to_cudarc_become_unknown_errors() {
        assert_eq!(known_result(CUresult::CUDA_ERROR_OUT_OF_MEMORY as u32), 2);
        assert_eq!(known_result(CUresult::CUDA_ERROR_NO_DEVICE as u32), 100);
        assert_eq!(known_result(CUresult::CUDA_ERROR_EXTERNAL_DEVICE as u32), 911);
        assert_eq!(known_result(226), CUresult::CUDA_ERROR_UNKNOWN as u32);
        assert_eq!(known_result(9), CUresult::CUDA_ERROR_UNKNOWN as u32);
    }
}
