//! The kernels of a backend as a table of functions, safe to call, and the macro that makes the tables.

use crate::backend::Backend;
use crate::direct::ConvRow;
use crate::f16::F16;
use crate::gemm::Gemm;
use crate::layout::Misfit;
use crate::max_pool::PoolRow;
use crate::norm::NormRow;
use crate::winograd::forward::{InputTile, OutputTiles};
use crate::winograd::tile::Tile;
use core::fmt;

/// The functions of a backend. To have a reference to one is the proof that the CPU has its instructions.
pub struct Kernels {
    pub(crate) backend: Backend,
    pub(crate) gemm: unsafe fn(Gemm<'_, f32>),
    pub(crate) gemm_f16: unsafe fn(Gemm<'_, F16>),
    pub(crate) input: [unsafe fn(InputTile<'_>); Tile::ALL.len()],
    pub(crate) output: [unsafe fn(OutputTiles<'_>); Tile::ALL.len()],
    pub(crate) direct: unsafe fn(ConvRow<'_>),
    pub(crate) max_pool: unsafe fn(PoolRow<'_>),
    pub(crate) norm: unsafe fn(NormRow<'_>),
    pub(crate) multiply_adds: unsafe fn(usize) -> u64,
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernels").field(&self.backend).finish()
    }
}

impl Kernels {
    /// The backend whose functions these are.
    #[must_use]
    #[inline]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// A matrix product.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn gemm(&self, product: Gemm<'_, f32>) -> Result<(), Misfit> {
        if !product.fits() {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.gemm)(product) };
        Ok(())
    }

    /// A matrix product with half-width weights.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn gemm_f16(&self, product: Gemm<'_, F16>) -> Result<(), Misfit> {
        if !product.fits() {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.gemm_f16)(product) };
        Ok(())
    }

    /// Transforms a tile of inputs.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn input(&self, size: Tile, tile: InputTile<'_>) -> Result<(), Misfit> {
        if !tile.fits(size.inputs()) {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.input[size as usize])(tile) };
        Ok(())
    }

    /// Transforms a row of tiles of products to outputs.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn output(&self, size: Tile, tiles: OutputTiles<'_>) -> Result<(), Misfit> {
        if !tiles.fits(size.outputs(), size.inputs()) {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.output[size as usize])(tiles) };
        Ok(())
    }

    /// A row of a direct convolution.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn direct(&self, row: ConvRow<'_>) -> Result<(), Misfit> {
        if !row.fits() {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.direct)(row) };
        Ok(())
    }

    /// A row of a max pool.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn max_pool(&self, row: PoolRow<'_>) -> Result<(), Misfit> {
        if !row.fits() {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.max_pool)(row) };
        Ok(())
    }

    /// Local response normalisation of some positions.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn norm(&self, row: NormRow<'_>) -> Result<(), Misfit> {
        if !row.fits() {
            return Err(Misfit);
        }
        // SAFETY: the CPU has the instructions.
        unsafe { (self.norm)(row) };
        Ok(())
    }
}

