//! The functions of NVRTC that cudarc calls. They compile by the project's own compiler ([`crate::cuda::compiler`]) instead.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    ptr,
    sync::Arc,
};

use super::nvrtc::COMPILATION;
use crate::cuda::compiler;

/// A program as cudarc knows it: made, compiled, asked for its code or for messages.
struct CudarcProgram {
    source: CString,
    image: Arc<[u8]>,
    log: CString,
}

/// A program of this source; headers are the compiler's own.
///
/// # Safety
/// `program` must be writable, and `source` a terminated text.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn nvrtcCreateProgram(
    program: *mut *mut c_void,
    source: *const c_char,
    _name: *const c_char,
    _headers: c_int,
    _header_texts: *const *const c_char,
    _header_names: *const *const c_char,
) -> c_uint {
    // SAFETY: the caller's promise.
    let source = unsafe { CStr::from_ptr(source) }.to_owned();
    let made = Box::new(CudarcProgram { source, image: Arc::default(), log: CString::default() });
    // SAFETY: the caller's promise.
    unsafe { *program = Box::into_raw(made).cast() };
    0
}

/// Gives a program back.
///
/// # Safety
/// `program` must point to a program that [`nvrtcCreateProgram`] made.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn nvrtcDestroyProgram(program: *mut *mut c_void) -> c_uint {
    // SAFETY: the caller's promise; cudarc gives back each program once.
    drop(unsafe { Box::from_raw((*program).cast::<CudarcProgram>()) });
    0
}

/// Compiles a program for the GPU that is current. Of the options, those count that say how and not where: the architecture
/// and the headers are the compiler's.
///
/// # Safety
/// `program` must be one that [`nvrtcCreateProgram`] made, and `option_texts` as many terminated texts as `options` says.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn nvrtcCompileProgram(
    program: *mut c_void,
    options: c_int,
    option_texts: *const *const c_char,
) -> c_uint {
    // SAFETY: the caller's promise; no other reference to the program is alive.
    let program = unsafe { &mut *program.cast::<CudarcProgram>() };
    let text = |index| {
        // SAFETY: the caller's promise.
        unsafe { CStr::from_ptr(*option_texts.add(index)) }.to_string_lossy().into_owned()
    };
    let options: Vec<_> = (0..usize::try_from(options).unwrap_or(0)).map(text).collect();
    let where_to = ["--gpu-architecture=", "--include-path="];
    let options: Vec<_> =
        options.into_iter().filter(|option| !where_to.iter().any(|start| option.starts_with(start))).collect();
    let source = program.source.to_string_lossy();
    match compiler::current().and_then(|compiler| compiler.image("a kernel of dfdx", &source, &options)) {
        Ok(image) => {
            program.image = image;
            0
        }
        Err(error) => {
            program.log = CString::new(error.to_string()).unwrap_or_default();
            COMPILATION
        }
    }
}

/// The number of bytes of a program's code, whose form the driver finds out.
///
/// # Safety
/// `program` must be one that [`nvrtcCreateProgram`] made, and `size` writable.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn nvrtcGetPTXSize(program: *mut c_void, size: *mut usize) -> c_uint {
    // SAFETY: the caller's promise.
    unsafe {
        let program = &*program.cast::<CudarcProgram>();
        *size = program.image.len();
    }
    0
}

/// A program's code.
///
/// # Safety
/// `program` must be one that [`nvrtcCreateProgram`] made, and `image` have room for all of it.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn nvrtcGetPTX(program: *mut c_void, image: *mut c_char) -> c_uint {
    // SAFETY: the caller's promise.
    unsafe {
        let program = &*program.cast::<CudarcProgram>();
        ptr::copy_nonoverlapping(program.image.as_ptr(), image.cast(), program.image.len());
    }
    0
}

/// The number of bytes of a program's messages, with the end.
///
/// # Safety
/// `program` must be one that [`nvrtcCreateProgram`] made, and `size` writable.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn nvrtcGetProgramLogSize(program: *mut c_void, size: *mut usize) -> c_uint {
    // SAFETY: the caller's promise.
    unsafe {
        let program = &*program.cast::<CudarcProgram>();
        *size = program.log.as_bytes_with_nul().len();
    }
    0
}

/// A program's messages.
///
/// # Safety
/// `program` must be one that [`nvrtcCreateProgram`] made, and `text` have room for all of them.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn nvrtcGetProgramLog(program: *mut c_void, text: *mut c_char) -> c_uint {
    // SAFETY: the caller's promise.
    unsafe {
        let program = &*program.cast::<CudarcProgram>();
        let log = program.log.as_bytes_with_nul();
        ptr::copy_nonoverlapping(log.as_ptr().cast(), text, log.len());
    }
    0
}
