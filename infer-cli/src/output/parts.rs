//! Folders of results: files that are written one behind the other, or by several runs.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use image_files::atomic;

use crate::partition::Partition;

/// Beginning of the names of files of results.
const PART: &str = "part";

/// End of the names of Parquet files.
const PARQUET: &str = ".parquet";

/// The Parquet files of a run in a folder: `part-00000.parquet`, `part-00001.parquet` and so on; of one of several runs
/// `part-00003-of-00100-00000.parquet`.
#[derive(Debug, Clone)]
pub struct Parts {
    folder: PathBuf,
    /// Beginning of their names.
    stem: String,
}

/// A file that gets its name when it is complete.
#[derive(Debug)]
pub struct Part {
    pub file: File,
    unfinished: PathBuf,
    path: PathBuf,
}

impl Parts {
    /// The files of a run in a folder.
    pub fn new(folder: &Path, partition: Option<Partition>) -> Self {
        Self { folder: folder.to_path_buf(), stem: partition.map_or_else(|| PART.into(), Partition::name) }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of a number.
    pub fn path(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{}-{number:05}{PARQUET}", self.stem))
    }

    /// The number of files that are there.
    ///
    /// # Errors
    /// The folder cannot be read, or a file is missing between others.
    pub fn count(&self) -> anyhow::Result<usize> {
        let mut numbers = Vec::new();
        for name in names(&self.folder)? {
            let number = name.strip_prefix(&self.stem).and_then(|name| name.strip_prefix('-'));
            let number = number.and_then(|name| name.strip_suffix(PARQUET)).filter(|number| is_number(number));
            numbers.extend(number.and_then(|number| number.parse::<usize>().ok()));
        }
        numbers.sort_unstable();
        match numbers.iter().enumerate().find(|(place, number)| place != *number) {
            Some((missing, _)) => {
                bail!("{} is missing, and later ones are there; remove them", self.path(missing).display())
            }
            None => Ok(numbers.len()),
        }
    }

    /// Begins a file.
    ///
    /// # Errors
    /// It cannot be created, or another run is writing it.
    pub fn begin(&self, number: usize) -> io::Result<Part> {
        let path = self.path(number);
        let unfinished = self.unfinished(number);
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&unfinished)?;
        lock(&file, &path)?;
        file.set_len(0)?;
        Ok(Part { file, unfinished, path })
    }

    /// Removes all files, and the folder if it is empty then.
    pub fn discard(&self) {
        let count = self.count().unwrap_or_default();
        for number in 0..=count {
            // That something stays is no harm.
            let _ = fs::remove_file(self.path(number));
            let _ = fs::remove_file(self.unfinished(number));
        }
        let _ = fs::remove_dir(&self.folder);
    }

    fn unfinished(&self, number: usize) -> PathBuf {
        self.folder.join(format!(".{}-{number:05}{PARQUET}.partial", self.stem))
    }
}

impl Part {
    /// Makes it appear under its name.
    ///
    /// # Errors
    /// It cannot be written to the disk or renamed.
    pub fn commit(self) -> io::Result<()> {
        atomic::rename(&self.file, &self.unfinished, &self.path)
    }
}

/// Makes sure that there is a folder for results, with none in it of a run with another number of parts.
///
/// # Errors
/// The folder cannot be created or read, or has such results.
pub fn folder(folder: &Path, partition: Option<Partition>) -> anyhow::Result<()> {
    let named = folder.display();
    if let Err(error) = fs::create_dir(folder) {
        let there = error.kind() == io::ErrorKind::AlreadyExists;
        ensure!(!there || folder.is_dir(), "--output {named}: this is a file, expected a folder");
        if !there {
            return Err(atomic::explained(folder, error)).with_context(|| format!("cannot create the folder {named}"));
        }
    }
    let parts = |name: &str| Some(name.split_once("-of-")?.1.split(['-', '.']).next()?.to_string());
    let mine = partition.and_then(|partition| parts(&partition.name()));
    for name in names(folder)? {
        let numbered = name
            .strip_prefix(PART)
            .is_some_and(|rest| rest.starts_with('-') && rest[1..].starts_with(|c: char| c.is_ascii_digit()));
        ensure!(
            !numbered || parts(&name) == mine,
            "--output {named}: {name} is of a run that was divided otherwise; name another folder"
        );
    }
    Ok(())
}

/// Takes a lock on a file that is to be at `path`, so that no other run writes it.
///
/// # Errors
/// Another run has it. Where the file system has no locks, there is no error.
pub fn lock(file: &File, path: &Path) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::other(format!("{} is being written by another run", path.display())))
        }
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let read = || -> io::Result<Vec<String>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    read().with_context(|| format!("cannot read the folder {}", folder.display()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
