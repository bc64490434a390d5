//! The kernels of training as a table of functions, safe to call. The macro that makes the tables is that of
//! [`Kernels`](crate::Kernels).

use crate::backend::Backend;
use crate::layout::{LANES, Misfit};
use crate::training::max_pool::{MaxPool, MaxPoolGradient};
use crate::training::planes::{Planes, PlanesMut};
use crate::winograd::image_tile::ImageTile;
use crate::winograd::tile::Tile;
use core::fmt;

/// A function for each size of tile.
type ForEachTile<F> = [F; Tile::ALL.len()];

/// The functions of a backend that only training needs, had from [`Backend::training`]. To have a reference to one is the proof
/// that the CPU has its instructions.
#[allow(clippy::type_complexity, reason = "a field is the signature of its functions")]
pub struct TrainingKernels {
    pub(crate) backend: Backend,
    pub(crate) input: ForEachTile<unsafe fn(ImageTile<&[f32]>, PlanesMut<'_, '_>)>,
    pub(crate) input_transposed: ForEachTile<unsafe fn(Planes<'_>, ImageTile<&mut [f32]>)>,
    pub(crate) output: ForEachTile<unsafe fn(Planes<'_>, &[f32], bool, ImageTile<&mut [f32]>)>,
    pub(crate) output_transposed: ForEachTile<unsafe fn(ImageTile<&[f32]>, PlanesMut<'_, '_>)>,
    pub(crate) filter: ForEachTile<unsafe fn(Planes<'_>, PlanesMut<'_, '_>, usize)>,
    pub(crate) filter_transposed: ForEachTile<unsafe fn(Planes<'_>, PlanesMut<'_, '_>, usize)>,
    pub(crate) max_pool: unsafe fn(MaxPool<'_>),
    pub(crate) max_pool_gradient: unsafe fn(MaxPoolGradient<'_>),
}

impl fmt::Debug for TrainingKernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrainingKernels").field(&self.backend).finish()
    }
}

impl TrainingKernels {
    /// `v = Bᵀ·d·B`: a tile of N×N inputs.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn input(&self, tile: Tile, inputs: ImageTile<&[f32]>, transformed: PlanesMut<'_, '_>) -> Result<(), Misfit> {
        if !(inputs.fits() && transformed.fits(tile.inputs(), inputs.channels)) {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.input[tile as usize])(inputs, transformed) }
        Ok(())
    }

    /// `∂d += B·∂v·Bᵀ`: adds to the gradients of a tile of N×N inputs.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn input_transposed(
        &self,
        tile: Tile,
        transformed: Planes<'_>,
        inputs: ImageTile<&mut [f32]>,
    ) -> Result<(), Misfit> {
        if !(inputs.fits() && transformed.fits(tile.inputs(), inputs.channels)) {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.input_transposed[tile as usize])(transformed, inputs) }
        Ok(())
    }

    /// `y = Aᵀ·m·A + b`: a tile of M×M outputs, with a bias for each channel; negative ones become 0 where `relu`, and a
    /// NaN stays.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn output(
        &self,
        tile: Tile,
        products: Planes<'_>,
        bias: &[f32],
        relu: bool,
        outputs: ImageTile<&mut [f32]>,
    ) -> Result<(), Misfit> {
        if !(outputs.fits() && products.fits(tile.inputs(), outputs.channels) && bias.len() == outputs.channels) {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.output[tile as usize])(products, bias, relu, outputs) }
        Ok(())
    }

    /// `∂m = A·∂y·Aᵀ`: from the gradients of a tile of M×M outputs.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn output_transposed(
        &self,
        tile: Tile,
        outputs: ImageTile<&[f32]>,
        products: PlanesMut<'_, '_>,
    ) -> Result<(), Misfit> {
        if !(outputs.fits() && products.fits(tile.inputs(), outputs.channels)) {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.output_transposed[tile as usize])(outputs, products) }
        Ok(())
    }

    /// `u = G·g·Gᵀ` for `count` filters, a multiple of [`LANES`], from R·R planes to N·N.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn filter(
        &self,
        tile: Tile,
        filters: Planes<'_>,
        transformed: PlanesMut<'_, '_>,
        count: usize,
    ) -> Result<(), Misfit> {
        if !(count.is_multiple_of(LANES) && filters.fits(tile.taps(), count) && transformed.fits(tile.inputs(), count))
        {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.filter[tile as usize])(filters, transformed, count) }
        Ok(())
    }

    /// `∂g = Gᵀ·∂u·G` for `count` filters, a multiple of [`LANES`], from N·N planes to R·R.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn filter_transposed(
        &self,
        tile: Tile,
        transformed: Planes<'_>,
        filters: PlanesMut<'_, '_>,
        count: usize,
    ) -> Result<(), Misfit> {
        if !(count.is_multiple_of(LANES) && transformed.fits(tile.inputs(), count) && filters.fits(tile.taps(), count))
        {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.filter_transposed[tile as usize])(transformed, filters, count) }
        Ok(())
    }

    /// A max-pooling.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn max_pool(&self, pool: MaxPool<'_>) -> Result<(), Misfit> {
        if !pool.fits() {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.max_pool)(pool) }
        Ok(())
    }

    /// The gradient of a max-pooling.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn max_pool_gradient(&self, pool: MaxPoolGradient<'_>) -> Result<(), Misfit> {
        if !pool.fits() {
            return Err(Misfit);
        }
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.max_pool_gradient)(pool) }
        Ok(())
    }
}
