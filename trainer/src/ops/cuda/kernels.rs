//! The kernels of towers (`kernels/window.cu`, `pool.cu` and `maps.cu`) and matrix products: sizes in, launches out.

use std::ffi::{c_int, c_uint};

use cudarc::{
    cublas::{result::CublasError, sys::cublasStatus_t},
    driver::{DeviceRepr, DriverError},
};

use crate::{
    cuda::{
        engine::{Engine, Module, ROWS, THREADS, blocks},
        exchange::Address,
        libraries::cublas,
        program::{MAPS, POOL, Program, WINDOW},
        timing,
    },
    device::Products,
    ops::Plane,
};

/// Rows of matrices begin at multiples of so many values: of 16 bytes, whatever the values are.
const PITCH: u32 = 8;

/// Number format of stored factors of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    F32,
    Bf16,
    F16,
}

impl Stored {
    /// Format in which the factors of such products are stored.
    pub(super) fn of(products: Products) -> Self {
        match products {
            Products::F32 | Products::Tf32 => Self::F32,
            Products::Bf16 => Self::Bf16,
            Products::F16 => Self::F16,
        }
    }

    /// Bytes of a factor.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// The number by which the kernels know it.
    fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::Bf16 => 1,
            Self::F16 => 2,
        }
    }

    /// Factors that a thread writes at once.
    fn vector(self) -> u32 {
        16 / self.bytes() as u32
    }

    /// The value of `cudaDataType_t`.
    fn data_type(self) -> c_uint {
        match self {
            Self::F32 => cublas::R_32F,
            Self::Bf16 => cublas::R_16BF,
            Self::F16 => cublas::R_16F,
        }
    }

    /// The program of kernels that depend on no sizes.
    pub(super) fn maps_program(self) -> Program {
        Program { file: &MAPS, constants: vec![("STORED", self.number())] }
    }
}

/// A window over the planes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    batch: u32,
    channels: u32,
    height: u32,
    width: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
    rows: u32,
    columns: u32,
}

impl Sizes {
    /// Sizes of a window over a batch; none where a row of elements is too long to be numbered, or the channels or taps are
    /// more than a grid has rows.
    pub(super) fn new(batch: usize, channels: usize, plane: Plane) -> Option<Self> {
        let window = plane.window;
        let longest = batch.checked_mul((plane.height * plane.width).max(plane.positions()))?;
        let taps = channels.checked_mul(window.kernel.checked_mul(window.kernel)?)?;
        let number = |value: usize| u32::try_from(value).ok();
        (longest < (1 << 31) - PITCH as usize && taps < 1 << 16).then_some(Self {
            batch: number(batch)?,
            channels: number(channels)?,
            height: number(plane.height)?,
            width: number(plane.width)?,
            kernel: number(window.kernel)?,
            stride: number(window.stride)?,
            padding: number(window.padding)?,
            rows: number(plane.rows)?,
            columns: number(plane.columns)?,
        })
    }

    /// Values under the window, over all channels.
    pub(super) fn taps(self) -> u32 {
        self.channels * self.kernel * self.kernel
    }

    /// Images.
    pub(super) fn batch(self) -> u32 {
        self.batch
    }

    /// Channels of the input.
    pub(super) fn channels(self) -> u32 {
        self.channels
    }

    /// Positions of the window in the whole batch.
    pub(super) fn positions(self) -> u32 {
        self.batch * self.rows * self.columns
    }

    /// Place of input planes that follow each other image by image, the channels of each together.
    pub(super) fn images(self) -> Place {
        let plane = self.height as usize * self.width as usize;
        Place { of_channel: plane, of_image: self.channels as usize * plane }
    }

    /// Place of the planes of the window's positions in a matrix.
    pub(super) fn matrix(self) -> Place {
        Place { of_channel: pitch(self.positions()) as usize, of_image: self.rows as usize * self.columns as usize }
    }

    /// The program of kernels for this window of a convolution.
    pub(super) fn window_program(self, stored: Stored) -> Program {
        Program { file: &WINDOW, constants: self.constants(stored) }
    }

    /// The program of kernels for this window of a pooling.
    pub(super) fn pool_program(self, stored: Stored) -> Program {
        Program { file: &POOL, constants: self.constants(stored) }
    }

    fn constants(self, stored: Stored) -> Vec<(&'static str, u32)> {
        vec![
            ("STORED", stored.number()),
            ("HEIGHT", self.height),
            ("WIDTH", self.width),
            ("KERNEL", self.kernel),
            ("STRIDE", self.stride),
            ("PADDING", self.padding),
            ("ROWS", self.rows),
            ("COLUMNS", self.columns),
        ]
    }

