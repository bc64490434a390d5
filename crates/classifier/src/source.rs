//! Places where weights come from: a file, or the model inside.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::weights::{Weights, map};

/// Where weights are looked for if none are named: here, and where the trainer writes them.
const DEFAULT_WEIGHTS: [&str; 2] = ["alexnet.safetensors", "runs/alexnet/alexnet.safetensors"];

/// Where weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The model in the program.
    BuiltIn,
}

impl Source {
    /// The file that is named, else the first default that exists, else the model in the program.
    ///
    /// # Errors
    /// A folder is named that has no weights, or several.
    pub fn find(named: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = named {
            return Ok(Self::File(image_files::weights::named(path)?));
        }
        let found = DEFAULT_WEIGHTS.into_iter().map(Path::new).find(|path| path.exists());
        Ok(found.map_or(Self::BuiltIn, |path| Self::File(path.to_path_buf())))
    }

    /// The weights in memory.
    ///
    /// # Errors
    /// As [`map`].
    pub fn open(&self) -> anyhow::Result<Weights> {
        match self {
            Self::File(path) => map(path),
            Self::BuiltIn => Ok(Weights::BuiltIn(fashion::FILE)),
        }
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::BuiltIn => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::BuiltIn => f.write_str("the model in the program"),
        }
    }
}
