//! NVIDIA's libraries, opened when they are first needed.
//!
//! cudarc 0.9 links to them when a program is built. Such a program does not start where one of them is missing, not even
//! to say so. Here stand the functions that cudarc and dfdx call, under the names that they are linked by: each passes its
//! arguments on to the library, found at run time, and reports an error of that library's own kind where it is not there.
//! The linker takes these definitions and has no need of the libraries.
//!
//! More happens on the way in three places: [`driver`] keeps failures in mind and hands over modules that are compiled
//! when they are needed, and makes no copies that only tell an address (`exchange`); [`nvrtc`] compiles through the project's
//! own compiler and its cache; in [`cublas`] matrix products have the precision of their handle.

mod places;

use std::{
    ffi::{CStr, OsStr, c_int, c_void},
    fmt, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use self::places::Place;

/// A version of CUDA or of one of its libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 12 of 12.8.
    pub major: u32,
    /// 8 of 12.8.
    pub minor: u32,
}

impl Version {
    /// The version that CUDA writes as one number, 12080 for 12.8.
    pub fn from_number(number: u32) -> Self {
        Self { major: number / 1000, minor: number % 1000 / 10 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// One of NVIDIA's libraries.
#[derive(Debug)]
pub struct NvidiaLibrary {
    /// The name that messages use.
    pub name: &'static str,
    /// Beginning of the file's name, up to `.so`.
    file: &'static str,
    /// Whether it belongs to the driver, or else to the CUDA toolkit, whose file names end in the major version.
    of_driver: bool,
    /// Beginnings of the names of files that the library opens itself, by name only: in a folder where the system does not look,
    /// they must be open before.
    companions: &'static [&'static str],
    /// The function that tells its version.
    version_function: &'static CStr,
    /// Asks the open library for its version.
    version: fn(&libloading::Library) -> Option<Version>,
    /// The oldest version that this program works with.
    oldest: Version,
    opened: OnceLock<Result<Opened, String>>,
}

/// A library that is open, for good.
#[derive(Debug)]
pub struct Opened {
    library: libloading::Library,
    /// Its file.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
}

/// The driver, which comes with the GPU's kernel module.
pub static DRIVER: NvidiaLibrary = NvidiaLibrary {
    name: "the NVIDIA driver",
    file: "libcuda.so",
    of_driver: true,
    companions: &[],
    version_function: c"cuDriverGetVersion",
    version: driver_version,
    oldest: Version { major: 12, minor: 0 },
    opened: OnceLock::new(),
};
/// Matrix products, from the CUDA toolkit or PyPI.
pub static CUBLAS: NvidiaLibrary = NvidiaLibrary {
    name: "cuBLAS",
    file: "libcublas.so",
    of_driver: false,
    companions: &["libcublasLt.so"],
    version_function: c"cublasGetProperty",
    version: cublas_version,
    oldest: Version { major: 12, minor: 8 },
    opened: OnceLock::new(),
};
/// The compiler of kernels, from the CUDA toolkit or PyPI.
pub static NVRTC: NvidiaLibrary = NvidiaLibrary {
    name: "NVRTC",
    file: "libnvrtc.so",
    of_driver: false,
    companions: &["libnvrtc-builtins.so"],
    version_function: c"nvrtcVersion",
    version: nvrtc_version,
    oldest: Version { major: 12, minor: 8 },
    opened: OnceLock::new(),
};

fn driver_version(library: &libloading::Library) -> Option<Version> {
    let mut number: c_int = 0;
    // SAFETY: the driver's function of this name has this type; it may be called at any time, and `number` is writable.
    let code = unsafe {
        let function = library
            .get::<unsafe extern "C" fn(*mut c_int) -> c_int>(DRIVER.version_function.to_bytes_with_nul())
            .ok()?;
        function(&mut number)
    };
    (code == 0).then_some(Version::from_number(u32::try_from(number).ok()?))
}

fn cublas_version(library: &libloading::Library) -> Option<Version> {
    // SAFETY: cuBLAS' function of this name has this type: a kind of number (0 major, 1 minor), and a writable place for it.
    let number = |kind: c_int| unsafe {
        let function = library
            .get::<unsafe extern "C" fn(c_int, *mut c_int) -> c_int>(CUBLAS.version_function.to_bytes_with_nul())
            .ok()?;
        let mut number = 0;
        (function(kind, &mut number) == 0).then_some(u32::try_from(number).ok()?)
    };
    Some(Version { major: number(0)?, minor: number(1)? })
}

fn nvrtc_version(library: &libloading::Library) -> Option<Version> {
    let (mut major, mut minor): (c_int, c_int) = (0, 0);
    // SAFETY: NVRTC's function of this name has this type, and both places are writable.
    let code = unsafe {
        let function = library
            .get::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(NVRTC.version_function.to_bytes_with_nul())
            .ok()?;
        function(&mut major, &mut minor)
    };
    (code == 0).then_some(Version { major: u32::try_from(major).ok()?, minor: u32::try_from(minor).ok()? })
}

/// Major versions of CUDA's libraries that the driver runs, newest first; the known ones where there is no driver.
fn majors() -> impl Iterator<Item = u32> {
    let newest = DRIVER.open().map_or(13, |driver| driver.version.major);
    (12..=newest.max(12)).rev()
}

impl fmt::Display for NvidiaLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.trim_start_matches("the ");
        match self.open() {
            Ok(Opened { version, path, .. }) if self.of_driver => {
                write!(f, "{name} of CUDA {version} ({})", path.display())
            }
            Ok(Opened { version, path, .. }) => write!(f, "{name} {version} ({})", path.display()),
            Err(reason) => write!(f, "{name} {reason}"),
        }
    }
}

