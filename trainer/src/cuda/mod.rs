//! NVIDIA GPUs: opening one, or saying clearly why it cannot be used.
//!
//! dfdx and cudarc panic where the driver, a library or the device is missing, so everything that can be missing is looked
//! at here first, and the first work on a new device is a trial.

pub(crate) mod engine;
pub(crate) mod exchange;
pub mod libraries;
pub(crate) mod program;
mod staging;
pub mod timing;
mod trial;

use std::{
    ffi::c_int,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use dfdx::tensor::Cuda;

use crate::{
    device::{CudaKernels, LayerProducts, Precision},
    model::Network,
};

use libraries::{CUBLAS, DRIVER, NVRTC, NvidiaLibrary};

/// Why a GPU cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CudaUnusable {
    /// A library cannot be opened.
    #[error("{name} is missing: {reason}; {}", advice(.name))]
    Library {
        /// What it is called.
        name: &'static str,
        /// The system's reason.
        reason: String,
    },
    /// The driver does not start.
    #[error("the NVIDIA driver does not start: {0}")]
    Driver(DriverCode),
    /// There is no GPU, or none that this process may see.
    #[error("the NVIDIA driver finds no GPU (is one hidden by CUDA_VISIBLE_DEVICES?)")]
    NoDevice,
    /// There are GPUs, but not with this number.
    #[error("there is no GPU {ordinal}: the driver finds {count}, numbered from 0")]
    NoSuchDevice {
        /// The number asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The GPU is there, but cannot do the work.
    #[error("GPU {ordinal}, {name}, cannot be used: {reason}")]
    Device {
        /// Its number.
        ordinal: usize,
        /// Its name.
        name: String,
        /// What failed.
        reason: String,
    },
}

fn advice(library: &str) -> &'static str {
    if library == DRIVER.name {
        "it comes with NVIDIA's driver package"
    } else {
        "it comes with the CUDA toolkit, whose folder CUDA_PATH names, or LD_LIBRARY_PATH that of its libraries"
    }
}

/// An error of the driver, shown with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverCode(u32);

impl fmt::Display for DriverCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = std::ptr::null();
        // SAFETY: `text` is writable, and the function leaves a static, terminated text in it.
        let text = unsafe {
            libraries::driver::cuGetErrorString(self.0, &mut text);
            std::ffi::CStr::from_ptr(text)
        };
        write!(f, "{} (error {})", text.to_string_lossy(), self.0)
    }
}

fn check(code: u32) -> Result<(), DriverCode> {
    if code == 0 { Ok(()) } else { Err(DriverCode(code)) }
}

/// What the driver says of a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its number, from 0, among those that this process may see.
    pub ordinal: usize,
    /// The manufacturer's name for it.
    pub name: String,
    /// Compute capability, as 80 for 8.0.
    pub capability: u32,
    /// The newest version of CUDA that the driver knows, as 13000 for 13.0.
    pub driver_version: u32,
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{} ({}, sm_{})", self.ordinal, self.name, self.capability)
    }
}

// Values of `CUdevice_attribute`.
const CAPABILITY_MAJOR: u32 = 75;
const CAPABILITY_MINOR: u32 = 76;

/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: u32 = 100;