    /// Values of one channel of the whole batch, before the window.
    fn inputs(self) -> u32 {
        self.batch * self.height * self.width
    }
}

/// Values from one row of a matrix to the next.
pub(super) fn pitch(columns: u32) -> u32 {
    columns.next_multiple_of(PITCH)
}

/// Place of planes: the distance from one channel, and from one image, to the next. `Place` of the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Place {
    pub(super) of_channel: usize,
    pub(super) of_image: usize,
}

// SAFETY: plain numbers, laid out as the struct of the same name in `stored.cuh`.
unsafe impl DeviceRepr for Place {}

/// Blocks of which each leaves a sum.
const SUMS: u32 = 64;
/// Turns that each of their threads makes at least, where there is work for more than one block.
const TURNS: u32 = 4;

/// The sums that the backward pass of `count` values of a channel leaves.
pub(super) fn sums(stored: Stored, count: u32) -> u32 {
    count.div_ceil(stored.vector() * TURNS * THREADS).clamp(1, SUMS)
}

/// One matrix of a product, row-major.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor {
    pub(super) values: Address,
    /// Values from one row to the next.
    pub(super) pitch: u32,
    /// Whether it is the transposed matrix that is multiplied.
    pub(super) transposed: bool,
}

impl Factor {
    /// The matrix from a row of memory on.
    fn at_row(self, row: u32, stored: Stored) -> Self {
        Self { values: self.values + row_start(row, self.pitch, stored), ..self }
    }
}

/// The result of a product, row-major.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) values: Address,
    /// Values from one row to the next.
    pub(super) pitch: u32,
    pub(super) stored: Stored,
    /// Whether it is added to what is there.
    pub(super) added: bool,
}

impl Target {
    /// The matrix from a row on.
    fn at_row(self, row: u32) -> Self {
        Self { values: self.values + row_start(row, self.pitch, self.stored), ..self }
    }
}

/// Bytes before a row of a matrix.
fn row_start(row: u32, pitch: u32, stored: Stored) -> u64 {
    u64::from(row) * u64::from(pitch) * stored.bytes() as u64
}

/// The kernels of one stage of a tower.
#[derive(Debug, Clone)]
pub(super) struct Kernels {
    pub(super) stored: Stored,
    pub(super) window: Module,
    pub(super) pool: Option<Module>,
    pub(super) maps: Module,
}

impl Kernels {
    /// # Safety
    /// `input` holds the planes of the window's channels, which lie as `from` says, and `unfolded` taps × pitch factors.
    pub(super) unsafe fn unfold(
        &self,
        engine: &Engine,
        sizes: Sizes,
        from: Place,
        [input, unfolded]: [Address; 2],
    ) -> Result<(), DriverError> {
        let blocks = blocks(sizes.positions().div_ceil(self.stored.vector()));
        let parameters = (sizes.batch, from, pitch(sizes.positions()), input, unfolded);
        // SAFETY: the kernel's parameters; the caller answers for the addresses.
        unsafe { engine.launch_of(&self.window, "tower_unfold", (blocks, sizes.channels * sizes.kernel), parameters) }
    }

    /// # Safety
    /// `unfolded` holds taps × pitch factors, and `input` has room for the planes of the window's channels, which lie as `to`
    /// says, and values there where the result is `added` to them; `largest` is that of the gradients where they are scaled.
    pub(super) unsafe fn fold(
        &self,
        engine: &Engine,
        sizes: Sizes,
        (to, added): (Place, bool),
        [largest, unfolded, input]: [Address; 3],
    ) -> Result<(), DriverError> {
        let parameters = (sizes.batch, pitch(sizes.positions()), to, u32::from(added), largest, unfolded, input);
        // SAFETY: the kernel's parameters; the caller answers for the addresses.
        unsafe { engine.launch_of(&self.window, "tower_fold", (blocks(sizes.inputs()), sizes.channels), parameters) }
    }

    /// # Safety
    /// `bias` holds `channels` values, `maps` channels × pitch.
    pub(super) unsafe fn bias_relu(
        &self,
        engine: &Engine,
        (channels, count): (u32, u32),
        [bias, maps]: [Address; 2],
    ) -> Result<(), DriverError> {
        let parameters = (count, pitch(count), bias, maps);
        // SAFETY: the kernel's parameters; the caller answers for the addresses.
        unsafe { engine.launch_of(&self.maps, "tower_bias_relu", (blocks(count), channels), parameters) }
    }

