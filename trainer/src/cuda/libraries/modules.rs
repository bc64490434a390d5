//! Modules of kernels. dfdx is built without device code: its modules are empty, and those of a file are compiled when the
//! first of its kernels is asked for.

use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_uint, c_void},
    ptr,
    sync::{Mutex, OnceLock, PoisonError},
};

use super::{
    DRIVER,
    driver::{kept, reported},
};
use crate::cuda::{
    compiler::{self, CompilerError, sources},
    failure, timing,
};

call! { mod calls of DRIVER, missing 303;
    fn cuModuleLoadData(module: *mut *mut c_void, image: *const c_void);
    fn cuModuleUnload(module: *mut c_void);
    fn cuModuleGetFunction(function: *mut *mut c_void, module: *mut c_void, name: *const c_char);
}

/// Modules that stand for files of dfdx: the module that cudarc knows, and the driver's for each file that was asked for.
/// Addresses, since pointers are not [`Send`].
type Empty = HashMap<usize, Vec<(&'static str, usize)>>;
static EMPTY: Mutex<Option<Empty>> = Mutex::new(None);

/// `CUDA_ERROR_INVALID_SOURCE`.
const INVALID_SOURCE: c_uint = 300;
/// `CUDA_ERROR_NOT_FOUND`.
const NOT_FOUND: c_uint = 500;

fn with_empty<T>(work: impl FnOnce(&mut Empty) -> T) -> T {
    work(EMPTY.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Loads a module; an empty one is made here, and loaded when its kernels are asked for.
///
/// # Safety
/// `module` must be writable, and `image` code that the driver takes, or an empty text.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn cuModuleLoadData(module: *mut *mut c_void, image: *const c_void) -> c_uint {
    // SAFETY: the caller's promise.
    unsafe {
        if *image.cast::<u8>() != 0 {
            return reported("cuModuleLoadData", calls::cuModuleLoadData(module, image));
        }
        // An address that is nobody else's.
        let handle = Box::into_raw(Box::new(0_u8));
        with_empty(|empty| empty.insert(handle.addr(), Vec::new()));
        *module = handle.cast();
    }
    0
}

/// Unloads a module.
///
/// # Safety
/// `module` must be one that [`cuModuleLoadData`] loaded.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn cuModuleUnload(module: *mut c_void) -> c_uint {
    let Some(loaded) = with_empty(|empty| empty.remove(&module.addr())) else {
        // SAFETY: the module is the driver's.
        return kept("cuModuleUnload", unsafe { calls::cuModuleUnload(module) });
    };
    // SAFETY: the handle was made by `cuModuleLoadData`, and nobody uses it any more; nor the modules behind it.
    unsafe {
        drop(Box::from_raw(module.cast::<u8>()));
        for (_, module) in loaded {
            kept("cuModuleUnload", calls::cuModuleUnload(ptr::with_exposed_provenance_mut(module)));
        }
    }
    0
}

/// A kernel of a module.
///
/// # Safety
/// `function` must be writable, `module` be one that [`cuModuleLoadData`] loaded, and `name` a terminated text.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn cuModuleGetFunction(
    function: *mut *mut c_void,
    module: *mut c_void,
    name: *const c_char,
) -> c_uint {
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let module = match with_empty(|empty| empty.contains_key(&module.addr())) {
        false => module,
        true => match file_module(module, &text) {
            Ok(module) => module,
            Err(code) => return reported("cuModuleLoadData", code),
        },
    };
    // SAFETY: the caller's promise.
    let _named = unsafe { timing::Named::new(function, name) };
    // SAFETY: the module is the driver's, the rest the caller's promise.
    reported("cuModuleGetFunction", unsafe { calls::cuModuleGetFunction(function, module, name) })
}

/// The driver's module of the file that defines a kernel.
fn file_module(module: *mut c_void, kernel: &str) -> Result<*mut c_void, c_uint> {
    let of_file = sources::with_kernel(kernel);
    let find = |empty: &mut Empty| {
        // A kernel that is in no file is in a header, and so in each file that was loaded for this module.
        let is_it = |(file, _): &&(&str, usize)| of_file.is_none_or(|(path, _)| *file == path);
        empty.get(&module.addr())?.iter().find(is_it).map(|(_, loaded)| *loaded)
    };
    if let Some(loaded) = with_empty(find) {
        return Ok(ptr::with_exposed_provenance_mut(loaded));
    }
    let refused = |error: CompilerError, code| {
        failure::record_kernel(error);
        code
    };
    let (path, source) = of_file.ok_or_else(|| refused(CompilerError::Kernel(kernel.to_string()), NOT_FOUND))?;
    let image = compiler::current().and_then(|compiler| compiler.image(path, source, &[]));
    let image = image.map_err(|error| refused(error, INVALID_SOURCE))?;
    let mut loaded = ptr::null_mut();
    // SAFETY: the place is writable, and the image is what the compiler made for this device.
    match unsafe { calls::cuModuleLoadData(&mut loaded, image.as_ptr().cast()) } {
        0 => {
            let address = loaded.expose_provenance();
            with_empty(|empty| empty.entry(module.addr()).or_default().push((path, address)));
            Ok(loaded)
        }
        code => Err(code),
    }
}
