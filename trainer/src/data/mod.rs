//! Training data: where it comes from ([`source`]), how its files are read ([`idx`]), what happens to its
//! images ([`augment`]), and how they reach the training loop as shuffled, preprocessed batches ([`loader`]).

pub mod augment;
pub mod idx;
mod labelled;
pub mod loader;
pub mod source;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::idx::{Idx, IdxError};
pub use self::labelled::LabelledImages;

/// The classes of Fashion-MNIST in the order of their labels.
pub const CLASS_NAMES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// A file that was read, identified by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 of its uncompressed content, hexadecimal.
    pub sha256: String,
}

/// Images to train on, images to test on, and what their labels mean.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The images that training may learn from and choose by.
    pub train: LabelledImages,
    /// The images that only measure.
    pub test: LabelledImages,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// The files it was read from.
    pub files: Vec<DataFile>,
}

/// Why a data set cannot be used. Messages name the file.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be opened.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A file is not a well-formed IDX file of the kind wanted.
    #[error("{path}: {source}")]
    Idx {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: IdxError,
    },
    /// Images and labels do not belong together.
    #[error("{images} holds {image_count} images, but {labels} holds {label_count} labels")]
    Counts {
        /// The file of images.
        images: PathBuf,
        /// Images in it.
        image_count: usize,
        /// The file of labels.
        labels: PathBuf,
        /// Labels in it.
        label_count: usize,
    },
    /// A label names no class.
    #[error("{path}: label {label} of image {index} is out of range: expected 0 to {last}")]
    Label {
        /// The file of labels.
        path: PathBuf,
        /// Position in the file, from 0.
        index: usize,
        /// The label found.
        label: u8,
        /// The largest label that names a class.
        last: usize,
    },
}

impl DataFile {
    /// Identifies a file of any kind.
    ///
    /// # Errors
    /// [`DataError::Open`] where it cannot be read.
    pub fn of(path: &Path) -> Result<Self, DataError> {
        let open = |source| DataError::Open { path: path.to_path_buf(), source };
        let bytes = fs::read(path).map_err(open)?;
        Ok(Self { path: path.to_path_buf(), sha256: idx::hexadecimal(&Sha256::digest(bytes)) })
    }
}

impl Dataset {
    /// Reads and checks the four files of a data set published as MNIST is.
    ///
    /// # Errors
    /// [`DataError`] naming the file that cannot be used and why.
    pub fn read(files: &source::Files) -> Result<Self, DataError> {
        let mut read = Vec::new();
        let mut pair = |images_path: &Path, labels_path: &Path| {
            let images = open::<3>(images_path)?;
            let labels = open::<1>(labels_path)?;
            for (path, sha256) in [(images_path, images.sha256()), (labels_path, labels.sha256())] {
                read.push(DataFile { path: path.to_path_buf(), sha256 });
            }
            LabelledImages::new(images, labels, CLASS_NAMES.len(), [images_path, labels_path])
        };
        let train = pair(&files.train_images, &files.train_labels)?;
        let test = pair(&files.test_images, &files.test_labels)?;
        Ok(Self { train, test, classes: CLASS_NAMES.map(String::from).to_vec(), files: read })
    }
}

/// The name of the folder for a class: every character that is neither ASCII alphanumeric nor `-` becomes
/// `_`, so that it is safe in a path on every system. "T-shirt/top" becomes "T-shirt_top". Whoever reads such
/// folders maps each class name the same way and compares.
pub fn class_directory(class: &str) -> String {
    class.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

fn open<const RANK: usize>(path: &Path) -> Result<Idx<RANK>, DataError> {
    let file = File::open(path).map_err(|source| DataError::Open { path: path.to_path_buf(), source })?;
    Idx::read(file).map_err(|source| DataError::Idx { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_directories_are_safe_and_distinct() {
        let directories = CLASS_NAMES.map(class_directory);
        assert_eq!(directories[0], "T-shirt_top");
        assert_eq!(directories[9], "Ankle_boot");
        assert_eq!(class_directory("../é a"), "_____a");
        let distinct: std::collections::BTreeSet<_> = directories.iter().collect();
        assert_eq!(distinct.len(), CLASS_NAMES.len());
    }
}