    /// # Safety
    /// `maps`, `gradient` and `map_gradient` hold channels × pitch values, the last one of them factors, and `partial` as many as
    /// [`sums`] for each channel; `largest` is that of the gradients where they are scaled.
    pub(super) unsafe fn relu_backward(
        &self,
        engine: &Engine,
        (channels, count): (u32, u32),
        [maps, gradient, largest, map_gradient, partial]: [Address; 5],
    ) -> Result<(), DriverError> {
        let grid = (sums(self.stored, count), channels);
        let parameters = (count, pitch(count), maps, gradient, largest, map_gradient, partial);
        // SAFETY: the kernel's parameters; the caller answers for the addresses.
        unsafe { engine.launch_of(&self.maps, "tower_relu_backward", grid, parameters) }
    }

    /// # Safety
    /// `bias` holds `channels` values, `maps` channels × pitch, `choices` channels × positions, and `pooled` has room for
    /// planes of positions, which lie as `to` says.
    pub(super) unsafe fn bias_relu_pool(
        &self,
        engine: &Engine,
        (sizes, to): (Sizes, Place),
        [bias, maps, pooled, choices]: [Address; 4],
    ) -> Result<(), DriverError> {
        let grid = (blocks(sizes.positions()), sizes.channels);
        let parameters = (sizes.batch, pitch(sizes.inputs()), to, bias, maps, pooled, choices);
        // SAFETY: the kernel's parameters; the caller answers for the addresses.
        unsafe { engine.launch_of(self.pool()?, "tower_bias_relu_pool", grid, parameters) }
    }

    /// # Safety
    /// `map_gradient` holds channels × pitch factors, `pooled`, `choices` and `gradient` are as in [`Kernels::bias_relu_pool`],
    /// and `partial` holds as many as [`sums`] for each channel; `largest` is that of the gradients where they are scaled.
    pub(super) unsafe fn pool_relu_backward(
        &self,
        engine: &Engine,
        (sizes, from): (Sizes, Place),
        [pooled, choices, gradient, largest, map_gradient, partial]: [Address; 6],
    ) -> Result<(), DriverError> {
        let grid = (sums(self.stored, sizes.inputs()), sizes.channels);
        let parameters =
            (sizes.batch, pitch(sizes.inputs()), from, pooled, choices, gradient, largest, map_gradient, partial);
        // SAFETY: the kernel's parameters; the caller answers for the addresses.
        unsafe { engine.launch_of(self.pool()?, "tower_pool_relu_backward", grid, parameters) }
    }

    /// # Safety
    /// `matrix` holds rows × pitch values, and `largest` a number.
    pub(super) unsafe fn largest(
        &self,
        engine: &Engine,
        (rows, columns, pitch): (u32, u32, u32),
        [matrix, largest]: [Address; 2],
    ) -> Result<(), DriverError> {
        let grid = (sums(Stored::F32, columns), rows.min(ROWS));
        // SAFETY: the kernel's parameters; the caller answers for the addresses.
        unsafe { engine.launch_of(&self.maps, "tower_largest", grid, (rows, columns, pitch, matrix, largest)) }
    }

    /// # Safety
    /// `product` and `target` hold `count` values; `largest` is that of the gradients, which are scaled.
    pub(super) unsafe fn add(
        &self,
        engine: &Engine,
        count: u32,
        [largest, product, target]: [Address; 3],
    ) -> Result<(), DriverError> {
        let parameters = (count, largest, product, target);
        // SAFETY: the kernel's parameters; the caller answers for the addresses.
        unsafe { engine.launch_of(&self.maps, "tower_add", (blocks(count), 1), parameters) }
    }

    /// # Safety
    /// `partial` holds channels × parts values, `bias` `channels`.
    pub(super) unsafe fn bias_gradient(
        &self,
        engine: &Engine,
        (channels, parts): (u32, u32),
        [partial, bias]: [Address; 2],
    ) -> Result<(), DriverError> {
        let parameters = (channels, parts, partial, bias);
        // SAFETY: the kernel's parameters; the caller answers for the addresses.
        unsafe { engine.launch_of(&self.maps, "tower_bias_gradient", (blocks(channels), 1), parameters) }
    }

    /// # Safety
    /// `matrix` holds rows × columns values, `factors` rows × pitch.
    pub(super) unsafe fn factors(
        &self,
        engine: &Engine,
        (rows, columns): (u32, u32),
        [matrix, factors]: [Address; 2],
    ) -> Result<(), DriverError> {
        let grid = (blocks(columns), rows.min(ROWS));
        let parameters = (rows, columns, pitch(columns), matrix, factors);
        // SAFETY: the kernel's parameters; the caller answers for the addresses.
        unsafe { engine.launch_of(&self.maps, "tower_factors", grid, parameters) }
    }

