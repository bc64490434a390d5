//! The int8 kernels of a backend as a table of functions, safe to call, and the macro that makes the tables.

use super::winograd::{Int8Filters, Int8InputTile, Int8OutputTile, Int8Products, Int8Tile};
use super::{Int4Linear, Int8Backend, Int8PoolRow, Int8Row, Int8Rows};
use crate::layout::Misfit;
use core::fmt;

/// The int8 functions of a backend. To have a reference to one is the proof that the CPU has its instructions.
pub struct Int8Kernels {
    pub(super) backend: Int8Backend,
    pub(super) row: unsafe fn(Int8Row<'_, u8>),
    pub(super) wide_row: unsafe fn(Int8Row<'_, i16>),
    /// Several rows, where that is faster than one after the other.
    pub(super) rows: Option<unsafe fn(Int8Rows<'_, u8>)>,
    pub(super) wide_rows: Option<unsafe fn(Int8Rows<'_, i16>)>,
    pub(super) int4: unsafe fn(Int4Linear<'_>),
    pub(super) max_pool: unsafe fn(Int8PoolRow<'_, u8>),
    pub(super) wide_max_pool: unsafe fn(Int8PoolRow<'_, i16>),
    /// Those of Winograd convolutions, where they are [available](Int8Tile::AVAILABLE).
    pub(super) tiles: Option<TileKernels>,
    pub(super) offset: i16,
    pub(super) multiply_adds: unsafe fn(usize) -> u64,
}

/// The functions of Winograd convolutions, those of transforms one for each of [`Int8Tile::ALL`].
#[derive(Clone, Copy)]
pub(super) struct TileKernels {
    pub(super) filters: [unsafe fn(Int8Filters<'_>); Int8Tile::ALL.len()],
    pub(super) input: [unsafe fn(Int8InputTile<'_>); Int8Tile::ALL.len()],
    pub(super) products: unsafe fn(Int8Products<'_>),
    pub(super) output: [unsafe fn(Int8OutputTile<'_>); Int8Tile::ALL.len()],
}

impl fmt::Debug for Int8Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Int8Kernels").field(&self.backend).finish()
    }
}

/// Makes a method of a function of the table.
macro_rules! method {
    ($(#[doc = $doc:literal] $name:ident($type:ty);)*) => {
        impl Int8Kernels {
            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// [`Misfit`] where the sizes do not fit each other.
                #[inline]
                pub fn $name(&self, call: $type) -> Result<(), Misfit> {
                    if !call.fits() {
                        return Err(Misfit);
                    }
                    // SAFETY: the sizes hold, and the CPU has the instructions.
                    unsafe { (self.$name)(call) };
                    Ok(())
                }
            )*
        }
    };
}

method! {
    #[doc = "A row of a convolution or a linear layer, of bytes."]
    row(Int8Row<'_, u8>);
    #[doc = "A row of a convolution or a linear layer, of 16-bit integers."]
    wide_row(Int8Row<'_, i16>);
    #[doc = "The vectors of a linear layer with weights of 4 bits."]
    int4(Int4Linear<'_>);
    #[doc = "A row of a max pool of bytes."]
    max_pool(Int8PoolRow<'_, u8>);
    #[doc = "A row of a max pool of 16-bit integers."]
    wide_max_pool(Int8PoolRow<'_, i16>);
}

/// Makes a method of a function of the table, one for each size of tile.
macro_rules! tile_method {
    ($(#[doc = $doc:literal] $name:ident($type:ty, $size:ident);)*) => {
        impl Int8Kernels {
            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// [`Misfit`] where the sizes do not fit each other.
                #[inline]
                pub fn $name(&self, tile: Int8Tile, call: $type) -> Result<(), Misfit> {
                    if !call.fits(tile.$size()) {
                        return Err(Misfit);
                    }
                    let [three, five] = self.tiles.as_ref().ok_or(Misfit)?.$name;
                    let kernel = if matches!(tile, Int8Tile::F2x3) { three } else { five };
                    // SAFETY: the sizes hold, and the CPU has the instructions.
                    unsafe { kernel(call) };
                    Ok(())
                }
            )*
        }
    };
}

tile_method! {
    #[doc = "Transforms weights of a Winograd convolution."]
    filters(Int8Filters<'_>, kernel);
    #[doc = "Transforms a tile of inputs of a Winograd convolution."]
    input(Int8InputTile<'_>, planes);
    #[doc = "Transforms the sums of a tile of a Winograd convolution to outputs."]
    output(Int8OutputTile<'_>, planes);
}

/// Makes a method of a function of the table for several rows.
macro_rules! rows_method {
    ($(#[doc = $doc:literal] $name:ident($type:ty, $row:ident);)*) => {
        impl Int8Kernels {
            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// [`Misfit`] where the sizes do not fit each other.
                pub fn $name(&self, call: $type) -> Result<(), Misfit> {
                    if !call.fits() {
                        return Err(Misfit);
                    }
                    // SAFETY: the sizes hold, and the CPU has the instructions.
                    unsafe {
                        match self.$name {
                            Some(rows) => rows(call),
                            None => call.each(|row| (self.$row)(row)),
                        }
                    }
                    Ok(())
                }
            )*
        }
    };
}

rows_method! {
    #[doc = "Rows of a convolution of bytes."]
    rows(Int8Rows<'_, u8>, row);
    #[doc = "Rows of a convolution of 16-bit integers."]
    wide_rows(Int8Rows<'_, i16>, wide_row);
}

impl Int8Kernels {
    /// Products of transformed inputs and weights of a Winograd convolution.
    ///
    /// # Errors
    /// [`Misfit`] where the sizes do not fit each other.
    #[inline]
    pub fn products(&self, call: Int8Products<'_>) -> Result<(), Misfit> {
        if !call.fits() {
            return Err(Misfit);
        }
        let products = self.tiles.as_ref().ok_or(Misfit)?.products;
        // SAFETY: the sizes hold, and the CPU has the instructions.
        unsafe { products(call) };
        Ok(())
    }

    /// The backend whose functions these are.
    #[must_use]
    #[inline]
    pub fn backend(&self) -> Int8Backend {
        self.backend
    }

    /// Added to the transformed inputs of Winograd convolutions, for products of bytes without sign; 0 where those have one.
    #[must_use]
    pub fn offset(&self) -> i16 {
        self.offset
    }

    /// Does multiply-adds of bytes that lie in the first cache, and returns how many: at least `least`. How long they take says
    /// what this CPU can do at most with these instructions.
    #[must_use]
    pub fn multiply_adds(&self, least: u32) -> u64 {
        // SAFETY: the CPU has the instructions.
        unsafe { (self.multiply_adds)(least as usize) }
    }
}

/// Makes a module of the generic int8 kernels, compiled for the instructions named: `KERNELS` is their table.
macro_rules! int8_kernels {
    ($name:ident: $backend:ident, $vector:ty, $shorts:ty, $floats:ty, panels: $panels:literal, rows: $rows:literal, unroll: $unroll:literal,
     split: $split:literal, int4: $vectors:literal $(, $features:literal)?) => {
        mod $name {
            use super::*;
            use $crate::int8::vector::Sums;
            use $crate::int8::table::TileKernels;
            use $crate::int8::winograd::{
                Int8Filters, Int8InputTile, Int8OutputTile, Int8Products, Int8Tile, filters, for_each_int8_tile, input,
                output, products,
            };
            use $crate::int8::{INT8_PANEL, Int4Linear, Int8Backend, Int8Kernels, Int8PoolRow, Int8Row, int4, peak, pool, row};
            use $crate::table::compiled;

            const VECTORS: usize = INT8_PANEL / <$vector as Sums>::LANES;
            const SUMS: usize = $panels * $rows;

            compiled! { [$($features)?]
                fn bytes(call: Int8Row<'_, u8>)
                    = row::row::<$vector, u8, VECTORS, $panels, $rows, SUMS, $unroll, $split>;
                fn wide(call: Int8Row<'_, i16>)
                    = row::row::<$vector, i16, VECTORS, $panels, $rows, SUMS, $unroll, $split>;
                fn int4_linear(call: Int4Linear<'_>) = int4::linear::<$vector, VECTORS, $vectors>;
                fn max_pool(call: Int8PoolRow<'_, u8>) = pool::max_pool::<u8>;
                fn wide_max_pool(call: Int8PoolRow<'_, i16>) = pool::max_pool::<i16>;
                fn transform_filters[R, N](call: Int8Filters<'_>) = filters::filters::<$vector, R, N>;
                fn transform_input[R, N](call: Int8InputTile<'_>) = input::input::<$shorts, $vector, R, N>;
                fn tile_products(call: Int8Products<'_>)
                    = products::products::<$vector, VECTORS, $panels, $rows, $unroll, $split>;
                fn transform_output[R, N](call: Int8OutputTile<'_>) = output::output::<$floats, R, N>;
                fn multiply_adds(least: usize) -> u64 = peak::multiply_adds::<$vector, { VECTORS * $panels }, $rows>;
            }

            pub(super) const KERNELS: Int8Kernels = Int8Kernels {
                backend: Int8Backend::$backend,
                row: bytes,
                wide_row: wide,
                rows: None,
                wide_rows: None,
                int4: int4_linear,
                max_pool,
                wide_max_pool,
                tiles: if Int8Tile::AVAILABLE {
                    Some(TileKernels {
                        filters: for_each_int8_tile!(transform_filters),
                        input: for_each_int8_tile!(transform_input),
                        products: tile_products,
                        output: for_each_int8_tile!(transform_output),
                    })
                } else {
                    None
                },
                offset: <$vector as Sums>::OFFSET,
                multiply_adds,
            };
        }
    };
}
pub(super) use int8_kernels;
