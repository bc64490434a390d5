//! Kernels of the packed network: the inner loops, once for every kind of CPU, and the choice between them.
//!
//! ```text
//! generic   gemm, Winograd transforms, pooling: written once over `Vector`
//!    │
//! scalar (any CPU)   x86_64 (AVX2, AVX-512)   aarch64 (NEON): thin wrappers with the CPU's instructions
//!    │
//! Kernels   a table of functions, had from `Backend::kernels` only where the CPU has the instructions
//! ```
//!
//! All unsafe code of the packed network is in this module. What a kernel reads and writes is described by a struct of
//! slices and sizes ([`Gemm`], [`InputTile`], [`OutputTiles`], [`PoolRow`]) that is checked once a call, so that the methods of
//! [`Kernels`] are safe: where the sizes do not hold, nothing is computed.

#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod f16;
mod generic;
mod line;
#[cfg(target_has_atomic = "ptr")]
mod parallel;
mod toom_cook;
#[cfg(feature = "training")]
pub mod training;
#[cfg(feature = "training")]
pub(crate) mod transforms;
mod vector;
#[cfg(feature = "training")]
mod winners;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(test)]
mod tests;

pub use f16::F16;
pub use line::Line;
pub use line::{Number, numbers, numbers_mut};
#[cfg(target_has_atomic = "ptr")]
pub use parallel::{Parallel, Serial, for_each_chunk};
pub use toom_cook::Winograd;

use core::fmt;
use vector::Portable;

/// Output channels that are computed together and whose weights lie together: the same on every CPU, so that packed
/// weights can be used on all of them.
pub const BLOCK: usize = 32;

/// Floats left free behind each plane of a transformed tile, and each plane of products: without them, planes would lie a
/// power of two apart and compete for the same places of the cache.
pub const PAD: usize = 16;

/// A kernel was given memory that does not fit its sizes, and computed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit;

/// `C[o][r][l] = Σ over k of A[r][k] · W[o][k][l]` for every block `o` of 32 outputs `l`, and every row `r`.
#[derive(Debug)]
pub struct Gemm<'a, W> {
    /// `A`: rows of `depth` values, `stride` apart.
    pub a: &'a [f32],
    /// From one row of `A` to the next.
    pub stride: usize,
    /// `W`: `[blocks][depth][32]`; their length says how many blocks there are.
    pub weights: &'a [W],
    /// Terms of each sum.
    pub depth: usize,
    /// Rows of `A`, at least one.
    pub rows: usize,
    /// `C`: `[blocks][rows][32]`
    pub c: &'a mut [f32],
}

impl<W> Gemm<'_, W> {
    /// Whether `A` holds all rows, `W` whole blocks, and `C` as many.
    fn fits(&self) -> bool {
        let needed = self.rows.checked_sub(1).and_then(|last| last.checked_mul(self.stride)?.checked_add(self.depth));
        let block = self.depth.checked_mul(BLOCK).filter(|block| *block > 0);
        let whole = block.filter(|block| self.weights.len().is_multiple_of(*block));
        let results =
            whole.and_then(|block| self.weights.len().checked_div(block)?.checked_mul(self.rows.checked_mul(BLOCK)?));
        results.is_some_and(|results| results <= self.c.len()) && needed.is_some_and(|needed| needed <= self.a.len())
    }
}

/// One tile of a Winograd convolution's input, all channels: `V = Bᵀ·d·B`.
#[derive(Debug)]
pub struct InputTile<'a> {
    /// `[height][width][channels]`
    pub image: &'a [f32],
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// A multiple of 16, at most [`MAX_CHANNELS`](Self::MAX_CHANNELS).
    pub channels: usize,
    /// The tile's first row, which may lie outside of the image, where values are zero.
    pub top: isize,
    /// The tile's first column.
    pub left: isize,
    /// `[N][N][channels + PAD]`
    pub output: &'a mut [f32],
}

impl InputTile<'_> {
    /// The most channels of an image.
    pub const MAX_CHANNELS: usize = 1024;

    fn fits(&self, n: usize) -> bool {
        let image = self.height.checked_mul(self.width).and_then(|pixels| pixels.checked_mul(self.channels));
        let far = self.top.unsigned_abs().max(self.left.unsigned_abs()) > u32::MAX as usize / 4;
        self.channels.is_multiple_of(16)
            && self.channels <= Self::MAX_CHANNELS
            && !far
            && image == Some(self.image.len())
            && self.output.len() >= n * n * (self.channels + PAD)
    }
}

