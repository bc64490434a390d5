//! Compiled programs on disk: a file a program, under a name that follows from everything that it was made of.
//!
//! `ALEXNET_CUDA_CACHE` names the folder, or is `off`; else it is `alexnet/cuda` in the user's cache folder. Files are written
//! whole or not at all, each begins with its content's digest, and those that were not used for the longest time go when there
//! are too many. A folder that cannot be written costs time at each start and nothing else.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use sha2::{Digest, Sha256};

use image_files::atomic;

/// The most bytes that are kept.
const MOST: u64 = 128 << 20;
/// Bytes of a digest.
const DIGEST: usize = 32;

/// The name of a program: a digest of its source, its headers, the options, and the compiler's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; DIGEST]);

impl Key {
    pub(super) fn of<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            // With its length, so that no two lists of parts are one text.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }

    fn file(&self) -> String {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        digits + EXTENSION
    }
}

const EXTENSION: &str = ".kernel";

/// The folder, if there is to be one.
#[derive(Debug)]
pub(super) struct Cache {
    folder: Option<PathBuf>,
    problem: Mutex<Option<String>>,
}

impl Cache {
    /// The user's.
    pub(super) fn of_user() -> Self {
        Self::new(folder(&|name| env::var_os(name)))
    }

    fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, problem: Mutex::new(None) }
    }

    /// Whether a program is there.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.join(key.file()).is_file())
    }

    /// The code of a program; none where it is not there, or not whole.
    pub(super) fn read(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.folder.as_ref()?.join(key.file());
        let bytes = fs::read(&path).ok()?;
        let (digest, code) = bytes.split_at_checked(DIGEST)?;
        if Sha256::digest(code)[..] != *digest || code.is_empty() {
            return None;
        }
        // So that it is known which ones are used; where that cannot be noted, others may go first.
        if let Ok(file) = File::options().append(true).open(&path) {
            let _ = file.set_modified(SystemTime::now());
        }
        Some(code.to_vec())
    }

    /// Keeps the code of a program.
    pub(super) fn write(&self, key: &Key, code: &[u8]) {
        let Some(folder) = &self.folder else { return };
        let written = fs::create_dir_all(folder).and_then(|()| {
            atomic::write(&folder.join(key.file()), |file| {
                file.write_all(&Sha256::digest(code))?;
                file.write_all(code)
            })?;
            make_room(folder, MOST)
        });
        if let Err(error) = written {
            let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
            problem.get_or_insert_with(|| format!("{}: {error}", folder.display()));
        }
    }

    /// Where programs are kept, or why they are not.
    pub(super) fn state(&self) -> Result<String, String> {
        match (&self.folder, &*self.problem.lock().unwrap_or_else(PoisonError::into_inner)) {
            (_, Some(problem)) => Err(problem.clone()),
            (None, _) => Err("ALEXNET_CUDA_CACHE is off, or there is no home folder".to_string()),
            (Some(folder), _) => Ok(folder.display().to_string()),
        }
    }
}

/// The folder that the environment names; none where it says `off`, or names none.
fn folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    match variable("ALEXNET_CUDA_CACHE") {
        Some(value) if value == "off" => None,
        Some(value) => Some(value.into()),
        None => {
            let of_home = || variable("HOME").map(|home| Path::new(&home).join(".cache"));
            let caches =
                variable("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(of_home)?;
            Some(caches.join("alexnet").join("cuda"))
        }
    }
}

/// Removes the files that were not used for the longest time, until the rest is small enough.
fn make_room(folder: &Path, most: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Another process may remove it at any moment.
        let Ok(metadata) = path.metadata() else { continue };
        if path.to_string_lossy().ends_with(EXTENSION) {
            files.push((metadata.modified()?, metadata.len(), path));
        }
    }
    files.sort();
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in files {
        if total <= most {
            break;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => total -= bytes,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(text: &str) -> Key {
        Key::of(std::iter::once(text.as_bytes()))
    }

    #[test]
    fn what_was_written_is_read_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(folder.path().join("new/folder")));
        assert_eq!(cache.read(&key("a")), None);
        cache.write(&key("a"), b"code");
        assert!(cache.has(&key("a")) && !cache.has(&key("b")));
        assert_eq!(cache.read(&key("a")).as_deref(), Some(&b"code"[..]));
        let path = folder.path().join("new/folder").join(key("a").file());
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        for damaged in [&bytes[..], &bytes[..bytes.len() - 1], &bytes[..7], &[]] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(cache.read(&key("a")), None);
        }
        assert!(cache.state().is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_and_no_more() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = Cache::new(Some(file.path().join("folder")));
        cache.write(&key("a"), b"code");
        assert_eq!(cache.read(&key("a")), None);
        assert!(cache.state().unwrap_err().contains(&file.path().display().to_string()));
        assert!(Cache::new(None).state().is_err());
    }

    #[test]
    fn keys_follow_from_all_parts_and_where_they_end() {
        let of = |parts: &[&str]| Key::of(parts.iter().map(|part| part.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_eq!(of(&[]).file().len(), 64 + EXTENSION.len());
    }

    #[test]
    fn what_was_not_used_for_long_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(folder.path().to_path_buf()));
        for (age, name) in ["new", "older", "oldest"].into_iter().enumerate() {
            cache.write(&key(name), &[0; 100]);
            let file = File::options().append(true).open(folder.path().join(key(name).file())).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(100 * (age as u64 + 1))).unwrap();
        }
        fs::write(folder.path().join("other"), [0; 1000]).unwrap();
        cache.read(&key("oldest")).unwrap();
        make_room(folder.path(), 300).unwrap();
        let there = ["new", "older", "oldest"].map(|name| cache.has(&key(name)));
        assert_eq!(there, [true, false, true]);
        assert!(folder.path().join("other").exists());
    }

    #[test]
    fn the_environment_says_where() {
        let of = |values: &[(&str, &str)]| {
            folder(&|name| values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into()))
        };
        assert_eq!(of(&[("HOME", "/home/me")]), Some("/home/me/.cache/alexnet/cuda".into()));
        assert_eq!(of(&[("HOME", "/home/me"), ("XDG_CACHE_HOME", "/caches")]), Some("/caches/alexnet/cuda".into()));
        assert_eq!(of(&[("HOME", "/home/me"), ("ALEXNET_CUDA_CACHE", "/here")]), Some("/here".into()));
        assert_eq!(of(&[("HOME", "/home/me"), ("ALEXNET_CUDA_CACHE", "off")]), None);
        assert_eq!(of(&[]), None);
    }
}
