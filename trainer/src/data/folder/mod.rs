//! A folder of images as a data set, one sub-folder a class.
//!
//! `DIR/train/CLASS/…` and `DIR/test/CLASS/…`, perhaps with `DIR/val/CLASS/…` to choose the best epoch by, or `DIR/CLASS/…`, of which a share is kept for the test (`layout`). Files are
//! found and decoded as infer-cli does it ([`image_files`]), and whatever cannot be used is refused by name before anything is
//! trained.

mod cache;
mod error;
mod layout;

use std::{
    path::{self, Path, PathBuf},
    sync::Arc,
};

use image_files::{
    decode,
    pixels::{Form, Limit, Pixels, keep},
};
use infer_core::{describe::Maps, preprocess::Resize};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::error::FolderError;
use self::{
    cache::{Cache, Kept},
    layout::{FolderListing, Image, relative},
};
use super::{DataFile, Dataset, LabelledImages, Origin, idx::hexadecimal};

/// The sub-folders of a data set whose test images are given.
const TRAIN: &str = "train";
const TEST: &str = "test";

/// Names of the sub-folder of images to choose the best epoch by.
const VALIDATION: [&str; 3] = ["val", "valid", "validation"];

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

/// Shorter side of the images that are kept in memory for networks that cut their inputs out of them, in pixels: a photograph of 4:3
/// takes 262 kB.
pub const KEPT_SIDE: usize = 256;

/// Way of reading images, and the form that they are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Form in memory.
    pub form: Form,
    /// Whether images are turned as their Exif orientation says.
    pub orient: bool,
}

impl Reading {
    /// For inputs of a network, to which images are resized so. A gray image of which the input has all is kept no larger than
    /// that, others with a shorter side of `kept` pixels at most.
    pub fn of(input: Maps, resize: Resize, kept: usize, orient: bool) -> Self {
        let all = input.channels == 1 && resize == Resize::Exact;
        let limit = if all { Limit::Sides(input.side) } else { Limit::ShorterSide(kept) };
        Self { form: Form { channels: input.channels, limit }, orient }
    }

    /// Bytes that an image takes, photographs of 4:3 that are larger than what is kept.
    pub fn bytes(&self) -> usize {
        let pixels = match self.form.limit {
            Limit::Sides(side) => side * side,
            Limit::ShorterSide(side) => side * (side * 4 / 3),
        };
        self.form.channels * pixels
    }
}

/// Number of the images in a folder.
///
/// # Errors
/// [`FolderError`], which names what cannot be used.
pub fn count(folder: &Path, share: TestShare) -> Result<usize, FolderError> {
    let FolderListing { train, validation, test, .. } = FolderListing::of(folder, share)?;
    Ok(train.len() + validation.map_or(0, |images| images.len()) + test.len())
}

/// Is told how many images there are in all, each time one of them was read.
pub type Progress<'a> = &'a (dyn Fn(usize) + Sync);

/// Treatment of images that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// The folder is refused for them.
    Refused,
    /// They are left out.
    Skipped,
}

impl Dataset {
    /// Reads all images of a folder. `share` counts where no test images are given; `progress` is told of each image that was
    /// read, from whichever thread read it. With `cache`, their pixels lie in that file and not in memory: in the one that is there if it is
    /// of the same images, else it is made anew.
    ///
    /// # Errors
    /// [`FolderError`], which names what cannot be used.
    pub fn read_folder(
        folder: &Path,
        share: TestShare,
        reading: Reading,
        unreadable: Unreadable,
        cache: Option<&Path>,
        progress: Progress<'_>,
    ) -> Result<Self, FolderError> {
        let FolderListing { classes, train: learnt, validation: chosen_by, test: tested, kept, skipped } =
            FolderListing::of(folder, share)?;
        let images = learnt.len() + chosen_by.as_ref().map_or(0, Vec::len) + tested.len();
        let mut reader = Reader::new(folder, reading, images, progress);
        if let Some(path) = cache {
            let images = learnt.iter().chain(chosen_by.iter().flatten()).chain(&tested);
            reader.cache = Some(Cache::of(path, &reader, images)?);
        }
        let (mut train, mut test) = (reader.no_images(classes.len()), reader.no_images(classes.len()));
        reader.read(&learnt, &mut train);
        let of_classes = [&train].map(classes_of);
        let validation = chosen_by.map(|images| reader.read(&images, &mut train).len());
        let test_paths = reader.read(&tested, &mut test);
        let (file, bad) = reader.finish(unreadable)?;
        // Without what cannot be read, there may be nothing left of a class.
        let without = |has: &[bool]| has.iter().position(|has| !has).map(|class| vec![folder.join(&classes[class])]);
        if let Some(folders) = of_classes.iter().chain(&[classes_of(&test)]).find_map(|has| without(has)) {
            return Err(FolderError::Empty { folders });
        }
        let formats = skipped.into_iter().map(|(path, format)| (path, format!("{format} is not read")));
        let left_out = bad.into_iter().chain(formats).collect();
        let origin = Origin::Folder { kept };
        Ok(Self { train, validation, test, classes, files: vec![file], origin, test_paths, left_out })
    }
}

