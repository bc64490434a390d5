//! Packed memory: a header line, then for each layer with weights its weights and its bias, each beginning a line. Outputs come
//! in blocks of 32, the last one filled up with zeros.
//!
//! The header's 16 words of 32 bits: `InferPak`, the version of this layout, the number of classes, the fingerprint of the
//! plan, the network's name in 20 bytes, and what the weights of each layer are stored as in 24 bytes.

use super::plan::Plan;
use super::{LinearWeights, PackedError};
use crate::describe::CLASSES;
use kernels::{F16, Line, Number, numbers, numbers_mut};

/// Beginning of the header line.
const MAGIC: [u32; 2] = [u32::from_le_bytes(*b"Infe"), u32::from_le_bytes(*b"rPak")];

/// The version of this layout.
const VERSION: u32 = 3;

/// The network's name, filled up with zeros.
fn name(plan: &Plan) -> impl Iterator<Item = u8> {
    plan.description().name.bytes().chain(core::iter::repeat(0)).take(20)
}

/// Number format of the stored weights of each layer, filled up with zeros.
fn tags(plan: &Plan, linear: LinearWeights) -> impl Iterator<Item = u8> {
    let tags = plan.steps().iter().filter_map(move |step| step.storage(linear)).map(LinearWeights::tag);
    tags.chain(core::iter::repeat(0)).take(Plan::MOST_WEIGHTS)
}

/// The words that four bytes each make.
fn words(mut bytes: impl Iterator<Item = u8>) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || Some(u32::from_le_bytes([bytes.next()?, bytes.next()?, bytes.next()?, bytes.next()?])))
}

/// Writes the header line.
pub(super) fn write_header(line: &mut [Line], plan: &Plan, classes: usize, linear: LinearWeights) {
    let header = MAGIC.into_iter().chain([VERSION, classes as u32, plan.fingerprint()]);
    let header = header.chain(words(name(plan))).chain(words(tags(plan, linear)));
    for (field, value) in numbers_mut(line).iter_mut().zip(header) {
        *field = value;
    }
}

/// Reads the header line: the number of classes, and what linear weights are stored as.
pub(super) fn read_header(lines: &[Line], plan: &Plan) -> Result<(usize, LinearWeights), PackedError> {
    let (header, _) = lines.split_at_checked(1).ok_or(PackedError::NotPacked)?;
    let Some((&[a, b, version, classes, fingerprint], rest)) = numbers::<u32>(header).split_first_chunk() else {
        return Err(PackedError::NotPacked);
    };
    if [a, b] != MAGIC {
        // What versions before this one began with.
        let former = [u32::from_le_bytes(*b"Alex"), u32::from_le_bytes(*b"Pack")];
        return Err(match [a, b] == former {
            true => PackedError::Version { expected: VERSION, found: version },
            false => PackedError::NotPacked,
        });
    }
    if version != VERSION {
        return Err(PackedError::Version { expected: VERSION, found: version });
    }
    let (found_name, found_tags) = rest.split_at_checked(5).ok_or(PackedError::NotPacked)?;
    if !found_name.iter().copied().eq(words(name(plan))) {
        return Err(PackedError::Network { expected: plan.description().name });
    }
    if fingerprint != plan.fingerprint() {
        return Err(PackedError::Plan { network: plan.description().name });
    }
    let linear = LinearWeights::ALL.iter().copied();
    let linear = linear.into_iter().find(|linear| found_tags.iter().copied().eq(words(tags(plan, *linear))));
    let classes = check_classes(classes as usize)?;
    Ok((classes, linear.ok_or(PackedError::Storage)?))
}

/// Checks that there are neither too few classes nor too many.
pub(super) fn check_classes(classes: usize) -> Result<usize, PackedError> {
    if CLASSES.contains(&classes) { Ok(classes) } else { Err(PackedError::Classes { found: classes }) }
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
        let numbers = numbers_mut(lines);
        numbers.get_mut(..count).unwrap_or_default()
    }
}

/// A type that linear weights are stored as.
pub(super) trait Stored: Number {
    fn from_f32(value: f32) -> Self;
    fn is_finite(self) -> bool;
}

impl Stored for f32 {
    fn from_f32(value: f32) -> Self {
        value
    }

    fn is_finite(self) -> bool {
        self.is_finite()
    }
}

impl Stored for F16 {
    fn from_f32(value: f32) -> Self {
        F16::from_f32(value)
    }

    fn is_finite(self) -> bool {
        self.is_finite()
    }
}

/// Index of the first NaN or infinity.
pub(super) fn first_not_finite<T: Stored>(values: &[T]) -> Option<usize> {
    // A block is looked at as a whole, which the compiler turns into vector instructions.
    const BLOCK: usize = 1024;
    let block = values.chunks(BLOCK).position(|block| block.iter().fold(false, |any, v| any | !v.is_finite()))?;
    let start = block * BLOCK;
    values.iter().skip(start).position(|v| !v.is_finite()).map(|i| start + i)
}