/// Looks for the libraries, starts the driver, and asks for GPU `ordinal`.
///
/// # Errors
/// The first thing that is missing.
pub fn find(ordinal: usize) -> Result<Gpu, CudaUnusable> {
    for library in [&DRIVER, &CUBLAS, &NVRTC] {
        present(library)?;
    }
    let driver = |code| check(code).map_err(CudaUnusable::Driver);
    // SAFETY: the driver may be started at any time, any number of times.
    match unsafe { libraries::driver::cuInit(0) } {
        NO_DEVICE => return Err(CudaUnusable::NoDevice),
        code => driver(code)?,
    }
    let mut count: c_int = 0;
    // SAFETY: the driver has started, and `count` is writable.
    driver(unsafe { libraries::driver::cuDeviceGetCount(&mut count) })?;
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        return Err(CudaUnusable::NoDevice);
    }
    let number = c_int::try_from(ordinal).ok().filter(|_| ordinal < count);
    let number = number.ok_or(CudaUnusable::NoSuchDevice { ordinal, count })?;

    let (mut device, mut version, mut name) = (0, 0, [0_u8; 256]);
    let attribute = |device, attribute| {
        let mut value: c_int = 0;
        // SAFETY: the device is one that the driver named, and `value` is writable.
        driver(unsafe { libraries::driver::cuDeviceGetAttribute(&mut value, attribute, device) })?;
        Ok(u32::try_from(value).unwrap_or(0))
    };
    // SAFETY: the driver has started, the number is one of its devices', and all places are writable, `name` with the
    // length given.
    unsafe {
        driver(libraries::driver::cuDeviceGet(&mut device, number))?;
        driver(libraries::driver::cuDriverGetVersion(&mut version))?;
        driver(libraries::driver::cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as c_int, device))?;
    }
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(Gpu {
        ordinal,
        name: String::from_utf8_lossy(name).into_owned(),
        capability: 10 * attribute(device, CAPABILITY_MAJOR)? + attribute(device, CAPABILITY_MINOR)?,
        driver_version: u32::try_from(version).unwrap_or(0),
    })
}

fn present(library: &NvidiaLibrary) -> Result<(), CudaUnusable> {
    match library.open() {
        Ok(_) => Ok(()),
        Err(reason) => Err(CudaUnusable::Library { name: library.name, reason: reason.to_string() }),
    }
}

/// Opens GPU `ordinal` for dfdx, its random numbers seeded with `seed`, and lets it do a small piece of each kind of work:
/// a kernel compiled when this program was built, one compiled now, and a matrix product. What the GPU makes of the
/// `precision` says [`Precision::on`].
///
/// # Errors
/// What is missing, or what the trial ended with.
pub fn open(ordinal: usize, seed: u64, precision: Precision) -> Result<(Cuda, Gpu), CudaUnusable> {
    open_with(ordinal, seed, |gpu| precision.on(gpu.capability).0)
}

/// As [`open`], with products that are chosen when the GPU is known.
///
/// # Errors
/// What is missing, or what the trial ended with.
pub fn open_with(
    ordinal: usize,
    seed: u64,
    products: impl FnOnce(&Gpu) -> LayerProducts,
) -> Result<(Cuda, Gpu), CudaUnusable> {
    let gpu = find(ordinal)?;
    keep_freed_memory(&gpu);
    let products = products(&gpu);
    match trial::caught(|| trial::run(ordinal, seed, products)) {
        Ok(device) => Ok((device, gpu)),
        Err(reason) => {
            Err(CudaUnusable::Device { ordinal, name: format!("{} (sm_{})", gpu.name, gpu.capability), reason })
        }
    }
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
        if libraries::driver::cuDeviceGet(&mut device, gpu.ordinal as c_int) == 0
            && libraries::driver::cuDeviceGetDefaultMemPool(&mut pool, device) == 0
        {
            libraries::driver::cuMemPoolSetAttribute(pool, RELEASE_THRESHOLD, (&raw mut threshold).cast());
        }
    }
}

static PORTABLE: AtomicBool = AtomicBool::new(false);

/// Sets how convolutions are computed from now on, in all of this process.
pub fn set_kernels(kernels: CudaKernels) {
    PORTABLE.store(kernels == CudaKernels::Portable, Ordering::Relaxed);
}

/// How convolutions are computed: [`CudaKernels::Fused`] unless [`set_kernels`] said otherwise.
pub fn kernels() -> CudaKernels {
    if PORTABLE.load(Ordering::Relaxed) { CudaKernels::Portable } else { CudaKernels::Fused }
}

/// Bytes of memory on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Not in use by anyone.
    pub free: usize,
    /// All.
    pub total: usize,
}

