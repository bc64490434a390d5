//! The project's own kernels on one device: compiled once, launched by name.
//!
//! Work goes onto the device's stream, which is dfdx's too. Nothing waits for the GPU but [`Engine::download`].

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use cudarc::{
    cublas::CudaBlas,
    driver::{
        CudaDevice, CudaSlice, DevicePtr, DeviceRepr, DriverError, LaunchAsync, LaunchConfig, ValidAsZeroBits,
        sys::CUresult,
    },
};
use dfdx::tensor::{Cuda, CudaError, Storage};

use super::{
    exchange::{self, Address},
    program::{self, GENERAL, Program},
    staging::Staging,
};
use crate::device::{CudaKernels, Products};

/// Threads of a block; kernels that sum over a block are written for this number.
pub(crate) const THREADS: u32 = 256;
/// The most blocks along a row; their threads take the elements in turns.
const BLOCKS: u32 = 4096;
/// The most rows of a grid.
pub(crate) const ROWS: u32 = 65_535;

/// A program that was loaded onto a device.
pub(crate) type Module = Arc<str>;

/// Kernels and matrix products on one device.
pub(crate) struct Engine {
    device: Arc<CudaDevice>,
    pub(crate) blas: CudaBlas,
    /// Precision of the convolutions' products.
    pub(crate) convolutions: Products,
    portable: AtomicBool,
    forget_windows: AtomicBool,
    /// The modules of programs, by their keys.
    modules: Mutex<HashMap<String, Module>>,
    general: Module,
    staging: Mutex<Staging>,
}

/// An engine for each device that was opened, with the settings of that device alone. An engine is kept until the program ends, as
/// its device is ([`super::open_with`]); opened once more, a GPU gets another one.
static ENGINES: Mutex<Vec<Arc<Engine>>> = Mutex::new(Vec::new());

impl Engine {
    /// The engine of a device: the one that was opened, or else one that multiplies in `f32`.
    ///
    /// # Errors
    /// What NVRTC, the driver or cuBLAS reports.
    pub(crate) fn of(device: &Cuda) -> Result<Arc<Self>, EngineError> {
        Self::open(device, Products::F32)
    }

    /// The engine of a device, whose convolutions are multiplied as `convolutions` says if there is none yet.
    ///
    /// # Errors
    /// What NVRTC, the driver or cuBLAS reports.
    pub(crate) fn open(device: &Cuda, convolutions: Products) -> Result<Arc<Self>, EngineError> {
        // dfdx tells nobody its device, but memory does.
        let storage = exchange::unfilled(|| Storage::<f32>::try_alloc_len(device, 1)).map_err(EngineError::Cuda)?;
        let device = storage.device();
        let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.iter().find(|engine| Arc::ptr_eq(&engine.device, &device)) {
            return Ok(engine.clone());
        }
        let general = Program { file: &GENERAL, constants: Vec::new() };
        let modules = Mutex::default();
        load(&device, &modules, std::slice::from_ref(&general))?;
        let general = loaded(&modules, &general)?;
        let blas = CudaBlas::new(device.clone()).map_err(|error| EngineError::Cuda(error.into()))?;
        let staging = Mutex::new(Staging::new());
        let (portable, forget_windows) = (AtomicBool::new(false), AtomicBool::new(false));
        let engine = Arc::new(Self { device, blas, convolutions, portable, forget_windows, modules, general, staging });
        engines.push(engine.clone());
        Ok(engine)
    }

    /// Sets how convolutions, inputs and the optimiser's steps are computed: [`CudaKernels::Fused`] unless this says otherwise.
    pub(crate) fn set_kernels(&self, kernels: CudaKernels) {
        self.portable.store(kernels == CudaKernels::Portable, Ordering::Relaxed);
    }

    /// Kind of kernels of convolutions, inputs and the optimiser's steps.
    pub(crate) fn kernels(&self) -> CudaKernels {
        if self.portable.load(Ordering::Relaxed) { CudaKernels::Portable } else { CudaKernels::Fused }
    }

    /// Sets whether what convolutions unfold is kept for the backward pass, which must unfold it again otherwise. It is, unless
    /// this says otherwise.
    pub(crate) fn keep_windows(&self, keep: bool) {
        self.forget_windows.store(!keep, Ordering::Relaxed);
    }

    /// Whether what convolutions unfold is kept for the backward pass.
    pub(crate) fn keeps_windows(&self) -> bool {
        !self.forget_windows.load(Ordering::Relaxed)
    }

    /// Compiles and loads the programs that are not there yet, and returns all of them in order.
    ///
    /// # Errors
    /// What NVRTC or the driver reports.
    pub(crate) fn modules(&self, programs: &[Program]) -> Result<Vec<Module>, EngineError> {
        load(&self.device, &self.modules, programs)?;
        programs.iter().map(|program| loaded(&self.modules, program)).collect()
    }

    /// Like [`Engine::modules`], for one program.
    ///
    /// # Errors
    /// What NVRTC or the driver reports.
    pub(crate) fn module(&self, program: &Program) -> Result<Module, EngineError> {
        load(&self.device, &self.modules, std::slice::from_ref(program))?;
        loaded(&self.modules, program)
    }

