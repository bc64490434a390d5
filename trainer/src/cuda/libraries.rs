//! NVIDIA's libraries, opened when they are first needed.
//!
//! cudarc 0.9 links to them when a program is built. Such a program does not start where one of them is missing, not even
//! to say so. Here stand the functions that cudarc and dfdx call, under the names that they are linked by: each passes its
//! arguments on to the library, found at run time, and reports an error of that library's own kind where it is not there.
//! The linker takes these definitions and has no need of the libraries.
//!
//! Matrix products are the one place where more happens: see [`Precision`].

use std::{
    env,
    ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void},
    fs,
    path::{Path, PathBuf},
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::device::Precision;

/// One of NVIDIA's libraries.
#[derive(Debug)]
pub struct NvidiaLibrary {
    /// What it is called in print.
    pub name: &'static str,
    /// File names by which it may be there, newest first.
    files: &'static [&'static str],
    /// How the names of files begin that it opens itself, by name only: from a folder where the system does not look, they
    /// must be open before.
    companions: Option<&'static str>,
    opened: OnceLock<Result<libloading::Library, String>>,
}

/// The driver, which comes with the GPU's kernel module.
pub static DRIVER: NvidiaLibrary = NvidiaLibrary::new("the NVIDIA driver", &["libcuda.so.1", "libcuda.so"], None);
/// Matrix products, from the CUDA toolkit.
pub static CUBLAS: NvidiaLibrary =
    NvidiaLibrary::new("cuBLAS", &["libcublas.so.13", "libcublas.so.12", "libcublas.so.11", "libcublas.so"], None);
/// The compiler of kernels that are built at run time, from the CUDA toolkit.
pub static NVRTC: NvidiaLibrary = NvidiaLibrary::new(
    "NVRTC",
    &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so"],
    Some("libnvrtc-builtins.so"),
);

impl NvidiaLibrary {
    const fn new(name: &'static str, files: &'static [&'static str], companions: Option<&'static str>) -> Self {
        Self { name, files, companions, opened: OnceLock::new() }
    }

    /// Opens the library if it is not open yet: by name, as the system finds it, then in the folders of the CUDA toolkit.
    ///
    /// # Errors
    /// The reason why the first file name cannot be opened.
    pub fn open(&self) -> Result<&libloading::Library, &str> {
        self.opened.get_or_init(|| self.find()).as_ref().map_err(String::as_str)
    }

    fn find(&self) -> Result<libloading::Library, String> {
        let mut first = None;
        let places = std::iter::once(PathBuf::new()).chain(toolkit_folders());
        for path in places.flat_map(|folder| self.files.iter().map(move |file| folder.join(file))) {
            self.open_companions(&path);
            // SAFETY: opening runs the library's initialisers; NVIDIA's may be run at any time, from any thread.
            match unsafe { libloading::Library::new(&path) } {
                Ok(library) => return Ok(library),
                Err(error) => _ = first.get_or_insert_with(|| error.to_string()),
            }
        }
        Err(first.unwrap_or_default())
    }

    /// Opens what lies beside the library and is needed by it, for good.
    fn open_companions(&self, library: &Path) {
        let (Some(start), Some(folder)) = (self.companions, library.parent()) else { return };
        let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in names.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)))
        {
            // SAFETY: as for the library itself.
            std::mem::forget(unsafe { libloading::Library::new(path) });
        }
    }

    /// The address of a function; none where the library or the function is missing.
    fn symbol(&self, name: &CStr) -> Option<*const c_void> {
        // SAFETY: the symbol is only taken as an address here.
        let symbol = unsafe { self.open().ok()?.get::<*const c_void>(name.to_bytes_with_nul()) };
        symbol.ok().map(|symbol| *symbol)
    }
}

/// Where a CUDA toolkit keeps its libraries: by the environment, by the environment of the build, and where its installer
/// puts it.
fn toolkit_folders() -> impl Iterator<Item = PathBuf> {
    let roots = [env::var_os("CUDA_PATH"), option_env!("CUDA_PATH").map(Into::into), Some("/usr/local/cuda".into())];
    let roots = roots.into_iter().flatten().filter(|root| !root.is_empty()).map(PathBuf::from);
    roots.flat_map(|root| ["lib64", "lib", "targets/x86_64-linux/lib"].map(|folder| root.join(folder)))
}

// Values of `cublasComputeType_t`.
const COMPUTE_32F: u32 = 68;
const COMPUTE_32F_FAST_16BF: u32 = 75;
const COMPUTE_32F_FAST_TF32: u32 = 77;

static PRECISION: AtomicU32 = AtomicU32::new(COMPUTE_32F);

