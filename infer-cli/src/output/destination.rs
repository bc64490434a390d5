//! Where results go: the standard output, or a file that appears under its name when it is complete.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use image_files::atomic::{self, Unfinished};

use super::parts::{self, Parts};
use crate::stdout;

/// The destination's name in errors if it is no file.
const STDOUT: &str = "the standard output";

/// End of the name of a file of results until it is complete.
const PARTIAL: &str = ".partial";

/// Where results go.
pub enum Destination {
    /// The standard output.
    Stdout,
    /// A file that is there already and is no ordinary one, such as a pipe or `/dev/null`: written to directly.
    Special(PathBuf, File),
    /// A file that gets its name when it is complete, and else disappears.
    Whole(Unfinished),
    /// A file that is called `.partial` until it is complete, and stays so if the program is interrupted.
    Partial(PathBuf, File),
    /// Files of a folder, which appear one after the other.
    Parts(Parts),
}

/// Treatment of a `.partial` file that an interrupted run has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    /// There must be none.
    Refused,
    /// There must be one, to go on from.
    Wanted,
    /// It is gone on from if there is one.
    Taken,
}

impl Destination {
    /// A file that appears when it is complete. One that is there already is replaced if `force` says so.
    ///
    /// # Errors
    /// The file exists, or cannot be created.
    pub fn whole(path: &Path, force: bool) -> anyhow::Result<Self> {
        let found = fs::metadata(path);
        ensure!(force || !found.is_ok_and(|found| found.is_file()), "{} exists; --force replaces it", path.display());
        let create = || -> io::Result<Self> {
            let (path, special) = resolved(path)?;
            if let Some(file) = special {
                return Ok(Self::Special(path, file));
            }
            Ok(Self::Whole(Unfinished::new(&path)?))
        };
        create().with_context(|| format!("cannot write {}", path.display()))
    }

    /// The standard output, or a file for results that are worth keeping when the program is interrupted.
    ///
    /// # Errors
    /// The file cannot be created, another run writes it, or results of an earlier run are there, or are not.
    pub fn of_results(path: Option<&Path>, leftover: Leftover) -> anyhow::Result<Self> {
        let Some(named) = path else {
            stdout::check().with_context(|| format!("cannot write {STDOUT}"))?;
            return Ok(Self::Stdout);
        };
        let cannot_write = || format!("cannot write {}", named.display());
        let (path, special) = resolved(named).with_context(cannot_write)?;
        if let Some(file) = special {
            ensure!(leftover == Leftover::Refused, "--resume: {} is no ordinary file", named.display());
            return Ok(Self::Special(path, file));
        }
        let (partial, mut options) = (partial(&path), File::options());
        options.read(true).write(true);
        match leftover {
            Leftover::Refused => options.create_new(true),
            Leftover::Wanted => &mut options,
            Leftover::Taken => options.create(true),
        };
        match options.open(&partial) {
            Ok(file) => {
                parts::lock(&file, &path).with_context(cannot_write)?;
                Ok(Self::Partial(path, file))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!(
                    "{0} holds the results of an interrupted run: --resume goes on from it; or remove it",
                    partial.display()
                )
            }
            Err(error) if leftover == Leftover::Wanted && error.kind() == io::ErrorKind::NotFound => {
                bail!("--resume: there is no {} to go on from", partial.display())
            }
            Err(error) => Err(atomic::explained(&path, error)).with_context(cannot_write),
        }
    }

    /// Its name in errors.
    pub fn name(&self) -> String {
        match self {
            Self::Stdout => STDOUT.into(),
            Self::Special(path, _) | Self::Partial(path, _) => path.display().to_string(),
            Self::Whole(file) => file.path().display().to_string(),
            Self::Parts(parts) => parts.folder().display().to_string(),
        }
    }

    /// A handle to write through.
    ///
    /// # Errors
    /// The system has none left.
    pub fn handle(&self) -> io::Result<Box<dyn Write>> {
        Ok(match self {
            Self::Stdout => Box::new(io::stdout().lock()),
            Self::Special(_, file) | Self::Partial(_, file) => Box::new(file.try_clone()?),
            Self::Whole(file) => Box::new(file.file().try_clone()?),
            Self::Parts(_) => return Err(io::Error::other("a folder is written file by file")),
        })
    }

    /// Whether people read along.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Special(_, file) => file.is_terminal(),
            Self::Whole(_) | Self::Partial(..) | Self::Parts(_) => false,
        }
    }

    /// The file or folder that holds what is written until it is complete.
    pub fn unfinished(&self) -> Option<PathBuf> {
        match self {
            Self::Stdout | Self::Special(..) => None,
            Self::Whole(file) => Some(file.temporary_path().to_path_buf()),
            Self::Partial(path, _) => Some(partial(path)),
            Self::Parts(parts) => Some(parts.folder().to_path_buf()),
        }
    }

    /// Makes a file appear under its name.
    ///
    /// # Errors
    /// It cannot be written to the disk or renamed.
    pub fn commit(self) -> anyhow::Result<()> {
        let name = self.name();
        let committed = match self {
            Self::Stdout | Self::Special(..) | Self::Parts(_) => Ok(()),
            Self::Whole(file) => file.commit(),
            Self::Partial(path, file) => atomic::rename(&file, &partial(&path), &path),
        };
        committed.with_context(|| format!("cannot write {name}"))
    }

    /// Makes a file disappear.
    pub fn discard(self) {
        match &self {
            // That it stays is no harm.
            Self::Partial(path, _) => _ = fs::remove_file(partial(path)),
            Self::Parts(parts) => parts.discard(),
            Self::Stdout | Self::Special(..) | Self::Whole(_) => {}
        }
    }
}

/// Refuses to write to a file that is read, whatever it is called by.
///
/// # Errors
/// `output` is one of `inputs`.
pub fn refuse_input<'p>(option: &str, output: &Path, inputs: impl IntoIterator<Item = &'p Path>) -> anyhow::Result<()> {
    let Ok(target) = fs::canonicalize(output) else { return Ok(()) };
    for input in inputs {
        let same = fs::canonicalize(input).is_ok_and(|input| input == target) && target.is_file();
        ensure!(!same, "{option} {}: this is what is read, {}", output.display(), input.display());
    }
    Ok(())
}

/// The file that a link leads to, which is to be replaced and not the link; and it opened, if it is no ordinary one.
fn resolved(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let special = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
    let file = special.then(|| File::options().write(true).open(&path)).transpose()?;
    Ok((path, file))
}

fn partial(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(PARTIAL);
    name.into()
}