    /// Memory for `count` values, with nothing in particular in it.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn allocate<E: DeviceRepr>(&self, count: usize) -> Result<CudaSlice<E>, DriverError> {
        // SAFETY: every use writes all values before any is read.
        unsafe { self.device.alloc(count) }
    }

    /// Memory for `count` values, all of them 0.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn zeros<E: DeviceRepr + ValidAsZeroBits>(&self, count: usize) -> Result<CudaSlice<E>, DriverError> {
        self.device.alloc_zeros(count)
    }

    /// A copy of values on the device. The host does not wait until the GPU takes them, and may change them at once.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn upload<E: DeviceRepr + Copy>(&self, values: &[E]) -> Result<CudaSlice<E>, DriverError> {
        let memory = self.allocate(values.len())?;
        self.device.bind_to_thread()?;
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the memory has room for all values, and those of a `DeviceRepr` may be copied as they are.
        unsafe { staging.copy(values, address(&memory), *self.device.cu_stream()) }?;
        Ok(memory)
    }

    /// The values on the device. The host waits for all work that was given to it.
    ///
    /// # Panics
    /// Where the device fails, as reading a dfdx tensor does; [`super::guarded`] makes a message of it.
    pub(crate) fn download<E: DeviceRepr>(&self, values: &CudaSlice<E>) -> Vec<E> {
        self.device.dtoh_sync_copy(values).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Starts a kernel that depends on no sizes, on a grid of blocks × rows.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// As [`Engine::launch_of`].
    pub(crate) unsafe fn launch<P>(
        &self,
        kernel: &str,
        blocks: u32,
        rows: u32,
        parameters: P,
    ) -> Result<(), DriverError>
    where
        cudarc::driver::CudaFunction: LaunchAsync<P>,
    {
        // SAFETY: the caller's promise.
        unsafe { self.launch_of(&self.general, kernel, (blocks, rows), parameters) }
    }

    /// Starts a kernel of a module on a grid of blocks × rows.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// `parameters` are those of the kernel, and their addresses have as much memory behind them as its sizes say.
    pub(crate) unsafe fn launch_of<P>(
        &self,
        module: &Module,
        kernel: &str,
        (blocks, rows): (u32, u32),
        parameters: P,
    ) -> Result<(), DriverError>
    where
        cudarc::driver::CudaFunction: LaunchAsync<P>,
    {
        let function = self.device.get_func(module, kernel).ok_or(DriverError(CUresult::CUDA_ERROR_NOT_FOUND))?;
        let config = LaunchConfig { grid_dim: (blocks, rows, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the caller's promise.
        unsafe { function.launch(config, parameters) }
    }
}

/// Compiles and loads the programs that a device does not have yet.
fn load(
    device: &Arc<CudaDevice>,
    modules: &Mutex<HashMap<String, Module>>,
    programs: &[Program],
) -> Result<(), EngineError> {
    let mut modules = modules.lock().unwrap_or_else(PoisonError::into_inner);
    let mut missing: Vec<Program> = Vec::new();
    for program in programs {
        let key = program.key();
        if !modules.contains_key(&key) && missing.iter().all(|other| other.key() != key) {
            missing.push(program.clone());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let compiled = program::compile(&missing).map_err(EngineError::Compilation)?;
    for (program, image) in missing.iter().zip(compiled) {
        let key = program.key();
        let module: Module = format!("trainer {key}").into();
        device.load_ptx(image, &module, program.file.kernels).map_err(|error| EngineError::Cuda(error.into()))?;
        modules.insert(key, module);
    }
    Ok(())
}

/// A module that was loaded.
fn loaded(modules: &Mutex<HashMap<String, Module>>, program: &Program) -> Result<Module, EngineError> {
    let modules = modules.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = || EngineError::Cuda(DriverError(CUresult::CUDA_ERROR_NOT_FOUND).into());
    modules.get(&program.key()).cloned().ok_or_else(missing)
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("device", &self.device.ordinal()).finish_non_exhaustive()
    }
}

/// Why there is no engine.
#[derive(Debug)]
pub enum EngineError {
    /// NVRTC refused the kernels.
    Compilation(String),
    /// The driver or cuBLAS failed.
    Cuda(CudaError),
}

impl From<EngineError> for CudaError {
    fn from(error: EngineError) -> Self {
        match error {
            // dfdx's error has no place for the text. Opening a device compiles the kernels and shows it.
            EngineError::Compilation(_) => DriverError(CUresult::CUDA_ERROR_INVALID_SOURCE).into(),
            EngineError::Cuda(error) => error,
        }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compilation(text) => write!(f, "the kernels do not compile: {text}"),
            Self::Cuda(error) => error.fmt(f),
        }
    }
}

impl Error for EngineError {}

/// Blocks for a row of `count` elements.
pub(crate) fn blocks(count: u32) -> u32 {
    count.div_ceil(THREADS).clamp(1, BLOCKS)
}

/// The address of memory that the caller keeps.
pub(crate) fn address<E>(memory: &CudaSlice<E>) -> Address {
    *memory.device_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_cover_every_element_within_the_limits() {
        assert_eq!([1, 256, 257].map(blocks), [1, 1, 2]);
        assert_eq!(blocks(u32::MAX), BLOCKS);
    }
}
