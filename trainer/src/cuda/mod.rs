//! NVIDIA GPUs: opening one, or saying clearly why it cannot be used.
//!
//! dfdx and cudarc panic where the driver, a library or the device is missing, so everything that can be missing is looked
//! at here first, and the first work on a new device is a trial.

pub mod compiler;
pub(crate) mod engine;
pub(crate) mod exchange;
pub mod failure;
pub mod libraries;
pub mod memory;
mod panics;
pub(crate) mod program;
mod staging;
pub mod timing;
mod trial;

use std::{
    error::Error,
    ffi::{CStr, c_char, c_int, c_uint},
    fmt,
};

use dfdx::tensor::Cuda;
use reporting::words::with_causes;

use self::{
    compiler::{Compiler, Unit},
    failure::Code,
    libraries::{CUBLAS, DRIVER, NVRTC, NvidiaLibrary, Version, cublas, driver},
};
use crate::device::{CudaKernels, DeviceError, LayerProducts, Precision};

/// Why a GPU cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CudaUnusable {
    /// A library cannot be opened.
    #[error("{name} {reason}; {advice}")]
    Library {
        /// Name of the library.
        name: &'static str,
        /// The reason: it is missing, or why it cannot be used.
        reason: String,
        /// Advice on how to get it.
        advice: String,
    },
    /// The driver does not start.
    #[error("the NVIDIA driver does not start: {code}{}", advice_on(*.code))]
    Driver {
        /// Its error.
        code: Code,
    },
    /// There is no GPU, or none that this process may see.
    #[error("the NVIDIA driver finds no GPU (is one hidden by CUDA_VISIBLE_DEVICES?)")]
    NoDevice,
    /// There are GPUs, but not with this number.
    #[error("there is no GPU {ordinal}: the driver finds {count}, numbered from 0")]
    NoSuchDevice {
        /// The number asked for.
        ordinal: usize,
        /// Number of GPUs that there are.
        count: usize,
    },
    /// The GPU is there, but cannot do the work.
    #[error("{gpu} cannot be used: {reason}")]
    Device {
        /// The GPU.
        gpu: Box<Gpu>,
        /// Call that failed, the libraries, and advice on what to try.
        reason: String,
    },
}

/// Advice after an error of the driver, as the end of a sentence.
fn advice_on(code: Code) -> &'static str {
    match code {
        Code::Driver(803) => {
            "; the driver's library and its kernel module are of different versions: restart the machine"
        }
        Code::Driver(804) => "; this driver is too old for the GPU: install a newer one",
        Code::Driver(999) => "; try to restart the machine",
        _ => "",
    }
}

/// Advice on how to get a library.
fn advice(library: &NvidiaLibrary) -> String {
    if library.name == DRIVER.name {
        return "NVIDIA's driver, of version 525 or newer, brings it".to_string();
    }
    let driver = DRIVER.open().map_or(Version { major: 13, minor: 0 }, |driver| driver.version);
    let [cublas, nvrtc] = ["nvidia-cublas", "nvidia-cuda-nvrtc"].map(|name| compiler::package(driver, name));
    format!(
        "\"pip install {cublas} {nvrtc}\" in an active virtual environment brings it, and so does a CUDA toolkit {}, whose folder \
         CUDA_PATH names",
        if driver.major >= 13 { "12.8 or newer" } else { "of version 12.8 or 12.9" }
    )
}

fn check(code: u32) -> Result<(), Code> {
    if code == 0 { Ok(()) } else { Err(Code::Driver(code)) }
}

/// Description of a GPU by the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its number, from 0, among those that this process may see, in the order of `CUDA_DEVICE_ORDER`.
    pub ordinal: usize,
    /// The manufacturer's name for it.
    pub name: String,
    /// Compute capability, as 80 for 8.0.
    pub capability: u32,
    /// Its address on the PCI bus, by which `nvidia-smi -i` takes it too; empty where the driver does not tell.
    pub pci: String,
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{} ({}, sm_{}", self.ordinal, self.name, self.capability)?;
        if self.pci.is_empty() { f.write_str(")") } else { write!(f, ", PCI {})", self.pci) }
    }
}

