//! The compiler of kernels: from the sources of dfdx and of this project to code for the GPU at hand.
//!
//! NVRTC makes machine code for the GPU's own architecture, which the driver takes whatever its version is. What was
//! compiled once is kept on disk (`cache`). NVRTC has no headers of its own and gets the few that are needed as texts
//! ([`sources`]).

mod cache;
pub mod sources;
mod target;

use std::{
    collections::HashMap,
    ffi::CString,
    fmt, iter,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
};

use self::cache::{Cache, Key};
pub use self::target::Target;
pub(super) use self::target::package;
use super::{
    Gpu,
    libraries::{
        DRIVER, NVRTC, Version,
        nvrtc::{self, Output},
    },
};

/// Why a kernel could not be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompilerError {
    /// NVRTC cannot be used.
    #[error("NVRTC {0}")]
    Missing(String),
    /// It has no code for the GPU.
    #[error("{0}")]
    Target(String),
    /// The driver does not tell what GPU is in use.
    #[error("the driver does not tell which GPU is in use: {0}")]
    Driver(super::failure::Code),
    /// dfdx asks for a kernel that none of its files defines.
    #[error("no kernel file of dfdx defines {0}")]
    Kernel(String),
    /// A program is refused.
    #[error("NVRTC {version} cannot compile {name} for {target}: {reason}")]
    Program {
        /// Name of the program.
        name: String,
        /// For what.
        target: Target,
        /// By which version.
        version: Version,
        /// NVRTC's messages.
        reason: String,
    },
}

/// The code of a program, as it is now or will be when another thread has compiled it.
type Image = Arc<OnceLock<Result<Arc<[u8]>, CompilerError>>>;

/// A compiler for one kind of GPU.
pub struct Compiler {
    target: Target,
    version: Version,
    headers: Vec<(CString, CString)>,
    cache: Cache,
    images: Mutex<HashMap<Key, Image>>,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").field("target", &self.target).field("version", &self.version).finish_non_exhaustive()
    }
}

/// The compiler for the GPU that is current in this thread.
///
/// # Errors
/// [`CompilerError`], but for programs.
pub fn current() -> Result<Arc<Compiler>, CompilerError> {
    let gpu = Gpu::current().map_err(CompilerError::Driver)?;
    let version = NVRTC.open().map_err(|reason| CompilerError::Missing(reason.to_string()))?.version;
    let driver = DRIVER.open().map_err(|reason| CompilerError::Missing(reason.to_string()))?.version;
    let target = Target::choose(&gpu, &architectures()?, driver, version).map_err(CompilerError::Target)?;
    Ok(of(target, version))
}

/// The compiler for an architecture, whatever GPU there is.
///
/// # Errors
/// [`CompilerError`], but for programs.
pub fn for_architecture(architecture: u32) -> Result<Arc<Compiler>, CompilerError> {
    let version = NVRTC.open().map_err(|reason| CompilerError::Missing(reason.to_string()))?.version;
    Ok(of(Target { architecture, output: Output::Cubin }, version))
}

/// The architectures that NVRTC compiles for, of those that this program runs on.
///
/// # Errors
/// NVRTC is missing, or does not tell.
pub fn architectures() -> Result<Vec<u32>, CompilerError> {
    NVRTC.open().map_err(|reason| CompilerError::Missing(reason.to_string()))?;
    let known = nvrtc::architectures();
    let known =
        known.map_err(|code| CompilerError::Missing(format!("does not tell its architectures (status {code})")))?;
    Ok(known.into_iter().filter(|architecture| *architecture >= target::OLDEST).collect())
}

/// Where this user's compiled programs are kept, or why they are not.
///
/// # Errors
/// The reason.
pub fn kept_by_user() -> Result<String, String> {
    Cache::of_user().state()
}

