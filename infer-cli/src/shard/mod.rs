//! Shards: tar archives of images, as WebDataset writes them, read once from front to back.
//!
//! A thread reads an archive and hands over one member after another, so that decompression runs beside everything else.
//! Members that wait are bounded in number by the pipeline's queues, and in bytes by `room`.

mod compression;
mod pattern;
mod room;

use std::{
    fs::File,
    io::{self, Read},
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Context, ensure};
use crossbeam_channel::{IntoIter, Sender, bounded};
use image_files::{
    decode::{MOST_BYTES, unread_extension},
    find::is_image,
    panics::quietly,
};
use tar::{Archive, Entry};

use self::room::Room;
pub use self::{compression::is_compressed, pattern::paths, room::Bytes};
use crate::images::{Content, Image};

/// Ends of the names of shards, in lower case.
const EXTENSIONS: [&str; 5] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"];

/// Memory for members that wait to be decoded.
const ROOM: usize = 256 << 20;

/// Size of a tar archive's blocks.
const BLOCK: u64 = 512;

/// Whether a path is that of a shard by its name, or the standard input's, `-`.
pub fn is_shard(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    path == STANDARD_INPUT || EXTENSIONS.iter().any(|end| name.ends_with(end))
}

/// Path that stands for the standard input.
pub const STANDARD_INPUT: &str = "-";

/// The images in a shard, and what else is worth a word: each by the shard's path joined with the member's name, or the member's
/// name alone for the standard input. A shard that cannot be read to its end is a problem behind the members before it.
pub fn images(shard: PathBuf, hidden: bool) -> Images {
    let path = shard.clone();
    let open = move || -> io::Result<Box<dyn Read + Send>> {
        Ok(if path.as_path() == STANDARD_INPUT { Box::new(io::stdin()) } else { Box::new(File::open(path)?) })
    };
    images_of(shard, hidden, open)
}

/// The images in the shard that `open` opens, as [`images`] has them.
pub fn images_of<R>(shard: PathBuf, hidden: bool, open: impl FnOnce() -> io::Result<R> + Send + 'static) -> Images
where
    R: Read + Send + 'static,
{
    let (sender, images) = bounded(0);
    let path = shard.clone();
    let reader = thread::Builder::new().name("shard".into()).spawn(move || read(open, &path, hidden, &sender));
    let problem = reader.err().map(|error| problem(shard, &format!("cannot start a thread: {error}")));
    Images { images: images.into_iter(), problem }
}

/// The images in a shard.
pub struct Images {
    images: IntoIter<Image>,
    problem: Option<Image>,
}

impl Iterator for Images {
    type Item = Image;

    fn next(&mut self) -> Option<Image> {
        self.images.next().or_else(|| self.problem.take())
    }
}

fn problem(path: PathBuf, problem: &str) -> Image {
    Image { path, content: Content::Problem(problem.into()) }
}

/// Reads a shard to its end, or as long as anybody takes its images.
fn read<R>(open: impl FnOnce() -> io::Result<R>, shard: &Path, hidden: bool, images: &Sender<Image>)
where
    R: Read + Send + 'static,
{
    let mut members = 0_u64;
    let outcome = quietly(|| read_members(open()?, shard, hidden, images, &mut members));
    let error = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "an internal error: please report it together with this shard".into(),
    };
    let after = if members == 0 { String::new() } else { format!(" further than {members} of its members") };
    let path = if shard == STANDARD_INPUT { "standard input".into() } else { shard.to_path_buf() };
    // Nobody takes it if the run has ended.
    let _ = images.send(problem(path, &format!("the shard cannot be read{after}: {error}")));
}

fn read_members(
    file: impl Read + Send + 'static,
    shard: &Path,
    hidden: bool,
    images: &Sender<Image>,
    members: &mut u64,
) -> anyhow::Result<()> {
    let zeros = Arc::new(AtomicU64::new(0));
    let mut archive = Archive::new(Watched { reader: compression::decompressed(file)?, zeros: Arc::clone(&zeros) });
    // Archives may stand one behind the other, and what a pipe brings is read to its end.
    archive.set_ignore_zeros(true);
    let room = Room::new(ROOM);
    for entry in archive.entries()? {
        let mut entry = entry.context("it is no tar archive, or a damaged one")?;
        *members += 1;
        let Some(name) = name(&entry, hidden)? else { continue };
        let content = if is_image(&name) {
            content(&mut entry, &room)?
        } else {
            unread_extension(&name).map_or(Content::NoImage, Content::Skipped)
        };
        let path = if shard == STANDARD_INPUT { name } else { shard.join(name) };
        if images.send(Image { path, content }).is_err() {
            return Ok(());
        }
    }
    let ended = zeros.load(Ordering::Relaxed) >= BLOCK;
    ensure!(ended, "it has no end mark, so that members may be missing");
    Ok(())
}

/// The name of a member, relative to the shard; none if it is a folder, a note about other members, or hidden.
fn name(entry: &Entry<'_, impl Read>, hidden: bool) -> anyhow::Result<Option<PathBuf>> {
    let kind = entry.header().entry_type();
    if kind.is_dir() || kind.is_pax_global_extensions() {
        return Ok(None);
    }
    let path = entry.path().context("a member's name cannot be read")?;
    let parts = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let is_hidden =
        |part: &Component| matches!(part, Component::Normal(name) if name.as_encoded_bytes().starts_with(b"."));
    let mut parts = parts.peekable();
    if parts.peek().is_none() || (!hidden && parts.clone().any(|part| is_hidden(&part))) {
        return Ok(None);
    }
    Ok(Some(parts.collect()))
}

/// The content of a member that has an image's name.
fn content(entry: &mut Entry<'_, impl Read>, room: &Arc<Room>) -> anyhow::Result<Content> {
    let kind = entry.header().entry_type();
    if !(kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse()) {
        let problem = "this member is a link or a device, whose content is not in the archive";
        return Ok(Content::Problem(problem.into()));
    }
    let size = entry.size();
    if size > MOST_BYTES {
        let (found, most) = (size.div_ceil(1 << 20), MOST_BYTES >> 20);
        return Ok(Content::Problem(format!("the member has {found} MiB, and at most {most} MiB are read")));
    }
    // At most `MOST_BYTES`.
    let mut bytes = room.take(size as usize);
    entry.read_to_end(bytes.buffer())?;
    ensure!(bytes.len() as u64 == size, "it ends within a member, of which {} of {size} bytes are there", bytes.len());
    Ok(Content::Member(bytes))
}

/// A reader that counts the zeros at the end of what was read so far.
struct Watched<R> {
    reader: R,
    zeros: Arc<AtomicU64>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let read = &buffer[..count];
        match read.iter().rev().position(|byte| *byte != 0) {
            Some(zeros) => self.zeros.store(zeros as u64, Ordering::Relaxed),
            None => _ = self.zeros.fetch_add(count as u64, Ordering::Relaxed),
        }
        Ok(count)
    }
}
