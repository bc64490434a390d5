//! Reader of the safetensors format: tensors are found and checked in place, nothing is copied.
//!
//! The format (<https://huggingface.co/docs/safetensors>): 8 bytes, the header's length as a little-endian `u64`; the
//! header, a JSON object of `"name": {"dtype": …, "shape": […], "data_offsets": [begin, end]}` and an optional
//! `"__metadata__"` object of strings; the data. Whatever this reader accepts, the safetensors crate accepts; it also
//! refuses what that crate lets pass: names that stand twice, unknown fields, values that are not aligned, and, for the
//! weights of a network, NaN and infinity.

mod dtype;
mod error;
mod json;

pub use dtype::{Dtype, MAX_RANK, Shape};
pub use error::{ByteCount, Field, TensorName, WeightsError};
pub use json::JsonStr;

use crate::tensor::{FloatArray, floats};
use heapless::Vec;
use json::{Cursor, Unexpected};

/// The longest header that is read, in bytes, as in the safetensors crate.
pub const MAX_HEADER: u64 = 100_000_000;

/// A tensor in the file.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    /// Its name.
    pub name: JsonStr<'a>,
    /// The type of its values.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Shape,
    /// Offsets of its bytes from the first byte of data: begin, end.
    pub offsets: (u64, u64),
    /// Its bytes, row-major, little-endian.
    pub bytes: &'a [u8],
}

/// The tensors of a file, `CAPACITY` at most, in the order of their data.
#[derive(Debug, Clone)]
pub struct SafeTensors<'a, const CAPACITY: usize> {
    tensors: Vec<TensorView<'a>, CAPACITY>,
    metadata: Option<Cursor<'a>>,
    /// Values that are handed out are finite.
    scanned: bool,
}

impl<'a, const CAPACITY: usize> SafeTensors<'a, CAPACITY> {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// Whatever is wrong with the file's structure. The tensors' values are not looked at.
    pub fn parse(file: &'a [u8]) -> Result<Self, WeightsError> {
        let (header, data) = split(file)?;
        let mut this = Self { tensors: Vec::new(), metadata: None, scanned: true };
        this.metadata = entries(header, &mut |tensor| {
            if this.tensors.iter().any(|other| other.name.same(tensor.name)) {
                return Err(WeightsError::Duplicate { name: tensor.name.into() });
            }
            this.tensors.push(tensor).map_err(|_| WeightsError::TooManyTensors { limit: CAPACITY })
        })?;
        sort(&mut this.tensors);
        place(&mut this.tensors, data)?;
        Ok(this)
    }

    /// The same file, whose tensors are handed out without a look at their values: for those that were looked through before. All
    /// else is checked all the same.
    #[must_use]
    pub fn unscanned(self) -> Self {
        Self { scanned: false, ..self }
    }

    /// The tensors, in the order of their data.
    #[must_use]
    pub fn tensors(&self) -> &[TensorView<'a>] {
        &self.tensors
    }