/// The one compiler for a target.
fn of(target: Target, version: Version) -> Arc<Compiler> {
    static COMPILERS: Mutex<Vec<Arc<Compiler>>> = Mutex::new(Vec::new());
    let mut compilers = COMPILERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(compiler) = compilers.iter().find(|compiler| compiler.target == target && compiler.version == version) {
        return compiler.clone();
    }
    let compiler = Arc::new(Compiler {
        target,
        version,
        headers: sources::headers(),
        cache: Cache::of_user(),
        images: Mutex::default(),
    });
    compilers.push(compiler.clone());
    compiler
}

/// A file of kernels to be compiled.
#[derive(Debug, Clone, Copy)]
pub struct Unit<'a> {
    /// Name of the program in messages.
    pub name: &'a str,
    /// Its text.
    pub source: &'a str,
}

impl Compiler {
    /// Target of the compiler.
    pub fn target(&self) -> Target {
        self.target
    }

    /// The code of a program: from memory, from disk, or compiled now.
    ///
    /// # Errors
    /// [`CompilerError::Program`].
    pub fn image(&self, name: &str, source: &str, options: &[String]) -> Result<Arc<[u8]>, CompilerError> {
        let options = self.options(options);
        let key = self.key(source, &options);
        let image = {
            let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
            images.entry(key).or_default().clone()
        };
        // Threads that want the same program wait for the first of them.
        image.get_or_init(|| self.read_or_compile(&key, name, source, &options)).clone()
    }

    fn read_or_compile(
        &self,
        key: &Key,
        name: &str,
        source: &str,
        options: &[String],
    ) -> Result<Arc<[u8]>, CompilerError> {
        if let Some(image) = self.cache.read(key) {
            return Ok(image.into());
        }
        let refused = |reason: String| {
            let (name, target, version) = (name.to_string(), self.target, self.version);
            CompilerError::Program { name, target, version, reason }
        };
        let terminated =
            |text: &str| CString::new(text).map_err(|_| refused("it contains a NUL character".to_string()));
        let texts: Result<Vec<_>, _> = options.iter().map(|option| terminated(option)).collect();
        let (source, file) = (terminated(source)?, terminated(name)?);
        let image = nvrtc::compile(&source, &file, &self.headers, &texts?, self.target.output).map_err(refused)?;
        self.cache.write(key, &image);
        Ok(image.into())
    }

    fn options(&self, more: &[String]) -> Vec<String> {
        // __WORDSIZE is what C's headers define; warnings are dfdx's.
        let own = [self.target.option(), "--std=c++17".into(), "-D__WORDSIZE=64".into(), "--disable-warnings".into()];
        own.into_iter().chain(more.iter().cloned()).collect()
    }

    fn key(&self, source: &str, options: &[String]) -> Key {
        let version = self.version.to_string();
        let headers = self.headers.iter().flat_map(|(name, text)| [name.to_bytes(), text.to_bytes()]);
        let parts = iter::once(version.as_bytes()).chain(iter::once(source.as_bytes()));
        Key::of(parts.chain(options.iter().map(String::as_bytes)).chain(headers))
    }

    /// Number of these programs that are not compiled yet, neither here nor on disk.
    pub fn missing(&self, units: &[Unit<'_>]) -> usize {
        let is_missing = |unit: &&Unit<'_>| !self.cache.has(&self.key(unit.source, &self.options(&[])));
        units.iter().filter(is_missing).count()
    }

    /// Compiles programs on all cores, or reads them from disk.
    ///
    /// # Errors
    /// That of the first program that is refused.
    pub fn prepare(&self, units: &[Unit<'_>]) -> Result<(), CompilerError> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(units.len());
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = || {
            let take = || units.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            iter::from_fn(take).try_for_each(|unit| self.image(unit.name, unit.source, &[]).map(drop))
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let results = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            results.collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// Where compiled programs are kept, or why they are not.
    ///
    /// # Errors
    /// The reason.
    pub fn kept(&self) -> Result<String, String> {
        self.cache.state()
    }
}