/// One row of tiles of a Winograd convolution's output, all channels: `Y = max(Aᵀ·m·A + b, 0)`.
#[derive(Debug)]
pub struct OutputTiles<'a> {
    /// `[N][N][channels / 32][tiles][32]`, `plane` from one of the N·N to the next.
    pub products: &'a [f32],
    /// At least `channels · tiles`.
    pub plane: usize,
    /// Tiles in each plane.
    pub tiles: usize,
    /// The first one of this row.
    pub first: usize,
    /// One value a channel, a multiple of 32 of them.
    pub bias: &'a [f32],
    /// Columns of the output; the row has as many tiles as they need.
    pub width: usize,
    /// `[M][width][channels]`
    pub output: &'a mut [f32],
}

impl OutputTiles<'_> {
    fn fits(&self, m: usize, n: usize) -> bool {
        let channels = self.bias.len();
        let last = self.first.checked_add(self.width.div_ceil(m));
        let values = channels.checked_mul(self.tiles);
        let products =
            self.plane.checked_mul(n * n - 1).zip(values).and_then(|(planes, last)| planes.checked_add(last));
        let output = channels.checked_mul(self.width).and_then(|row| row.checked_mul(m));
        channels.is_multiple_of(BLOCK)
            && last.is_some_and(|last| last <= self.tiles)
            && values.is_some_and(|values| values <= self.plane)
            && products.is_some_and(|products| products <= self.products.len())
            && output == Some(self.output.len())
    }
}

/// One row of outputs of a max pool, all channels.
#[derive(Debug)]
pub struct PoolRow<'a> {
    /// `[kernel][width][channels]`
    pub input: &'a [f32],
    /// Columns of the input.
    pub width: usize,
    /// A multiple of 16.
    pub channels: usize,
    /// Rows and columns of a window.
    pub kernel: usize,
    /// Columns from one window to the next.
    pub stride: usize,
    /// `[columns][channels]` with `(columns − 1)·stride + kernel <= width`.
    pub output: &'a mut [f32],
}

impl PoolRow<'_> {
    fn fits(&self) -> bool {
        let input = self.width.checked_mul(self.channels).and_then(|row| row.checked_mul(self.kernel));
        let columns = self.output.len().checked_div(self.channels).unwrap_or_default();
        let last = columns.checked_sub(1).map(|last| last.checked_mul(self.stride)?.checked_add(self.kernel));
        self.channels > 0
            && self.channels.is_multiple_of(16)
            && self.kernel > 0
            && self.output.len().is_multiple_of(self.channels)
            && input.is_some_and(|input| input <= self.input.len())
            && last.is_none_or(|last| last.is_some_and(|last| last <= self.width))
    }
}

/// One row of outputs of a direct convolution, all channels: `y = max(Σ w·x + b, 0)`.
///
/// A window is `kernel` rows of `segments` runs of `segment` values.
#[derive(Debug)]
pub struct ConvRow<'a> {
    /// The image, from the first window's first value on.
    pub input: &'a [f32],
    /// Rows of a window.
    pub kernel: usize,
    /// Floats from one row of the image to the next.
    pub row: usize,
    /// Runs of a row of a window.
    pub segments: usize,
    /// Floats from one run to the next.
    pub between: usize,
    /// Values of a run.
    pub segment: usize,
    /// Floats from one window to the next.
    pub step: usize,
    /// `[outputs / 32][values of a window][32]`
    pub weights: &'a [f32],
    /// A multiple of 32.
    pub bias: &'a [f32],
    /// Positions of the output.
    pub columns: usize,
    /// Floats from one position of the output to the next, a multiple of 16: the channels that are stored.
    pub pixel: usize,
    /// `[columns][pixel]`
    pub output: &'a mut [f32],
}

