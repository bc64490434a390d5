//! Packed memory: the header line, and a section for each layer with weights.
//!
//! The header's 16 words of 32 bits: `InferI8` and a zero, the version of this layout, the number of classes, the fingerprint of
//! the plan, the network's name in 20 bytes, the factor of pixels (`f32`); the rest are zeros.

use super::plan::{How, Plan, Step};
use super::{INT4_FACTOR, INT4_WEIGHT, Int8Error, LARGEST_SUM, MOST_SECOND_SHIFT, MOST_SHIFT, NORM_MULTIPLIERS, PANEL};
use crate::describe::CLASSES;
use crate::number::divide;
use core::num::NonZero;
use kernels::{BLOCK, INT8_PANEL, Int8Filters, Int8Kernels, Int8Tile, Line, Number, numbers, numbers_mut};

/// Beginning of the header line.
const MAGIC: [u32; 2] = [u32::from_le_bytes(*b"Infe"), u32::from_le_bytes(*b"rI8\0")];

/// The version of this layout.
const VERSION: u32 = 1;

/// Words of the network's name.
const NAME: usize = 5;

/// The network's name, filled up with zeros, in words.
fn name(plan: &Plan) -> impl Iterator<Item = u32> {
    let mut bytes = plan.description().name.bytes().chain(core::iter::repeat(0));
    let mut byte = move || bytes.next().unwrap_or_default();
    (0..NAME).map(move |_| u32::from_le_bytes([byte(), byte(), byte(), byte()]))
}

/// Writes the header line.
pub(super) fn write_header(line: &mut [Line], plan: &Plan, classes: usize, factor: f32) {
    let header = MAGIC.into_iter().chain([VERSION, classes as u32, plan.fingerprint()]);
    let header = header.chain(name(plan)).chain([factor.to_bits()]).chain(core::iter::repeat(0));
    for (field, value) in numbers_mut(line).iter_mut().zip(header) {
        *field = value;
    }
}

/// Reads the header line: the number of classes, and the factor of pixels.
pub(super) fn read_header(lines: &[Line], plan: &Plan) -> Result<(usize, f32), Int8Error> {
    let (header, _) = lines.split_at_checked(1).ok_or(Int8Error::NotInt8)?;
    let Some((&[a, b, version, classes, fingerprint], rest)) = numbers::<u32>(header).split_first_chunk() else {
        return Err(Int8Error::NotInt8);
    };
    if [a, b] != MAGIC {
        return Err(Int8Error::NotInt8);
    }
    if version != VERSION {
        return Err(Int8Error::Version { expected: VERSION, found: version });
    }
    let (found_name, rest) = rest.split_at_checked(NAME).ok_or(Int8Error::NotInt8)?;
    if !found_name.iter().copied().eq(name(plan)) {
        return Err(Int8Error::Network { expected: plan.description().name });
    }
    let Some(([factor], rest)) = rest.split_first_chunk() else { return Err(Int8Error::NotInt8) };
    if fingerprint != plan.fingerprint() || rest.iter().any(|word| *word != 0) {
        return Err(Int8Error::Plan { network: plan.description().name });
    }
    let classes = check_classes(classes as usize)?;
    let factor = f32::from_bits(*factor);
    if is_scale(factor) { Ok((classes, factor)) } else { Err(Int8Error::Factor) }
}

/// Checks that there are neither too few classes nor too many.
pub(super) fn check_classes(classes: usize) -> Result<usize, Int8Error> {
    if CLASSES.contains(&classes) { Ok(classes) } else { Err(Int8Error::Classes { found: classes }) }
}

/// Whether a value is a number greater than zero.
pub(super) fn is_scale(value: f32) -> bool {
    value > 0.0 && value.is_finite()
}

/// Bound of the biases and scales of a Winograd convolution, and one over that of its scales from below: no step of its arithmetic
/// overflows or loses bits.
const WINOGRAD_LIMIT: f32 = (1_u128 << 64) as f32;

/// Whether a value is a scale of a Winograd convolution's outputs.
pub(super) fn is_winograd_scale(value: f32) -> bool {
    (1.0 / WINOGRAD_LIMIT..=WINOGRAD_LIMIT).contains(&value)
}

/// Whether a value is a bias of a Winograd convolution's outputs.
pub(super) fn is_winograd_bias(value: f32) -> bool {
    value.abs() <= WINOGRAD_LIMIT
}

