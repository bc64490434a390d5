//! Why training stops, a run's files cannot be written, or a run cannot go on.

use std::{fmt, io, path::PathBuf};

use super::config;
use crate::export::ExportError;

/// Why a run's files cannot be written. Messages name the file.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The folder or a file in it could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another process trains in the folder.
    #[error("{path}: {} trains in this folder; wait until it ends, or take another folder", holder(.process))]
    Busy {
        /// The folder.
        path: PathBuf,
        /// The process, where the system tells.
        process: Option<u32>,
    },
    /// Curves or images could not be drawn.
    #[error("cannot draw {path}: {reason}")]
    Draw {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The weights could not be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
}

fn holder(number: &Option<u32>) -> String {
    number.map_or("another process".to_string(), |number| format!("process {number}"))
}

/// Why a run cannot go on from a checkpoint. Messages name the file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// There is none.
    #[error("{folder}: no checkpoint to go on from")]
    None {
        /// The folder that was looked in.
        folder: PathBuf,
    },
    /// The folder cannot be read.
    #[error("{path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is damaged, or its tensors are not this run's.
    #[error("{0}; remove this file to go on from the checkpoint before it")]
    File(#[from] ExportError),
    /// The file is a good safetensors file, but no checkpoint, or one of something else.
    #[error("{path}: not a checkpoint of this run: {reason}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Difference.
        reason: String,
    },
}

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Everything is held out.
    #[error("--validation {validation} leaves no image to learn from: there are {images} training images")]
    NothingToTrain {
        /// Training images in all.
        images: usize,
        /// Images to hold out.
        validation: usize,
    },
    /// The loss is no number any more.
    #[error(
        "the loss became {loss} in epoch {epoch}, {place}: training diverged, try a lower --learning-rate ({})",
        kept(.best)
    )]
    Diverged {
        /// The loss.
        loss: f64,
        /// The epoch, from 1.
        epoch: usize,
        /// The step of the epoch, or the pass that measured it.
        place: String,
        /// The weights exported by an earlier epoch of this run.
        best: Option<PathBuf>,
    },
    /// The device, the network or its preprocessing failed.
    #[error("{0}")]
    Device(String),
    /// A file could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The run cannot go on from its checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run was asked to end, and saved what it had.
    #[error("interrupted in epoch {epoch}{}", how_to_go_on(.saved, .weights))]
    Interrupted {
        /// The epoch, from 1.
        epoch: usize,
        /// The folder of the run.
        saved: Option<PathBuf>,
        /// The weights of the best epoch so far, or those as they were where no epoch had ended.
        weights: Option<PathBuf>,
        /// The exit status that shells expect of a program that such a signal ended.
        status: u8,
    },
}

impl TrainError {
    pub(super) fn diverged(loss: f64, epoch: usize, place: String) -> Self {
        Self::Diverged { loss, epoch, place, best: None }
    }

    /// Names the weights that remain from before.
    pub(super) fn keeping(mut self, weights: Option<PathBuf>) -> Self {
        if let Self::Diverged { best, .. } = &mut self {
            *best = weights;
        }
        self
    }

    /// From whatever error a device reports.
    pub(crate) fn device(error: impl fmt::Display) -> Self {
        Self::Device(error.to_string())
    }
}

fn kept(best: &Option<PathBuf>) -> String {
    match best {
        Some(path) => format!("the best weights so far remain in {}", path.display()),
        None => "no weights were exported".to_string(),
    }
}

fn how_to_go_on(folder: &Option<PathBuf>, weights: &Option<PathBuf>) -> String {
    let weights =
        weights.as_ref().map_or(String::new(), |path| format!("; the weights so far are in {}", path.display()));
    folder.as_ref().map_or(String::new(), |folder| {
        let command = ["trainer", "--resume", &folder.to_string_lossy()].map(String::from);
        format!("{weights}; everything is saved, go on with: {}", config::shell_line(&command))
    })
}
