//! Plan of a packed network: how each layer is computed, settled by the compiler from the table of layers.
//!
//! | layer | computed by |
//! |---|---|
//! | first convolution, with a stride | `stride`×`stride` pixels laid into channels, which makes it one of stride 1; then as that |
//! | convolution of 3×3 or 5×5, stride 1 | Winograd's minimal filtering, of the tile that needs the fewest products |
//! | any convolution for which that costs less | the matrix product of its windows, read where they lie, with its filters |
//! | the same, in groups | that, a matrix product for each group; elsewhere as one group, with weights that are zero |
//! | local response normalisation | plain loops over the channels of a position |
//! | max pool | the greatest of its windows, all channels at once |
//! | linear layer | a matrix product that reads each weight once a batch |
//!
//! Outputs of feature maps are channels-last and filled up with channels that are zero, to what the kernels compute at once.

use super::LinearWeights;
use super::winograd::Conv;
use crate::describe::{Description, Kind, Layer, MAX_LAYERS, Maps, computed_side};
use crate::number::{HASH, greater, hash};
use kernels::{BLOCK, Line, Tile};

/// Images that convolutions of few positions take at once, so that one reading of their weights serves all of them.
pub(super) const CHUNK: usize = 8;

/// Rows of a matrix product below which it waits for its weights to be read rather than for its sums.
const FEW_ROWS: usize = 9;

/// Positions of an image below which a convolution takes several images at once.
const FEW_POSITIONS: usize = 16;

/// Layout of feature maps in memory: `[side][side][pixel]`, of which the first channels of each position are the maps'.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// Channels, or values of a vector.
    pub(super) channels: usize,
    /// Rows and columns.
    pub(super) side: usize,
    /// Floats from one position to the next.
    pub(super) pixel: usize,
    /// Floats from one image to the next.
    pub(super) len: usize,
}

impl Grid {
    const fn packed(channels: usize, side: usize, pixel: usize) -> Self {
        Self { channels, side, pixel, len: side * side * pixel }
    }

    /// Values that a linear layer behind it sums, those that fill up included.
    pub(super) const fn depth(&self) -> usize {
        if self.side == 1 { self.channels } else { self.side * self.side * self.pixel }
    }
}

/// Rearrangement of an image before its first layer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    /// Nothing.
    Plain,
    /// Channels are laid side by side.
    Interleave { image: Maps, pixel: usize },
    /// `stride`×`stride` pixels are laid into the channels of one position.
    SpaceToDepth { image: Maps, stride: usize, padding: usize, grid: Grid },
}

/// A direct convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Direct {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Direct {
    /// Values of a window.
    pub(super) const fn depth(&self, input: &Grid) -> usize {
        self.kernel * self.kernel * input.channels
    }

    /// Rows and columns of the image with its borders.
    pub(super) const fn padded_side(&self, input: &Grid) -> usize {
        input.side + 2 * self.padding
    }

    /// Floats of the image with its borders; none where it has no borders, and is read where it lies.
    pub(super) const fn padded_len(&self, input: &Grid) -> usize {
        if self.padding == 0 { 0 } else { self.padded_side(input) * self.padded_side(input) * input.pixel }
    }
}

/// Algorithm of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    /// By Winograd's minimal filtering. `stride` is that of the pixels which were laid into channels, 1 where none were.
    Winograd { conv: Conv, stride: usize },
    /// Directly.
    Direct(Direct),
    /// Local response normalisation.
    Norm,
    /// The greatest values of windows.
    MaxPool { kernel: usize, stride: usize },
    /// A matrix product.
    Linear,
}

/// A layer, and how it is computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) layer: Layer,
    pub(super) how: How,
    pub(super) input: Grid,
    pub(super) output: Grid,
    /// Whether it is the last one, whose outputs are the classes.
    pub(super) last: bool,
}

impl Step {
    /// Outputs, where there are `classes`.
    const fn outputs(&self, classes: usize) -> usize {
        if self.last { classes } else { self.layer.output.channels }
    }

