//! One process a run's folder: two that trained in the same one would mix their files.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

/// A folder that is this process's until this is dropped, or the process ends in any way.
#[derive(Debug)]
pub(super) struct FolderLock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

/// Why a folder cannot be had.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process has it; its number where the system tells.
    Taken(Option<u32>),
    /// The folder cannot be opened.
    Folder(io::Error),
}

impl FolderLock {
    /// Takes the folder. The lock is on the folder itself, so that no file is left behind. A file system without locks gives
    /// it to everybody.
    pub(super) fn take(folder: &Path) -> Result<Self, LockError> {
        let file = File::open(folder).map_err(LockError::Folder)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(LockError::Taken(holder(&file))),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self(file)),
        }
    }
}

/// The process that has the lock, by Linux's list of locks.
#[cfg(target_os = "linux")]
fn holder(file: &File) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;

    let inode = file.metadata().ok()?.ino();
    // "1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF": the process, then the device and the inode.
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "FLOCK").skip(3);
        let (process, place) = (words.next()?, words.next()?);
        let same = place.rsplit(':').next()?.parse() == Ok(inode);
        process.parse().ok().filter(|_| same)
    })
}

#[cfg(not(target_os = "linux"))]
fn holder(_: &File) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_owners_until_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        let taken = FolderLock::take(folder.path()).unwrap_err();
        assert!(
            matches!(taken, LockError::Taken(holder) if holder.is_none_or(|id| id == std::process::id())),
            "{taken:?}"
        );
        drop(lock);
        FolderLock::take(folder.path()).unwrap();
        assert!(matches!(FolderLock::take(&folder.path().join("absent")), Err(LockError::Folder(_))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
