//! Errors of a folder of images. Messages name the folder, or every file.

use std::{fmt::Write as _, io, path::PathBuf};

use super::{TEST, TRAIN, VALIDATION};
use infer_core::describe::CLASSES;

/// Files that a message names; of more it says how many there are.
const NAMED: usize = 10;

/// Why a folder of images cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A folder cannot be read.
    #[error("{folder}: {source}")]
    Read {
        /// The folder.
        folder: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file of images cannot be read or written.
    #[error("--cache {}: {source}", .path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// There is no such folder.
    #[error("{folder}: there is no such folder{}", .similar.as_ref().map_or(String::new(), |name| format!("; did you mean {name}?")))]
    Nothing {
        /// The folder.
        folder: PathBuf,
        /// One beside it with nearly that name.
        similar: Option<String>,
    },
    /// It is a file.
    #[error("{folder}: expected a folder, found a file")]
    File {
        /// Path that should be the folder.
        folder: PathBuf,
    },
    /// A folder has nothing in it that is data.
    #[error(
        "{folder}: expected a folder for each class with its images in it, or Fashion-MNIST's four files, found {}",
        if *.empty { "an empty folder" } else { "neither folders nor images" }
    )]
    NoData {
        /// The folder.
        folder: PathBuf,
        /// There is nothing at all.
        empty: bool,
    },
    /// There are folders of training images by class, but no test images.
    #[error(
        "{folder}: expected a folder {TEST} (or val) with test images beside the folder {TRAIN}, each with a folder for each class"
    )]
    NoTest {
        /// The folder of the data set.
        folder: PathBuf,
    },
    /// There are further folders beside those of training and test images.
    #[error("{folder}: expected the folders {TRAIN}, {TEST} and one of {} alone, found {} too", VALIDATION.join(", "), .others.join(", "))]
    Beside {
        /// The folder of the data set.
        folder: PathBuf,
        /// The others' names.
        others: Vec<String>,
    },
    /// Images lie beside the folders of the classes.
    #[error("{folder}: expected a folder for each class, found images that lie in none, to be put into folders named after their classes:{}", listed(.images))]
    NoClass {
        /// The folder.
        folder: PathBuf,
        /// The images.
        images: Vec<PathBuf>,
    },
    /// A folder's name cannot be a class's.
    #[error("{folder}: expected the name of a class in UTF-8")]
    Name {
        /// The folder.
        folder: PathBuf,
    },
    /// There is nothing to tell apart.
    #[error("{folder}: expected a folder for each of {} to {} classes, found {}", CLASSES.start(), CLASSES.end(), .found.as_ref().map_or("none".into(), |only| format!("one, {only}")))]
    TooFew {
        /// The folder of the classes.
        folder: PathBuf,
        /// The only class, if there is one.
        found: Option<String>,
    },
    /// There are more than a network tells apart.
    #[error("{folder}: expected {} to {} classes, found {found}", CLASSES.start(), CLASSES.end())]
    TooMany {
        /// The folder of the classes.
        folder: PathBuf,
        /// The number of classes found.
        found: usize,
    },
    /// Training and test images are not of the same classes.
    #[error("{folder}: expected the same classes in {TRAIN} and {other}, found only in {TRAIN}: {}; only in {other}: {}", names(.train), names(.test))]
    Different {
        /// The folder of the data set.
        folder: PathBuf,
        /// The folder of the others.
        other: String,
        /// Classes of the training images alone.
        train: Vec<String>,
        /// Classes of the others alone.
        test: Vec<String>,
    },
    /// Classes without images.
    #[error("expected images (PNG, JPEG, BMP, GIF, WebP, PNM or TIFF) in the folder of each class, found none in:{}", listed(.folders))]
    Empty {
        /// The classes' folders.
        folders: Vec<PathBuf>,
    },
    /// A class has but one image, and one is needed to learn from and another to test by.
    #[error("{folder}: expected at least 2 images, one of them to test by, found 1")]
    Single {
        /// The class's folder.
        folder: PathBuf,
    },
    /// Images that cannot be read or decoded.
    #[error("{folder}: {} of {} cannot be used; repair or remove them, or go on without them by --skip-unreadable:{}", .bad.len(), images_in_words(*.images), reasons(.bad))]
    Images {
        /// The folder of the data set.
        folder: PathBuf,
        /// All images, the good ones too.
        images: usize,
        /// Files and reasons.
        bad: Vec<(PathBuf, String)>,
    },
}

fn images_in_words(count: usize) -> String {
    format!("{count} image{}", if count == 1 { "" } else { "s" })
}

fn names(classes: &[String]) -> String {
    if classes.is_empty() { "none".to_string() } else { classes.join(", ") }
}

fn listed(paths: &[PathBuf]) -> String {
    lines(paths.iter().map(|path| path.display().to_string()))
}

fn reasons(bad: &[(PathBuf, String)]) -> String {
    lines(bad.iter().map(|(path, reason)| format!("{}: {reason}", path.display())))
}

/// Each on a line of its own, as far as they are named.
fn lines(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    let mut lines = all.take(NAMED).fold(String::new(), |lines, line| lines + "\n  " + &line);
    if more > 0 {
        // Writing to a String cannot fail.
        let _ = write!(lines, "\n  and {more} more");
    }
    lines
}