/// Functions of generic kernels, compiled for the instructions named.
macro_rules! compiled {
    ($features:tt $(fn $name:ident $([$($n:ident),*])? ($($arg:ident: $type:ty),*) $(-> $result:ty)? = $kernel:path;)*) => {
        $($crate::table::compiled!(@ $features $name [$($($n),*)?] ($($arg: $type),*) [$($result)?] $kernel);)*
    };
    (@ [$($features:literal)?] $name:ident [$($n:ident),*] ($($arg:ident: $type:ty),*) [$($result:ty)?] $kernel:path) => {
        $(#[target_feature(enable = $features)])?
        unsafe fn $name<$(const $n: usize),*>($($arg: $type),*) $(-> $result)? {
            // SAFETY: the caller checked the sizes and has the instructions.
            unsafe { $kernel($($arg),*) }
        }
    };
}
pub(crate) use compiled;

/// Makes a module of the generic kernels, compiled for the instructions named: `KERNELS` is their table, and `TRAINING` that of
/// those which only training needs.
macro_rules! kernels {
    ($name:ident: $backend:ident, $vector:ty, registers: $registers:literal, rows: $rows:literal $(, $features:literal)?) => {
        mod $name {
            use super::*;
            use $crate::backend::Backend;
            use $crate::direct::{self, ConvRow};
            use $crate::f16::F16;
            use $crate::gemm::{self, Gemm};
            use $crate::layout::{BLOCK, LANES};
            use $crate::max_pool::{self, PoolRow};
            use $crate::norm::{self, NormRow};
            use $crate::peak;
            use $crate::table::{Kernels, compiled};
            use $crate::vector::Vector;
            use $crate::winograd::forward::{self, InputTile, OutputTiles};
            use $crate::winograd::tile::for_each_tile;

            compiled! { [$($features)?]
                fn gemm_f32(product: Gemm<'_, f32>)
                    = gemm::gemm::<$vector, f32, $registers, $rows, { BLOCK / <$vector as Vector>::LANES }>;
                fn gemm_f16(product: Gemm<'_, F16>)
                    = gemm::gemm::<$vector, F16, $registers, $rows, { BLOCK / <$vector as Vector>::LANES }>;
                fn input[M, R, N](tile: InputTile<'_>) = forward::input::<$vector, M, R, N>;
                fn output[M, R, N](tiles: OutputTiles<'_>) = forward::output::<$vector, M, R, N>;
                fn conv_row(row: ConvRow<'_>)
                    = direct::row::<$vector, $registers, { LANES / <$vector as Vector>::LANES }, $rows>;
                fn max_pool(row: PoolRow<'_>) = max_pool::max_pool::<$vector>;
                fn norm(row: NormRow<'_>) = norm::norm;
                fn multiply_adds(rounds: usize) -> u64 = peak::multiply_adds::<$vector>;
            }

            pub(super) const KERNELS: Kernels = Kernels {
                backend: Backend::$backend,
                gemm: gemm_f32,
                gemm_f16,
                input: for_each_tile!(input),
                output: for_each_tile!(output),
                direct: conv_row,
                max_pool,
                norm,
                multiply_adds,
            };

            #[cfg(feature = "training")]
            pub(super) use for_training::TRAINING;

            #[cfg(feature = "training")]
            mod for_training {
                use super::*;
                use $crate::training::{MaxPool, MaxPoolGradient, Planes, PlanesMut, TrainingKernels, max_pool, transforms};
                use $crate::winograd::image_tile::ImageTile;

                compiled! { [$($features)?]
                    fn input[M, R, N](from: ImageTile<&[f32]>, to: PlanesMut<'_, '_>)
                        = transforms::input::<$vector, M, R, N>;
                    fn input_transposed[M, R, N](from: Planes<'_>, to: ImageTile<&mut [f32]>)
                        = transforms::input_transposed::<$vector, M, R, N>;
                    fn output[M, R, N](from: Planes<'_>, bias: &[f32], relu: bool, to: ImageTile<&mut [f32]>)
                        = transforms::output::<$vector, M, R, N>;
                    fn output_transposed[M, R, N](from: ImageTile<&[f32]>, to: PlanesMut<'_, '_>)
                        = transforms::output_transposed::<$vector, M, R, N>;
                    fn filter[M, R, N](from: Planes<'_>, to: PlanesMut<'_, '_>, count: usize)
                        = transforms::filter::<$vector, M, R, N>;
                    fn filter_transposed[M, R, N](from: Planes<'_>, to: PlanesMut<'_, '_>, count: usize)
                        = transforms::filter_transposed::<$vector, M, R, N>;
                    fn pool(call: MaxPool<'_>) = max_pool::max_pool;
                    fn pool_gradient(call: MaxPoolGradient<'_>) = max_pool::max_pool_gradient;
                }

                pub(in super::super) const TRAINING: TrainingKernels = TrainingKernels {
                    backend: Backend::$backend,
                    input: for_each_tile!(input),
                    input_transposed: for_each_tile!(input_transposed),
                    output: for_each_tile!(output),
                    output_transposed: for_each_tile!(output_transposed),
                    filter: for_each_tile!(filter),
                    filter_transposed: for_each_tile!(filter_transposed),
                    max_pool: pool,
                    max_pool_gradient: pool_gradient,
                };
            }
        }
    };
}
pub(crate) use kernels;