impl NvidiaLibrary {
    /// Opens the library if it is not open yet. The newest major version that the driver runs is looked for everywhere
    /// before an older one: where the system finds it by name, in the folders of `CUDA_PATH`, in an active virtual
    /// environment, and where toolkits and PyPI's packages are installed.
    ///
    /// # Errors
    /// The end of a sentence that begins with its name: that it is missing, or cannot be used, and why.
    pub fn open(&self) -> Result<&Opened, &str> {
        self.opened.get_or_init(|| self.find()).as_ref().map_err(String::as_str)
    }

    fn files(&self) -> Vec<String> {
        if self.of_driver {
            return vec![format!("{}.1", self.file), self.file.to_string()];
        }
        majors().map(|major| format!("{}.{major}", self.file)).collect()
    }

    fn find(&self) -> Result<Opened, String> {
        let (mut unfit, mut missing) = (Vec::new(), None);
        for file in self.files() {
            for place in places::all(self.of_driver) {
                let path = match &place {
                    Place::System => PathBuf::from(&file),
                    Place::Folder(folder) => folder.join(&file),
                };
                if matches!(place, Place::Folder(_)) && !path.exists() {
                    continue;
                }
                match (self.try_open(&path), place) {
                    (Ok(opened), _) => return Ok(opened),
                    (Err(Unfit::Library(reason)), _) | (Err(Unfit::File(reason)), Place::Folder(_)) => {
                        unfit.push(reason)
                    }
                    (Err(Unfit::File(reason)), Place::System) => _ = missing.get_or_insert(reason),
                }
            }
        }
        Err(match unfit.is_empty() {
            true => format!("is missing: {}", missing.unwrap_or_default()),
            false => format!("cannot be used: {}", unfit.join("; ")),
        })
    }

    fn try_open(&self, path: &Path) -> Result<Opened, Unfit> {
        self.open_companions(path);
        // SAFETY: opening runs the library's initialisers; NVIDIA's may be run at any time, from any thread.
        let library = unsafe { libloading::Library::new(path) }.map_err(|error| Unfit::File(error.to_string()))?;
        let path = file_of(&library, self.version_function).unwrap_or_else(|| path.to_path_buf());
        // The driver's file is named after its own version, 550.54.15 or so.
        let path = path.canonicalize().unwrap_or(path);
        let version = (self.version)(&library);
        let function = self.version_function.to_string_lossy();
        let version = version
            .ok_or_else(|| Unfit::Library(format!("{} does not tell its version: {function} fails", path.display())))?;
        if version < self.oldest {
            let (name, oldest) = (self.name, self.oldest);
            let path = path.display();
            return Err(Unfit::Library(format!(
                "{path} is of version {version}, and {name} must be {oldest} or newer"
            )));
        }
        Ok(Opened { library, path, version })
    }

    /// Opens what lies beside the library and is needed by it, for good.
    fn open_companions(&self, library: &Path) {
        let (Some(folder), Some(version)) = (library.parent(), library.extension()) else { return };
        let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let wanted = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            // libnvrtc-builtins.so.12.9 belongs to libnvrtc.so.12.
            let of_version = |rest: &str| rest.split('.').nth(1).map(OsStr::new) == Some(version);
            self.companions.iter().any(|start| name.strip_prefix(start).is_some_and(of_version))
        };
        for path in names.filter(wanted) {
            // SAFETY: as for the library itself.
            std::mem::forget(unsafe { libloading::Library::new(path) });
        }
    }

    /// The address of a function; none where the library or the function is missing.
    fn symbol(&self, name: &CStr) -> Option<*const c_void> {
        // SAFETY: the symbol is only taken as an address here.
        let symbol = unsafe { self.open().ok()?.library.get::<*const c_void>(name.to_bytes_with_nul()) };
        symbol.ok().map(|symbol| *symbol)
    }
}

