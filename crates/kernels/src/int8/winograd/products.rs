//! Products of transformed inputs and weights: a matrix product for each position of the tiles.

use crate::int8::INT8_PANEL;
use crate::int8::row::{Target, Window};
use crate::int8::vector::{Sums, Transformed};
use crate::layout::BLOCK;

/// Products of some tiles and 32 outputs, at each position of a tile, its planes: `start + Σ over channels of input · weight`, in 32 bits.
#[derive(Debug)]
pub struct Int8Products<'a> {
    /// Positions of a tile, [`Int8Tile::planes`](super::Int8Tile::planes), at least one.
    pub planes: usize,
    /// Transformed inputs, as [`Int8InputTile`](super::Int8InputTile) gives them: `[planes][inputs_plane]`, of which the first of each plane are `[tiles][channels]`.
    pub inputs: &'a [u8],
    /// From the inputs of one position to the next.
    pub inputs_plane: usize,
    /// Channels, a multiple of 4.
    pub channels: usize,
    /// Tiles.
    pub tiles: usize,
    /// Transformed weights: `[planes][weights_plane]`, of which the first of each plane are `[2][channels / 4][16][4]`. Those of a
    /// pair of channels are at most 128 in all.
    pub weights: &'a [i8],
    /// From the weights of one position to the next.
    pub weights_plane: usize,
    /// Whether weights come from far, as when they are used for the first time: they are fetched ahead.
    pub ahead: bool,
    /// Sums to begin with: `[planes][start_plane]`, of which the first 32 of each plane are used.
    pub start: &'a [i32],
    /// From the starting sums of one position to the next.
    pub start_plane: usize,
    /// `[planes][sums_plane]`, of which the first of each plane are written: `[tiles][32]`.
    pub sums: &'a mut [i32],
    /// From the sums of one position to the next.
    pub sums_plane: usize,
}

impl Int8Products<'_> {
    #[inline]
    pub(crate) fn fits(&self) -> bool {
        let fits = |plane: usize, rows: usize, columns: usize, length: usize| {
            let last = self.planes.checked_sub(1).and_then(|last| plane.checked_mul(last));
            let needed = rows.checked_mul(columns).zip(last).and_then(|(used, last)| last.checked_add(used));
            needed.is_some_and(|needed| needed <= length)
        };
        self.channels.is_multiple_of(4)
            && fits(self.inputs_plane, self.tiles, self.channels, self.inputs.len())
            && fits(self.weights_plane, BLOCK, self.channels, self.weights.len())
            && fits(self.start_plane, 1, BLOCK, self.start.len())
            && fits(self.sums_plane, self.tiles, BLOCK, self.sums.len())
    }
}

/// Computes products, see [`Int8Products`], with as many panels and tiles at once as [`row`](crate::int8::row::row) has.
///
/// # Safety
/// The sizes of `products` hold (see [`Int8Products::fits`]), and the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn products<
    V: Sums,
    const VECTORS: usize,
    const PANELS: usize,
    const ROWS: usize,
    const UNROLL: usize,
    const SPLIT: usize,
>(
    products: Int8Products<'_>,
) {
    const { assert!(VECTORS * V::LANES == INT8_PANEL && BLOCK.is_multiple_of(PANELS * INT8_PANEL)) };
    let Int8Products { inputs, inputs_plane, channels, tiles, weights, weights_plane, start, start_plane, .. } =
        products;
    // Groups of tiles as equal as can be, as those of positions in a row.
    let groups = tiles.div_ceil(ROWS).max(1);
    let (small, larger) = (tiles / groups, tiles % groups);
    for plane in 0..products.planes {
        for panel in (0..BLOCK / INT8_PANEL).step_by(PANELS) {
            let mut tile = 0;
            for group in 0..groups {
                let count = small + usize::from(group < larger);
                // SAFETY: `fits` says that each plane has the inputs of all tiles, the weights and starting sums of two panels, and
                // room for the sums of all tiles and panels.
                unsafe {
                    let window = Window::<Transformed> {
                        input: inputs.as_ptr().add(plane * inputs_plane + tile * channels).cast(),
                        step: channels,
                        rows: 1,
                        between: 0,
                        groups: channels / 4,
                        weights: weights.as_ptr().add(plane * weights_plane + panel * INT8_PANEL * channels),
                        panel: INT8_PANEL * channels,
                        ahead: products.ahead && group == 0,
                    };
                    let target = Target {
                        start: Some(start.as_ptr().add(plane * start_plane + panel * INT8_PANEL)),
                        sums: products
                            .sums
                            .as_mut_ptr()
                            .add(plane * products.sums_plane + tile * BLOCK + panel * INT8_PANEL),
                        stride: BLOCK,
                    };
                    window.positions::<V, VECTORS, PANELS, ROWS, UNROLL, SPLIT>(count, target);
                }
                tile += count;
            }
        }
    }
}
