//! The kernels of a backend as a table of functions, safe to call, and the macro that makes the tables.

use crate::backend::Backend;
use crate::direct::ConvRow;
use crate::f16::F16;
use crate::gemm::Gemm;
use crate::layout::Misfit;
use crate::max_pool::PoolRow;
#[cfg(feature = "training")]
use crate::training::table::Transforms;
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
    pub(crate) multiply_adds: unsafe fn(usize) -> u64,
    #[cfg(feature = "training")]
    pub(crate) transforms: [Transforms; Transforms::TILES.len()],
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
    #[inline]
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
            use $crate::backend::Backend;
            use $crate::direct::{self, ConvRow};
            use $crate::f16::F16;
            use $crate::gemm::{self, Gemm};
            use $crate::layout::BLOCK;
            use $crate::max_pool::{self, PoolRow};
            use $crate::peak;
            use $crate::table::Kernels;
            use $crate::vector::Vector;
            use $crate::winograd::tile::for_each_tile;
            use $crate::winograd::forward::{self, InputTile, OutputTiles};

            $(#[target_feature(enable = $features)])?
            unsafe fn gemm_f32(product: Gemm<'_, f32>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { gemm::gemm::<$vector, f32, $registers, $rows, { BLOCK / <$vector as Vector>::LANES }>(product) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn gemm_f16(product: Gemm<'_, F16>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { gemm::gemm::<$vector, F16, $registers, $rows, { BLOCK / <$vector as Vector>::LANES }>(product) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn input<const M: usize, const R: usize, const N: usize>(tile: InputTile<'_>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { forward::input::<$vector, M, R, N>(tile) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn output<const M: usize, const R: usize, const N: usize>(tiles: OutputTiles<'_>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { forward::output::<$vector, M, R, N>(tiles) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn conv_row(row: ConvRow<'_>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { direct::row::<$vector, $registers, { BLOCK / 2 / <$vector as Vector>::LANES }, $rows>(row) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn max_pool(row: PoolRow<'_>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { max_pool::max_pool::<$vector>(row) }
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
                input: for_each_tile!(input),
                output: for_each_tile!(output),
                direct: conv_row,
                max_pool,
                multiply_adds,
                #[cfg(feature = "training")]
                transforms: training::TRANSFORMS,
            };

            #[cfg(feature = "training")]
            mod training {
                use super::*;
                use $crate::training::max_pool::{self, MaxPool, MaxPoolGradient};
                use $crate::training::planes::{Planes, PlanesMut};
                use $crate::training::table::Transforms;
                use $crate::training::transforms;
                use $crate::winograd::tile::Tile;
                use $crate::winograd::window::Window;

                $(#[target_feature(enable = $features)])?
                unsafe fn input<const M: usize, const R: usize, const N: usize>(
                    from: Window<&[f32]>,
                    to: PlanesMut<'_, '_>,
                ) {
                    // SAFETY: the caller checked the sizes and has the instructions.
                    unsafe { transforms::input::<$vector, M, R, N>(from, to) }
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn input_transposed<const M: usize, const R: usize, const N: usize>(
                    from: Planes<'_>,
                    to: Window<&mut [f32]>,
                ) {
                    // SAFETY: the caller checked the sizes and has the instructions.
                    unsafe { transforms::input_transposed::<$vector, M, R, N>(from, to) }
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn output<const M: usize, const R: usize, const N: usize>(
                    from: Planes<'_>,
                    bias: &[f32],
                    relu: bool,
                    to: Window<&mut [f32]>,
                ) {
                    // SAFETY: the caller checked the sizes and has the instructions.
                    unsafe { transforms::output::<$vector, M, R, N>(from, bias, relu, to) }
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn output_transposed<const M: usize, const R: usize, const N: usize>(
                    from: Window<&[f32]>,
                    to: PlanesMut<'_, '_>,
                ) {
                    // SAFETY: the caller checked the sizes and has the instructions.
                    unsafe { transforms::output_transposed::<$vector, M, R, N>(from, to) }
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn filter<const M: usize, const R: usize, const N: usize>(
                    from: Planes<'_>,
                    to: PlanesMut<'_, '_>,
                    count: usize,
                ) {
                    // SAFETY: the caller checked the sizes and has the instructions.
                    unsafe { transforms::filter::<$vector, M, R, N>(from, to, count) }
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn filter_transposed<const M: usize, const R: usize, const N: usize>(
                    from: Planes<'_>,
                    to: PlanesMut<'_, '_>,
                    count: usize,
                ) {
                    // SAFETY: the caller checked the sizes and has the instructions.
                    unsafe { transforms::filter_transposed::<$vector, M, R, N>(from, to, count) }
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn max_pool(pool: MaxPool<'_>) {
                    max_pool::max_pool(pool);
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn max_pool_gradient(pool: MaxPoolGradient<'_>) {
                    max_pool::max_pool_gradient(pool);
                }

                const fn table<const M: usize, const R: usize, const N: usize>(tile: Tile) -> Transforms {
                    Transforms {
                        tile,
                        input: input::<M, R, N>,
                        input_transposed: input_transposed::<M, R, N>,
                        output: output::<M, R, N>,
                        output_transposed: output_transposed::<M, R, N>,
                        filter: filter::<M, R, N>,
                        filter_transposed: filter_transposed::<M, R, N>,
                        max_pool,
                        max_pool_gradient,
                    }
                }

                /// In the order of [`Transforms::TILES`].
                pub(super) const TRANSFORMS: [Transforms; Transforms::TILES.len()] =
                    [table::<4, 3, 6>(Tile::F4x3), table::<6, 3, 8>(Tile::F6x3), table::<5, 5, 9>(Tile::F5x5)];
            }
        }
    };
}
pub(crate) use kernels;
