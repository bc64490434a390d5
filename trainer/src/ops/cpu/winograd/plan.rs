//! Which convolutions the Winograd path takes, and their sizes there.

use kernels::{LANES, Tile};

use crate::ops::Window;

/// Rows of the matrix products: as many tiles of as many images go into one. Far fewer would read the filters too often; more
/// take more memory and gain nothing.
const ROWS: usize = 144;

/// Operations around a convolution: bias, ReLU, pooling.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops::cpu) struct Extras {
    /// Whether a ReLU follows.
    pub(in crate::ops::cpu) relu: bool,
    /// The max-pooling that follows.
    pub(in crate::ops::cpu) pool: Option<Window>,
}

/// All sizes of a convolution by tiles, with what follows it.
///
/// A stride is done away with by laying `stride`² pixels into the channels of one place of a grid ("space to depth"): output
/// (i, j) meets pixel `stride`·i + k, with k = `stride`·q + s, which is channel s of row i + q. The padding is part of that
/// grid. Without a stride the grid is the image itself.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops::cpu) struct Plan {
    pub(super) tile: Tile,
    /// Channels of the image.
    pub(super) channels: usize,
    /// Rows of the image.
    pub(super) height: usize,
    /// Columns of the image.
    pub(super) width: usize,
    /// Of the convolution as given.
    pub(super) window: Window,
    /// Channels of the output.
    pub(super) filters: usize,
    /// Channels of the image that a filter sees: those of its group.
    pub(super) group: usize,
    /// Rows of the convolution's output that are looked at.
    pub(super) rows: usize,
    /// Columns of the convolution's output that are looked at.
    pub(super) columns: usize,
    pub(super) extras: Extras,
}

impl Plan {
    /// The plan for a convolution of `channels`×`height`×`width` to `filters` channels, each of which sees `group` of the image's;
    /// `None` where this path does not fit it, or saves nothing.
    pub(in crate::ops::cpu) fn new(
        (channels, height, width): (usize, usize, usize),
        (filters, group): (usize, usize),
        window: Window,
        extras: Extras,
    ) -> Option<Self> {
        let (mut rows, mut columns) = (window.positions(height), window.positions(width));
        if let Some(pool) = extras.pool {
            let seen =
                |positions: usize| (pool.positions(positions).checked_sub(1)? * pool.stride).checked_add(pool.kernel);
            if pool.padding > 0 || pool.kernel > 16 {
                return None;
            }
            (rows, columns) = (seen(rows)?, seen(columns)?);
        }
        let taps = window.kernel.div_ceil(window.stride);
        let cost = |tile: &Tile| tiles(*tile, rows, columns) * tile.planes();
        let tile = Tile::ALL.into_iter().filter(|tile| tile.taps() == taps).min_by_key(cost)?;
        let plan = Self { tile, channels, height, width, window, filters, group, rows, columns, extras };
        let fits = plan.depth().is_multiple_of(LANES) && filters.is_multiple_of(LANES);
        let saves = plan.tiles() * tile.planes() < rows * columns * taps * taps;
        (fits && saves).then_some(plan)
    }

    /// Channels of the grid.
    pub(super) fn depth(&self) -> usize {
        self.channels * self.window.stride * self.window.stride
    }

    /// Channels of the grid that a filter sees.
    pub(super) fn group_depth(&self) -> usize {
        self.group * self.window.stride * self.window.stride
    }

    /// Numbers of the groups, each with its first channel of the grid and its first filter.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (depth, groups) = (self.group_depth(), self.channels / self.group);
        let filters = self.filters / groups;
        (0..groups).map(move |group| (group * depth, group * filters))
    }

    /// Filters of a group.
    pub(super) fn group_filters(&self) -> usize {
        self.filters / (self.channels / self.group)
    }

    /// Whether the grid is another image than the given one.
    pub(super) fn shuffled(&self) -> bool {
        self.window.stride > 1
    }

    /// Rows and columns of the grid.
    pub(super) fn grid(&self) -> (usize, usize) {
        let reach = self.tile.taps() - 1;
        if self.shuffled() { (self.rows + reach, self.columns + reach) } else { (self.height, self.width) }
    }

    /// Rows and columns of zeros around the grid.
    pub(super) fn padding(&self) -> usize {
        if self.shuffled() { 0 } else { self.window.padding }
    }

    /// Tiles of an image.
    pub(super) fn tiles(&self) -> usize {
        tiles(self.tile, self.rows, self.columns)
    }

    /// First row and column of a tile of outputs.
    pub(super) fn corner(&self, tile: usize) -> (isize, isize) {
        let across = self.columns.div_ceil(self.tile.outputs());
        let side = self.tile.outputs();
        ((tile / across * side) as isize, (tile % across * side) as isize)
    }

    /// Values of an image.
    pub(super) fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Values of a grid.
    pub(super) fn grid_len(&self) -> usize {
        self.depth() * self.grid().0 * self.grid().1
    }

    /// Values of the convolution's output for an image, before the pooling.
    pub(super) fn sums_len(&self) -> usize {
        self.filters * self.rows * self.columns
    }

    /// Sizes of the output: channels, rows, columns.
    pub(in crate::ops::cpu) fn output(&self) -> (usize, usize, usize) {
        let positions = |side| self.extras.pool.map_or(side, |pool| pool.positions(side));
        (self.filters, positions(self.rows), positions(self.columns))
    }

    /// Values of the output for an image.
    pub(super) fn output_len(&self) -> usize {
        let (filters, rows, columns) = self.output();
        filters * rows * columns
    }

    /// Images whose tiles go into one matrix product.
    pub(super) fn group(&self, batch: usize) -> usize {
        ROWS.div_ceil(self.tiles()).max(rayon::current_num_threads()).min(batch).max(1)
    }
}

fn tiles(tile: Tile, rows: usize, columns: usize) -> usize {
    rows.div_ceil(tile.outputs()) * columns.div_ceil(tile.outputs())
}
