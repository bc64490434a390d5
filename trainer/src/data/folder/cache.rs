//! A file of decoded images that is mapped into memory, for folders that are too large for it: the pixels of all images one behind the
//! other, then what they were made of, as JSON, then its length and [`MAGIC`].
//!
//! It is used again as long as the folder has the same files, by their paths, lengths and times, and images are read in the same way.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
    time::UNIX_EPOCH,
};

use image_files::atomic::Unfinished;
use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    CHUNK, FolderError, Limit, Reader, Reading,
    layout::{Image, relative},
};

/// The end of such a file: what it is, and the version of its form.
const MAGIC: &[u8; 16] = b"trainer images 1";

/// Index of the images: their files, and where they lie.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    /// The way they were read, in words.
    reading: String,
    images: Vec<Entry>,
}

/// An image of the folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    stamp: Stamp,
    /// The image, or why it cannot be used.
    pub(super) outcome: Result<Kept, String>,
}

/// File of an image as it was when it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stamp {
    /// Way from the folder to it.
    way: String,
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u64,
}

/// An image in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) start: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) sha256: [u8; 32],
}

/// A file that is mapped, with the images that were asked for, in their order.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) pixels: Arc<Mmap>,
    pub(super) images: std::vec::IntoIter<Entry>,
}

impl Cache {
    /// The file at `path` with these images: as it is there, or made anew.
    pub(super) fn of<'i>(
        path: &Path,
        reader: &Reader<'_>,
        images: impl Iterator<Item = &'i Image>,
    ) -> Result<Self, FolderError> {
        let images: Vec<&Image> = images.collect();
        let stamps: Vec<Stamp> = images.iter().map(|image| Stamp::of(reader.folder, image)).collect();
        let failed = |source| FolderError::Cache { path: path.to_path_buf(), source };
        let opened = |entries: Vec<Entry>| -> io::Result<Self> {
            let file = File::open(path)?;
            // SAFETY: sound as long as nobody changes or shortens the file while it is mapped. No program can make sure of that; the
            // help asks for it, and a file that is made anew is renamed over this one, which leaves what is mapped as it was.
            let pixels = unsafe { Mmap::map(&file) }?;
            Ok(Self { pixels: Arc::new(pixels), images: entries.into_iter() })
        };
        if let Some(index) = read_index(path, &describe(reader.reading), &stamps).map_err(failed)? {
            return opened(index.images).map_err(failed);
        }
        let entries = make(path, reader, &images, stamps).map_err(failed)?;
        opened(entries).map_err(failed)
    }
}

impl Stamp {
    /// The file's stamp. One that cannot be looked at has none that a file of images could have, and cannot be read either.
    fn of(folder: &Path, image: &Image) -> Self {
        let way = String::from_utf8_lossy(&relative(folder, &image.path)).into_owned();
        let metadata = fs::metadata(&image.path).ok();
        let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
        let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |time| time.as_nanos() as u64);
        Self { way, bytes: metadata.map_or(u64::MAX, |metadata| metadata.len()), modified }
    }
}

/// The way images are read, in words that differ where it differs.
fn describe(Reading { form, orient }: Reading) -> String {
    let limit = match form.limit {
        Limit::Sides(side) => format!("sides of {side}"),
        Limit::ShorterSide(side) => format!("shorter side of {side}"),
    };
    format!("{} channels, {limit}, orient {orient}, version {}", form.channels, env!("CARGO_PKG_VERSION"))
}

/// The index of the file at `path`, if it is of these images; nothing where there is no file.
fn read_index(path: &Path, reading: &str, stamps: &[Stamp]) -> io::Result<Option<Index>> {
    let bytes = match File::open(path) {
        Ok(file) if file.metadata()?.is_file() => {
            // SAFETY: as where it is opened; it is mapped no longer than this function runs.
            unsafe { Mmap::map(&file) }?
        }
        Ok(_) => return Err(io::Error::other("expected a file on disk, found a folder or a device")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = || {
        let (rest, magic) = bytes.split_last_chunk::<16>()?;
        let (rest, length) = rest.split_last_chunk::<8>()?;
        let begin = rest.len().checked_sub(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let (pixels, index) = rest.split_at(begin);
        Some((magic, pixels.len(), index))
    };
    let Some((_, pixels, index)) = found().filter(|(magic, ..)| *magic == MAGIC) else {
        let message = "expected a file of images that an earlier run has made, found another, which is not replaced";
        return Err(io::Error::other(message));
    };
    let index: Option<Index> = serde_json::from_slice(index).ok();
    let channels = |index: &Index| if index.reading.starts_with('3') { 3 } else { 1 };
    Ok(index.filter(|index| {
        let within = |kept: &Kept| {
            let bytes = kept.width.checked_mul(kept.height).and_then(|area| area.checked_mul(channels(index)));
            bytes.and_then(|bytes| kept.start.checked_add(bytes)).is_some_and(|end| end <= pixels) && kept.width > 0
        };
        index.reading == reading
            && index.images.iter().map(|entry| &entry.stamp).eq(stamps)
            && index.images.iter().all(|entry| entry.outcome.as_ref().is_ok_and(within) || entry.outcome.is_err())
    }))
}

/// Reads all images and writes the file.
fn make(path: &Path, reader: &Reader<'_>, images: &[&Image], stamps: Vec<Stamp>) -> io::Result<Vec<Entry>> {
    let file = Unfinished::new(path)?;
    let mut writer = BufWriter::new(file.file());
    let (mut start, mut entries) = (0, Vec::with_capacity(images.len()));
    let mut stamps = stamps.into_iter();
    for chunk in images.chunks(CHUNK) {
        let read: Vec<_> = chunk.par_iter().map(|image| reader.read_and_tell(image)).collect();
        for (read, stamp) in read.into_iter().zip(stamps.by_ref()) {
            let outcome = match read {
                Ok((pixels, sha256)) => {
                    writer.write_all(&pixels.values)?;
                    let height = pixels.values.len() / (pixels.width * pixels.channels).max(1);
                    let kept = Kept { start, width: pixels.width, height, sha256 };
                    start += pixels.values.len();
                    Ok(kept)
                }
                Err(reason) => Err(reason),
            };
            entries.push(Entry { stamp, outcome });
        }
    }
    let index = Index { reading: describe(reader.reading), images: entries };
    let text = serde_json::to_vec(&index)?;
    writer.write_all(&text)?;
    writer.write_all(&(text.len() as u64).to_le_bytes())?;
    writer.write_all(MAGIC)?;
    writer.flush()?;
    drop(writer);
    file.commit()?;
    Ok(index.images)
}