    /// The tensor of that name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorView<'a>> {
        self.tensors.iter().find(|tensor| tensor.name.is(name))
    }

    /// Calls `entry` with each key and value of the metadata, in the order of the file.
    pub fn for_each_metadata(&self, mut entry: impl FnMut(JsonStr<'a>, JsonStr<'a>)) {
        if let Some(mut cursor) = self.metadata {
            // Checked by `parse`: no error is left to find.
            let _: Result<(), Unexpected> = cursor.object(|cursor, key| {
                entry(key, cursor.string()?);
                Ok(())
            });
        }
    }

    /// The metadata's value for `key`, the last one where it stands more than once.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<JsonStr<'a>> {
        let mut found = None;
        self.for_each_metadata(|k, value| {
            if k.is(key) {
                found = Some(value);
            }
        });
        found
    }

    /// The tensor `name` as a nested array of the same shape, read in place.
    ///
    /// # Errors
    /// The tensor is missing, of another type or shape, misaligned, or holds a value that is not finite.
    pub fn array<A: FloatArray>(&self, name: &'static str) -> Result<&'a A, WeightsError> {
        let values = self.values(name, A::SIZES)?;
        A::slice(values).first().ok_or(WeightsError::Missing { tensor: name })
    }

    /// The values of the tensor `name`, which has these sizes, read in place, row-major.
    ///
    /// # Errors
    /// As [`array`](Self::array).
    pub fn values(&self, name: &'static str, sizes: &[usize]) -> Result<&'a [f32], WeightsError> {
        let tensor = self.tensor(name).ok_or(WeightsError::Missing { tensor: name })?;
        if tensor.dtype != Dtype::F32 {
            return Err(WeightsError::Dtype { tensor: name, expected: Dtype::F32, found: tensor.dtype });
        }
        let found = tensor.shape.sizes();
        if found.len() != sizes.len() {
            return Err(WeightsError::Rank { tensor: name, expected: sizes.len() as u8, found: found.len() as u8 });
        }
        for (dimension, (expected, found)) in (0..).zip(sizes.iter().zip(found)) {
            let expected = u32::try_from(*expected).unwrap_or(u32::MAX);
            if *found != expected {
                return Err(WeightsError::Shape { tensor: name, dimension, expected, found: *found });
            }
        }
        let values = floats(tensor.bytes).ok_or(WeightsError::Misaligned { tensor: name })?;
        if let Some(index) = self.scanned.then(|| first_not_finite(values)).flatten() {
            return Err(WeightsError::NotFinite { tensor: name, index });
        }
        Ok(values)
    }

    /// Refuses a file with tensors that are not among `names`.
    ///
    /// # Errors
    /// Names the first such tensor.
    pub fn only(&self, names: &[&str]) -> Result<(), WeightsError> {
        match self.tensors.iter().find(|tensor| !names.iter().any(|name| tensor.name.is(name))) {
            Some(tensor) => Err(WeightsError::Unexpected { tensor: tensor.name.into() }),
            None => Ok(()),
        }
    }
}

/// The only tensor of a file, which has this name: without the memory that the tensors of other files need.
///
/// # Errors
/// As [`SafeTensors::parse`], but for tensors of other names, of which only the syntax is looked at:
/// [`Missing`](WeightsError::Missing) where they are there instead, [`Unexpected`](WeightsError::Unexpected) where they are there too.
pub(crate) fn single<'a>(file: &'a [u8], name: &'static str) -> Result<TensorView<'a>, WeightsError> {
    let (header, data) = split(file)?;
    let (mut found, mut other) = (None, None);
    entries(header, &mut |tensor| {
        if !tensor.name.is(name) {
            other = other.or(Some(tensor.name));
        } else if found.replace(tensor).is_some() {
            return Err(WeightsError::Duplicate { name: tensor.name.into() });
        }
        Ok(())
    })?;
    let mut tensor = found.ok_or(WeightsError::Missing { tensor: name })?;
    if let Some(other) = other {
        return Err(WeightsError::Unexpected { tensor: other.into() });
    }
    place(core::slice::from_mut(&mut tensor), data)?;
    Ok(tensor)
}

/// Calls `take` with each tensor of a header, whose bytes are filled in later; returns the place of the metadata.
fn entries<'a>(
    header: &'a str,
    take: &mut dyn FnMut(TensorView<'a>) -> Result<(), WeightsError>,
) -> Result<Option<Cursor<'a>>, WeightsError> {
    let (mut metadata, mut last) = (None, None);
    let mut cursor = Cursor::new(header);
    let read = cursor.object(|cursor, name| {
        if name.is("__metadata__") {
            if metadata.replace(*cursor).is_some() {
                return Err(WeightsError::Duplicate { name: name.into() });
            }
            return cursor.object(|cursor, _| Ok(cursor.string().map(|_| ())?));
        }
        last = Some(name);
        take(entry(cursor, name)?)
    });
    // What is wrong in an entry or behind it is told with its tensor: that is where to look.
    read.and_then(|()| Ok(cursor.end()?)).map_err(|error| match last {
        Some(tensor) => named(error, tensor),
        None => error,
    })?;
    Ok(metadata)
}

/// Finds the bytes of all tensors of a file, which are sorted by their offsets, and must fill the data.
fn place<'a>(tensors: &mut [TensorView<'a>], data: &'a [u8]) -> Result<(), WeightsError> {
    let mut expected = 0;
    for tensor in tensors {
        let (begin, end) = tensor.offsets;
        let name = TensorName::from(tensor.name);
        let (from, expected_at) = (ByteCount::new(begin), ByteCount::new(expected));
        if begin > expected {
            return Err(WeightsError::Gap { tensor: name, expected: expected_at, found: from });
        }
        if begin < expected {
            return Err(WeightsError::Overlap { tensor: name, expected: expected_at, found: from });
        }
        tensor.bytes = usize::try_from(begin)
            .ok()
            .zip(usize::try_from(end).ok())
            .and_then(|(begin, end)| data.get(begin..end))
            .ok_or(WeightsError::Truncated {
                tensor: name,
                expected: ByteCount::new(end),
                found: ByteCount::new(data.len() as u64),
            })?;
        expected = end;
    }
    match data.len() as u64 - expected {
        0 => Ok(()),
        count => Err(WeightsError::TrailingBytes { count }),
    }
}

