//! The folder of a run: weights of the best epoch so far, metrics, curves and configuration. Each file is
//! replaced as a whole, so that whatever happens the folder holds the last good state.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use infer_core::describe::{CLASSES, Maps};

use super::{
    background::Job,
    checkpoint,
    config::RunConfig,
    curves,
    device::TrainDevice,
    error::OutputError,
    infobatch::Losses,
    introduction,
    lock::{FolderLock, LockError},
    metrics::{self, EpochMetrics},
    report,
    state::State,
    steps::{self, StepLog},
};
use crate::{
    data::{Dataset, folder::TestShare},
    export,
    model::Network,
    ops::ConvDevice,
    optimiser::Optimiser,
    times::{self, Times},
};
use image_files::atomic;

/// The file of [`StepLog`].
const STEPS: &str = "metrics.jsonl";

/// The file of [`Times`].
const TIMES: &str = "kernel-times.csv";

/// Keys of a weights file's metadata.
const CLASS_NAMES: &str = "classes";
const TEST_SHARE: &str = "test_share";
const TEST_SEED: &str = "test_seed";
const DATA: &str = "data";

/// Where a run's files go, and what they say about it.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    config: RunConfig,
    /// Copies share it.
    _lock: Arc<FolderLock>,
}

impl RunFolder {
    /// Makes the folder where it is missing, takes it for this process, and proves that files can be written to it, before hours
    /// are spent on results that could not be kept.
    ///
    /// # Errors
    /// [`OutputError::Write`] or [`OutputError::Busy`], naming the folder.
    pub fn create(path: &Path, config: RunConfig) -> Result<Self, OutputError> {
        let failed = |source| OutputError::Write { path: path.to_path_buf(), source };
        if path.is_file() {
            return Err(failed(io::Error::new(io::ErrorKind::NotADirectory, "expected a folder, found a file")));
        }
        fs::create_dir_all(path).map_err(failed)?;
        let lock = FolderLock::take(path).map_err(|error| match error {
            LockError::Taken(process) => OutputError::Busy { path: path.to_path_buf(), process },
            LockError::Folder(source) => failed(source),
        })?;
        tempfile::tempfile_in(path).map_err(failed)?;
        checkpoint::clean(path, false)?;
        Ok(Self { path: path.to_path_buf(), config, _lock: Arc::new(lock) })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Removes the checkpoints of an earlier run.
    ///
    /// # Errors
    /// [`OutputError::Write`] naming the file.
    pub fn remove_checkpoints(&self) -> Result<(), OutputError> {
        checkpoint::clean(&self.path, true)
    }

    /// The weights file of a network: named after its architecture.
    pub fn weights_path(&self, architecture: &str) -> PathBuf {
        self.path.join(format!("{architecture}.safetensors"))
    }

    /// Writes `config.json`.
    ///
    /// # Errors
    /// [`OutputError::Write`] naming the file.
    pub fn write_config(&self) -> Result<(), OutputError> {
        self.write("config.json", |file| {
            serde_json::to_writer_pretty(&mut *file, &self.config)?;
            io::Write::write_all(file, b"\n")
        })
    }

    /// Settles `metrics.csv`, `curves.svg` and `report.html` from all epochs so far; the job writes them.
    ///
    /// # Errors
    /// [`OutputError::Draw`] naming the file; the job's: [`OutputError::Write`].
    pub(super) fn settle_epochs(&self, state: &State, dataset: &Dataset) -> Result<Job, OutputError> {
        let failed = |name: &str| self.path.join(name);
        let mut csv = Vec::new();
        metrics::write_csv(&state.epochs, &mut csv)
            .map_err(|source| OutputError::Write { path: failed("metrics.csv"), source })?;
        let drawn = |name: &str, result: Result<String, String>| {
            result.map(String::into_bytes).map_err(|reason| OutputError::Draw { path: failed(name), reason })
        };
        let title = format!("{} on {}", introduction::title(&self.config.network), dataset.name());
        let steps = if state.epochs.len() == 1 { steps::read(&self.path.join(STEPS)) } else { Vec::new() };
        let files = [
            ("metrics.csv", csv),
            ("curves.svg", drawn("curves.svg", curves::draw(&title, &state.epochs, &steps))?),
            ("report.html", drawn("report.html", report::html(&self.config, state, dataset, &steps))?),
        ];
        let folder = self.clone();
        Ok(Box::new(move || {
            files.iter().try_for_each(|(name, text)| folder.write(name, |file| io::Write::write_all(file, text)))
        }))
    }

    /// Settles `kernel-times.csv`, with the times of epochs; the job writes it.
    ///
    /// # Errors
    /// [`OutputError::Write`] naming the file, here and by the job.
    pub(super) fn settle_times(&self, epochs: &[(usize, Times)]) -> Result<Job, OutputError> {
        let mut csv = Vec::new();
        times::write_csv(epochs, &mut csv)
            .map_err(|source| OutputError::Write { path: self.path.join(TIMES), source })?;
        let folder = self.clone();
        Ok(Box::new(move || folder.write(TIMES, |file| io::Write::write_all(file, &csv))))
    }

    /// Settles the weights after `epoch`, with its measurements among the metadata, or those of a run that was stopped before its
    /// first epoch's end; the job writes them.
    ///
    /// # Errors
    /// The job's: [`OutputError::Export`] naming the file.
    pub(super) fn settle_weights<D: ConvDevice, N: Network<D>>(
        &self,
        network: &N,
        classes: &[String],
        epoch: Option<&EpochMetrics>,
    ) -> Job {
        let mut metadata = describing(N::ARCHITECTURE, N::DESCRIPTION.input(), classes, &self.config);
        for (name, value) in epoch.into_iter().flat_map(EpochMetrics::columns) {
            // How long it took is the run's affair; the rest says what these weights are.
            if !value.is_empty() && !matches!(name, "images_per_second" | "seconds" | "skipped") {
                metadata.insert(name.to_string(), value);
            }
        }
        let (path, tensors) = (self.weights_path(N::ARCHITECTURE), export::tensors(network));
        Box::new(move || Ok(export::save_tensors(&path, &tensors, &metadata)?))
    }

    /// Settles a checkpoint; the job writes it and removes the oldest of more than are to be kept.
    ///
    /// # Errors
    /// [`OutputError`] naming the file, here and by the job.
    pub(super) fn settle_checkpoint<D: TrainDevice, N: Network<D>>(
        &self,
        network: &N,
        optimiser: &Optimiser<D>,
        losses: Option<&Losses>,
        state: &State,
    ) -> Result<Job, OutputError> {
        let RunConfig { checkpoints, options, .. } = &self.config;
        checkpoint::settle(&self.path, checkpoints.keep, network, (optimiser, losses), options, state)
    }

    /// Opens `metrics.jsonl` for what follows `step` steps of `epoch`.
    ///
    /// # Errors
    /// [`OutputError::Write`] naming the file.
    pub(super) fn step_log(&self, epoch: usize, step: usize) -> Result<StepLog, OutputError> {
        let path = self.path.join(STEPS);
        StepLog::open(path, epoch, step)
    }

    fn write(&self, name: &str, fill: impl FnOnce(&mut fs::File) -> io::Result<()>) -> Result<(), OutputError> {
        let path = self.path.join(name);
        atomic::write(&path, fill).map_err(|source| OutputError::Write { path, source })
    }
}

/// Metadata of a weights file before anything is measured: format, architecture, classes,
/// preprocessing to the network's input, seed, command and producer, and which images were kept for the test.
fn describing(architecture: &str, input: Maps, classes: &[String], config: &RunConfig) -> BTreeMap<String, String> {
    let preprocessing = config.options.preprocessing().describe(input);
    let mut metadata: BTreeMap<String, String> = [
        ("format", "pt".to_string()),
        ("architecture", architecture.to_string()),
        (CLASS_NAMES, serde_json::Value::from(classes).to_string()),
        ("preprocessing", preprocessing),
        ("epochs", config.options.epochs.to_string()),
        ("seed", config.options.seed.to_string()),
        ("command", super::config::shell_line(&config.command)),
        ("producer", config.producer.to_string()),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .into();
    // Of a folder of images the configuration has the folder; Fashion-MNIST is found wherever it is.
    if let [folder] = &config.data[..]
        && folder.path.is_absolute()
    {
        metadata.insert(DATA.to_string(), folder.path.to_string_lossy().into_owned());
    }
    if let Some(TestShare { share, seed }) = config.test_share {
        metadata.insert(TEST_SHARE.to_string(), share.to_string());
        metadata.insert(TEST_SEED.to_string(), seed.to_string());
    }
    metadata
}

/// Choice of the test images of the data that these weights were trained on, where their metadata say so.
pub fn test_share(metadata: &BTreeMap<String, String>) -> Option<TestShare> {
    let share = metadata.get(TEST_SHARE)?.parse().ok().filter(|share| (0.0..=1.0).contains(share))?;
    Some(TestShare { share, seed: metadata.get(TEST_SEED)?.parse().ok()? })
}

/// The folder of the images that these weights were trained on, where their metadata say so.
pub fn data_folder(metadata: &BTreeMap<String, String>) -> Option<&str> {
    metadata.get(DATA).map(String::as_str)
}

/// The classes that the metadata of a weights file name in order, if they name as many as a network can tell apart ([`CLASSES`]).
pub fn class_names(metadata: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let names: Vec<String> = serde_json::from_str(metadata.get(CLASS_NAMES)?).ok()?;
    CLASSES.contains(&names.len()).then_some(names)
}
