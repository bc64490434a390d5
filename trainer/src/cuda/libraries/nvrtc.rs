//! NVRTC: compiling a program by it.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    ptr,
    sync::OnceLock,
};

use super::NVRTC;

// What is missing reports NVRTC_ERROR_INTERNAL_ERROR.
call! { mod calls of NVRTC, missing 11;
    fn nvrtcGetNumSupportedArchs(count: *mut c_int);
    fn nvrtcGetSupportedArchs(architectures: *mut c_int);
    fn nvrtcCreateProgram(
        program: *mut *mut c_void, source: *const c_char, name: *const c_char, headers: c_int,
        header_texts: *const *const c_char, header_names: *const *const c_char
    );
    fn nvrtcDestroyProgram(program: *mut *mut c_void);
    fn nvrtcCompileProgram(program: *mut c_void, options: c_int, option_texts: *const *const c_char);
    fn nvrtcGetCUBINSize(program: *mut c_void, size: *mut usize);
    fn nvrtcGetCUBIN(program: *mut c_void, image: *mut c_char);
    fn nvrtcGetPTXSize(program: *mut c_void, size: *mut usize);
    fn nvrtcGetPTX(program: *mut c_void, text: *mut c_char);
    fn nvrtcGetProgramLogSize(program: *mut c_void, size: *mut usize);
    fn nvrtcGetProgramLog(program: *mut c_void, text: *mut c_char);
}

/// The architectures that NVRTC compiles for, as 90 for sm_90, in order.
///
/// # Errors
/// NVRTC's code.
pub fn architectures() -> Result<Vec<u32>, u32> {
    let mut count = 0;
    // SAFETY: `count` is writable.
    check(unsafe { calls::nvrtcGetNumSupportedArchs(&mut count) })?;
    let mut architectures = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: there is room for as many numbers as NVRTC said that there are.
    check(unsafe { calls::nvrtcGetSupportedArchs(architectures.as_mut_ptr()) })?;
    let mut architectures: Vec<_> = architectures.into_iter().filter_map(|number| u32::try_from(number).ok()).collect();
    architectures.sort_unstable();
    Ok(architectures)
}

/// Output of one compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Output {
    /// Machine code for one architecture.
    Cubin,
    /// Text that the driver compiles.
    Ptx,
}

/// Compiles a program.
///
/// # Errors
/// What NVRTC reports, with the compiler's messages.
pub fn compile(
    source: &CStr,
    name: &CStr,
    headers: &[(CString, CString)],
    options: &[CString],
    output: Output,
) -> Result<Vec<u8>, String> {
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_ptr()).collect();
    let texts: Vec<_> = headers.iter().map(|(_, text)| text.as_ptr()).collect();
    let options: Vec<_> = options.iter().map(|option| option.as_ptr()).collect();
    let program =
        Program::new(source, name, &texts, &names).map_err(|code| format!("NVRTC does not begin: {}", status(code)))?;
    // SAFETY: the program is alive, and there are as many terminated options as are said.
    if let Err(code) = check(unsafe { calls::nvrtcCompileProgram(program.0, options.len() as c_int, options.as_ptr()) })
    {
        let log = bytes(program.0, calls::nvrtcGetProgramLogSize, calls::nvrtcGetProgramLog).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        return Err(format!("{}: {}", status(code), log.trim_end_matches('\0').trim()));
    }
    let image = match output {
        Output::Cubin => bytes(program.0, calls::nvrtcGetCUBINSize, calls::nvrtcGetCUBIN),
        Output::Ptx => bytes(program.0, calls::nvrtcGetPTXSize, calls::nvrtcGetPTX),
    };
    match image {
        Ok(image) if !image.is_empty() => Ok(image),
        Ok(_) => Err("NVRTC made nothing of the program".to_string()),
        Err(code) => Err(format!("NVRTC does not hand over what it made: {}", status(code))),
    }
}

/// A program of NVRTC's.
struct Program(*mut c_void);

impl Program {
    fn new(source: &CStr, name: &CStr, texts: &[*const c_char], names: &[*const c_char]) -> Result<Self, u32> {
        let mut program = ptr::null_mut();
        let count = texts.len() as c_int;
        // SAFETY: the place is writable, and all texts are terminated, as many as are said.
        check(unsafe {
            calls::nvrtcCreateProgram(
                &mut program,
                source.as_ptr(),
                name.as_ptr(),
                count,
                texts.as_ptr(),
                names.as_ptr(),
            )
        })?;
        Ok(Self(program))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program is NVRTC's, and nobody uses it any more.
        unsafe { calls::nvrtcDestroyProgram(&mut self.0) };
    }
}

/// Bytes that two of NVRTC's functions, for size and content, give for a program.
fn bytes(
    program: *mut c_void,
    size: unsafe fn(*mut c_void, *mut usize) -> c_uint,
    content: unsafe fn(*mut c_void, *mut c_char) -> c_uint,
) -> Result<Vec<u8>, u32> {
    let mut length = 0;
    // SAFETY: the program is alive, and the place is writable.
    check(unsafe { size(program, &mut length) })?;
    let mut bytes = vec![0_u8; length];
    // SAFETY: there is room for as many bytes as NVRTC said that there are.
    check(unsafe { content(program, bytes.as_mut_ptr().cast()) })?;
    Ok(bytes)
}

fn check(code: c_uint) -> Result<(), u32> {
    if code == 0 { Ok(()) } else { Err(code) }
}

/// The name of an `nvrtcResult`.
fn status(code: u32) -> String {
    let name = match code {
        1 => "NVRTC_ERROR_OUT_OF_MEMORY",
        2 => "NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
        3 => "NVRTC_ERROR_INVALID_INPUT",
        4 => "NVRTC_ERROR_INVALID_PROGRAM",
        5 => "NVRTC_ERROR_INVALID_OPTION",
        COMPILATION => "NVRTC_ERROR_COMPILATION",
        7 => "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE",
        11 => "NVRTC_ERROR_INTERNAL_ERROR",
        _ => "unknown status",
    };
    format!("{name} (status {code})")
}

/// `NVRTC_ERROR_COMPILATION`.
pub(super) const COMPILATION: c_uint = 6;
