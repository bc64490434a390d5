//! NVIDIA's libraries, opened when they are first needed.
//!
//! cudarc 0.9 links to them when a program is built. Such a program does not start where one of them is missing, not even
//! to say so. Here stand the functions that cudarc and dfdx call, under the names that they are linked by: each passes its
//! arguments on to the library, found at run time, and reports an error of that library's own kind where it is not there.
//! The linker takes these definitions and has no need of the libraries.
//!
//! In two places more happens: matrix products have the type of computation of their handle ([`cublas::with_products`]), and
//! copies that only tell an address are not made (`exchange`).

use std::{
    env,
    ffi::{CStr, c_uint, c_void},
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

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

fn as_it_is(code: c_uint) -> c_uint {
    code
}

/// Defines functions that pass their arguments on to a library, or return an error where it is not there. What stands behind
/// `unless` has dealt with the call where it is true; what stands behind `during` is dropped after the call.
macro_rules! forward {
    ($library:ident, missing $missing:literal, $result:expr;
        $(fn $name:ident($($argument:ident: $type:ty),*) $(unless $taken:expr)? $(, during $guard:expr)?;)*) => {$(
        /// Passes its arguments on to NVIDIA's function of the same name.
        ///
        /// # Safety
        /// As that function's documentation says.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, reason = "the name of a C function")]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> c_uint {
            $(if $taken {
                return 0;
            })?
            $(let _guard = $guard;)?
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

pub mod cublas;
pub mod driver;
pub mod nvrtc;

#[cfg(test)]
mod tests {
    use std::ffi::c_int;

    use super::*;

    static ABSENT: NvidiaLibrary =
        NvidiaLibrary::new("a library", &["libabsent-of-all.so.7", "libabsent-of-all.so"], None);

    forward! { ABSENT, missing 42, super::as_it_is;
        fn absentOfAll(value: c_int);
    }

    #[test]
    fn a_missing_library_is_an_error_and_names_its_file() {
        assert!(ABSENT.open().unwrap_err().contains("libabsent-of-all.so.7"));
        // SAFETY: no such function exists: nothing is called.
        assert_eq!(unsafe { absentOfAll(1) }, 42);
    }
}
