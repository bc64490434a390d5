//! Which images a folder holds, of which classes, and which of them are for the test.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use image_files::find::{Candidate, Kind, Search};
use sha2::{Digest, Sha256};

use reporting::arguments::distance;

use super::{FolderError, TEST, TRAIN, TestShare, VALIDATION};
use infer_core::describe::CLASSES;

/// The images of a data set, not read yet.
#[derive(Debug)]
pub(super) struct FolderListing {
    /// Names of the classes in the order of their labels.
    pub(super) classes: Vec<String>,
    /// Images to learn from.
    pub(super) train: Vec<Image>,
    /// Images to choose the best epoch by, where they are given.
    pub(super) validation: Option<Vec<Image>>,
    /// Images to test by; the first few are as many of each class, in proportion, as all are.
    pub(super) test: Vec<Image>,
    /// Choice of the test images, where they were not given.
    pub(super) kept: Option<TestShare>,
    /// Files of formats that are not read, and their names.
    pub(super) skipped: Vec<(PathBuf, &'static str)>,
}

/// An image file of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) label: u16,
    /// Why it cannot even be tried.
    pub(super) problem: Option<String>,
}

/// The classes in a folder, each with its images sorted by path, by the classes' names.
type Classes = BTreeMap<String, Vec<Candidate>>;

impl FolderListing {
    /// Looks at a folder; `share` says what is kept for the test where no test images are given.
    pub(super) fn of(root: &Path, share: TestShare) -> Result<Self, FolderError> {
        exists(root)?;
        let mut skipped = Vec::new();
        let folders = sub_folders(root)?;
        let train = root.join(TRAIN);
        // Also a class may be called "train", but then its folder holds images.
        if folders.contains_key(TRAIN) && loose_images(&train).is_empty() && !sub_folders(&train)?.is_empty() {
            let validation = VALIDATION.into_iter().find(|name| folders.contains_key(*name));
            // Where there are but two folders, the second is to test by, whatever it is called.
            let (test, validation) = match (folders.contains_key(TEST), validation) {
                (true, validation) => (TEST, validation),
                (false, Some(name)) => (name, None),
                (false, None) => return Err(FolderError::NoTest { folder: root.to_path_buf() }),
            };
            let used = [Some(TRAIN), Some(test), validation];
            let others: Vec<String> = folders.into_keys().filter(|name| !used.contains(&Some(name))).collect();
            if !others.is_empty() {
                return Err(FolderError::Beside { folder: root.to_path_buf(), others });
            }
            let train = classes_in(&train, &mut skipped)?;
            let mut of_the_same = |name: &str| -> Result<Classes, FolderError> {
                let these = classes_in(&root.join(name), &mut skipped)?;
                let only = |these: &Classes, those: &Classes| -> Vec<String> {
                    these.keys().filter(|name| !those.contains_key(*name)).cloned().collect()
                };
                let (only_train, only_these) = (only(&train, &these), only(&these, &train));
                if only_train.is_empty() && only_these.is_empty() {
                    return Ok(these);
                }
                let (folder, other) = (root.to_path_buf(), name.to_string());
                Err(FolderError::Different { folder, other, train: only_train, test: only_these })
            };
            let test = interleaved(of_the_same(test)?);
            let validation = validation.map(|name| of_the_same(name).map(interleaved)).transpose()?;
            let classes = train.keys().cloned().collect();
            return Ok(Self { classes, train: interleaved(train), validation, test, kept: None, skipped });
        }
        let (mut train, mut test) = (Classes::new(), Classes::new());
        for (name, images) in classes_in(root, &mut skipped)? {
            if images.len() < 2 {
                return Err(FolderError::Single { folder: root.join(name) });
            }
            let (kept, others) = share.divide(root, images);
            test.insert(name.clone(), kept);
            train.insert(name, others);
        }
        let classes = train.keys().cloned().collect();
        let (train, test) = (interleaved(train), interleaved(test));
        Ok(Self { classes, train, validation: None, test, kept: Some(share), skipped })
    }
}

/// Refuses what is no folder, or one without anything that could be data.
fn exists(root: &Path) -> Result<(), FolderError> {
    let folder = || root.to_path_buf();
    match fs::metadata(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FolderError::Nothing { folder: folder(), similar: similar(root) });
        }
        Err(source) => return Err(FolderError::Read { folder: folder(), source }),
        Ok(found) if !found.is_dir() => return Err(FolderError::File { folder: folder() }),
        Ok(_) => {}
    }
    if sub_folders(root)?.is_empty() && loose_images(root).is_empty() {
        let empty = fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_none());
        return Err(FolderError::NoData { folder: folder(), empty });
    }
    Ok(())
}

/// The folder beside a missing one whose name differs in the case of letters, or in one or two letters.
fn similar(missing: &Path) -> Option<String> {
    let name = missing.file_name()?.to_string_lossy().to_lowercase();
    let beside = missing.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folders = sub_folders(beside).ok()?;
    let near = folders.into_keys().map(|other| (distance(&name, &other.to_lowercase()), other));
    near.filter(|(distance, _)| *distance <= 2.min(name.chars().count() / 2)).min().map(|(_, other)| other)
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
    let images = Search { recursive: false, hidden: false }.images(folder.to_path_buf());
    images.filter(|candidate| !matches!(candidate.kind, Kind::Skipped(_))).map(|candidate| candidate.path).collect()
}

/// The classes whose folders lie in `folder`. Files of formats that are not read go to `skipped`.
fn classes_in(folder: &Path, skipped: &mut Vec<(PathBuf, &'static str)>) -> Result<Classes, FolderError> {
    let folders = sub_folders(folder)?;
    let images = loose_images(folder);
    if !images.is_empty() {
        return Err(FolderError::NoClass { folder: folder.to_path_buf(), images });
    }
    if folders.len() < 2 {
        return Err(FolderError::TooFew { folder: folder.to_path_buf(), found: folders.into_keys().next() });
    }
    if folders.len() > *CLASSES.end() {
        return Err(FolderError::TooMany { folder: folder.to_path_buf(), found: folders.len() });
    }
    let search = Search { recursive: true, hidden: false };
    let mut images = |path: &PathBuf| -> Vec<Candidate> {
        let (others, images) = search.images(path.clone()).partition(|found| matches!(found.kind, Kind::Skipped(_)));
        let others: Vec<Candidate> = others;
        skipped.extend(others.into_iter().filter_map(|Candidate { path, kind }| match kind {
            Kind::Skipped(format) => Some((path, format)),
            Kind::Image | Kind::Problem(_) => None,
        }));
        images
    };
    let classes: Classes = folders.iter().map(|(name, path)| (name.clone(), images(path))).collect();
    let empty: Vec<_> =
        folders.into_iter().filter(|(name, _)| classes[name].is_empty()).map(|(_, path)| path).collect();
    if empty.is_empty() { Ok(classes) } else { Err(FolderError::Empty { folders: empty }) }
}

/// All images in an order of which each beginning holds as large a share of every class as the whole.
fn interleaved(classes: Classes) -> Vec<Image> {
    let mut images = Vec::new();
    for (label, candidates) in classes.into_values().enumerate() {
        // There are no more classes than labels: 10,000 at most.
        let label = label as u16;
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