/// Factors of a layer's sums.
#[derive(Debug, Clone, Copy)]
pub(super) enum Factors<'w> {
    /// Multipliers of outputs that are integers.
    Multipliers(&'w [i16]),
    /// Scales of logits.
    Scales(&'w [f32]),
    /// Multipliers of local response normalisation, by the sum of squares.
    Norm(&'w [i16]),
    /// Transformed weights of a Winograd convolution.
    Winograd(Transformed<'w>),
}

/// Weights of a Winograd convolution, transformed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transformed<'w> {
    /// `[outputs / 32][N²][2][channels / 4][16][4]`
    pub(super) weights: &'w [i8],
    /// Sums that the kernels' offset of inputs adds, with their signs changed: `[outputs / 32][N²][32]`.
    pub(super) sums: &'w [i32],
    /// `[outputs / 32][N²][32]`
    pub(super) scales: &'w [f32],
    /// Scale of each output, of which those above are made.
    output_scales: &'w [f32],
    /// One value for each output.
    pub(super) bias: &'w [f32],
}

/// Section of a layer that has one; of a pool, an empty one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section<'w> {
    pub(super) shift1: u32,
    pub(super) shift2: u32,
    pub(super) bias: &'w [i32],
    pub(super) factors: Factors<'w>,
    /// Factors of the groups of weights that have 4 bits.
    pub(super) groups: &'w [u8],
    pub(super) weights: &'w [i8],
}

impl<'w> Section<'w> {
    /// Takes the section of a layer off the front of packed memory and, of a Winograd convolution, the transformed weights off the front of
    /// `transformed`.
    pub(super) fn take(lines: &mut &'w [Line], transformed: &mut &'w [Line], step: &Step, classes: usize) -> Self {
        let factors = Factors::Multipliers(&[]);
        let empty = Self { shift1: 0, shift2: 1, bias: &[], factors, groups: &[], weights: &[] };
        let (outputs, padded) = (step.outputs(classes), step.padded(classes));
        if matches!(step.how, How::Norm) {
            let shift2 = part(lines, 1).first().copied().unwrap_or_default();
            return Self { shift2, factors: Factors::Norm(part(lines, NORM_MULTIPLIERS)), ..empty };
        }
        if padded == 0 {
            return empty;
        }
        if let How::Winograd(tile) = step.how
            && Int8Tile::AVAILABLE
        {
            let (output_scales, bias) = (part(lines, outputs), part(lines, outputs));
            let values = tile.planes() * outputs;
            let weights = part(transformed, values * step.input.channels);
            let (sums, scales) = (part(transformed, values), part(transformed, values));
            let factors = Factors::Winograd(Transformed { weights, sums, scales, output_scales, bias });
            return Self { factors, weights: part(lines, outputs * step.depth()), ..empty };
        }
        let (shift1, shift2) = match *part(lines, 2) {
            [shift1, shift2] => (shift1, shift2),
            _ => (0, 0),
        };
        let bias = part(lines, padded);
        let factors =
            if step.last { Factors::Scales(part(lines, padded)) } else { Factors::Multipliers(part(lines, padded)) };
        let groups = part(lines, step.factors_of(padded));
        Self { shift1, shift2, bias, factors, groups, weights: part(lines, step.weights_len(classes)) }
    }

    /// Checks all but the weights.
    pub(super) fn check(&self, step: &Step, classes: usize) -> Result<(), Int8Error> {
        let refused = Err(Int8Error::Parameter { layer: step.layer.name });
        if self.shift1 > MOST_SHIFT || !(1..=MOST_SECOND_SHIFT).contains(&self.shift2) {
            return refused;
        }
        let factors_are_right = match self.factors {
            Factors::Multipliers(factors) | Factors::Norm(factors) => factors.iter().all(|factor| *factor >= 0),
            Factors::Scales(scales) => {
                if !scales.iter().take(step.outputs(classes)).all(|scale| is_scale(*scale)) {
                    return Err(Int8Error::Factor);
                }
                true
            }
            Factors::Winograd(Transformed { output_scales, bias, .. }) => {
                output_scales.iter().all(|scale| is_winograd_scale(*scale))
                    && bias.iter().all(|bias| is_winograd_bias(*bias))
            }
        };
        let in_range = self.bias.iter().all(|bias| bias.unsigned_abs() as usize <= LARGEST_SUM);
        if factors_are_right && in_range { Ok(()) } else { refused }
    }

    /// Transforms the weights of a Winograd convolution into memory that is taken off the front of `transformed`.
    pub(super) fn transform(
        &self,
        transformed: &mut &mut [Line],
        step: &Step,
        kernels: &Int8Kernels,
    ) -> Result<(), Int8Error> {
        let (How::Winograd(tile), Factors::Winograd(Transformed { output_scales, .. })) = (step.how, self.factors)
        else {
            return Ok(());
        };
        let (outputs, channels) = (step.output.channels, step.input.channels);
        let values = tile.planes() * outputs;
        let memory = part_mut::<i8>(transformed, values * channels);
        let (sums, scales) = (part_mut::<i32>(transformed, values), part_mut::<f32>(transformed, values));
        for first in (0..outputs).step_by(INT8_PANEL) {
            // The panel's place in its block.
            let (block, lane) = divide(first, BLOCK);
            let place = block * tile.planes() * BLOCK + lane;
            let filters = Int8Filters {
                weights: self.weights.get(first * step.depth()..).unwrap_or_default(),
                channels,
                output_scales: output_scales.get(first..).unwrap_or_default(),
                transformed: memory.get_mut(place * channels..).unwrap_or_default(),
                plane: BLOCK * channels,
                sums: sums.get_mut(place..).unwrap_or_default(),
                scales: scales.get_mut(place..).unwrap_or_default(),
                outputs: BLOCK,
            };
            kernels.filters(tile, filters)?;
        }
        Ok(())
    }

    /// Checks that each weight is within ±127, or ±7 where it has 4 bits, and those that fill up are zero. Reads all of them.
    pub(super) fn check_weights(&self, step: &Step, classes: usize) -> Result<(), Int8Error> {
        let refused = Err(Int8Error::Weight { layer: step.layer.name });
        if matches!(step.how, How::Int4) {
            return if self.int4_weights_are_right(step, classes) { Ok(()) } else { refused };
        }
        // A block is looked at as a whole, which the compiler turns into vector instructions.
        if self.weights.chunks(1024).any(|block| block.iter().fold(false, |any, weight| any | (*weight == i8::MIN))) {
            return refused;
        }
        let (outputs, depth, group) = (step.outputs(classes), step.depth(), step.input.format.group());
        let (_, run) = step.window();
        let filled = run.next_multiple_of(group).max(1);
        for (panel, weights) in self.weights.chunks_exact((PANEL * depth).max(1)).enumerate() {
            let real = outputs.saturating_sub(panel * PANEL).min(PANEL);
            if real == PANEL && filled == run {
                continue;
            }
            for (number, weights) in weights.chunks_exact((PANEL * group).max(1)).enumerate() {
                let first = (number * group).checked_rem(filled).unwrap_or_default();
                for (output, weights) in weights.chunks_exact(group.max(1)).enumerate() {
                    let kept = if output < real { run.saturating_sub(first) } else { 0 };
                    if weights.iter().skip(kept).any(|weight| *weight != 0) {
                        return refused;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Section<'_> {
    /// Whether weights of 4 bits and their factors are within their ranges, and those that fill up are zero.
    fn int4_weights_are_right(&self, step: &Step, classes: usize) -> bool {
        let outputs = step.outputs(classes);
        let low = |half: u8| half.cast_signed() < -16 * INT4_WEIGHT;
        let low = |byte: i8| low(byte.cast_unsigned() << 4) | low(byte.cast_unsigned() & 0xF0);
        let real = |panel: usize| outputs.saturating_sub(panel * PANEL).min(PANEL);
        let (Some(bytes), Some(factors)) = (NonZero::new(step.weights_of(PANEL)), NonZero::new(step.factors_of(PANEL)))
        else {
            return false;
        };
        let mut weights = self.weights.chunks_exact(bytes.get()).enumerate();
        let mut groups = self.groups.chunks_exact(factors.get()).enumerate();
        weights.all(|(panel, bytes)| {
            !bytes.iter().fold(false, |any, byte| any | low(*byte)) && is_filled_up(bytes, 4 * real(panel), 4 * PANEL)
        }) && groups.all(|(panel, factors)| {
            factors.iter().all(|factor| *factor <= INT4_FACTOR) && is_filled_up(factors, real(panel), PANEL)
        })
    }
}

/// Whether what is behind the first `real` values of each line of `length` is zero.
fn is_filled_up<T: Copy + Default + PartialEq>(values: &[T], real: usize, length: usize) -> bool {
    let mut rest = values.chunks_exact(length.max(1)).filter_map(|line| line.get(real..));
    real == length || rest.all(|rest| rest.iter().all(|value| *value == T::default()))
}

/// The next `count` numbers; none where there is not enough memory, which was checked as a whole.
fn part<'w, T: Number>(lines: &mut &'w [Line], count: usize) -> &'w [T] {
    let (taken, rest) = lines.split_at_checked(Line::count(count * size_of::<T>())).unwrap_or_default();
    *lines = rest;
    numbers(taken).get(..count).unwrap_or_default()
}

/// The same, to be written.
pub(super) fn part_mut<'w, T: Number>(lines: &mut &'w mut [Line], count: usize) -> &'w mut [T] {
    let taken = lines.split_off_mut(..Line::count(count * size_of::<T>())).unwrap_or_default();
    numbers_mut(taken).get_mut(..count).unwrap_or_default()
}
