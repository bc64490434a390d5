//! Plan of an int8 network: formats, layouts and sizes of each layer, settled by the compiler from the table of layers.

use super::{HIDDEN, INPUT, LARGEST_SUM, NORM_MULTIPLIERS, PANEL, TILES};
use crate::describe::{Description, Kind, Layer, MAX_LAYERS, computed_side};
use crate::number::{HASH, divide, greater, hash};
use crate::packed::Cost;
use kernels::{BLOCK, INT4_GROUP, Int8Tile, Line};

/// Number format of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Bytes from 0 to 127: what a ReLU passes.
    U7,
    /// 16-bit integers of either sign: the image, and what a linear layer without ReLU puts out.
    I16,
}

impl Format {
    /// Bytes of a value.
    const fn size(self) -> usize {
        match self {
            Self::U7 => 1,
            Self::I16 => 2,
        }
    }

    /// Products that kernels sum at once: as many weights of an output lie side by side.
    pub(super) const fn group(self) -> usize {
        match self {
            Self::U7 => 4,
            Self::I16 => 2,
        }
    }
}

/// Layout of feature maps in memory: `[rows][rows][channels]`, of which the outermost `border` rows and columns are zeros. A
/// vector has one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) channels: usize,
    /// Rows and columns without the border.
    pub(super) side: usize,
    pub(super) border: usize,
    pub(super) format: Format,
}

impl Grid {
    /// Rows, those of the border included.
    pub(super) const fn rows(&self) -> usize {
        self.side + 2 * self.border
    }

    /// Values of a row.
    pub(super) const fn row_len(&self) -> usize {
        self.rows() * self.channels
    }

    /// Values in all.
    pub(super) const fn len(&self) -> usize {
        self.rows() * self.row_len()
    }

    /// Lines for the maps of some images one behind the other, with room for what kernels read beyond the last value.
    const fn lines(&self, images: usize) -> usize {
        let values = self.len().saturating_mul(images).saturating_add(self.format.group());
        Line::count(values.saturating_mul(self.format.size()))
    }
}

/// Algorithm of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    Conv {
        kernel: usize,
        stride: usize,
    },
    Winograd(Int8Tile),
    Norm,
    MaxPool {
        kernel: usize,
        stride: usize,
    },
    Linear,
    /// A linear layer whose weights have 4 bits.
    Int4,
}

/// A layer, and how it is computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) layer: Layer,
    pub(super) how: How,
    pub(super) input: Grid,
    /// Layout of its output; of the last layer's sums, which are 32 bits wide, only the number counts.
    pub(super) output: Grid,
    /// Whether it is the last one, whose outputs are the classes.
    pub(super) last: bool,
}

impl Step {
    /// Outputs, where there are `classes`.
    pub(super) const fn outputs(&self, classes: usize) -> usize {
        if self.last { classes } else { self.layer.output.channels }
    }

    /// Outputs, filled up to whole panels.
    pub(super) const fn padded(&self, classes: usize) -> usize {
        match self.how {
            How::Norm | How::MaxPool { .. } => 0,
            How::Conv { .. } | How::Winograd(_) | How::Linear | How::Int4 => {
                self.outputs(classes).next_multiple_of(PANEL)
            }
        }
    }

    /// Rows of a window, and the values of each.
    pub(super) const fn window(&self) -> (usize, usize) {
        match self.how {
            How::Conv { kernel, .. } | How::MaxPool { kernel, .. } => (kernel, kernel * self.input.channels),
            How::Winograd(tile) => (tile.kernel(), tile.kernel() * self.input.channels),
            How::Norm => (1, 0),
            How::Linear | How::Int4 => (1, self.input.len()),
        }
    }

    /// Weights of an output: each row of its window is filled up to whole groups.
    pub(super) const fn depth(&self) -> usize {
        let (rows, run) = self.window();
        rows * run.next_multiple_of(self.input.format.group())
    }

    /// Bytes of weights in all.
    pub(super) const fn weights_len(&self, classes: usize) -> usize {
        self.weights_of(self.padded(classes))
    }

    /// Bytes of the weights of so many outputs, whole panels.
    pub(super) const fn weights_of(&self, outputs: usize) -> usize {
        let weights = outputs.saturating_mul(self.depth());
        if matches!(self.how, How::Int4) { weights / 2 } else { weights }
    }

    /// Factors of the groups of weights of so many outputs, where weights have 4 bits.
    pub(super) const fn factors_of(&self, outputs: usize) -> usize {
        if matches!(self.how, How::Int4) { outputs.saturating_mul(self.depth() / INT4_GROUP) } else { 0 }
    }

