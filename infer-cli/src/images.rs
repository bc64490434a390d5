//! Images that are to be classified: those that paths, folders, lists and shards stand for, but for what another part takes.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use image_files::{
    ImageError, decode,
    find::{Candidate, Kind, Search},
    image::DynamicImage,
};

use crate::{
    list::List,
    partition::Partition,
    shard::{self, Bytes},
    text::{complain, counted, escaped},
};

/// A file or a member of a shard, under the path that its record has.
#[derive(Debug)]
pub struct Image {
    /// Path as given, or the folder or shard as given joined with the way to the file.
    pub path: PathBuf,
    /// Content of it.
    pub content: Content,
}

/// Content of an image.
#[derive(Debug)]
pub enum Content {
    /// The file at the path.
    File,
    /// Bytes of a member of a shard.
    Member(Bytes),
    /// It cannot even be tried, and why.
    Problem(String),
    /// It is of a format that is known, but not read: its name.
    Skipped(&'static str),
    /// It is a member of a shard with another name than an image's.
    NoImage,
}

impl Content {
    /// The decoded image.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn decode(&self, path: &Path, options: decode::Options) -> Result<DynamicImage, ImageError> {
        match self {
            Self::Member(bytes) if bytes.is_empty() => Err(ImageError::Damaged("the member is empty".into())),
            Self::Member(bytes) => decode::decode(bytes, options),
            _ => decode::open(path, options).map(|(image, _)| image),
        }
    }
}

/// Paths that images are looked for at.
pub struct Sources {
    /// Those of the command line, which come first.
    pub paths: Vec<PathBuf>,
    /// Further ones.
    pub list: Option<List>,
    /// Search within folders.
    pub search: Search,
    /// The part of what is found that is wanted.
    pub partition: Option<Partition>,
}

impl Sources {
    /// The files of the part, in order.
    pub fn files(self) -> impl Iterator<Item = anyhow::Result<Candidate>> + Send {
        let Self { paths, list, search, partition } = self;
        let paths = paths.into_iter().map(Ok).chain(list.into_iter().flatten());
        let found = paths.flat_map(move |path| -> Box<dyn Iterator<Item = _> + Send> {
            match path {
                Ok(path) => Box::new(files(path, search).map(Ok)),
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        });
        let mut place = 0;
        found.filter(move |found| {
            let Ok(Candidate { path, .. }) = found else { return true };
            place += 1;
            partition.is_none_or(|partition| partition.takes(place - 1, path))
        })
    }

    /// The images of the part, in order, those of shards among them.
    pub fn images(self) -> impl Iterator<Item = anyhow::Result<Image>> + Send {
        let hidden = self.search.hidden;
        self.files().flat_map(move |found| -> Box<dyn Iterator<Item = _> + Send> {
            let Candidate { path, kind } = match found {
                Ok(candidate) => candidate,
                Err(error) => return Box::new(std::iter::once(Err(error))),
            };
            let content = match kind {
                Kind::Image if shard::is_shard(&path) => return Box::new(shard::images(path, hidden).map(Ok)),
                Kind::Image => Content::File,
                Kind::Problem(problem) => Content::Problem(problem),
                Kind::Skipped(format) => Content::Skipped(format),
            };
            Box::new(std::iter::once(Ok(Image { path, content })))
        })
    }

    /// The number of images; none where the run has `ended` before it is known, and where there are shards, which do not tell.
    pub fn total(self, ended: &AtomicBool) -> Option<u64> {
        let mut total = 0;
        for found in self.files() {
            let Candidate { path, kind } = found.ok()?;
            if ended.load(Ordering::Relaxed) || shard::is_shard(&path) {
                return None;
            }
            total += u64::from(!matches!(kind, Kind::Skipped(_)));
        }
        Some(total)
    }
}

/// The files that a path stands for: shards, and images.
fn files(path: PathBuf, search: Search) -> Box<dyn Iterator<Item = Candidate> + Send> {
    if path == Path::new(shard::STANDARD_INPUT) {
        return Box::new(std::iter::once(Candidate { path, kind: Kind::Image }));
    }
    if shard::is_shard(&path) {
        return Box::new(shard::paths(path).flat_map(move |path| search.images(path)));
    }
    search.images(path)
}

/// Counts of files that are passed over.
#[derive(Debug, Default)]
pub struct Skipped {
    /// By formats that are not read.
    formats: BTreeMap<&'static str, u64>,
    /// Members of shards that are no images.
    members: u64,
}

impl Skipped {
    /// Whether an image is to be passed over; then it is counted, and named if its format is the reason and `verbose` says so.
    pub fn takes(&mut self, image: &anyhow::Result<Image>, verbose: bool) -> bool {
        match image {
            Ok(Image { path, content: Content::Skipped(format) }) => {
                *self.formats.entry(format).or_default() += 1;
                if verbose {
                    complain(&format!("skipped {}: {format} is not read", escaped(path)));
                }
                true
            }
            Ok(Image { content: Content::NoImage, .. }) => {
                self.members += 1;
                true
            }
            _ => false,
        }
    }

    /// Whether there are files of formats that are not read.
    pub fn has_formats(&self) -> bool {
        !self.formats.is_empty()
    }

    /// Whether nothing was passed over.
    pub fn is_empty(&self) -> bool {
        self.formats.is_empty() && self.members == 0
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.members > 0 {
            parts.push(format!("passed over {} of shards that are no images", counted(self.members, "member")));
        }
        if !self.formats.is_empty() {
            let formats: Vec<_> = self.formats.iter().map(|(format, count)| format!("{count} of {format}")).collect();
            let files = counted(self.formats.values().sum(), "file");
            parts.push(format!("skipped {files} of formats that are not read: {}", formats.join(", ")));
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_total_counts_what_will_be_classified() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.jpg", "c.heic", "d.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let list = folder.path().join("list");
        fs::write(&list, "x.png\ny.png\n").unwrap();
        let total = |listed: bool, partition: Option<&str>, more: &str, ended| {
            let sources = Sources {
                paths: vec![folder.path().into(), more.into()],
                list: listed.then(|| List::again(&list, false).unwrap()),
                search: Search { recursive: true, hidden: false },
                partition: partition.map(|partition| partition.parse().unwrap()),
            };
            sources.total(&AtomicBool::new(ended))
        };
        assert_eq!(total(false, None, "z.png", false), Some(3));
        assert_eq!(total(true, None, "z.png", false), Some(5));
        assert_eq!(total(true, Some("slice:0/3"), "z.png", false), Some(2));
        assert_eq!(total(false, None, "z.tar", false), None);
        assert_eq!(total(false, None, "z.png", true), None);
        assert!(List::again(Path::new("-"), false).is_none() && List::again(folder.path(), false).is_none());
    }
}
