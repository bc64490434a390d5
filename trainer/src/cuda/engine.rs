//! The project's own kernels (`kernels/*.cu`) on one device: compiled once, launched by name.
//!
//! Work goes onto the device's stream, which is dfdx's too. Nothing waits for the GPU but [`Engine::replace`] and
//! [`Engine::download`].

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::{
    cublas::CudaBlas,
    driver::{
        CudaDevice, CudaSlice, DevicePtr, DevicePtrMut, DeviceRepr, DriverError, LaunchAsync, LaunchConfig, result,
        sys::CUresult,
    },
    nvrtc::compile_ptx,
};
use dfdx::tensor::{Cuda, CudaError, Storage};

use super::compiler::{Program, sources};

/// All kernels as one source, which takes less time to compile than several.
const SOURCE: &str = concat!(
    include_str!("../../kernels/tower.cu"),
    include_str!("../../kernels/inputs.cu"),
    include_str!("../../kernels/dropout.cu"),
    include_str!("../../kernels/optimiser.cu"),
);
const MODULE: &str = "trainer";
const KERNELS: [&str; 14] = [
    "tower_unfold",
    "tower_fold",
    "tower_bias_relu",
    "tower_relu_backward",
    "tower_bias_relu_pool",
    "tower_pool_relu_backward",
    "tower_bias_gradient",
    "inputs_change",
    "inputs_resize",
    "dropout_mask",
    "optimiser_squares",
    "optimiser_clip",
    "optimiser_adam",
    "optimiser_sgd",
];

/// Threads of a block; kernels that sum over a block are written for this number.
pub(crate) const THREADS: u32 = 256;
/// The most blocks along a row; their threads take the elements in turns.
const BLOCKS: u32 = 4096;
/// The most rows of a grid.
pub(crate) const ROWS: u32 = 65_535;

/// Bytes of a copy to the device that the driver takes without waiting: "CUDA C++ Programming Guide", asynchronous concurrent
/// execution.
const UPLOAD: usize = 64 << 10;

/// The address of values on the device. Whoever passes it on keeps the memory behind it alive.
pub(crate) type Address = u64;

/// Kernels and matrix products on one device.
pub(crate) struct Engine {
    device: Arc<CudaDevice>,
    pub(crate) blas: CudaBlas,
}

/// An engine for each device that has been used; kept until the program ends, as compiling the kernels takes a second.
static ENGINES: Mutex<Vec<Arc<Engine>>> = Mutex::new(Vec::new());

/// The programs that training takes in any case: the project's own, and those of dfdx.
pub(crate) fn programs() -> Vec<Program<'static>> {
    let own = Program { name: "the trainer's kernels", source: SOURCE, options: &[] };
    let of_dfdx = sources::of_training().map(|(name, source)| Program { name, source, options: &[] });
    std::iter::once(own).chain(of_dfdx).collect()
}

impl Engine {
    /// The engine of a device.
    ///
    /// # Errors
    /// What NVRTC, the driver or cuBLAS reports.
    pub(crate) fn of(device: &Cuda) -> Result<Arc<Self>, EngineError> {
        let storage = Storage::<f32>::try_alloc_len(device, 1).map_err(EngineError::Cuda)?;
        let device = storage.device();
        let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.iter().find(|engine| Arc::ptr_eq(&engine.device, &device)) {
            return Ok(engine.clone());
        }
        let ptx = compile_ptx(SOURCE).map_err(|error| EngineError::Compilation(format!("{error:?}")))?;
        device.load_ptx(ptx, MODULE, &KERNELS).map_err(|error| EngineError::Cuda(error.into()))?;
        let blas = CudaBlas::new(device.clone()).map_err(|error| EngineError::Cuda(error.into()))?;
        let engine = Arc::new(Self { device, blas });
        engines.push(engine.clone());
        Ok(engine)
    }

    /// Memory for `count` values, with nothing in particular in it.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn allocate<E: DeviceRepr>(&self, count: usize) -> Result<CudaSlice<E>, DriverError> {
        // SAFETY: every use writes all values before any is read.
        unsafe { self.device.alloc(count) }
    }

    /// A copy of values on the device. As the stream may be far behind, they go over in pieces so small that the driver keeps
    /// each itself, and the host does not wait until the GPU takes it.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn upload<E: DeviceRepr + Copy>(&self, values: &[E]) -> Result<CudaSlice<E>, DriverError> {
        let memory = self.allocate(values.len())?;
        self.device.bind_to_thread()?;
        let mut target = address(&memory);
        for piece in values.chunks(UPLOAD / size_of::<E>()) {
            // SAFETY: the piece's place lies within the memory, which has room for all values. Values of a `DeviceRepr` may be
            // copied as they are.
            unsafe { result::memcpy_htod_async(target, piece, *self.device.cu_stream()) }?;
            target += size_of_val(piece) as u64;
        }
        Ok(memory)
    }

    /// Writes values over those on the device, of which there are as many. The host waits.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn replace<E: DeviceRepr>(
        &self,
        target: &mut impl DevicePtrMut<E>,
        values: &[E],
    ) -> Result<(), DriverError> {
        self.device.htod_sync_copy_into(values, target)
    }

    /// The values on the device. The host waits for all work that was given to it.
    ///
    /// # Panics
    /// Where the device fails, as reading a dfdx tensor does; [`super::guarded`] makes a message of it.
    pub(crate) fn download<E: DeviceRepr>(&self, values: &CudaSlice<E>) -> Vec<E> {
        self.device.dtoh_sync_copy(values).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Starts a kernel on a grid of blocks × rows.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// `parameters` are those of the kernel, and their addresses have as much memory behind them as its sizes say.
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
        let function = self.device.get_func(MODULE, kernel).ok_or(DriverError(CUresult::CUDA_ERROR_NOT_FOUND))?;
        let config = LaunchConfig { grid_dim: (blocks, rows, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the caller's promise.
        unsafe { function.launch(config, parameters) }
    }
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