/// Sets how all matrix products of this process are computed from now on.
pub fn set_precision(precision: Precision) {
    let compute = match precision {
        Precision::F32 => COMPUTE_32F,
        Precision::Tf32 => COMPUTE_32F_FAST_TF32,
        Precision::Bf16 => COMPUTE_32F_FAST_16BF,
    };
    PRECISION.store(compute, Ordering::Relaxed);
}

/// Errors that cudarc 0.9 has names for; drivers newer than it have more, which it would take for values of an enumeration
/// that has none such.
fn known_result(code: c_uint) -> c_uint {
    match code {
        0..=8 | 34 | 46 | 100..=102 | 200..=202 | 205..=224 | 300..=304 | 400 | 401 | 500 | 600 | 700..=705 => code,
        708..=720 | 800..=810 | 900..=912 => code,
        _ => 999,
    }
}

fn as_it_is(code: c_uint) -> c_uint {
    code
}

/// Defines functions that pass their arguments on to a library, or return an error where it is not there.
macro_rules! forward {
    ($library:ident, missing $missing:literal, $result:ident;
        $(fn $name:ident($($argument:ident: $type:ty),*);)*) => {$(
        /// Passes its arguments on to NVIDIA's function of the same name.
        ///
        /// # Safety
        /// As that function's documentation says.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, reason = "the name of a C function")]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> c_uint {
            static ADDRESS: OnceLock<Option<unsafe extern "C" fn($($type),*) -> c_uint>> = OnceLock::new();
            let function = ADDRESS.get_or_init(|| {
                let name = CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes());
                let address = $library.symbol(name.unwrap_or_default())?;
                // SAFETY: the library's function of this name has this type, by NVIDIA's headers.
                Some(unsafe { std::mem::transmute::<*const c_void, unsafe extern "C" fn($($type),*) -> c_uint>(address) })
            });
            match function {
                // SAFETY: the caller keeps the promises that the function's documentation asks for.
                Some(function) => $result(unsafe { function($($argument),*) }),
                None => $missing,
            }
        }
    )*};
}

// CUDA_ERROR_SHARED_OBJECT_INIT_FAILED
forward! { DRIVER, missing 303, known_result;
    fn cuInit(flags: c_uint);
    fn cuDriverGetVersion(version: *mut c_int);
    fn cuDeviceGetCount(count: *mut c_int);
    fn cuDeviceGet(device: *mut c_int, ordinal: c_int);
    fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int);
    fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, device: c_int);
    fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, device: c_int);
    fn cuDevicePrimaryCtxRelease_v2(device: c_int);
    fn cuDeviceGetDefaultMemPool(pool: *mut *mut c_void, device: c_int);
    fn cuMemPoolSetAttribute(pool: *mut c_void, attribute: c_uint, value: *mut c_void);
    fn cuCtxSetCurrent(context: *mut c_void);
    fn cuEventCreate(event: *mut *mut c_void, flags: c_uint);
    fn cuEventRecord(event: *mut c_void, stream: *mut c_void);
    fn cuEventDestroy_v2(event: *mut c_void);
    fn cuStreamCreate(stream: *mut *mut c_void, flags: c_uint);
    fn cuStreamSynchronize(stream: *mut c_void);
    fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, flags: c_uint);
    fn cuStreamDestroy_v2(stream: *mut c_void);
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    fn cuMemAlloc_v2(pointer: *mut u64, bytes: usize);
    fn cuMemAllocAsync(pointer: *mut u64, bytes: usize, stream: *mut c_void);
    fn cuMemFree_v2(pointer: u64);
    fn cuMemFreeAsync(pointer: u64, stream: *mut c_void);
    fn cuMemsetD8_v2(pointer: u64, value: c_uchar, bytes: usize);
    fn cuMemsetD8Async(pointer: u64, value: c_uchar, bytes: usize, stream: *mut c_void);
    fn cuMemcpyHtoD_v2(target: u64, source: *const c_void, bytes: usize);
    fn cuMemcpyHtoDAsync_v2(target: u64, source: *const c_void, bytes: usize, stream: *mut c_void);
    fn cuMemcpyDtoH_v2(target: *mut c_void, source: u64, bytes: usize);
    fn cuMemcpyDtoHAsync_v2(target: *mut c_void, source: u64, bytes: usize, stream: *mut c_void);
    fn cuMemcpyDtoD_v2(target: u64, source: u64, bytes: usize);
    fn cuMemcpyDtoDAsync_v2(target: u64, source: u64, bytes: usize, stream: *mut c_void);
    fn cuModuleLoad(module: *mut *mut c_void, file: *const c_char);
    fn cuModuleLoadData(module: *mut *mut c_void, image: *const c_void);
    fn cuModuleUnload(module: *mut c_void);
    fn cuModuleGetFunction(function: *mut *mut c_void, module: *mut c_void, name: *const c_char);
    fn cuLaunchKernel(
        function: *mut c_void, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint, block_y: c_uint,
        block_z: c_uint, shared_bytes: c_uint, stream: *mut c_void, parameters: *mut *mut c_void,
        extra: *mut *mut c_void
    );
}

