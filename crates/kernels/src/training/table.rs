//! The kernels of training as a table of functions, safe to call.

use crate::backend::Backend;
use crate::layout::{LANES, Misfit};
use crate::training::max_pool::{MaxPool, MaxPoolGradient};
use crate::training::planes::{Planes, PlanesMut};
use crate::winograd::tile::Tile;
use crate::winograd::window::Window;
use core::fmt;

/// The transforms of one size of tile and the max pools, for the instructions of one backend. To have one is the proof that the
/// CPU has them.
#[derive(Clone, Copy)]
pub struct Transforms {
    pub(crate) tile: Tile,
    pub(crate) input: unsafe fn(Window<&[f32]>, PlanesMut<'_, '_>),
    pub(crate) input_transposed: unsafe fn(Planes<'_>, Window<&mut [f32]>),
    pub(crate) output: unsafe fn(Planes<'_>, &[f32], bool, Window<&mut [f32]>),
    pub(crate) output_transposed: unsafe fn(Window<&[f32]>, PlanesMut<'_, '_>),
    pub(crate) filter: unsafe fn(Planes<'_>, PlanesMut<'_, '_>, usize),
    pub(crate) filter_transposed: unsafe fn(Planes<'_>, PlanesMut<'_, '_>, usize),
    pub(crate) max_pool: unsafe fn(MaxPool<'_>),
    pub(crate) max_pool_gradient: unsafe fn(MaxPoolGradient<'_>),
}

impl fmt::Debug for Transforms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transforms").field(&self.tile).finish()
    }
}

impl Transforms {
    /// The tiles that there are transforms of.
    pub const TILES: [Tile; 3] = [Tile::F4x3, Tile::F6x3, Tile::F5x5];

    /// The transforms of a tile by the instructions of `backend`; `None` where the CPU lacks those, or where `tile` is none of
    /// [`TILES`](Self::TILES).
    #[must_use]
    pub fn new(tile: Tile, backend: Backend) -> Option<Self> {
        let place = Self::TILES.iter().position(|known| *known == tile)?;
        backend.kernels()?.transforms.get(place).copied()
    }

    /// The tile that these are of.
    #[must_use]
    pub fn tile(&self) -> Tile {
        self.tile
    }

    /// `v = Bᵀ·d·B`: a tile of N×N inputs.
    ///
    /// # Errors
    /// The sizes do not fit each other; nothing is computed.
    pub fn input(&self, inputs: Window<&[f32]>, transformed: PlanesMut<'_, '_>) -> Result<(), Misfit> {
        checked(inputs.fits() && transformed.fits(self.tile.inputs(), inputs.channels))?;
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.input)(inputs, transformed) };
        Ok(())
    }

    /// `∂d += B·∂v·Bᵀ`: adds to the gradients of a tile of N×N inputs.
    ///
    /// # Errors
    /// The sizes do not fit each other; nothing is computed.
    pub fn input_transposed(&self, transformed: Planes<'_>, inputs: Window<&mut [f32]>) -> Result<(), Misfit> {
        checked(inputs.fits() && transformed.fits(self.tile.inputs(), inputs.channels))?;
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.input_transposed)(transformed, inputs) };
        Ok(())
    }

    /// `y = Aᵀ·m·A + b`: a tile of M×M outputs, with a bias for each channel; negative ones become 0 where `relu`, and a
    /// NaN stays.
    ///
    /// # Errors
    /// The sizes do not fit each other; nothing is computed.
    pub fn output(
        &self,
        products: Planes<'_>,
        bias: &[f32],
        relu: bool,
        outputs: Window<&mut [f32]>,
    ) -> Result<(), Misfit> {
        let channels = outputs.channels;
        checked(outputs.fits() && products.fits(self.tile.inputs(), channels) && bias.len() == channels)?;
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.output)(products, bias, relu, outputs) };
        Ok(())
    }

    /// `∂m = A·∂y·Aᵀ`: from the gradients of a tile of M×M outputs.
    ///
    /// # Errors
    /// The sizes do not fit each other; nothing is computed.
    pub fn output_transposed(&self, outputs: Window<&[f32]>, products: PlanesMut<'_, '_>) -> Result<(), Misfit> {
        checked(outputs.fits() && products.fits(self.tile.inputs(), outputs.channels))?;
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.output_transposed)(outputs, products) };
        Ok(())
    }

    /// `u = G·g·Gᵀ` for `count` filters, a multiple of [`LANES`], from R·R planes to N·N.
    ///
    /// # Errors
    /// The sizes do not fit each other; nothing is computed.
    pub fn filter(&self, filters: Planes<'_>, transformed: PlanesMut<'_, '_>, count: usize) -> Result<(), Misfit> {
        let fits = filters.fits(self.tile.taps(), count) && transformed.fits(self.tile.inputs(), count);
        checked(fits && count.is_multiple_of(LANES))?;
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.filter)(filters, transformed, count) };
        Ok(())
    }

    /// `∂g = Gᵀ·∂u·G` for `count` filters, a multiple of [`LANES`], from N·N planes to R·R.
    ///
    /// # Errors
    /// The sizes do not fit each other; nothing is computed.
    pub fn filter_transposed(
        &self,
        transformed: Planes<'_>,
        filters: PlanesMut<'_, '_>,
        count: usize,
    ) -> Result<(), Misfit> {
        let fits = transformed.fits(self.tile.inputs(), count) && filters.fits(self.tile.taps(), count);
        checked(fits && count.is_multiple_of(LANES))?;
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { (self.filter_transposed)(transformed, filters, count) };
        Ok(())
    }

    /// A max-pooling.
    ///
    /// # Errors
    /// The sizes do not fit each other; nothing is computed.
    pub fn max_pool(&self, pool: MaxPool<'_>) -> Result<(), Misfit> {
        checked(pool.fits())?;
        // SAFETY: the CPU has the instructions.
        unsafe { (self.max_pool)(pool) };
        Ok(())
    }

    /// The gradient of a max-pooling.
    ///
    /// # Errors
    /// The sizes do not fit each other; nothing is computed.
    pub fn max_pool_gradient(&self, pool: MaxPoolGradient<'_>) -> Result<(), Misfit> {
        checked(pool.fits())?;
        // SAFETY: the CPU has the instructions.
        unsafe { (self.max_pool_gradient)(pool) };
        Ok(())
    }
}

fn checked(fits: bool) -> Result<(), Misfit> {
    if fits { Ok(()) } else { Err(Misfit) }
}