    /// Lines of its section of packed memory: shifts, biases, multipliers or scales, factors of groups, weights; of a Winograd convolution, scales,
    /// biases and weights; of local response normalisation, a shift and multipliers.
    pub(super) const fn section_len(&self, classes: usize) -> usize {
        if matches!(self.how, How::Norm) {
            return 1 + Line::count(NORM_MULTIPLIERS * size_of::<i16>());
        }
        let padded = self.padded(classes);
        if padded == 0 {
            return 0;
        }
        let weights = Line::count(self.weights_len(classes));
        if matches!(self.how, How::Winograd(_)) {
            return (2 * Line::count(padded * size_of::<f32>())).saturating_add(weights);
        }
        let factor = if self.last { size_of::<f32>() } else { size_of::<i16>() };
        let numbers = 1 + Line::count(padded * size_of::<i32>()) + Line::count(padded * factor);
        let numbers = numbers.saturating_add(Line::count(self.factors_of(padded)));
        numbers.saturating_add(weights)
    }

    /// Tiles of a Winograd convolution.
    pub(super) const fn tiling(&self, tile: Int8Tile) -> Tiling {
        let across = self.output.side.div_ceil(Int8Tile::OUTPUTS);
        let count = across * across;
        let planes = tile.planes();
        Tiling {
            tile,
            across,
            count,
            chunks: count.div_ceil(TILES),
            inputs: Line::count(planes * TILES * self.input.channels),
            scales: Line::count(planes * TILES * size_of::<f32>()),
            map: Line::count(self.output.side * self.output.side * BLOCK),
        }
    }

    /// Lines of transformed weights: the weights, their sums, scales.
    pub(super) const fn transformed_len(&self) -> usize {
        match self.how {
            How::Winograd(tile) => {
                let values = tile.planes() * self.output.channels;
                Line::count(values * self.input.channels) + 2 * Line::count(values * size_of::<i32>())
            }
            _ => 0,
        }
    }

    /// Bytes of its output as the kernels of a linear layer write it.
    const fn output_size(&self) -> usize {
        if self.last { size_of::<i32>() } else { self.output.format.size() }
    }
}

/// Shares of the tiles of a Winograd convolution: chunks of tiles are transformed, and blocks of outputs are computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    pub(super) tile: Int8Tile,
    /// Tiles of a row of the map.
    pub(super) across: usize,
    /// Tiles in all.
    pub(super) count: usize,
    pub(super) chunks: usize,
    /// Lines of the transformed inputs of a chunk: `[N²][TILES][channels]`.
    pub(super) inputs: usize,
    /// Lines of the scales of a chunk: `[TILES][N²]`.
    pub(super) scales: usize,
    /// Lines of the outputs of a block: `[rows][columns][32]`.
    pub(super) map: usize,
}

impl Tiling {
    /// The first tile of a chunk, and how many it has: chunks are as equal as can be.
    pub(super) fn chunk(&self, number: usize) -> (usize, usize) {
        let (small, larger) = divide(self.count, self.chunks);
        (number * small + number.min(larger), small + usize::from(number < larger))
    }
}

/// Plan of an int8 network: how it is packed and run, for any number of classes.
///
/// It is made by the compiler: a network that could not be run would not compile.
#[derive(Debug)]
pub struct Plan {
    description: &'static Description,
    /// Layout of the image.
    pub(super) image: Grid,
    /// The greatest magnitude of a pixel.
    pub(super) input_limit: i16,
    steps: [Step; MAX_LAYERS],
    length: usize,
    /// The first linear layer.
    pub(super) linear: usize,
}

impl Plan {
    /// The plan of a network whose weights are used where they are: in a file that is mapped into memory, or in flash.
    #[must_use]
    pub const fn new(description: &'static Description) -> Self {
        Self::of(description, false)
    }

    /// The plan of a network whose convolutions of 3 and 5 rows, without stride, from and to multiples of 32 channels, are
    /// Winograd's: less than half of the products, for [memory](Self::transformed_len) that their weights are transformed into. For
    /// x86-64, AArch64 and WebAssembly with SIMD; targets without vectors refuse it ([`NoVectors`](super::Int8Error::NoVectors)).
    #[must_use]
    pub const fn winograd(description: &'static Description) -> Self {
        Self::of(description, true)
    }

    /// The same network with weights of 4 bits in linear layers: those between two ReLUs, of a multiple of 32 inputs, but not the last one. They
    /// take half of the memory, and of the time of a batch of one, which waits for them.
    #[must_use]
    pub const fn int4(mut self) -> Self {
        let mut i = 0;
        while i < self.length {
            let step = &mut self.steps[i];
            let whole = step.input.len().is_multiple_of(INT4_GROUP);
            let bytes = matches!((step.input.format, step.output.format), (Format::U7, Format::U7));
            if matches!(step.how, How::Linear) && whole && bytes && !step.last {
                step.how = How::Int4;
            }
            i += 1;
        }
        self
    }