/// Whether there are images of each class.
fn classes_of(images: &LabelledImages) -> Vec<bool> {
    let mut has = vec![false; images.classes()];
    images.labels().iter().for_each(|label| has[usize::from(*label)] = true);
    has
}

/// Reads images, and remembers what they were and which could not be read.
struct Reader<'a> {
    folder: &'a Path,
    reading: Reading,
    images: usize,
    /// Ways from the folder to the images, and SHA-256 of their contents.
    contents: Vec<(Vec<u8>, [u8; 32])>,
    bad: Vec<(PathBuf, String)>,
    progress: Progress<'a>,
    /// The images, where they lie in a file.
    cache: Option<Cache>,
}

impl<'a> Reader<'a> {
    fn new(folder: &'a Path, reading: Reading, images: usize, progress: Progress<'a>) -> Self {
        Self { folder, reading, images, contents: Vec::with_capacity(images), bad: Vec::new(), progress, cache: None }
    }

    /// Adds the images, but for those that cannot be used, to `labelled`. Returns their ways from the folder.
    fn read(&mut self, images: &[Image], labelled: &mut LabelledImages) -> Vec<PathBuf> {
        let mut ways = Vec::with_capacity(images.len());
        if let Some(mut cache) = self.cache.take() {
            for (image, entry) in images.iter().zip(cache.images.by_ref()) {
                let kept = entry.outcome.map(|Kept { start, width, height, sha256 }| {
                    labelled.push_mapped(start, width, height, image.label);
                    sha256
                });
                self.note(image, kept, &mut ways);
            }
            self.cache = Some(cache);
            return ways;
        }
        for chunk in images.chunks(CHUNK) {
            let read: Vec<_> = chunk.par_iter().map(|image| self.read_and_tell(image)).collect();
            for (image, read) in chunk.iter().zip(read) {
                let kept = read.map(|(pixels, sha256)| {
                    labelled.push(pixels.width, &pixels.values, image.label);
                    sha256
                });
                self.note(image, kept, &mut ways);
            }
        }
        ways
    }

    /// No images yet, to be read.
    fn no_images(&self, classes: usize) -> LabelledImages {
        let channels = self.reading.form.channels;
        match &self.cache {
            Some(cache) => LabelledImages::mapped(channels, classes, Arc::clone(&cache.pixels)),
            None => LabelledImages::of_channels(channels, classes),
        }
    }

    /// Notes what became of an image: the digest of its file, or why it cannot be used.
    fn note(&mut self, image: &Image, kept: Result<[u8; 32], String>, ways: &mut Vec<PathBuf>) {
        match kept {
            Ok(sha256) => {
                self.contents.push((relative(self.folder, &image.path), sha256));
                ways.push(image.path.strip_prefix(self.folder).unwrap_or(&image.path).to_path_buf());
            }
            Err(error) => self.bad.push((image.path.clone(), error)),
        }
    }

    /// Reads an image and tells that it is done.
    fn read_and_tell(&self, image: &Image) -> Result<(Pixels, [u8; 32]), String> {
        let read = self.read_image(image);
        (self.progress)(self.images);
        read
    }

    fn read_image(&self, image: &Image) -> Result<(Pixels, [u8; 32]), String> {
        if let Some(problem) = &image.problem {
            return Err(problem.clone());
        }
        let options = decode::Options { orient: self.reading.orient, ..decode::Options::default() };
        let (decoded, bytes) = decode::open(&image.path, options).map_err(|error| error.to_string())?;
        let pixels = keep(&decoded, self.reading.form).map_err(|error| error.to_string())?;
        Ok((pixels, Sha256::digest(&bytes).into()))
    }

    /// Digest of everything that was read: SHA-256 over the images' ways from the folder, sorted, each with a zero byte
    /// and the SHA-256 of the file behind it.
    /// With it come the images that were left out.
    fn finish(mut self, unreadable: Unreadable) -> Result<(DataFile, Vec<(PathBuf, String)>), FolderError> {
        self.bad.sort();
        if !self.bad.is_empty() && unreadable == Unreadable::Refused {
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
        Ok((DataFile { path, sha256: hexadecimal(&digest.finalize()) }, self.bad))
    }
}