// Values of `CUdevice_attribute`.
const CAPABILITY_MAJOR: u32 = 75;
const CAPABILITY_MINOR: u32 = 76;

/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: u32 = 100;

impl Gpu {
    /// Asks the driver for the description of a device.
    fn of(device: c_int, ordinal: usize) -> Result<Self, Code> {
        let attribute = |attribute| {
            let mut value: c_int = 0;
            // SAFETY: the device is one that the driver named, and `value` is writable.
            check(unsafe { driver::cuDeviceGetAttribute(&mut value, attribute, device) })?;
            Ok(u32::try_from(value).unwrap_or(0))
        };
        Ok(Self {
            ordinal,
            name: text(|place, length| {
                // SAFETY: the device is one that the driver named, and the place has the length that is said.
                unsafe { driver::cuDeviceGetName(place, length, device) }
            })?,
            capability: 10 * attribute(CAPABILITY_MAJOR)? + attribute(CAPABILITY_MINOR)?,
            pci: text(|place, length| {
                // SAFETY: as above.
                unsafe { driver::cuDeviceGetPCIBusId(place, length, device) }
            })
            .unwrap_or_default(),
        })
    }

    /// The GPU that this thread works with.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn current() -> Result<Self, Code> {
        let mut device: c_int = 0;
        // SAFETY: `device` is writable.
        check(unsafe { driver::cuCtxGetDevice(&mut device) })?;
        // The driver numbers devices as it counts them.
        Self::of(device, usize::try_from(device).unwrap_or(0))
    }

    /// A GPU that is not there.
    #[cfg(test)]
    fn example() -> Self {
        Self { ordinal: 0, name: "a GPU".to_string(), capability: 80, pci: String::new() }
    }
}

/// A text that a function of the driver writes.
fn text(write: impl FnOnce(*mut c_char, c_int) -> c_uint) -> Result<String, Code> {
    let mut bytes = [0_u8; 256];
    check(write(bytes.as_mut_ptr().cast(), bytes.len() as c_int))?;
    Ok(CStr::from_bytes_until_nul(&bytes).unwrap_or_default().to_string_lossy().into_owned())
}

/// Looks for the libraries, starts the driver, and asks for GPU `ordinal`.
///
/// # Errors
/// The first thing that is missing.
pub fn find(ordinal: usize) -> Result<Gpu, CudaUnusable> {
    for library in [&DRIVER, &CUBLAS, &NVRTC] {
        present(library)?;
    }
    let driver = |code| check(code).map_err(|code| CudaUnusable::Driver { code });
    // SAFETY: the driver may be started at any time, any number of times.
    match unsafe { driver::cuInit(0) } {
        NO_DEVICE => return Err(CudaUnusable::NoDevice),
        code => driver(code)?,
    }
    let mut count: c_int = 0;
    // SAFETY: the driver has started, and `count` is writable.
    driver(unsafe { driver::cuDeviceGetCount(&mut count) })?;
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        return Err(CudaUnusable::NoDevice);
    }
    let number = c_int::try_from(ordinal).ok().filter(|_| ordinal < count);
    let number = number.ok_or(CudaUnusable::NoSuchDevice { ordinal, count })?;
    let mut device = 0;
    // SAFETY: the driver has started, the number is one of its devices', and the place is writable.
    driver(unsafe { driver::cuDeviceGet(&mut device, number) })?;
    Gpu::of(device, ordinal).map_err(|code| CudaUnusable::Driver { code })
}

fn present(library: &NvidiaLibrary) -> Result<(), CudaUnusable> {
    match library.open() {
        Ok(_) => Ok(()),
        Err(reason) => {
            Err(CudaUnusable::Library { name: library.name, reason: reason.to_string(), advice: advice(library) })
        }
    }
}

/// Opens GPU `ordinal` for dfdx, its random numbers seeded with `seed`. Kernels are compiled for it if they are not on disk
/// yet, of which `note` is told; then the GPU does a small piece of each kind of work. What the GPU makes of the `precision`
/// says [`Precision::on`].
///
/// # Errors
/// What is missing, or what the trial ended with.
pub fn open(ordinal: usize, seed: u64, precision: Precision, note: impl Fn(&str)) -> Result<(Cuda, Gpu), CudaUnusable> {
    open_with(ordinal, seed, |gpu| precision.on(gpu.capability).0, note)
}