/// Why a file is not the library that is wanted.
enum Unfit {
    /// It cannot be opened, or is not there.
    File(String),
    /// It was opened, and is too old or something else.
    Library(String),
}

/// The file that an open library came from.
fn file_of(library: &libloading::Library, symbol: &CStr) -> Option<PathBuf> {
    // SAFETY: the symbol is only taken as an address; `information` is plain numbers and pointers, which dladdr fills in, and
    // its file name is a terminated text that lives as long as the library is open.
    unsafe {
        let address = *library.get::<*const c_void>(symbol.to_bytes_with_nul()).ok()?;
        let mut information = std::mem::zeroed::<libc::Dl_info>();
        if libc::dladdr(address, &mut information) == 0 || information.dli_fname.is_null() {
            return None;
        }
        Some(PathBuf::from(CStr::from_ptr(information.dli_fname).to_string_lossy().into_owned()))
    }
}

/// Defines functions that pass their arguments on to a library, or return an error where it is not there. What comes back
/// goes through a function of the name and the code. What stands behind `unless` has dealt with the call where it is true;
/// what stands behind `during` is dropped after the call.
macro_rules! forward {
    (mod $calls:ident of $library:ident, missing $missing:literal, $result:expr;
        $(fn $name:ident($($argument:ident: $type:ty),*) $(unless $taken:expr)? $(, during $guard:expr)?;)*) => {
        $(
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
                // SAFETY: the caller keeps the promises that the function's documentation asks for.
                $result(stringify!($name), unsafe { $calls::$name($($argument),*) })
            }
        )*
        call! { mod $calls of $library, missing $missing; $(fn $name($($argument: $type),*);)* }
    };
}

/// Defines a module of functions that call those of a library, or return an error where it is not there.
macro_rules! call {
    (mod $calls:ident of $library:ident, missing $missing:literal;
        $(fn $name:ident($($argument:ident: $type:ty),*);)*) => {
        mod $calls {
            use super::*;

            $(
                #[allow(non_snake_case, clippy::too_many_arguments, reason = "a C function")]
                pub(super) unsafe fn $name($($argument: $type),*) -> c_uint {
                    static ADDRESS: OnceLock<Option<unsafe extern "C" fn($($type),*) -> c_uint>> = OnceLock::new();
                    let function = ADDRESS.get_or_init(|| {
                        let name = CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes());
                        let address = $library.symbol(name.unwrap_or_default())?;
                        // SAFETY: the library's function of this name has this type, by NVIDIA's headers.
                        Some(unsafe {
                            std::mem::transmute::<*const c_void, unsafe extern "C" fn($($type),*) -> c_uint>(address)
                        })
                    });
                    match function {
                        // SAFETY: the caller keeps the promises that the function's documentation asks for.
                        Some(function) => unsafe { function($($argument),*) },
                        None => $missing,
                    }
                }
            )*
        }
    };
}

pub mod cublas;
pub mod driver;
pub(super) mod modules;
pub mod nvrtc;
mod programs;
pub(super) mod unrecorded;

#[cfg(test)]
mod tests {
    use std::ffi::c_uint;

    use super::*;

    static ABSENT: NvidiaLibrary = NvidiaLibrary {
        name: "a library",
        file: "libabsent-of-all.so",
        of_driver: true,
        companions: &[],
        version_function: c"absentOfAll",
        version: |_| None,
        oldest: Version { major: 1, minor: 0 },
        opened: OnceLock::new(),
    };

    fn as_it_is(_: &str, code: c_uint) -> c_uint {
        code
    }

    forward! { mod calls of ABSENT, missing 42, as_it_is;
        fn absentOfAll(value: c_int);
    }

    #[test]
    fn a_missing_library_is_an_error_and_names_its_file() {
        assert!(ABSENT.open().unwrap_err().contains("libabsent-of-all.so.1"));
        // SAFETY: no such function exists: nothing is called.
        assert_eq!(unsafe { absentOfAll(1) }, 42);
    }

    #[test]
    fn versions_are_read_and_compared() {
        let version = Version::from_number(12080);
        assert_eq!((version, version.to_string().as_str()), (Version { major: 12, minor: 8 }, "12.8"));
        assert!(version < Version::from_number(13000) && version > Version::from_number(12060));
    }

    #[test]
    fn a_library_that_is_no_library_is_told_apart_from_none() {
        let file = tempfile::NamedTempFile::with_suffix(".so.12").unwrap();
        assert!(matches!(ABSENT.try_open(file.path()), Err(Unfit::File(reason)) if reason.contains("too short")));
    }
}