    /// Whether some weights have 4 bits.
    #[must_use]
    pub fn has_int4(&self) -> bool {
        self.steps().iter().any(|step| matches!(step.how, How::Int4))
    }

    const fn of(description: &'static Description, winograd: bool) -> Self {
        let layers = description.layers;
        assert!(description.name.len() <= 20, "the name of a network has 20 bytes at most");
        let input = description.input();
        let flat = matches!(layers[0].kind, Kind::Linear { .. });
        let image = Grid {
            channels: if flat { input.values() } else { input.channels },
            side: if flat { 1 } else { input.side },
            border: layers[0].padding(),
            format: Format::I16,
        };
        let nothing = Step { layer: layers[0], how: How::Linear, input: image, output: image, last: false };
        let mut steps = [nothing; MAX_LAYERS];
        let mut grid = image;
        let mut linear = layers.len();
        let mut weighted = false;
        let mut i = 0;
        while i < layers.len() {
            let layer = layers[i];
            let border = if i + 1 < layers.len() { layers[i + 1].padding() } else { 0 };
            let mut format = Format::U7;
            let how = match layer.kind {
                Kind::Conv { kernel, stride, .. } => match Int8Tile::of(kernel) {
                    Some(tile) if winograd && is_winograd(&layer, &grid) => How::Winograd(tile),
                    _ => How::Conv { kernel, stride },
                },
                Kind::LocalResponseNorm => How::Norm,
                Kind::MaxPool { kernel, stride, .. } => {
                    format = grid.format;
                    How::MaxPool { kernel, stride }
                }
                Kind::Linear { relu, .. } => {
                    if linear == layers.len() {
                        linear = i;
                    }
                    if !relu {
                        format = Format::I16;
                    }
                    How::Linear
                }
            };
            let output = Grid { channels: layer.output.channels, side: computed_side(layers, i), border, format };
            let last = i + 1 == layers.len();
            steps[i] = Step { layer, how, input: grid, output, last };
            let largest = match grid.format {
                Format::U7 => 127,
                // The image's values are limited by what the first sums can hold.
                Format::I16 if !weighted => 1,
                Format::I16 => HIDDEN as usize,
            };
            assert!(
                layer.fan_in() <= LARGEST_SUM / (127 * largest),
                "an int8 layer behind one without ReLU has at most 1,032 inputs, and any other at most 66,571"
            );
            weighted = weighted || layer.fan_in() > 0;
            grid = output;
            i += 1;
        }
        assert!(linear < layers.len(), "the last layer of a network is a linear one");
        Self { description, image, input_limit: input_limit(layers), steps, length: layers.len(), linear }
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
    pub const fn packed_len(&self, classes: usize) -> usize {
        let mut lines = 1_usize;
        let mut steps = self.steps();
        while let [step, rest @ ..] = steps {
            lines = lines.saturating_add(step.section_len(classes));
            steps = rest;
        }
        lines
    }

    /// Lines of memory for transformed weights; none where all are used as they are.
    #[must_use]
    pub const fn transformed_len(&self) -> usize {
        let mut lines = 0_usize;
        let mut steps = self.steps();
        while let [step, rest @ ..] = steps {
            lines = lines.saturating_add(step.transformed_len());
            steps = rest;
        }
        lines
    }

    /// Costs of the layers, in order.
    pub fn costs(&self, classes: usize) -> impl Iterator<Item = Cost> + use<'_> {
        let layers = self.description.layers(classes);
        self.steps().iter().zip(layers).enumerate().map(move |(i, (step, layer))| {
            let (weights, bytes, positions) = match step.how {
                How::Winograd(tile) => {
                    let weights = tile.planes() * step.input.channels * step.output.channels;
                    (weights, weights, step.tiling(tile).count)
                }
                _ => {
                    let padded = step.padded(classes);
                    let bytes = step.weights_of(padded) + step.factors_of(padded);
                    (padded * step.depth(), bytes, step.output.side * step.output.side)
                }
            };
            let shared_by = if i < self.linear { 1 } else { usize::MAX };
            // A transformed weight is used once in each tile.
            Cost { layer, products: weights * positions, weight_bytes: bytes, shared_by }
        })
    }