/// Like [`open`], with products that are chosen when the GPU is known.
///
/// # Errors
/// What is missing, or what the trial ended with.
pub fn open_with(
    ordinal: usize,
    seed: u64,
    products: impl FnOnce(&Gpu) -> LayerProducts,
    note: impl Fn(&str),
) -> Result<(Cuda, Gpu), CudaUnusable> {
    failure::work_on(ordinal);
    failure::forget();
    let gpu = find(ordinal)?;
    keep_freed_memory(&gpu);
    let products = products(&gpu);
    let opened = panics::caught(|| {
        let build = || Cuda::try_build(ordinal, seed).map_err(|error| error.to_string());
        let device = cublas::with_products(products.linear, build)?;
        // Devices are never given back: cudarc's destructors panic where the driver fails, and the process gives everything
        // back when it ends.
        std::mem::forget(device.clone());
        let compiler = compiler::current().map_err(|error| error.to_string())?;
        prepare(&compiler, &note).map_err(|error| error.to_string())?;
        trial::run(&device, products.convolutions)?;
        failure::check().map_err(|failure| failure.to_string())?;
        Ok(device)
    });
    match opened {
        Ok(device) => Ok((device, gpu)),
        Err(reason) => {
            let reason = explained(&reason);
            Err(CudaUnusable::Device { gpu: Box::new(gpu), reason })
        }
    }
}

/// The files of kernels that training takes with any network: those of dfdx, and the project's own that depend on no sizes.
fn units() -> Vec<Unit<'static>> {
    let of_dfdx = compiler::sources::of_training().map(|(name, source)| Unit { name, source });
    of_dfdx.chain([program::GENERAL.unit()]).collect()
}

/// Compiles every file of dfdx, and the project's own that depend on no sizes. Returns how many.
///
/// # Errors
/// That of the first file that is refused.
pub fn compile_all(compiler: &Compiler) -> Result<usize, compiler::CompilerError> {
    let of_dfdx = compiler::sources::of_dfdx().iter().map(|(name, source)| Unit { name, source });
    let units: Vec<_> = of_dfdx.chain([program::GENERAL.unit()]).collect();
    compiler.prepare(&units)?;
    Ok(units.len())
}

/// Compiles the kernels that training needs, all at once.
fn prepare(compiler: &Compiler, note: &impl Fn(&str)) -> Result<(), compiler::CompilerError> {
    let units = units();
    let missing = compiler.missing(&units);
    if missing > 0 {
        note(&match compiler.kept() {
            Ok(folder) => format!(
                "Compiling {missing} files of kernels for {}, which takes some seconds and is done once: they are kept in {folder}",
                compiler.target()
            ),
            Err(reason) => format!(
                "Compiling {missing} files of kernels for {}, which takes some seconds at each start ({reason})",
                compiler.target()
            ),
        });
    }
    compiler.prepare(&units)?;
    if let (true, Err(reason)) = (missing > 0, compiler.kept()) {
        note(&format!("Compiled kernels cannot be kept on disk, and will be compiled again: {reason}"));
    }
    Ok(())
}

/// An error of dfdx' or cudarc's with what is known of it: the call that failed, the libraries, and what to try.
fn explained(reason: &str) -> String {
    let mut text = match (failure::take_kernel(), failure::first()) {
        (Some(compiler), _) => compiler.to_string(),
        // Unless the reason tells more than the code.
        (None, Some(failure)) if reason.contains("Error(") || reason == failure.to_string() => failure.to_string(),
        (None, Some(failure)) => format!("{reason} ({failure})"),
        (None, None) => reason.to_string(),
    };
    if failure::first().is_none() {
        // NVRTC's, whose message says what to do.
        return text + "; with " + &failure::libraries();
    }
    let advice = match failure::first().map(|failure| failure.code) {
        Some(Code::Driver(222)) => "install a driver that is as new as NVRTC, or an older NVRTC",
        Some(Code::Driver(209)) => "install a newer NVRTC",
        Some(Code::Driver(46)) => "is another program using the GPU exclusively? nvidia-smi shows",
        Some(code) if code.is_final() => {
            "start again, with --resume where a run was begun; where it comes again, try --cuda-kernels portable or --device cpu"
        }
        _ => "try again, or --device cpu",
    };
    text += &format!("; with {}; {advice}", failure::libraries());
    text
}