    /// Outputs, filled up to whole blocks.
    pub(super) const fn padded(&self, classes: usize) -> usize {
        match self.how {
            How::Winograd { conv, .. } => conv.outputs,
            How::Norm | How::MaxPool { .. } => 0,
            How::Direct(_) | How::Linear => self.outputs(classes).next_multiple_of(BLOCK),
        }
    }

    /// Packed weights.
    pub(super) const fn weights_len(&self, classes: usize) -> usize {
        match self.how {
            How::Winograd { conv, .. } => conv.weights_len(),
            How::Direct(direct) => direct.depth(&self.input).saturating_mul(self.padded(classes)),
            How::Norm | How::MaxPool { .. } => 0,
            How::Linear => self.input.depth().saturating_mul(self.padded(classes)),
        }
    }

    /// Multiply-adds of the matrix products that compute it for an image.
    const fn products(&self, classes: usize) -> usize {
        match self.how {
            How::Winograd { conv, .. } => conv.products(),
            How::Direct(direct) => self.output.side * self.output.side * direct.depth(&self.input) * self.output.pixel,
            How::Norm | How::MaxPool { .. } => 0,
            How::Linear => self.weights_len(classes),
        }
    }

    /// Number format of its stored weights; none where it has no weights.
    pub(super) const fn storage(&self, linear: LinearWeights) -> Option<LinearWeights> {
        match self.how {
            How::Winograd { .. } | How::Direct(_) => Some(LinearWeights::F32),
            How::Norm | How::MaxPool { .. } => None,
            How::Linear => Some(linear),
        }
    }

    /// Floats for inputs made ready, and for products, of that many images.
    const fn scratch_len(&self, classes: usize, images: usize) -> (usize, usize) {
        match self.how {
            How::Winograd { conv, .. } => conv.scratch_len(images),
            How::Direct(direct) => (direct.padded_len(&self.input).saturating_mul(images), 0),
            How::Norm | How::MaxPool { .. } => (0, 0),
            How::Linear => (0, self.padded(classes).saturating_mul(images)),
        }
    }

    /// Floats of an image's output.
    pub(super) const fn output_len(&self, classes: usize) -> usize {
        match self.how {
            How::Linear => self.padded(classes),
            _ => self.output.len,
        }
    }
}

/// Cost of a layer of a packed or int8 network for one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// The layer.
    pub layer: Layer,
    /// Multiply-adds of the matrix products that compute it: fewer than those of its formula where Winograd's transforms
    /// spare some, more where channels are filled up. (The transforms' own arithmetic is not counted.)
    pub products: usize,
    /// Bytes of packed weights that a pass reads.
    pub weight_bytes: usize,
    /// Images of a batch that one reading of the weights serves at most.
    pub shared_by: usize,
}

/// Plan of a network: how it is packed and run, for any number of classes.
///
/// It is made by the compiler: a network that could not be run would not compile.
#[derive(Debug)]
pub struct Plan {
    description: &'static Description,
    pub(super) entry: Entry,
    steps: [Step; MAX_LAYERS],
    length: usize,
    /// The first layer that takes several images at once.
    pub(super) chunked: usize,
    /// The first linear layer.
    pub(super) linear: usize,
}

impl Plan {
    /// The most layers with weights, for whose storage the header of packed memory has room.
    pub(super) const MOST_WEIGHTS: usize = 24;

