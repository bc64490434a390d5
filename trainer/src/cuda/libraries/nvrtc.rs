//! NVRTC's functions that cudarc and dfdx call.

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    sync::OnceLock,
};

use super::NVRTC;

// NVRTC_ERROR_INTERNAL_ERROR
forward! { NVRTC, missing 11, super::as_it_is;
    fn nvrtcCreateProgram(
        program: *mut *mut c_void, source: *const c_char, name: *const c_char, headers: c_int,
        header_texts: *const *const c_char, header_names: *const *const c_char
    );
    fn nvrtcDestroyProgram(program: *mut *mut c_void);
    fn nvrtcCompileProgram(program: *mut c_void, options: c_int, option_texts: *const *const c_char);
    fn nvrtcGetPTXSize(program: *mut c_void, size: *mut usize);
    fn nvrtcGetPTX(program: *mut c_void, text: *mut c_char);
    fn nvrtcGetProgramLogSize(program: *mut c_void, size: *mut usize);
    fn nvrtcGetProgramLog(program: *mut c_void, text: *mut c_char);
}
