//! The training loop: one for every network and device. An epoch learns from each training image once, in a
//! new order, then measures by the held-out and the test images; the best epoch's weights are exported. Checkpoints make
//! a run that was stopped, in whatever way, go on as if it had not been.

mod background;
pub mod checkpoint;
pub mod config;
pub mod confusion;
pub mod curves;
pub mod evaluate;
pub mod interrupt;
mod lock;
mod loss;
pub mod metrics;
pub mod output;
mod prepare;
pub mod progress;
pub mod report;
mod run;
pub mod schedule;
pub mod steps;
pub mod times;

use std::{fmt, path::PathBuf};

use dfdx::tensor::Cpu;
use image_files::preprocessing::Normalisation;

pub use self::run::Setting;
use self::{
    checkpoint::{Checkpoint, CheckpointError},
    config::{ImageCounts, Options},
    metrics::EpochMetrics,
    output::OutputError,
    run::Run,
    times::Times,
};
use crate::{
    data::{Dataset, loader::Split},
    inputs::InputDevice,
    model::Network,
    optimiser::OptimiserDevice,
};

/// What a run leaves in memory.
#[derive(Debug)]
pub struct Outcome<N> {
    /// The network after the last epoch, which need not be the best one.
    pub network: N,
    /// All epochs' measurements, in order; at least one.
    pub epochs: Vec<EpochMetrics>,
    /// Position in `epochs` of the best one, whose weights were exported.
    pub best: usize,
    /// The exported weights, where the run has a folder.
    pub weights: Option<PathBuf>,
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
    #[error("interrupted in epoch {epoch}{}", how_to_go_on(.saved))]
    Interrupted {
        /// The epoch, from 1.
        epoch: usize,
        /// The folder of the run.
        saved: Option<PathBuf>,
        /// The exit status that shells expect of a program that such a signal ended.
        status: u8,
    },
}

impl TrainError {
    fn diverged(loss: f64, epoch: usize, place: String) -> Self {
        Self::Diverged { loss, epoch, place, best: None }
    }

    /// Names the weights that remain from before.
    fn keeping(mut self, weights: Option<PathBuf>) -> Self {
        if let Self::Diverged { best, .. } = &mut self {
            *best = weights;
        }
        self
    }

    /// From whatever error a device reports.
    fn device(error: impl fmt::Display) -> Self {
        Self::Device(error.to_string())
    }
}

fn kept(best: &Option<PathBuf>) -> String {
    match best {
        Some(path) => format!("the best weights so far remain in {}", path.display()),
        None => "no weights were exported".to_string(),
    }
}

fn how_to_go_on(folder: &Option<PathBuf>) -> String {
    folder.as_ref().map_or(String::new(), |folder| {
        let command = ["trainer", "--resume", &folder.to_string_lossy()].map(String::from);
        format!("; everything is saved, go on with: {}", config::shell_line(&command))
    })
}

/// How many images each epoch will learn from, and be measured by.
///
/// # Errors
/// [`TrainError::NothingToTrain`].
pub fn image_counts(dataset: &Dataset, options: &Options) -> Result<ImageCounts, TrainError> {
    let split = split(dataset, options)?;
    Ok(ImageCounts {
        train: split.train.len(),
        validation: split.validation.len(),
        test: test_positions(dataset, options.test_limit).len(),
    })
}

/// What gives the images that are learnt from a mean of 0 and a deviation of 1.
///
/// # Errors
/// [`TrainError::NothingToTrain`].
pub fn normalisation(dataset: &Dataset, options: &Options) -> Result<Normalisation, TrainError> {
    Ok(prepare::normalisation(&dataset.train, &split(dataset, options)?.train))
}

/// The test images to measure by: all, or the first `limit`.
pub fn test_positions(dataset: &Dataset, limit: Option<usize>) -> Vec<usize> {
    (0..dataset.test.len().min(limit.unwrap_or(usize::MAX))).collect()
}

fn split(dataset: &Dataset, options: &Options) -> Result<Split, TrainError> {
    let images = dataset.train.len();
    if let Some(given) = dataset.validation {
        let learnt = images.saturating_sub(given);
        let split = Split::new(learnt, 0, options.train_limit, options.seed);
        return split
            .map(|split| Split { validation: (learnt..images).collect(), ..split })
            .ok_or(TrainError::NothingToTrain { images, validation: given });
    }
    Split::new(images, options.validation, options.train_limit, options.seed)
        .ok_or(TrainError::NothingToTrain { images, validation: options.validation })
}

/// A device on which networks can be trained.
pub trait TrainDevice: InputDevice + OptimiserDevice {
    /// Steps that the device may be given before anybody waits for it and reads the results of the first of them.
    const STEPS_AHEAD: usize;

    /// What this device spent its time on since the last call, waiting until it is done; none where that is not measured.
    ///
    /// # Errors
    /// The device's own.
    fn times(&self) -> Result<Option<Times>, String> {
        Ok(None)
    }

    /// Whether all went well that nobody was told of.
    ///
    /// # Errors
    /// What did not.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl TrainDevice for Cpu {
    const STEPS_AHEAD: usize = 0;
}

/// The GPU has no work while the host waits for a step and prepares the next one: it does so once in sixteen.
#[cfg(feature = "cuda")]
impl TrainDevice for dfdx::tensor::Cuda {
    const STEPS_AHEAD: usize = 15;

    fn times(&self) -> Result<Option<Times>, String> {
        crate::cuda::timing::take().map_err(|error| error.to_string())
    }

    fn check(&self) -> Result<(), String> {
        crate::cuda::failure::check().map_err(|failure| failure.to_string())
    }
}

/// Trains `network` for all epochs, or what is left of them after `checkpoint`. With a folder, metrics and curves are
/// written after each epoch, the weights whenever an epoch is the best so far (see [`EpochMetrics::better_than`]), and
/// checkpoints from time to time.
///
/// # Errors
/// [`TrainError`]; what was written before remains.
pub fn train<D: TrainDevice, N: Network<D>>(
    setting: Setting<'_, D>,
    network: N,
    checkpoint: Option<&Checkpoint>,
) -> Result<Outcome<N>, TrainError> {
    Run::new(setting, network, checkpoint)?.finish()
}