    /// [`Kernels::product`] for each group, whose matrices follow each other in memory, row by row. The sizes are those of one group.
    ///
    /// # Safety
    /// All three hold as many values as these sizes and the number of groups say.
    pub(super) unsafe fn products(
        &self,
        engine: &Engine,
        groups: u32,
        sizes: (u32, u32, u32),
        factors: [Factor; 2],
        target: Target,
    ) -> Result<(), CublasError> {
        let (rows, depth, columns) = sizes;
        let [left, right] = factors;
        let left_rows = if left.transposed { depth } else { rows };
        let right_rows = if right.transposed { columns } else { depth };
        for group in 0..groups {
            let factors =
                [(left, left_rows), (right, right_rows)].map(|(factor, rows)| factor.at_row(group * rows, self.stored));
            // SAFETY: the caller's promise.
            unsafe { self.product(engine, sizes, factors, target.at_row(group * rows)) }?;
        }
        Ok(())
    }

    /// `target = left · right`, where the product is rows × columns and sums `depth` products, as the engine multiplies
    /// convolutions.
    ///
    /// # Safety
    /// All three hold as many values as these sizes say.
    unsafe fn product(
        &self,
        engine: &Engine,
        (rows, depth, columns): (u32, u32, u32),
        [left, right]: [Factor; 2],
        target: Target,
    ) -> Result<(), CublasError> {
        // cuBLAS' matrices are column-major: it takes each of ours for its transposed, and computes targetᵀ = rightᵀ · leftᵀ.
        let operation = |factor: Factor| u32::from(factor.transposed);
        let size =
            |value: u32| c_int::try_from(value).map_err(|_| CublasError(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE));
        let (one, keep) = (1.0_f32, f32::from(u8::from(target.added)));
        let compute = match self.stored {
            Stored::F32 => cublas::compute_type(engine.convolutions),
            // The factors are rounded already, and their sums are `f32`.
            Stored::Bf16 | Stored::F16 => cublas::compute_type(Products::F32),
        };
        let factors = self.stored.data_type();
        let _span = timing::product("products of convolutions", engine.blas.handle().cast());
        // SAFETY: the handle is this engine's, the sizes are those of the matrices, which the caller answers for.
        let status = unsafe {
            cublas::cublasGemmEx(
                engine.blas.handle().cast(),
                operation(right),
                operation(left),
                size(columns)?,
                size(rows)?,
                size(depth)?,
                (&raw const one).cast(),
                right.values as *const _,
                factors,
                size(right.pitch)?,
                left.values as *const _,
                factors,
                size(left.pitch)?,
                (&raw const keep).cast(),
                target.values as *mut _,
                target.stored.data_type(),
                size(target.pitch)?,
                compute,
                cublas::GEMM_DEFAULT,
            )
        };
        if status == 0 { Ok(()) } else { Err(CublasError(cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED)) }
    }

    fn pool(&self) -> Result<&Module, DriverError> {
        self.pool.as_ref().ok_or(DriverError(cudarc::driver::sys::CUresult::CUDA_ERROR_NOT_FOUND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Window;

    #[test]
    fn sizes_that_cannot_be_numbered_are_refused() {
        let plane = Plane::new(224, 224, Window { kernel: 11, stride: 4, padding: 1 });
        let sizes = Sizes::new(256, 1, plane).unwrap();
        assert_eq!((sizes.taps(), sizes.inputs(), sizes.positions()), (121, 256 * 224 * 224, 256 * 54 * 54));
        assert!(Sizes::new(42_799, 1, plane).is_some()); // (2³¹ − 8) / 224² = 42,799.02
        assert!(Sizes::new(42_800, 1, plane).is_none());
        assert!(Sizes::new(1, 542, plane).is_none()); // 65,582 taps
        assert!(Sizes::new(usize::MAX, 1, plane).is_none());
    }

    #[test]
    fn a_window_is_told_to_the_compiler() {
        let plane = Plane::new(26, 27, Window { kernel: 5, stride: 1, padding: 2 });
        let sizes = Sizes::new(3, 96, plane).unwrap();
        assert_eq!(
            sizes.window_program(Stored::Bf16).key(),
            "window STORED=1 HEIGHT=26 WIDTH=27 KERNEL=5 STRIDE=1 PADDING=2 ROWS=26 COLUMNS=27"
        );
        assert_eq!(sizes.images(), Place { of_channel: 702, of_image: 96 * 702 });
        assert_eq!(sizes.matrix(), Place { of_channel: 2112, of_image: 702 }); // 3 · 702 = 2106
    }

    #[test]
    fn sums_are_few_and_enough() {
        assert_eq!([1, 4096, 4097].map(|count| sums(Stored::F32, count)), [1, 1, 2]);
        assert_eq!(sums(Stored::Bf16, 1 << 30), SUMS);
    }
}