/// An error of the header's syntax, with the tensor in whose entry or behind whose entry it is.
fn named(error: WeightsError, tensor: JsonStr<'_>) -> WeightsError {
    match error {
        // A header has at most 100 MB.
        WeightsError::HeaderSyntax { offset } => {
            WeightsError::EntrySyntax { tensor: tensor.into(), offset: u32::try_from(offset).unwrap_or(u32::MAX) }
        }
        other => other,
    }
}

/// The header's text and the data.
fn split(file: &[u8]) -> Result<(&str, &[u8]), WeightsError> {
    let (length, rest) = file.split_first_chunk().ok_or(WeightsError::NoHeader { found: file.len() })?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(WeightsError::HeaderTooLong { found: length });
    }
    let (header, data) = usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or(WeightsError::HeaderTruncated { expected: length, found: rest.len() })?;
    let header = core::str::from_utf8(header).map_err(|e| WeightsError::HeaderNotUtf8 { offset: e.valid_up_to() })?;
    if !header.starts_with('{') {
        return Err(WeightsError::HeaderSyntax { offset: 0 });
    }
    Ok((header, data))
}

/// Sorts tensors by their offsets. By selection, since there are few, and core's sorts hold a panic for orders that are
/// not total.
fn sort(mut tensors: &mut [TensorView<'_>]) {
    while let Some((first, rest)) = tensors.split_first_mut() {
        for other in rest.iter_mut() {
            if other.offsets < first.offsets {
                core::mem::swap(first, other);
            }
        }
        tensors = rest;
    }
}

/// Reads a tensor's entry.
fn entry<'a>(cursor: &mut Cursor<'a>, name: JsonStr<'a>) -> Result<TensorView<'a>, WeightsError> {
    let tensor = TensorName::from(name);
    let overflow = WeightsError::Overflow { tensor };
    // Offsets and numbers of bytes above this fit into no file, and not into an error.
    let countable = |count: &u64| *count < 1 << 48;
    let twice_or_unknown = WeightsError::UnexpectedField { tensor };
    let (mut dtype, mut shape, mut offsets) = (None, None, None);
    cursor.object(|cursor, field| {
        if field.is("dtype") && dtype.is_none() {
            let text = cursor.string()?;
            dtype = Some(Dtype::find(|name| text.is(name)).ok_or(WeightsError::UnknownDtype { tensor })?);
        } else if field.is("shape") && shape.is_none() {
            let mut sizes = Shape::default();
            cursor.array(|cursor| {
                let size = cursor.unsigned()?.and_then(|size| u32::try_from(size).ok()).ok_or(overflow)?;
                sizes.push(size).ok_or(WeightsError::TooManyDimensions { tensor })
            })?;
            shape = Some(sizes);
        } else if field.is("data_offsets") && offsets.is_none() {
            cursor.expect(b'[')?;
            let begin = cursor.unsigned()?.filter(countable).ok_or(overflow)?;
            cursor.expect(b',')?;
            let end = cursor.unsigned()?.filter(countable).ok_or(overflow)?;
            cursor.expect(b']')?;
            offsets = Some((begin, end));
        } else {
            return Err(twice_or_unknown);
        }
        Ok(())
    })?;
    let missing = |field| WeightsError::MissingField { tensor, field };
    let dtype = dtype.ok_or(missing(Field::Dtype))?;
    let shape = shape.ok_or(missing(Field::Shape))?;
    let offsets = offsets.ok_or(missing(Field::DataOffsets))?;
    let bits = shape.values().and_then(|values| values.checked_mul(dtype.bits())).ok_or(overflow)?;
    let expected = Some(bits.div_ceil(8)).filter(countable).ok_or(overflow)?;
    let found = offsets.1.saturating_sub(offsets.0);
    if found != expected || offsets.0 > offsets.1 || bits % 8 != 0 {
        let (expected, found) = (ByteCount::new(expected), ByteCount::new(found));
        return Err(WeightsError::Size { tensor: name.into(), expected, found });
    }
    Ok(TensorView { name, dtype, shape, offsets, bytes: &[] })
}

/// Index of the first NaN or infinity.
pub(crate) fn first_not_finite(values: &[f32]) -> Option<usize> {
    // A block is looked at as a whole, which the compiler turns into vector instructions.
    const BLOCK: usize = 1024;
    let block = values.chunks(BLOCK).position(|block| block.iter().fold(false, |any, v| any | !v.is_finite()))?;
    let start = block * BLOCK;
    values.iter().skip(start).position(|v| !v.is_finite()).map(|i| start + i)
}

#[cfg(test)]
mod tests;