    /// Lines of workspace that a batch of that many images needs.
    #[must_use]
    pub const fn workspace_len(&self, classes: usize, batch: usize) -> usize {
        let Parts { even, odd, features, products, tiles, blocks } = self.parts(classes, batch);
        let maps = even.saturating_add(odd).saturating_add(tiles).saturating_add(blocks);
        maps.saturating_add(features).saturating_add(products)
    }

    /// Layout of what the linear layers begin with.
    pub(super) const fn features(&self) -> Grid {
        match self.steps().split_at_checked(self.linear) {
            Some((_, [first, ..])) => first.input,
            _ => self.image,
        }
    }

    /// The parts of the workspace, each as large as its largest tenant.
    pub(super) const fn parts(&self, classes: usize, batch: usize) -> Parts {
        let features = self.features().lines(batch);
        let image = if self.linear == 0 { 0 } else { self.image.lines(1) };
        let mut parts = Parts { even: 0, odd: image, features, products: 0, tiles: 0, blocks: 0 };
        let mut steps = self.steps();
        let mut i = 0;
        while let [step, rest @ ..] = steps {
            // Maps and vectors lie in `even` and `odd` by turns.
            let images = if i < self.linear { 1 } else { batch };
            let lines = if step.last { 0 } else { step.output.lines(images) };
            if i.is_multiple_of(2) {
                parts.even = greater(parts.even, lines);
            } else {
                parts.odd = greater(parts.odd, lines);
            }
            if let How::Winograd(tile) = step.how {
                let Tiling { chunks, inputs, scales, map, .. } = step.tiling(tile);
                parts.tiles = greater(parts.tiles, chunks * (inputs + scales));
                parts.blocks = greater(parts.blocks, step.output.channels / BLOCK * map);
            }
            if i >= self.linear {
                let groups = step.outputs(classes).next_multiple_of(super::GROUP);
                let bytes = groups.saturating_mul(batch).saturating_mul(step.output_size());
                parts.products = greater(parts.products, Line::count(bytes));
            }
            steps = rest;
            i += 1;
        }
        parts
    }

    /// A number that another layout, or a network of the same name with other sizes, most likely does not have.
    pub(super) const fn fingerprint(&self) -> u32 {
        let mut fingerprint = HASH;
        let mut steps = self.steps();
        while let [step, rest @ ..] = steps {
            let (kind, kernel, stride) = match step.how {
                How::Conv { kernel, stride } => (1, kernel, stride),
                How::MaxPool { kernel, stride } => (2, kernel, stride),
                How::Linear => (3, 0, 0),
                How::Winograd(tile) => (4, tile.kernel(), 1),
                How::Norm => (5, 0, 0),
                How::Int4 => (6, 0, 0),
            };
            // The classes have a field of their own.
            let outputs = if step.last { 0 } else { step.output.channels };
            let numbers =
                [kind, kernel, stride, step.input.channels, step.input.rows(), step.input.format.size(), outputs];
            fingerprint = hash(fingerprint, &numbers);
            if step.layer.groups() > 1 {
                fingerprint = hash(fingerprint, &[step.layer.groups()]);
            }
            steps = rest;
        }
        fingerprint
    }
}

/// The parts of the workspace, in lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    /// Outputs of layers with even numbers.
    pub(super) even: usize,
    /// The image, quantised, which only the first layer reads; then outputs of layers with odd numbers.
    pub(super) odd: usize,
    /// Inputs of the first linear layer, of the whole batch.
    pub(super) features: usize,
    /// Outputs of a linear layer as its kernels write them.
    pub(super) products: usize,
    /// Transformed inputs of a Winograd convolution.
    pub(super) tiles: usize,
    /// Outputs of a Winograd convolution's blocks of outputs.
    pub(super) blocks: usize,
}

/// Whether a convolution is Winograd's, where those are wanted and its kernel has a size of tile.
const fn is_winograd(layer: &Layer, input: &Grid) -> bool {
    let whole = input.channels.is_multiple_of(BLOCK) && layer.output.channels.is_multiple_of(BLOCK);
    // Sums of so many products stay within what a float holds exactly.
    let few = input.channels <= (1 << 24) / (127 * 127);
    layer.stride() == 1 && whole && few && matches!(input.format, Format::U7)
}

/// The greatest magnitude of a pixel for which no sum of the first layer with weights can overflow.
const fn input_limit(layers: &[Layer]) -> i16 {
    let mut i = 0;
    while i < layers.len() {
        if layers[i].fan_in() > 0 {
            let limit = LARGEST_SUM / (127 * layers[i].fan_in());
            assert!(limit > 0, "the first int8 layer has too many inputs");
            return if limit < INPUT as usize { limit as i16 } else { INPUT };
        }
        i += 1;
    }
    INPUT
}