impl ConvRow<'_> {
    fn fits(&self) -> bool {
        // From the first value of the first window to the last one of the last.
        let span = |count: usize, distance: usize| count.checked_sub(1)?.checked_mul(distance);
        let needed = || {
            let rows = span(self.kernel, self.row)?;
            let windows = span(self.columns, self.step)?;
            span(self.segments, self.between)?.checked_add(self.segment)?.checked_add(rows)?.checked_add(windows)
        };
        let depth = self.kernel.checked_mul(self.segments).and_then(|runs| runs.checked_mul(self.segment));
        let weights = depth.and_then(|depth| depth.checked_mul(self.bias.len()));
        self.bias.len().is_multiple_of(BLOCK)
            && self.pixel > 0
            && self.pixel.is_multiple_of(BLOCK / 2)
            && self.pixel.next_multiple_of(BLOCK) == self.bias.len()
            && weights == Some(self.weights.len())
            && self.columns.checked_mul(self.pixel) == Some(self.output.len())
            && needed().is_some_and(|needed| needed <= self.input.len())
    }
}

/// Sizes of Winograd convolution for which there are transforms: F(M×M, R×R).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the sizes")]
pub enum Tile {
    F2x3,
    F3x3,
    F4x3,
    F6x3,
    F4x5,
    F5x5,
}

impl Tile {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 6] = [Self::F2x3, Self::F3x3, Self::F4x3, Self::F6x3, Self::F4x5, Self::F5x5];

    /// Rows and columns of outputs.
    pub const fn outputs(self) -> usize {
        match self {
            Self::F2x3 => 2,
            Self::F3x3 => 3,
            Self::F4x3 | Self::F4x5 => 4,
            Self::F5x5 => 5,
            Self::F6x3 => 6,
        }
    }

    /// Rows and columns of the filter.
    pub const fn taps(self) -> usize {
        match self {
            Self::F2x3 | Self::F3x3 | Self::F4x3 | Self::F6x3 => 3,
            Self::F4x5 | Self::F5x5 => 5,
        }
    }

    /// Rows and columns of inputs.
    pub const fn inputs(self) -> usize {
        self.outputs() + self.taps() - 1
    }

    /// Root mean square error of a convolution's outputs, relative to that of the outputs, for inputs as after a ReLU: what
    /// tests hold it to. A direct convolution in f32 has about 5e-7.
    pub const fn error(self) -> f64 {
        match self {
            Self::F2x3 => 4e-7,
            Self::F3x3 => 7e-7,
            Self::F4x3 => 1.2e-6,
            Self::F4x5 => 5e-6,
            Self::F6x3 => 6e-6,
            Self::F5x5 => 1e-5,
        }
    }

    /// Multiplications a tile and pair of channels, and planes of products.
    pub const fn planes(self) -> usize {
        self.inputs() * self.inputs()
    }
}

