//! The layers of the packed network: how each one is computed, and where its weights lie in packed memory.
//!
//! Packed memory is a header line, then for conv1 to conv5 and linear1 to linear3 the weights and the bias, each beginning
//! a line. Outputs come in blocks of 32, the last one filled up with zeros.

use super::{LinearWeights, PackedError};
use crate::CLASSES;
use crate::arch::{BLOCK, F16, Line, Number, Tile, numbers, numbers_mut};

/// A convolution with stride 1, followed by ReLU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conv {
    /// How it is computed.
    pub(super) tile: Tile,
    /// Channels of the input.
    pub(super) inputs: usize,
    /// Channels of the output.
    pub(super) outputs: usize,
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
    pub(super) const fn products(&self) -> u64 {
        (self.across() * self.across() * self.weights_len()) as u64
    }

    /// Floats of its weights: `[planes][outputs / 32][inputs][32]`.
    pub(super) const fn weights_len(&self) -> usize {
        self.tile.planes() * self.outputs * self.inputs
    }
}

/// conv1 of 11×11 and stride 4 becomes one of 3×3 and stride 1 by laying 4×4 pixels into 16 channels: output (i, j) meets
/// pixel 4·i + k with k = 4·q + s, which is channel s of row i + q. (The filter is 12×12 then, its last row and column zero.)
pub(super) const CONV1: Conv =
    Conv { tile: Tile::F6x3, inputs: STRIDE * STRIDE, outputs: 96, input_side: 56, output_side: 54, padding: 0 };
/// Of its 26 rows and columns, the pool that follows looks at 25.
pub(super) const CONV2: Conv =
    Conv { tile: Tile::F5x5, inputs: 96, outputs: 256, input_side: 26, output_side: 25, padding: 2 };
pub(super) const CONV3: Conv =
    Conv { tile: Tile::F4x3, inputs: 256, outputs: 384, input_side: 12, output_side: 12, padding: 1 };
pub(super) const CONV4: Conv =
    Conv { tile: Tile::F4x3, inputs: 384, outputs: 384, input_side: 12, output_side: 12, padding: 1 };
pub(super) const CONV5: Conv =
    Conv { tile: Tile::F4x3, inputs: 384, outputs: 256, input_side: 12, output_side: 12, padding: 1 };

/// Stride of conv1.
pub(super) const STRIDE: usize = 4;

pub(super) const CONVS: [Conv; 5] = [CONV1, CONV2, CONV3, CONV4, CONV5];

/// A fully connected layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl Linear {
    /// Outputs, filled up to whole blocks.
    pub(super) const fn padded(&self) -> usize {
        self.outputs.next_multiple_of(BLOCK)
    }
}

/// Rows and columns of the last pool, whose channels linear1 reads.
pub(super) const LAST_SIDE: usize = 5;

pub(super) const LINEARS: [Linear; 3] = [
    Linear { inputs: LAST_SIDE * LAST_SIDE * CONV5.outputs, outputs: 4096 },
    Linear { inputs: 4096, outputs: 4096 },
    Linear { inputs: 4096, outputs: CLASSES },
];

/// Lines of packed memory.
pub(super) const fn packed_len(weights: LinearWeights) -> usize {
    let mut lines = 1;
    let mut i = 0;
    while i < CONVS.len() {
        lines += Line::count(CONVS[i].weights_len() * size_of::<f32>());
        lines += Line::count(CONVS[i].outputs * size_of::<f32>());
        i += 1;
    }
    let mut i = 0;
    while i < LINEARS.len() {
        lines += Line::count(LINEARS[i].padded() * LINEARS[i].inputs * weights.size());
        lines += Line::count(LINEARS[i].padded() * size_of::<f32>());
        i += 1;
    }
    lines
}

/// What the header line begins with: "AlexPack" and the version of this layout; then the kind of linear weights and the number
/// of classes.
const MAGIC: [u32; 3] = [u32::from_le_bytes(*b"Alex"), u32::from_le_bytes(*b"Pack"), 2];

/// Writes the header line.
pub(super) fn write_header(line: &mut [Line], weights: LinearWeights) {
    let header = MAGIC.into_iter().chain([weights.size() as u32, CLASSES as u32]);
    for (field, value) in numbers_mut(line).iter_mut().zip(header) {
        *field = value;
    }
}

/// Reads the header line.
pub(super) fn read_header(lines: &[Line]) -> Result<LinearWeights, PackedError> {
    let (header, _) = lines.split_at_checked(1).ok_or(PackedError::NotPacked)?;
    match numbers::<u32>(header) {
        [a, b, ..] if [*a, *b] != MAGIC[..2] => Err(PackedError::NotPacked),
        [_, _, version, _, ..] if *version != MAGIC[2] => {
            Err(PackedError::Version { expected: MAGIC[2], found: *version })
        }
        [_, _, _, _, classes, ..] if *classes != CLASSES as u32 => {
            Err(PackedError::Classes { expected: CLASSES as u32, found: *classes })
        }
        [_, _, _, size, ..] => {
            LinearWeights::ALL.into_iter().find(|weights| weights.size() as u32 == *size).ok_or(PackedError::NotPacked)
        }
        _ => Err(PackedError::NotPacked),
    }
}

/// Takes packed memory apart, section by section.
pub(super) struct Sections<'a>(pub(super) &'a [Line]);

impl<'a> Sections<'a> {
    /// The next `count` numbers; none where there is not enough memory, which was checked as a whole.
    pub(super) fn take<T: Number>(&mut self, count: usize) -> &'a [T] {
        let (lines, rest) = self.0.split_at_checked(Line::count(count * size_of::<T>())).unwrap_or_default();
        self.0 = rest;
        numbers(lines).get(..count).unwrap_or_default()
    }
}

/// The same, to be written.
pub(super) struct SectionsMut<'a>(pub(super) &'a mut [Line]);

impl<'a> SectionsMut<'a> {
    /// The next `count` numbers; none where there is not enough memory.
    pub(super) fn take<T: Number>(&mut self, count: usize) -> &'a mut [T] {
        let lines = core::mem::take(&mut self.0);
        let (lines, rest) = lines.split_at_mut_checked(Line::count(count * size_of::<T>())).unwrap_or_default();
        self.0 = rest;
        numbers_mut(lines).get_mut(..count).unwrap_or_default()
    }
}

/// A type that linear weights are stored as.
pub(super) trait Stored: Number {
    fn from_f32(value: f32) -> Self;
}

impl Stored for f32 {
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Stored for F16 {
    fn from_f32(value: f32) -> Self {
        F16::from_f32(value)
    }
}
