//! A folder of images as a data set, one sub-folder a class.
//!
//! `DIR/train/CLASS/…` and `DIR/test/CLASS/…`, or `DIR/CLASS/…`, of which a share is kept for the test (`layout`). Files are
//! found and decoded as infer-cli does it ([`image_files`]), and whatever cannot be used is refused by name before anything is
//! trained.

mod error;
mod layout;

use std::path::{self, Path, PathBuf};

use image::DynamicImage;
use image_files::{decode, gray::Gray};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::error::FolderError;
use self::layout::{Image, Layout, relative};
use super::{DataFile, Dataset, LabelledImages, Origin, idx::hexadecimal};

/// The sub-folders of a data set whose test images are given.
const TRAIN: &str = "train";
const TEST: &str = "test";

/// Images that are decoded, by all threads, before they are joined to those before them.
const CHUNK: usize = 1024;

/// The images that are kept for the test where none are given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TestShare {
    /// Share of each class's images, between 0 and 1; at least one is kept, and one left to learn from.
    pub share: f64,
    /// Which ones are kept follows from it and from the images' paths.
    pub seed: u64,
}

impl Default for TestShare {
    fn default() -> Self {
        Self { share: 0.2, seed: 0 }
    }
}

/// Makes a decoded image one that is kept in memory; see [`Network::shrink`](crate::model::Network::shrink).
pub type Shrink = fn(&DynamicImage) -> anyhow::Result<Gray>;

/// Whether a folder has folders in it, which may be those of classes.
pub fn has_sub_folders(folder: &Path) -> bool {
    // Why they cannot be listed is found out, and said, by reading them.
    folder.is_dir() && layout::sub_folders(folder).map_or(true, |folders| !folders.is_empty())
}

impl Dataset {
    /// Reads all images of a folder. `share` counts where no test images are given.
    ///
    /// # Errors
    /// [`FolderError`], which names what cannot be used.
    pub fn read_folder(folder: &Path, share: TestShare, shrink: Shrink) -> Result<Self, FolderError> {
        let Layout { classes, train, test, kept } = Layout::of(folder, share)?;
        let in_folder = |image: &Image| image.path.strip_prefix(folder).unwrap_or(&image.path).to_path_buf();
        let test_paths = test.iter().map(in_folder).collect();
        let mut reader = Reader::new(folder, shrink, train.len() + test.len());
        let [train, test] = [train, test].map(|images| reader.read(&images, classes.len()));
        let file = reader.finish()?;
        Ok(Self { train, test, classes, files: vec![file], origin: Origin::Folder { kept }, test_paths })
    }
}

/// Reads images, and remembers what they were and which could not be read.
struct Reader<'a> {
    folder: &'a Path,
    shrink: Shrink,
    images: usize,
    /// Ways from the folder to the images, and SHA-256 of their contents.
    contents: Vec<(Vec<u8>, [u8; 32])>,
    bad: Vec<(PathBuf, String)>,
    bar: ProgressBar,
}

impl<'a> Reader<'a> {
    fn new(folder: &'a Path, shrink: Shrink, images: usize) -> Self {
        // A bar on a terminal; indicatif draws nothing elsewhere.
        let bar = ProgressBar::new(images as u64);
        // The template is a constant; were it wrong, indicatif's own style would show.
        if let Ok(style) =
            ProgressStyle::with_template("{msg} [{bar:30}] {human_pos}/{human_len} images {per_sec} {eta}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(folder.display().to_string());
        Self { folder, shrink, images, contents: Vec::with_capacity(images), bad: Vec::new(), bar }
    }

    /// The images, but for those that cannot be used.
    fn read(&mut self, images: &[Image], classes: usize) -> LabelledImages {
        let mut labelled = LabelledImages::of_classes(classes);
        for chunk in images.chunks(CHUNK) {
            let read = |image: &Image| {
                let read = self.read_image(image);
                self.bar.inc(1);
                read
            };
            let read: Vec<_> = chunk.par_iter().map(read).collect();
            for (image, read) in chunk.iter().zip(read) {
                match read {
                    Ok((gray, sha256)) => {
                        labelled.push(gray.width, &gray.pixels, image.label);
                        self.contents.push((relative(self.folder, &image.path), sha256));
                    }
                    Err(error) => self.bad.push((image.path.clone(), format!("{error:#}"))),
                }
            }
        }
        labelled
    }

    fn read_image(&self, image: &Image) -> anyhow::Result<(Gray, [u8; 32])> {
        if let Some(problem) = &image.problem {
            anyhow::bail!("{problem}");
        }
        let (decoded, bytes) = decode::open(&image.path, decode::Options::default())?;
        Ok(((self.shrink)(&decoded)?, Sha256::digest(&bytes).into()))
    }

    /// What identifies everything that was read: SHA-256 over the images' ways from the folder, sorted, each with a zero byte
    /// and the SHA-256 of the file behind it.
    fn finish(mut self) -> Result<DataFile, FolderError> {
        self.bar.finish_and_clear();
        if !self.bad.is_empty() {
            self.bad.sort();
            return Err(FolderError::Images { folder: self.folder.to_path_buf(), images: self.images, bad: self.bad });
        }
        self.contents.sort();
        let mut digest = Sha256::new();
        for (way, sha256) in &self.contents {
            digest.update(way);
            digest.update([0]);
            digest.update(sha256);
        }
        // A run may go on from another current folder.
        let path = path::absolute(self.folder).unwrap_or_else(|_| self.folder.to_path_buf());
        Ok(DataFile { path, sha256: hexadecimal(&digest.finalize()) })
    }
}