mod driver {
    use super::*;

    forward! { DRIVER, missing 303, known_result;
        fn cuGetErrorName(code: c_uint, text: *mut *const c_char);
    }
}

/// The description of a driver's error; "unknown error" where the driver has none for it. cudarc formats its errors with
/// it, and does not expect it to fail.
///
/// # Safety
/// `text` must be writable.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name of a C function")]
pub unsafe extern "C" fn cuGetErrorString(code: c_uint, text: *mut *const c_char) -> c_uint {
    let mut found = ptr::null();
    // SAFETY: `found` is writable.
    if unsafe { driver::cuGetErrorName(code, &mut found) } != 0 || found.is_null() {
        found = c"unknown error".as_ptr();
    }
    // SAFETY: the caller gives a writable place.
    unsafe { *text = found };
    0
}

// CUBLAS_STATUS_NOT_INITIALIZED
forward! { CUBLAS, missing 1, as_it_is;
    fn cublasCreate_v2(handle: *mut *mut c_void);
    fn cublasDestroy_v2(handle: *mut c_void);
    fn cublasSetStream_v2(handle: *mut c_void, stream: *mut c_void);
    fn cublasGemmEx(
        handle: *mut c_void, trans_a: c_uint, trans_b: c_uint, m: c_int, n: c_int, k: c_int, alpha: *const c_void,
        a: *const c_void, type_a: c_uint, lda: c_int, b: *const c_void, type_b: c_uint, ldb: c_int,
        beta: *const c_void, c: *mut c_void, type_c: c_uint, ldc: c_int, compute: c_uint, algorithm: c_int
    );
}

/// `CUDA_R_32F` of `cudaDataType_t`.
const R_32F: c_uint = 0;
/// `CUBLAS_GEMM_DEFAULT` of `cublasGemmAlgo_t`.
const GEMM_DEFAULT: c_int = -1;

/// `c = alpha · op(a) · op(b) + beta · c` in the process's [`Precision`].
///
/// # Safety
/// As cuBLAS' documentation of `cublasSgemm` says.
#[unsafe(no_mangle)]
#[allow(non_snake_case, clippy::too_many_arguments, reason = "a C function")]
pub unsafe extern "C" fn cublasSgemm_v2(
    handle: *mut c_void,
    trans_a: c_uint,
    trans_b: c_uint,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const f32,
    a: *const f32,
    lda: c_int,
    b: *const f32,
    ldb: c_int,
    beta: *const f32,
    c: *mut f32,
    ldc: c_int,
) -> c_uint {
    let compute = PRECISION.load(Ordering::Relaxed);
    // SAFETY: the arguments are the caller's, with the types that `cublasSgemm` stands for.
    unsafe {
        cublasGemmEx(
            handle,
            trans_a,
            trans_b,
            m,
            n,
            k,
            alpha.cast(),
            a.cast(),
            R_32F,
            lda,
            b.cast(),
            R_32F,
            ldb,
            beta.cast(),
            c.cast(),
            R_32F,
            ldc,
            compute,
            GEMM_DEFAULT,
        )
    }
}

// NVRTC_ERROR_INTERNAL_ERROR
forward! { NVRTC, missing 11, as_it_is;
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

#[cfg(test)]
mod tests {
    use super::*;

    static ABSENT: NvidiaLibrary =
        NvidiaLibrary::new("a library", &["libabsent-of-all.so.7", "libabsent-of-all.so"], None);

    forward! { ABSENT, missing 42, as_it_is;
        fn absentOfAll(value: c_int);
    }

    #[test]
    fn a_missing_library_is_an_error_and_names_its_file() {
        assert!(ABSENT.open().unwrap_err().contains("libabsent-of-all.so.7"));
        // SAFETY: no such function exists: nothing is called.
        assert_eq!(unsafe { absentOfAll(1) }, 42);
    }

    #[test]
    fn results_unknown_to_cudarc_become_unknown_errors() {
        use cudarc::driver::sys::CUresult;
        assert_eq!(known_result(CUresult::CUDA_ERROR_OUT_OF_MEMORY as u32), 2);
        assert_eq!(known_result(CUresult::CUDA_ERROR_NO_DEVICE as u32), 100);
        assert_eq!(known_result(CUresult::CUDA_ERROR_EXTERNAL_DEVICE as u32), 911);
        assert_eq!(known_result(226), CUresult::CUDA_ERROR_UNKNOWN as u32);
        assert_eq!(known_result(9), CUresult::CUDA_ERROR_UNKNOWN as u32);
    }
}
