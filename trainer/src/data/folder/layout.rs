//! Which images a folder holds, of which classes, and which of them are for the test.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use image_files::find::{Candidate, Search};
use sha2::{Digest, Sha256};

use super::{FolderError, TEST, TRAIN, TestShare};
use crate::model::CLASSES;

/// The images of a data set, not read yet.
#[derive(Debug)]
pub(super) struct Layout {
    /// Names of the classes in the order of their labels.
    pub(super) classes: Vec<String>,
    /// Images to learn from.
    pub(super) train: Vec<Image>,
    /// Images to test by; the first few are as many of each class, in proportion, as all are.
    pub(super) test: Vec<Image>,
    /// How the test images were chosen, where they were not given.
    pub(super) kept: Option<TestShare>,
}

/// An image file of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) label: u8,
    /// Why it cannot even be tried.
    pub(super) problem: Option<String>,
}

/// The classes in a folder, each with its images sorted by path, by the classes' names.
type Classes = BTreeMap<String, Vec<Candidate>>;

impl Layout {
    /// Looks at a folder; `share` says what is kept for the test where no test images are given.
    pub(super) fn of(root: &Path, share: TestShare) -> Result<Self, FolderError> {
        let folders = sub_folders(root)?;
        let train = root.join(TRAIN);
        // Also a class may be called "train", but then its folder holds images.
        if folders.contains_key(TRAIN) && loose_images(&train).is_empty() && !sub_folders(&train)?.is_empty() {
            if !folders.contains_key(TEST) {
                return Err(FolderError::NoTest { folder: root.to_path_buf() });
            }
            let others: Vec<String> = folders.into_keys().filter(|name| name != TRAIN && name != TEST).collect();
            if !others.is_empty() {
                return Err(FolderError::Beside { folder: root.to_path_buf(), others });
            }
            let (train, test) = (classes_in(&train)?, classes_in(&root.join(TEST))?);
            let only = |these: &Classes, those: &Classes| -> Vec<String> {
                these.keys().filter(|name| !those.contains_key(*name)).cloned().collect()
            };
            let (only_train, only_test) = (only(&train, &test), only(&test, &train));
            if !only_train.is_empty() || !only_test.is_empty() {
                return Err(FolderError::Different { folder: root.to_path_buf(), train: only_train, test: only_test });
            }
            let classes = train.keys().cloned().collect();
            return Ok(Self { classes, train: interleaved(train), test: interleaved(test), kept: None });
        }
        let (mut train, mut test) = (Classes::new(), Classes::new());
        for (name, images) in classes_in(root)? {
            if images.len() < 2 {
                return Err(FolderError::Single { folder: root.join(name) });
            }
            let (kept, others) = share.divide(root, images);
            test.insert(name.clone(), kept);
            train.insert(name, others);
        }
        let classes = train.keys().cloned().collect();
        Ok(Self { classes, train: interleaved(train), test: interleaved(test), kept: Some(share) })
    }
}

impl TestShare {
    /// Divides a class's images, at least two, into those that are kept and the others. An image is kept for what a digest
    /// of the seed and its path is: where images are added later, nearly all of those that were kept are kept again, and a
    /// larger share keeps those of a smaller one.
    fn divide(self, root: &Path, images: Vec<Candidate>) -> (Vec<Candidate>, Vec<Candidate>) {
        let count = ((images.len() as f64 * self.share).round() as usize).clamp(1, images.len() - 1);
        let digest = |image: &Candidate| -> [u8; 32] {
            Sha256::new()
                .chain_update(self.seed.to_le_bytes())
                .chain_update(relative(root, &image.path))
                .finalize()
                .into()
        };
        let digests: Vec<_> = images.iter().map(digest).collect();
        let mut order: Vec<usize> = (0..images.len()).collect();
        order.sort_by_key(|&index| digests[index]);
        let mut is_kept = vec![false; images.len()];
        order.iter().take(count).for_each(|&index| is_kept[index] = true);
        let mut is_kept = is_kept.into_iter();
        images.into_iter().partition(|_| is_kept.next().unwrap_or_default())
    }
}

/// The way from a folder to a file in it, the same on every system.
pub(super) fn relative(root: &Path, path: &Path) -> Vec<u8> {
    let way = path.strip_prefix(root).unwrap_or(path);
    way.iter().map(|name| name.as_encoded_bytes()).collect::<Vec<_>>().join(&b'/')
}

/// The folders in a folder, by name, but for hidden ones.
///
/// # Errors
/// The folder cannot be read, or a name is not UTF-8.
pub(super) fn sub_folders(folder: &Path) -> Result<BTreeMap<String, PathBuf>, FolderError> {
    let failed = |source| FolderError::Read { folder: folder.to_path_buf(), source };
    let mut folders = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Links are followed, as they are to images.
        if !entry.file_name().as_encoded_bytes().starts_with(b".") && entry.path().is_dir() {
            let name = entry.file_name().into_string().map_err(|_| FolderError::Name { folder: entry.path() })?;
            folders.insert(name, entry.path());
        }
    }
    Ok(folders)
}

/// The images that lie directly in a folder.
fn loose_images(folder: &Path) -> Vec<PathBuf> {
    let search = Search { recursive: false, hidden: false };
    search.images(folder.to_path_buf()).map(|candidate| candidate.path).collect()
}

/// The classes whose folders lie in `folder`.
fn classes_in(folder: &Path) -> Result<Classes, FolderError> {
    let folders = sub_folders(folder)?;
    let images = loose_images(folder);
    if !images.is_empty() {
        return Err(FolderError::NoClass { folder: folder.to_path_buf(), images });
    }
    if folders.len() < 2 {
        return Err(FolderError::TooFew { folder: folder.to_path_buf(), found: folders.into_keys().next() });
    }
    if folders.len() > CLASSES {
        return Err(FolderError::TooMany { folder: folder.to_path_buf(), found: folders.len() });
    }
    let search = Search { recursive: true, hidden: false };
    let classes: Classes =
        folders.iter().map(|(name, path)| (name.clone(), search.images(path.clone()).collect())).collect();
    let empty: Vec<_> =
        folders.into_iter().filter(|(name, _)| classes[name].is_empty()).map(|(_, path)| path).collect();
    if empty.is_empty() { Ok(classes) } else { Err(FolderError::Empty { folders: empty }) }
}

/// All images in an order of which each beginning holds as large a share of every class as the whole.
fn interleaved(classes: Classes) -> Vec<Image> {
    let mut images = Vec::new();
    for (label, candidates) in classes.into_values().enumerate() {
        // There are no more classes than labels: `CLASSES` is 256 at most.
        let label = label as u8;
        let count = candidates.len();
        for (rank, Candidate { path, kind }) in candidates.into_iter().enumerate() {
            let problem = if let Kind::Problem(problem) = kind { Some(problem) } else { None };
            images.push(((2 * rank + 1, count), Image { path, label, problem }));
        }
    }
    // (2 · rank + 1) / count, as fractions; the sort is stable, so that equal ones stay in the order of the classes.
    let order = |(a, of_a): (usize, usize), (b, of_b): (usize, usize)| -> Ordering { (a * of_b).cmp(&(b * of_a)) };
    images.sort_by(|(a, _), (b, _)| order(*a, *b));
    images.into_iter().map(|(_, image)| image).collect()
}