    /// The plan of a network.
    #[must_use]
    pub const fn new(description: &'static Description) -> Self {
        let layers = description.layers;
        assert!(description.name.len() <= 20, "the name of a network has 20 bytes at most");
        assert!(
            description.tensors.len() <= 2 * Self::MOST_WEIGHTS,
            "a packed network has 24 layers with weights at most"
        );
        let (entry, mut grid) = entry(&layers[0], computed_side(layers, 0));
        let nothing = Step { layer: layers[0], how: How::Linear, input: grid, output: grid, last: false };
        let mut steps = [nothing; MAX_LAYERS];
        let (mut chunked, mut linear) = (layers.len(), layers.len());
        let mut i = 0;
        while i < layers.len() {
            let layer = layers[i];
            let (how, output) = match layer.kind {
                Kind::Conv { .. } => {
                    let how = match (i, &entry) {
                        (0, Entry::SpaceToDepth { stride, .. }) => {
                            winograd(&layer, computed_side(layers, i), &grid, *stride, 0)
                        }
                        _ => convolution(&layer, computed_side(layers, i), &grid),
                    };
                    let side = computed_side(layers, i);
                    match how {
                        How::Winograd { conv, .. } => (
                            how,
                            Grid { channels: layer.output.channels, side, pixel: conv.outputs, len: conv.output_len() },
                        ),
                        _ => (
                            how,
                            Grid::packed(
                                layer.output.channels,
                                side,
                                layer.output.channels.next_multiple_of(BLOCK / 2),
                            ),
                        ),
                    }
                }
                Kind::LocalResponseNorm => (How::Norm, Grid::packed(grid.channels, grid.side, grid.pixel)),
                Kind::MaxPool { kernel, stride, .. } => {
                    (How::MaxPool { kernel, stride }, Grid::packed(grid.channels, layer.output.side, grid.pixel))
                }
                Kind::Linear { .. } => {
                    if linear == layers.len() {
                        linear = i;
                    }
                    (How::Linear, Grid::packed(layer.output.channels, 1, layer.output.channels.next_multiple_of(BLOCK)))
                }
            };
            steps[i] = Step { layer, how, input: grid, output, last: i + 1 == layers.len() };
            grid = output;
            i += 1;
        }
        assert!(linear < layers.len(), "the last layer of a network is a linear one");
        // Only at the end of the convolutions may there be some that take several images at once.
        let mut i = linear;
        chunked = if linear < chunked { linear } else { chunked };
        while i > 0 {
            i -= 1;
            let few = match steps[i].how {
                How::Winograd { conv, .. } => conv.across() * conv.across() < FEW_POSITIONS,
                How::Direct(_) => steps[i].output.side * steps[i].output.side < FEW_POSITIONS,
                How::Norm | How::MaxPool { .. } | How::Linear => continue,
            };
            if !few {
                break;
            }
            chunked = i;
        }
        Self { description, entry, steps, length: layers.len(), chunked, linear }
    }

