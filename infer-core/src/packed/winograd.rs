//! Sizes of a convolution by Winograd's minimal filtering.

use kernels::{PAD, Tile};

/// A convolution with stride 1, followed by ReLU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conv {
    /// Tile that it is computed by.
    pub(super) tile: Tile,
    /// Channels of the input, a multiple of 16.
    pub(super) inputs: usize,
    /// Channels of the output, a multiple of 32.
    pub(super) outputs: usize,
    /// Groups, each with whole blocks of 32 of the outputs where there are several.
    pub(super) groups: usize,
    /// Rows and columns of the input.
    pub(super) input_side: usize,
    /// Rows and columns of the output that are computed.
    pub(super) output_side: usize,
    /// Rows and columns of zeros around the input.
    pub(super) padding: usize,
}

impl Conv {
    /// Tiles across and down.
    pub(super) const fn across(&self) -> usize {
        self.output_side.div_ceil(self.tile.outputs())
    }

    /// Floats of an image of outputs: a whole number of rows of tiles.
    pub(super) const fn output_len(&self) -> usize {
        self.across() * self.tile.outputs() * self.output_side * self.outputs
    }

    /// Multiply-adds of its matrix products.
    pub(super) const fn products(&self) -> usize {
        self.across() * self.across() * self.weights_len()
    }

    /// Channels of the input that an output sees.
    pub(super) const fn depth(&self) -> usize {
        match self.inputs.checked_div(self.groups) {
            Some(depth) => depth,
            None => 0,
        }
    }

    /// Floats of its weights: `[planes][outputs / 32][depth][32]`.
    pub(super) const fn weights_len(&self) -> usize {
        self.tile.planes() * self.outputs * self.depth()
    }

    /// Floats of a tile of transformed inputs.
    pub(super) const fn tile_len(&self) -> usize {
        self.tile.planes() * (self.inputs + PAD)
    }

    /// Floats of a plane of products.
    pub(super) const fn plane_len(&self, images: usize) -> usize {
        self.outputs * images * self.across() * self.across() + PAD
    }

    /// Floats of transformed inputs, and of products.
    pub(super) const fn scratch_len(&self, images: usize) -> (usize, usize) {
        (images * self.across() * self.across() * self.tile_len(), self.tile.planes() * self.plane_len(images))
    }
}
