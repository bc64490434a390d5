//! Weights files in memory: mapped, and copied only where they could not be used in place.

use std::{fs::File, ops::Deref, path::Path};

use anyhow::{Context, bail, ensure};
use image_files::weights::other_kind;
use memmap2::{Mmap, MmapMut, MmapOptions};

/// Bytes of the number that a safetensors file begins with, the length of its header.
const LENGTH: usize = 8;

/// Alignment of the data of weights, so that kernels can read them in place.
const ALIGNMENT: usize = 64;

/// Of what tensors begin at a multiple in most files.
const USUAL: usize = 8;

/// A weights file in memory.
#[derive(Debug)]
pub enum Weights {
    /// The file as it lies on the disk.
    Mapped(Mmap),
    /// Changed in memory alone.
    Changed(MmapMut),
    /// Compiled into the program.
    BuiltIn(&'static [u8]),
}

impl Deref for Weights {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::Changed(file) => file,
            Self::BuiltIn(file) => file,
        }
    }
}

/// Maps a weights file into memory. Where its header is not filled up to a multiple of eight bytes, as some programs write it, the
/// file is copied to where its tensors can be read in place; metadata that are `null` count as none.
///
/// # Errors
/// It cannot be opened, or is not a file, or one of a kind that is known and not safetensors.
pub fn map(path: &Path) -> anyhow::Result<Weights> {
    let open = || -> anyhow::Result<Weights> {
        let file = File::open(path)?;
        let kind = file.metadata()?.file_type();
        ensure!(!kind.is_dir(), "expected a file, found a folder");
        ensure!(kind.is_file(), "expected a file on disk, found a device or a pipe, which cannot be memory-mapped");
        // SAFETY: sound as long as nobody changes or shortens the file while it is mapped. No program can make sure of
        // that; the help asks for it, and the trainer replaces weights by renaming, which leaves a mapped file as it was.
        let mapped = unsafe { Mmap::map(&file) }?;
        if let Some(kind) = other_kind(&mapped) {
            bail!("expected a safetensors file, found {kind}");
        }
        let Some(header) = header(&mapped) else { return Ok(Weights::Mapped(mapped)) };
        let null = null_metadata(header);
        if !(LENGTH + header.len()).is_multiple_of(USUAL) {
            return Ok(Weights::Changed(aligned(&mapped, header, null)?));
        }
        let Some(null) = null else { return Ok(Weights::Mapped(mapped)) };
        // SAFETY: as above; what is written stays in this program's memory.
        let mut changed = unsafe { MmapOptions::new().map_copy(&file) }?;
        changed[LENGTH + null..][..EMPTY.len()].copy_from_slice(EMPTY);
        Ok(Weights::Changed(changed))
    };
    open().with_context(|| format!("cannot read {}", path.display()))
}

/// Replacement of metadata that are `null`, in as many bytes.
const EMPTY: &[u8; 4] = b"{}  ";

/// The header, if the file is long enough for the length that it declares.
fn header(file: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(u64::from_le_bytes(*file.first_chunk()?)).ok()?;
    file.get(LENGTH..LENGTH.checked_add(length)?)
}

/// Where the header's metadata are `null`.
fn null_metadata(header: &[u8]) -> Option<usize> {
    const KEY: &[u8] = b"\"__metadata__\"";
    let key = header.windows(KEY.len()).position(|window| window == KEY)?;
    // A text that has it within ends with a backslash before it.
    let is_key = key == 0 || header[key - 1] != b'\\';
    let skip = |mut at: usize| {
        while header.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    let colon = skip(key + KEY.len());
    let value = skip(colon + 1);
    (is_key && header.get(colon) == Some(&b':') && header.get(value..)?.starts_with(b"null")).then_some(value)
}

/// A copy of the file whose header is filled up with spaces so that the data are aligned.
fn aligned(file: &[u8], header: &[u8], null: Option<usize>) -> anyhow::Result<MmapMut> {
    let padded = (LENGTH + header.len()).next_multiple_of(ALIGNMENT) - LENGTH;
    let data = &file[LENGTH + header.len()..];
    let mut copy = MmapMut::map_anon(LENGTH + padded + data.len())?;
    copy[..LENGTH].copy_from_slice(&(padded as u64).to_le_bytes());
    copy[LENGTH..][..header.len()].copy_from_slice(header);
    copy[LENGTH + header.len()..][..padded - header.len()].fill(b' ');
    copy[LENGTH + padded..].copy_from_slice(data);
    if let Some(null) = null {
        copy[LENGTH + null..][..EMPTY.len()].copy_from_slice(EMPTY);
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_that_are_null_are_found_and_texts_are_not() {
        assert_eq!(null_metadata(br#"{"__metadata__" : null,"a":{}}"#), Some(18));
        assert_eq!(null_metadata(br#"{"__metadata__":{"a":"null"}}"#), None);
        assert_eq!(null_metadata(br#"{"__metadata__":{"a":"\"__metadata__\":null"}}"#), None);
        assert_eq!(null_metadata(br#"{"a":{}}"#), None);
    }
}