    /// The network.
    #[must_use]
    pub const fn description(&self) -> &'static Description {
        self.description
    }

    pub(super) const fn steps(&self) -> &[Step] {
        match self.steps.split_at_checked(self.length) {
            Some((steps, _)) => steps,
            None => &self.steps,
        }
    }

    /// Lines of packed weights.
    #[must_use]
    pub const fn packed_len(&self, classes: usize, linear: LinearWeights) -> usize {
        let mut lines = 1_usize;
        let mut steps = self.steps();
        while let [step, rest @ ..] = steps {
            if let Some(storage) = step.storage(linear) {
                let weights = Line::count(step.weights_len(classes).saturating_mul(storage.size()));
                let bias = Line::count(step.padded(classes).saturating_mul(size_of::<f32>()));
                lines = lines.saturating_add(weights).saturating_add(bias);
            }
            steps = rest;
        }
        lines
    }

    /// Lines of workspace that a batch of that many images needs.
    #[must_use]
    pub const fn workspace_len(&self, classes: usize, batch: usize) -> usize {
        Line::count(self.parts(classes, batch).total().saturating_mul(size_of::<f32>()))
    }

    /// Costs of the layers, in order, with linear weights of that kind.
    pub fn costs(&self, classes: usize, linear: LinearWeights) -> impl Iterator<Item = Cost> + use<'_> {
        let layers = self.description.layers(classes);
        self.steps().iter().zip(layers).enumerate().map(move |(i, (step, layer))| Cost {
            layer,
            products: step.products(classes),
            weight_bytes: step.storage(linear).map_or(0, |storage| step.weights_len(classes) * storage.size()),
            shared_by: if i < self.chunked {
                1
            } else if i < self.linear {
                CHUNK
            } else {
                usize::MAX
            },
        })
    }

    /// Values of an image.
    pub(super) const fn image_len(&self) -> usize {
        self.description.input().values()
    }

    /// Floats of an image where the linear layers begin.
    pub(super) const fn features_len(&self) -> usize {
        match self.steps().split_at_checked(self.linear) {
            Some((_, [first, ..])) => first.input.len,
            _ => 0,
        }
    }

    /// Floats of an image where the layers begin that take several at once; none where there are no such layers, or no
    /// others before them.
    pub(super) const fn pooled_len(&self) -> usize {
        match self.steps().split_at_checked(self.chunked) {
            Some(([_, ..], [first, ..])) if self.chunked < self.linear => first.input.len,
            _ => 0,
        }
    }

    /// The parts of the workspace, each as large as its largest tenant, in whole lines.
    pub(super) const fn parts(&self, classes: usize, batch: usize) -> WorkspaceParts {
        let chunk = if batch < CHUNK { batch } else { CHUNK };
        let mut parts = WorkspaceParts {
            prepared: 0,
            products: 0,
            even: 0,
            odd: 0,
            pooled: whole_lines(self.pooled_len().saturating_mul(chunk)),
            features: whole_lines(self.features_len().saturating_mul(batch)),
        };
        let mut steps = self.steps();
        let mut i = 0;
        // Whether the input lies in `even`: the next output goes to the other one.
        let mut in_even = match self.entry {
            Entry::Plain => false,
            Entry::Interleave { image, pixel } => {
                let images = if self.chunked == 0 { chunk } else { 1 };
                parts.even = greater(parts.even, images * image.side * image.side * pixel);
                true
            }
            Entry::SpaceToDepth { grid, .. } => {
                let images = if self.chunked == 0 { chunk } else { 1 };
                parts.even = greater(parts.even, images * grid.len);
                true
            }
        };
        while let [step, rest @ ..] = steps {
            // Outputs between groups lie elsewhere.
            let group_begins = (i == self.chunked && self.chunked != 0) || i == self.linear;
            in_even = in_even && !group_begins;
            let images = if i < self.chunked {
                1
            } else if i < self.linear {
                chunk
            } else {
                batch
            };
            let (prepared, products) = step.scratch_len(classes, images);
            parts.prepared = greater(parts.prepared, prepared);
            parts.products = greater(parts.products, products);
            let output = step.output_len(classes).saturating_mul(images);
            if in_even {
                parts.odd = greater(parts.odd, output);
            } else {
                parts.even = greater(parts.even, output);
            }
            in_even = !in_even;
            steps = rest;
            i += 1;
        }
        parts.prepared = whole_lines(parts.prepared);
        parts.products = whole_lines(parts.products);
        parts.even = whole_lines(parts.even);
        parts.odd = whole_lines(parts.odd);
        parts
    }

    /// A number that another way of packing, or a network of the same name with other sizes, most likely does not have.
    pub(super) const fn fingerprint(&self) -> u32 {
        let mut fingerprint = HASH;
        let mut steps = self.steps();
        while let [step, rest @ ..] = steps {
            let numbers = match step.how {
                How::Winograd { conv, stride } => [1, conv.tile as usize, conv.inputs, conv.outputs, stride],
                How::Direct(direct) => [2, direct.kernel, step.input.channels, step.output.channels, direct.stride],
                How::MaxPool { kernel, stride } => [3, kernel, step.output.side, step.output.pixel, stride],
                How::Norm => [5, step.output.side, step.output.pixel, step.output.channels, 0],
                // The classes have a field of their own.
                How::Linear => {
                    let behind = if step.last {
                        1
                    } else if step.layer.relu() {
                        0
                    } else {
                        2
                    };
                    [4, step.input.side, step.input.pixel, step.input.channels, behind]
                }
            };
            fingerprint = hash(fingerprint, &numbers);
            if step.layer.groups() > 1 {
                fingerprint = hash(fingerprint, &[step.layer.groups()]);
            }
            steps = rest;
        }
        fingerprint
    }
}

/// The parts of the workspace, in floats.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorkspaceParts {
    /// Inputs made ready for matrix products.
    pub(super) prepared: usize,
    pub(super) products: usize,
    pub(super) even: usize,
    pub(super) odd: usize,
    pub(super) pooled: usize,
    pub(super) features: usize,
}

impl WorkspaceParts {
    const fn total(&self) -> usize {
        let maps = self.even.saturating_add(self.odd).saturating_add(self.pooled).saturating_add(self.features);
        maps.saturating_add(self.prepared).saturating_add(self.products)
    }
}

