//! Output files that are either whole or absent: written under a temporary name in the target's own folder,
//! then renamed over it, so that neither a reader nor a crash ever meets half a file.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// Beginning and end of temporary names.
const TEMPORARY: (&str, &str) = (".partial-", ".tmp");

/// A file in the making, beside the one that it is to be. It disappears when it is dropped.
#[derive(Debug)]
pub struct Unfinished {
    path: PathBuf,
    file: NamedTempFile,
}

impl Unfinished {
    /// Begins a file that is to be at `path`.
    ///
    /// # Errors
    /// It cannot be created; a missing folder is named.
    pub fn new(path: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY.0).suffix(TEMPORARY.1);
        // The default of temporary files is readable by their owner only; these are to be ordinary files.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder(path)).map_err(|error| explained(path, error))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// The path that it is to be at.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path that it is at.
    pub fn temporary_path(&self) -> &Path {
        self.file.path()
    }

    /// The file, to be written to.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Makes the file appear at its path, where it replaces another.
    ///
    /// # Errors
    /// It cannot be written to the disk or renamed.
    pub fn commit(self) -> io::Result<()> {
        // Renamed before its content is on the disk, the file could be there and empty after a power failure.
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path)?;
        sync_folder(&self.path)
    }
}

/// Proves that a file can be made at `path`, before the work whose result it is to hold.
///
/// # Errors
/// It cannot be created; a missing folder is named.
pub fn check(path: &Path) -> io::Result<()> {
    Unfinished::new(path).map(drop)
}

/// The error of a file that cannot be created, in words that name what its folder lacks.
pub fn explained(path: &Path, error: io::Error) -> io::Error {
    let folder = folder(path);
    let missing = folder.ancestors().find(|part| part.exists() || part.as_os_str().is_empty());
    let reason = match missing {
        Some(file) if file.is_file() => format!("{} is a file, not a folder", file.display()),
        _ if !folder.exists() => format!("there is no folder {}; create it first", folder.display()),
        _ => return error,
    };
    io::Error::new(error.kind(), reason)
}

/// Makes a file that is complete at `from` appear at `to`, where it replaces another.
///
/// # Errors
/// It cannot be written to the disk or renamed.
pub fn rename(file: &File, from: &Path, to: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(from, to)?;
    sync_folder(to)
}

/// Creates or replaces the file at `path` with what `fill` writes.
///
/// Where `fill` fails, nothing is left behind and a file that was there stays as it was.
///
/// # Errors
/// What `fill` returns, or why the file could not be created or renamed.
pub fn write<E: From<io::Error>>(path: &Path, fill: impl FnOnce(&mut File) -> Result<(), E>) -> Result<(), E> {
    let mut file = Unfinished::new(path)?;
    fill(file.file.as_file_mut())?;
    Ok(file.commit()?)
}

/// Makes the name of a file outlive a power failure; only Unix opens folders.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder(path))?.sync_all() } else { Ok(()) }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Half-written files that killed programs left in a folder; none where it cannot be read.
pub fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let temporary = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1))
    };
    entries.map(|entry| entry.path()).filter(temporary).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_folder_that_is_missing_or_none_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        check(&file).unwrap();
        assert!(!file.exists() && leftovers(root.path()).is_empty());
        std::fs::write(&file, "").unwrap();
        let missing = root.path().join("a/b");
        for (path, reason) in [
            (missing.join("x"), format!("there is no folder {}; create it first", missing.display())),
            (file.join("x"), format!("{} is a file, not a folder", file.display())),
            (file.join("more/x"), format!("{} is a file, not a folder", file.display())),
        ] {
            assert_eq!(check(&path).unwrap_err().to_string(), reason);
        }
        // Any other error stays as it is.
        assert_eq!(explained(&file, io::Error::other("full")).to_string(), "full");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write::<io::Error>(&path, |file| file.write_all(b"old")).unwrap();
        let failed: Result<(), io::Error> = write(&path, |file| {
            file.write_all(b"new, but")?;
            Err(io::Error::other("the disk is full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "the disk is full");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        write::<io::Error>(&path, |file| {
            let leftovers = leftovers(folder.path());
            assert!(leftovers.len() == 1 && leftovers[0] != path);
            file.write_all(b"new")
        })
        .unwrap();
        assert!(leftovers(folder.path()).is_empty());
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }
}
