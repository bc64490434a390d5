//! Winograd convolutions of int8 networks: `2 × 2` outputs a tile, transforms in integers, products of bytes.
//!
//! ```text
//! weights ── filters ─▶ bytes within ±127, once        (N² for each pair of channels)
//! maps ── input ─▶ bytes within ±127 ── products ─▶ sums ── output ─▶ maps     (for each tile and position of N·N)
//! ```
//!
//! A tile of `N × N` inputs has [`N²`](Int8Tile::planes) positions once it is transformed, and each position is a matrix product
//! of its own. The inputs of a tile and position are scaled to ±127 by the greatest of them. Products of some CPUs
//! want bytes without sign: there, 128 is added, and 128 times the sum of the weights is taken off again. Which arithmetic that is,
//! exactly, is said by [`Int8InputTile`], [`Int8Filters`] and [`Int8OutputTile`].

pub(super) mod filters;
pub(super) mod input;
mod matrices;
pub(super) mod output;
pub(super) mod products;
pub(super) mod shorts;
#[cfg(test)]
mod tests;

pub use filters::Int8Filters;
pub use input::Int8InputTile;
pub use output::Int8OutputTile;
pub use products::Int8Products;

/// Size of a tile of an int8 Winograd convolution: two outputs a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Int8Tile {
    /// F(2×2, 3×3).
    F2x3,
    /// F(2×2, 5×5).
    F2x5,
}

impl Int8Tile {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::F2x3, Self::F2x5];

    /// Whether there are functions for tiles: where every CPU of the target has vectors. Elsewhere, their code would be in the way.
    pub const AVAILABLE: bool =
        cfg!(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64", target_feature = "simd128"));

    /// Outputs of a side.
    pub const OUTPUTS: usize = 2;

    /// Size for kernels of that many rows and columns, if there is one.
    #[must_use]
    pub const fn of(kernel: usize) -> Option<Self> {
        match kernel {
            3 => Some(Self::F2x3),
            5 => Some(Self::F2x5),
            _ => None,
        }
    }

    /// Rows and columns of the kernels.
    #[must_use]
    pub const fn kernel(self) -> usize {
        match self {
            Self::F2x3 => 3,
            Self::F2x5 => 5,
        }
    }

    /// Inputs of a side, N.
    #[must_use]
    pub const fn inputs(self) -> usize {
        self.kernel() + 1
    }

    /// Positions of a transformed tile, N².
    #[must_use]
    pub const fn planes(self) -> usize {
        self.inputs() * self.inputs()
    }
}

/// A function of R and N for each of [`Int8Tile::ALL`], in that order.
macro_rules! for_each_int8_tile {
    ($function:ident) => {
        [$function::<3, 4>, $function::<5, 6>]
    };
}
pub(super) use for_each_int8_tile;