const fn whole_lines(floats: usize) -> usize {
    floats.div_ceil(Line::FLOATS).saturating_mul(Line::FLOATS)
}

/// Rearrangement of an image before the first layer, and its layout then.
const fn entry(first: &Layer, computed: usize) -> (Entry, Grid) {
    let image = first.input;
    match first.kind {
        // The values of each channel lie together, as linear weights expect them.
        Kind::Linear { .. } => (Entry::Plain, Grid::packed(image.values(), 1, image.values())),
        Kind::LocalResponseNorm | Kind::MaxPool { .. } => interleave(image, image.channels.next_multiple_of(16)),
        Kind::Conv { kernel, stride, padding, .. } => {
            let direct = interleave(image, image.channels);
            let inputs = (stride * stride * image.channels).next_multiple_of(16);
            let side = first.output.side + kernel.div_ceil(stride) - 1;
            let grid = Grid::packed(stride * stride * image.channels, side, inputs);
            if let How::Winograd { conv, .. } = winograd(first, computed, &grid, stride, 0)
                && conv.cost() < direct_cost(first, computed, &direct.1)
            {
                return (Entry::SpaceToDepth { image, stride, padding, grid }, grid);
            }
            direct
        }
    }
}

const fn interleave(image: Maps, pixel: usize) -> (Entry, Grid) {
    let grid = Grid::packed(image.channels, image.side, pixel);
    // Of a single channel, the values lie as they should already.
    if pixel == 1 { (Entry::Plain, grid) } else { (Entry::Interleave { image, pixel }, grid) }
}

/// Algorithm of a convolution that is not the first layer, or of one whose pixels are not laid into channels.
const fn convolution(layer: &Layer, computed: usize, input: &Grid) -> How {
    if layer.stride() == 1
        && let How::Winograd { conv, stride } = winograd(layer, computed, input, 1, layer.padding())
        && input.pixel.is_multiple_of(16)
        && conv.cost() < direct_cost(layer, computed, input)
    {
        return How::Winograd { conv, stride };
    }
    How::Direct(Direct { kernel: layer.kernel(), stride: layer.stride(), padding: layer.padding() })
}

/// By Winograd's minimal filtering, of the tile that costs least; directly where there is none for filters of that size, or where
/// groups do not have whole blocks of channels. Pixels laid into channels come with their padding.
const fn winograd(layer: &Layer, computed: usize, input: &Grid, stride: usize, padding: usize) -> How {
    let taps = layer.kernel().div_ceil(stride);
    let mut best = How::Direct(Direct { kernel: layer.kernel(), stride: layer.stride(), padding: layer.padding() });
    let groups = layer.groups();
    if groups > 1 && !(input.pixel == input.channels && layer.output.channels.is_multiple_of(groups * BLOCK)) {
        return best;
    }
    let mut least = usize::MAX;
    let mut tiles: &[Tile] = &Tile::ALL;
    while let [tile, rest @ ..] = tiles {
        let conv = Conv {
            tile: *tile,
            inputs: input.pixel,
            outputs: layer.output.channels.next_multiple_of(BLOCK),
            groups,
            input_side: input.side,
            output_side: computed,
            padding,
        };
        if tile.taps() == taps && conv.cost() < least {
            least = conv.cost();
            best = How::Winograd { conv, stride };
        }
        tiles = rest;
    }
    best
}

/// Cost of a direct convolution, as [`Conv::cost`] counts.
const fn direct_cost(layer: &Layer, computed: usize, input: &Grid) -> usize {
    let depth = layer.kernel() * layer.kernel() * input.channels;
    greater(computed * computed, FEW_ROWS) * depth * layer.output.channels.next_multiple_of(BLOCK / 2)
}

impl Conv {
    /// Cost in multiply-adds: those of its products, which take no less time for a few rows, and those of its
    /// transforms.
    const fn cost(&self) -> usize {
        let tiles = self.across() * self.across();
        let n = self.tile.inputs();
        greater(tiles, FEW_ROWS) * self.weights_len() + tiles * n * n * n * (self.inputs + self.outputs)
    }
}
