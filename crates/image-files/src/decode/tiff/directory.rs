//! The fields of a TIFF file's first directory (TIFF 6.0, section 2), of BigTIFF too.

use anyhow::{Context, ensure};

/// A file's first directory.
#[derive(Debug)]
pub struct Directory<'f> {
    file: &'f [u8],
    /// Numbers have their lowest byte first.
    pub little_endian: bool,
    fields: Vec<Field<'f>>,
}

/// A field: what it is, its values' type, and their bytes.
#[derive(Debug)]
struct Field<'f> {
    tag: u16,
    kind: u16,
    values: &'f [u8],
}

/// Bytes of one value of a type; none for types that do not exist.
fn size_of_kind(kind: u16) -> Option<usize> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16..=18 => Some(8),
        _ => None,
    }
}

impl<'f> Directory<'f> {
    /// Reads the header and the first directory. A field whose values lie outside of the file counts as missing.
    ///
    /// # Errors
    /// The file ends within them.
    pub fn read(file: &'f [u8]) -> anyhow::Result<Self> {
        let mut directory = Self { file, little_endian: file.starts_with(b"II"), fields: Vec::new() };
        let big = directory.number(2, 2) == Some(43);
        let (offset, width) = if big { (8, 8) } else { (4, 4) };
        let parsed = directory.number(offset, width).and_then(|at| directory.fields(usize::try_from(at).ok()?, big));
        directory.fields = parsed.context("the TIFF file is truncated or damaged: it has no directory")?;
        ensure!(!directory.fields.is_empty(), "the TIFF file is damaged: its directory is empty");
        Ok(directory)
    }

    fn fields(&self, at: usize, big: bool) -> Option<Vec<Field<'f>>> {
        let (count_width, entry, inline) = if big { (8, 20, 8) } else { (2, 12, 4) };
        let count = usize::try_from(self.number(at, count_width)?).ok()?;
        let begin = at.checked_add(count_width)?;
        let entries = self.file.get(begin..begin.checked_add(count.checked_mul(entry)?)?)?;
        let mut fields = Vec::new();
        for position in 0..entries.len() / entry {
            let at = begin + position * entry;
            let (tag, kind) = (self.number(at, 2)? as u16, self.number(at + 2, 2)? as u16);
            let values = self.number(at + 4, inline).and_then(|count| {
                let length = usize::try_from(count).ok()?.checked_mul(size_of_kind(kind)?)?;
                let place = at + 4 + inline;
                let begin = if length <= inline { place } else { usize::try_from(self.number(place, inline)?).ok()? };
                self.file.get(begin..begin.checked_add(length)?)
            });
            if let Some(values) = values {
                fields.push(Field { tag, kind, values });
            }
        }
        Some(fields)
    }

    /// The whole number of `width` bytes at a place of the file.
    fn number(&self, at: usize, width: usize) -> Option<u64> {
        Some(self.whole(self.file.get(at..at.checked_add(width)?)?))
    }

    fn whole(&self, bytes: &[u8]) -> u64 {
        let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if self.little_endian { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) }
    }

    fn find(&self, tag: u16) -> Option<&Field<'f>> {
        self.fields.iter().find(|field| field.tag == tag)
    }

    /// Whether the directory has a field.
    pub fn has(&self, tag: u16) -> bool {
        self.find(tag).is_some()
    }

    /// A field's bytes.
    pub fn bytes(&self, tag: u16) -> Option<&'f [u8]> {
        self.find(tag).map(|field| field.values)
    }

    /// The whole numbers of a field; none where it is missing or has others.
    pub fn numbers(&self, tag: u16) -> Vec<u64> {
        match self.find(tag) {
            Some(Field { kind: kind @ (1 | 3 | 4 | 13 | 16 | 18), values, .. }) => {
                values.chunks_exact(size_of_kind(*kind).unwrap_or(1)).map(|value| self.whole(value)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The first whole number of a field.
    pub fn first(&self, tag: u16) -> Option<u64> {
        self.numbers(tag).first().copied()
    }

    /// The fractions of a field.
    pub fn fractions(&self, tag: u16) -> Vec<f64> {
        match self.find(tag) {
            Some(Field { kind: 5, values, .. }) => {
                let halves = |value: &[u8]| self.whole(&value[..4]) as f64 / self.whole(&value[4..]) as f64;
                values.chunks_exact(8).map(halves).collect()
            }
            _ => self.numbers(tag).into_iter().map(|number| number as f64).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_either_order_and_size() {
        let little = b"II*\0\x08\0\0\0\x01\0\x00\x01\x03\0\x01\0\0\0\x2c\x01\0\0\0\0\0\0";
        let big_endian = b"MM\0*\0\0\0\x08\0\x01\x01\0\0\x03\0\0\0\x01\x01\x2c\0\0\0\0\0\0";
        let mut big_tiff = b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x00\x01\x03\0".to_vec();
        big_tiff.extend([1, 0, 0, 0, 0, 0, 0, 0, 0x2C, 1, 0, 0, 0, 0, 0, 0]);
        for file in [&little[..], big_endian, &big_tiff] {
            assert_eq!(Directory::read(file).unwrap().numbers(256), [300]);
            assert!(Directory::read(&file[..file.len() / 2]).is_err());
        }
    }
}