/// `CU_MEMPOOL_ATTR_RELEASE_THRESHOLD`.
const RELEASE_THRESHOLD: u32 = 4;

/// Lets this process keep memory that it freed, to take it again in the next step: given back to the system whenever the
/// host waits for the GPU, as is the default, it would have to be mapped anew. Where the driver has no such pools, nothing
/// is to be kept.
fn keep_freed_memory(gpu: &Gpu) {
    let (mut device, mut pool, mut threshold) = (0, std::ptr::null_mut(), u64::MAX);
    // SAFETY: the driver has started, the places are writable, and the attribute's value is a 64-bit number.
    unsafe {
        if driver::cuDeviceGet(&mut device, gpu.ordinal as c_int) == 0
            && driver::cuDeviceGetDefaultMemPool(&mut pool, device) == 0
        {
            driver::cuMemPoolSetAttribute(pool, RELEASE_THRESHOLD, (&raw mut threshold).cast());
        }
    }
    // Where there are no pools, that was no failure.
    failure::forget();
}

/// Sets how a device computes convolutions, and what stands around them: [`CudaKernels::Fused`] unless this says otherwise.
///
/// # Errors
/// What NVRTC, the driver or cuBLAS reports where the device was not opened here.
pub fn set_kernels(device: &Cuda, kernels: CudaKernels) -> Result<(), DeviceError> {
    engine::Engine::of(device).map_err(DeviceError::new)?.set_kernels(kernels);
    Ok(())
}

/// Sets whether fused kernels keep what convolutions unfold for the backward pass, which must unfold it again otherwise. They
/// do, unless this says otherwise.
///
/// # Errors
/// What NVRTC, the driver or cuBLAS reports where the device was not opened here.
pub fn keep_windows(device: &Cuda, keep: bool) -> Result<(), DeviceError> {
    engine::Engine::of(device).map_err(DeviceError::new)?.keep_windows(keep);
    Ok(())
}

/// Failure of a GPU, in words that say what to try.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GpuError(String);

/// Runs `work` on an open device. Where the GPU fails, the error says by which call, with which libraries, and what to try,
/// however dfdx reported it; where memory runs out, it names half of the batch size.
///
/// # Errors
/// The work's own, or a failure that it was not told of.
pub fn guarded<E: AsRef<dyn Error + 'static> + From<GpuError>>(
    device: &Cuda,
    gpu: &Gpu,
    batch_size: usize,
    work: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    failure::work_on(gpu.ordinal);
    failure::forget();
    let result = panics::caught(|| Ok(work())).unwrap_or_else(|message| Err(GpuError(message.to_string()).into()));
    // The work may have turned to another device, and come back or not.
    failure::work_on(gpu.ordinal);
    let result = result.and_then(|()| failure::check().map_err(|failure| GpuError(failure.to_string()).into()));
    result.map_err(|error| {
        let Some(failure) = failure::first() else { return error };
        // Not every error comes from the GPU, even where there was a failure that was dealt with.
        let message = with_causes(error.as_ref());
        let of_gpu = ["CUDA_ERROR", "CUBLAS_STATUS", "CublasError", "NvrtcError"].iter().any(|name| message.contains(name));
        if failure.code.is_out_of_memory() && of_gpu {
            let total = memory::of(device).map_or(String::new(), |memory| format!(" of {} MiB", memory.total >> 20));
            let message = format!(
                "the memory{total} of {gpu} ran out with batches of {batch_size} images, perhaps because another program takes a \
                 part of it; try --batch-size {} ({failure}; with {})",
                (batch_size / 2).max(1),
                failure::libraries()
            );
            return GpuError(message).into();
        }
        if of_gpu || failure::check().is_err() {
            GpuError(format!("{gpu} failed: {}", explained(&message))).into()
        } else {
            error
        }
    })
}