/// The functions of a backend. To have a reference to one is the proof that the CPU has its instructions.
pub struct Kernels {
    backend: Backend,
    gemm: unsafe fn(Gemm<'_, f32>),
    gemm_f16: unsafe fn(Gemm<'_, F16>),
    input: [unsafe fn(InputTile<'_>); Tile::ALL.len()],
    output: [unsafe fn(OutputTiles<'_>); Tile::ALL.len()],
    direct: unsafe fn(ConvRow<'_>),
    max_pool: unsafe fn(PoolRow<'_>),
    multiply_adds: unsafe fn(usize) -> u64,
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernels").field(&self.backend).finish()
    }
}

impl Kernels {
    /// The backend whose functions these are.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// A matrix product.
    pub fn gemm(&self, product: Gemm<'_, f32>) -> Result<(), Misfit> {
        if !product.fits() {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.gemm)(product) };
        Ok(())
    }

    /// A matrix product with half-width weights.
    pub fn gemm_f16(&self, product: Gemm<'_, F16>) -> Result<(), Misfit> {
        if !product.fits() {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.gemm_f16)(product) };
        Ok(())
    }

    /// Transforms a tile of inputs.
    pub fn input(&self, size: Tile, tile: InputTile<'_>) -> Result<(), Misfit> {
        if !tile.fits(size.inputs()) {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.input[size as usize])(tile) };
        Ok(())
    }

    /// Transforms a row of tiles of products to outputs.
    pub fn output(&self, size: Tile, tiles: OutputTiles<'_>) -> Result<(), Misfit> {
        if !tiles.fits(size.outputs(), size.inputs()) {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.output[size as usize])(tiles) };
        Ok(())
    }

    /// A row of a direct convolution.
    pub fn direct(&self, row: ConvRow<'_>) -> Result<(), Misfit> {
        if !row.fits() {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.direct)(row) };
        Ok(())
    }

    /// A row of a max pool.
    pub fn max_pool(&self, row: PoolRow<'_>) -> Result<(), Misfit> {
        if !row.fits() {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.max_pool)(row) };
        Ok(())
    }
}

/// Makes a module of the generic kernels, compiled for the instructions named: `KERNELS` is their table.
macro_rules! kernels {
    ($name:ident: $backend:ident, $vector:ty, registers: $registers:literal, rows: $rows:literal $(, $features:literal)?) => {
        mod $name {
            use super::*;
            use $crate::generic::{direct, gemm, peak, pool, winograd};
            use $crate::{Backend, ConvRow, F16, Gemm, InputTile, Kernels, OutputTiles, PoolRow};

            $(#[target_feature(enable = $features)])?
            unsafe fn gemm_f32(product: Gemm<'_, f32>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { gemm::gemm::<$vector, f32, $registers, $rows, { $crate::BLOCK / <$vector as $crate::vector::Vector>::LANES }>(product) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn gemm_f16(product: Gemm<'_, F16>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { gemm::gemm::<$vector, F16, $registers, $rows, { $crate::BLOCK / <$vector as $crate::vector::Vector>::LANES }>(product) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn input<const M: usize, const R: usize, const N: usize>(tile: InputTile<'_>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { winograd::input::<$vector, M, R, N>(tile) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn output<const M: usize, const R: usize, const N: usize>(tiles: OutputTiles<'_>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { winograd::output::<$vector, M, R, N>(tiles) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn conv_row(row: ConvRow<'_>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { direct::row::<$vector, $registers, { $crate::BLOCK / 2 / <$vector as $crate::vector::Vector>::LANES }, $rows>(row) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn max_pool(row: PoolRow<'_>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { pool::max_pool::<$vector>(row) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn multiply_adds(rounds: usize) -> u64 {
                // SAFETY: the caller has the instructions.
                unsafe { peak::multiply_adds::<$vector>(rounds) }
            }

            pub(super) const KERNELS: Kernels = Kernels {
                backend: Backend::$backend,
                gemm: gemm_f32,
                gemm_f16,
                input: [input::<2, 3, 4>, input::<3, 3, 5>, input::<4, 3, 6>, input::<6, 3, 8>, input::<4, 5, 8>, input::<5, 5, 9>],
                output: [output::<2, 3, 4>, output::<3, 3, 5>, output::<4, 3, 6>, output::<6, 3, 8>, output::<4, 5, 8>, output::<5, 5, 9>],
                direct: conv_row,
                max_pool,
                multiply_adds,
            };
        }
    };
}
#[allow(unused_imports, reason = "a CPU without vector instructions has no other file that uses it")]
use kernels;

kernels!(scalar: Scalar, Portable<4>, registers: 8, rows: 1);
static SCALAR: Kernels = scalar::KERNELS;

/// The instructions that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Those that every CPU of the target has: plain Rust.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C: Intel since Haswell (2013), AMD since Excavator (2015).
    Avx2,
    /// x86-64 with AVX-512 F as well.
    Avx512,
    /// aarch64 with NEON: all of them.
    Neon,
}

impl Backend {
    /// All of them, the fastest first. Most machines have only some.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Scalar];

    /// Whether this CPU has the instructions.
    #[must_use]
    pub fn available(self) -> bool {
        self.kernels().is_some()
    }

    /// The fastest one that is available.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|backend| backend.available()).unwrap_or(Self::Scalar)
    }

    /// Does multiply-adds in registers, without memory, and returns how many: at least `least`. How long they take says what
    /// this CPU can do at most with these instructions. `None` where it does not have them.
    #[must_use]
    pub fn multiply_adds(self, least: u32) -> Option<u64> {
        // As in `kernels`: a reference is the proof that the CPU has the instructions.
        let kernels = self.kernels()?;
        // SAFETY: the CPU has the instructions.
        Some(unsafe { (kernels.multiply_adds)(least as usize / 16) })
    }

    /// Its functions, where the CPU has the instructions.
    pub fn kernels(self) -> Option<&'static Kernels> {
        match self {
            Self::Scalar => Some(&SCALAR),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86_64::detect().avx2.then_some(&x86_64::AVX2),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86_64::detect().avx512.then_some(&x86_64::AVX512),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Some(&aarch64::NEON),
            _ => None,
        }
    }
}

/// As `avx2`.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        })
    }
}
