//! Output files that are either whole or absent: written under a temporary name in the target's own folder,
//! then renamed over it, so that neither a reader nor a crash ever meets half a file.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Beginning and end of temporary names.
const TEMPORARY: (&str, &str) = (".partial-", ".tmp");

/// Creates or replaces the file at `path` with what `fill` writes.
///
/// Where `fill` fails, nothing is left behind and a file that was there stays as it was.
///
/// # Errors
/// What `fill` returns, or why the file could not be created or renamed.
pub fn write<E: From<io::Error>>(path: &Path, fill: impl FnOnce(&mut File) -> Result<(), E>) -> Result<(), E> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY.0).suffix(TEMPORARY.1);
    // The default of temporary files is readable by their owner only; these are to be ordinary files.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    fill(file.as_file_mut())?;
    // Renamed before its content is on the disk, the file could be there and empty after a power failure.
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The new name, too, is to outlive a power failure.
    if cfg!(unix) { Ok(File::open(folder)?.sync_all()?) } else { Ok(()) }
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
