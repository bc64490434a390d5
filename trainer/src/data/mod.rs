//! Training data: where it comes from ([`source`]), how its files are read ([`idx`], [`folder`]), what happens to its
//! images ([`augment`], [`colour`]), and how they reach the training loop as shuffled, preprocessed batches ([`loader`]).

pub mod augment;
pub mod colour;
pub mod folder;
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

pub use self::labelled::{Frame, LabelledImages};
use self::{
    folder::TestShare,
    idx::{Idx, IdxError},
};

/// The classes of Fashion-MNIST in the order of their labels.
pub const CLASS_NAMES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// A file, or a folder of images, that was read, identified by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256, hexadecimal, of a file's uncompressed content, or of the paths and contents of a folder's images.
    pub sha256: String,
}

/// Images to train on, images to test on, and what their labels mean.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The images that training may learn from and choose by.
    pub train: LabelledImages,
    /// Number of validation images, the last of them, where the data have such.
    pub validation: Option<usize>,
    /// The images that only measure.
    pub test: LabelledImages,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// The files, or the folder, that it was read from.
    pub files: Vec<DataFile>,
    /// Kind of the files.
    pub origin: Origin,
    /// The test images' paths in the folder, in their order; none where they lie in one file.
    pub test_paths: Vec<PathBuf>,
    /// Files of the folder that were left out, and why: they cannot be read, or are of formats that are not.
    pub left_out: Vec<(PathBuf, String)>,
}

/// The kind of files that a data set was read from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Origin {
    /// Four IDX files. They do not say what their labels mean: the names are Fashion-MNIST's.
    Idx,
    /// No files: the images were made by a program.
    Memory,
    /// Folders named after the classes.
    Folder {
        /// Choice of the test images, where there were none of their own.
        kept: Option<TestShare>,
    },
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
    /// Images are of another number of classes than there are names.
    #[error("the images are of {found} classes, and there are names for {expected}")]
    Classes {
        /// Names.
        expected: usize,
        /// Classes of the images.
        found: usize,
    },
    /// A label names no class.
    #[error("{path}: label {label} of image {index} is out of range: expected 0 to {last}")]
    Label {
        /// The file of labels.
        path: PathBuf,
        /// Position in the file, from 0.
        index: usize,
        /// The label found.
        label: u16,
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
    /// Name for people.
    pub fn name(&self) -> String {
        match self.origin {
            Origin::Idx => "Fashion-MNIST".to_string(),
            Origin::Memory => "images in memory".to_string(),
            Origin::Folder { .. } => {
                let name = self.files.first().and_then(|folder| folder.path.file_name());
                name.map_or("images".to_string(), |name| name.to_string_lossy().into_owned())
            }
        }
    }

    /// Images that a program has made or read by itself, of these classes.
    ///
    /// # Errors
    /// [`DataError::Classes`]: the images are of another number of classes.
    pub fn in_memory(train: LabelledImages, test: LabelledImages, classes: Vec<String>) -> Result<Self, DataError> {
        if let Some(images) = [&train, &test].into_iter().find(|images| images.classes() != classes.len()) {
            return Err(DataError::Classes { expected: classes.len(), found: images.classes() });
        }
        let mut digest = Sha256::new();
        [&train, &test].into_iter().for_each(|images| images.digest(&mut digest));
        // A run that goes on knows by it whether these are the same images.
        let file = DataFile { path: "memory".into(), sha256: idx::hexadecimal(&digest.finalize()) };
        let (test_paths, left_out) = (Vec::new(), Vec::new());
        let (validation, origin) = (None, Origin::Memory);
        Ok(Self { train, validation, test, classes, files: vec![file], origin, test_paths, left_out })
    }

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
        let classes = CLASS_NAMES.map(String::from).to_vec();
        let (test_paths, left_out) = (Vec::new(), Vec::new());
        Ok(Self { train, validation: None, test, classes, files: read, origin: Origin::Idx, test_paths, left_out })
    }
}

fn open<const RANK: usize>(path: &Path) -> Result<Idx<RANK>, DataError> {
    let file = File::open(path).map_err(|source| DataError::Open { path: path.to_path_buf(), source })?;
    Idx::read(file).map_err(|source| DataError::Idx { path: path.to_path_buf(), source })
}