/// The memory of an open device.
///
/// # Errors
/// The driver's.
pub fn memory(device: &Cuda) -> Result<Memory, DriverCode> {
    // Allocating nothing makes the device the current one of this thread.
    let _ = dfdx::tensor::Storage::<f32>::try_alloc_len(device, 1);
    let (mut free, mut total) = (0, 0);
    // SAFETY: both places are writable.
    check(unsafe { libraries::driver::cuMemGetInfo_v2(&mut free, &mut total) })?;
    Ok(Memory { free, total })
}

/// Copies of all weights that training holds: weights, gradients, both moments of Adam, the moving average, and a network of it.
const WEIGHT_COPIES: usize = 6;
/// What the libraries need for themselves.
const LIBRARIES: usize = 256 << 20;
/// Bytes that a training step takes for each image of a batch with fused kernels, bytes that keeping what convolutions unfold
/// takes beside them, and bytes of a step with portable kernels. The emulator counts them, and `scripts/cuda-emulate` holds that
/// a batch which should fit does.
const BYTES_PER_IMAGE: [(&str, [usize; 3]); 2] =
    [("alexnet", [9 << 20, 6 << 20, 32 << 20]), ("lenet5", [118 << 10, 56 << 10, 360 << 10])];

/// Refuses batches that training `N` has no memory for, and lets fused kernels keep what convolutions unfold where there is
/// memory for that too.
///
/// # Errors
/// A message that names a batch size that would do, where there is one.
pub fn check_memory<N: Network<Cuda>>(device: &Cuda, batch_size: usize) -> Result<(), String> {
    let free = memory(device).map_err(|error| error.to_string())?.free;
    let fixed = WEIGHT_COPIES * size_of::<f32>() * N::summary().parameters() + LIBRARIES;
    let bytes = BYTES_PER_IMAGE.iter().find(|(name, _)| *name == N::ARCHITECTURE);
    let [fused, windows, portable] = bytes.map_or([0; 3], |(_, bytes)| *bytes);
    let needed = |per_image: usize| fixed.saturating_add(per_image.saturating_mul(batch_size));
    let per_image = match kernels() {
        CudaKernels::Fused => fused,
        CudaKernels::Portable => portable,
    };
    if needed(per_image) <= free {
        return keep_windows(device, needed(per_image + windows) <= free);
    }
    let advice = match free.saturating_sub(fixed).checked_div(per_image) {
        None | Some(0) => "no batch is small enough".to_string(),
        Some(images) => format!("--batch-size {images} would do"),
    };
    Err(format!(
        "the GPU's memory does not suffice: batches of {batch_size} images need about {} MiB, {} MiB are free; {advice}",
        needed(per_image) >> 20,
        free >> 20
    ))
}

/// Sets whether fused kernels keep what convolutions unfold for the backward pass, which must unfold it again otherwise. They
/// do, unless this says otherwise.
///
/// # Errors
/// What NVRTC, the driver or cuBLAS reports where the device was not opened here.
pub fn keep_windows(device: &Cuda, keep: bool) -> Result<(), String> {
    let engine = engine::Engine::of(device).map_err(|error| error.to_string())?;
    engine.keep_windows(keep);
    Ok(())
}

/// Runs `work` on an open device. Where memory runs out nevertheless, the error says so and names half of the batch size,
/// however dfdx reported it.
///
/// # Errors
/// The work's own.
pub fn guarded(device: &Cuda, batch_size: usize, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let result = trial::caught(|| Ok(work())).unwrap_or_else(|message| Err(anyhow::anyhow!("{message}")));
    result.map_err(|error| match memory(device) {
        Ok(memory) if out_of_memory(&format!("{error:#}")) => error.context(format!(
            "the GPU's memory of {} MiB ran out with batches of {batch_size} images, perhaps because another program takes \
             a part of it; try --batch-size {}",
            memory.total >> 20,
            (batch_size / 2).max(1)
        )),
        _ => error,
    })
}

/// Whether a message comes from the driver or cuBLAS having no memory left.
fn out_of_memory(message: &str) -> bool {
    ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"].iter().any(|name| message.contains(name))
}
