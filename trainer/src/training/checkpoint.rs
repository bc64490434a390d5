//! Checkpoints: everything that a run needs to go on as if it had never stopped, in one safetensors file, written whole or
//! not at all.
//!
//! The tensors are `weights.NAME` and, as far as the optimiser has them, `first.NAME`, `second.NAME` and `average.NAME`; with InfoBatch,
//! also the training images' losses (see [`super::infobatch`]).
//! The metadata hold the position, the epoch's tally so far and all epochs' measurements (`state`), the options (`options`)
//! and the architecture. Random numbers follow from the seed and the position (see [`crate::random`]), and so does the
//! learning rate: they need no state.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use infer_core::describe::Description;

use super::{
    background::Job,
    config::Options,
    error::{CheckpointError, OutputError, TrainError},
    infobatch::{self, Losses},
    state::State,
};
use crate::{
    device::DeviceError,
    export::{self, StoredFile, StoredTensor},
    model::Network,
    ops::ConvDevice,
    optimiser::{Optimiser, OptimiserDevice, StatePart},
};
use image_files::{atomic, weights::CHECKPOINT};

/// The folder of checkpoints in a run's folder.
const FOLDER: &str = "checkpoints";

/// Version of the format, in the metadata's `checkpoint`.
const VERSION: &str = "1";

/// A checkpoint that was read.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: StoredFile,
    /// State of the run.
    pub state: State,
}

impl Checkpoint {
    /// Reads the newest checkpoint of a run in `run`, for the network and the options that the run has.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn newest(run: &Path, architecture: &str, options: &Options) -> Result<Self, CheckpointError> {
        let path = paths(run)?.pop().ok_or_else(|| CheckpointError::None { folder: run.join(FOLDER) })?;
        Self::read(&path, architecture, options)
    }

    fn read(path: &Path, architecture: &str, options: &Options) -> Result<Self, CheckpointError> {
        let file = StoredFile::open(path)?;
        let foreign = |reason: String| CheckpointError::Foreign { path: path.to_path_buf(), reason };
        let text = |key: &str| {
            let value = file.metadata.get(key).map(String::as_str);
            value.ok_or_else(|| foreign(format!("its metadata have no `{key}`")))
        };
        for (key, expected) in [(CHECKPOINT, VERSION), ("architecture", architecture)] {
            let found = text(key)?;
            if found != expected {
                return Err(foreign(format!("its {key} is {found:?}, expected {expected:?}")));
            }
        }
        let json = |key: &str, error: serde_json::Error| foreign(format!("its {key} cannot be read: {error}"));
        let found: Options = serde_json::from_str(text("options")?).map_err(|error| json("options", error))?;
        if !found.go_on_as(options) {
            return Err(foreign("it was made with other options than those in config.json".to_string()));
        }
        let state: State = serde_json::from_str(text("state")?).map_err(|error| json("state", error))?;
        if state.epoch != state.epochs.len() + 1 || state.best >= state.epochs.len().max(1) {
            return Err(foreign("its state contradicts itself".to_string()));
        }
        Ok(Self { path: path.to_path_buf(), file, state })
    }

    /// Puts the weights into `network` and makes the optimiser that goes on from here.
    ///
    /// # Errors
    /// A tensor that is missing, has another type or shape, is not finite, or that should not be there; the device's own.
    pub fn restore<D: OptimiserDevice + ConvDevice, N: Network<D>>(
        &self,
        network: &mut N,
        options: &Options,
    ) -> Result<Optimiser<D>, TrainError> {
        let shapes: BTreeMap<String, Vec<usize>> = export::shapes(network).into_iter().collect();
        let values = |kind: &str, name: &str| {
            let shape = shapes.get(name).map_or(&[][..], Vec::as_slice);
            self.file.values(&tensor_name(kind, name), shape).map_err(CheckpointError::File)
        };
        let parts = || StatePart::ALL.into_iter().filter(|part| part.is_kept(&options.optimiser)).map(StatePart::name);
        let expected = |name: &str| {
            let kind_and_tensor = name.split_once('.');
            let of_network = kind_and_tensor.is_some_and(|(kind, tensor)| {
                shapes.contains_key(tensor) && (kind == WEIGHTS || parts().any(|part| part == kind))
            });
            of_network || (options.infobatch.is_some() && infobatch::TENSORS.contains(&name))
        };
        self.file.refuse_others(expected).map_err(CheckpointError::File)?;
        let mut weights = HashMap::new();
        for name in shapes.keys() {
            weights.insert(name.clone(), values(WEIGHTS, name)?);
        }
        export::set(network, weights);
        let mut optimiser = options.optimiser_of(network).map_err(TrainError::device)?;
        optimiser.restore(self.state.total_steps, |part, name| values(part.name(), name).map_err(Restore::Values))?;
        Ok(optimiser)
    }

    /// The losses that InfoBatch chooses images by, of so many training images.
    ///
    /// # Errors
    /// A tensor that is missing, has another type or shape, or holds a value that is no loss.
    pub(super) fn losses(&self, images: usize) -> Result<Losses, CheckpointError> {
        Losses::read(
            images,
            |name, shape| Ok(self.file.values(name, shape)?),
            |reason| CheckpointError::Foreign { path: self.path.clone(), reason },
        )
    }

    /// The number of classes that its network tells apart.
    ///
    /// # Errors
    /// The file lacks the last layer of `network`.
    pub fn classes(&self, network: &Description) -> Result<usize, CheckpointError> {
        Ok(self.file.classes(network, &tensor_name(WEIGHTS, ""))?)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Failure while an optimiser is restored: of the checkpoint, or of the device.
enum Restore<E> {
    Values(CheckpointError),
    Device(E),
}

impl<E> From<E> for Restore<E> {
    fn from(error: E) -> Self {
        Self::Device(error)
    }
}

impl<E: Into<DeviceError>> From<Restore<E>> for TrainError {
    fn from(error: Restore<E>) -> Self {
        match error {
            Restore::Values(error) => error.into(),
            Restore::Device(error) => Self::device(error),
        }
    }
}

/// The kind of tensor that weights are, beside the optimiser's parts.
const WEIGHTS: &str = "weights";

fn tensor_name(kind: &str, name: &str) -> String {
    format!("{kind}.{name}")
}

/// Settles the content of a checkpoint in the folder of a run. The job writes it, and removes all but the newest `keep`.
///
/// # Errors
/// Text that cannot be written. The job's: a weight that is no finite number any more (the file is not written then), or a file
/// that cannot be written.
pub(super) fn settle<D: OptimiserDevice + ConvDevice, N: Network<D>>(
    run: &Path,
    keep: usize,
    network: &N,
    (optimiser, losses): (&Optimiser<D>, Option<&Losses>),
    options: &Options,
    state: &State,
) -> Result<Job, OutputError> {
    let folder = run.join(FOLDER);
    let path = folder.join(format!("epoch-{:05}-step-{:07}.safetensors", state.epoch, state.step));
    let mut tensors = export::tensors(network);
    let shapes: HashMap<String, Vec<usize>> =
        tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
    let weights = tensors.len();
    for part in StatePart::ALL {
        for (name, values) in optimiser.part(part) {
            let values = values.into_owned().into();
            let shape = shapes.get(name).cloned().unwrap_or_default();
            tensors.push(StoredTensor { name: tensor_name(part.name(), name), shape, values });
        }
    }
    for (name, values) in losses.into_iter().flat_map(Losses::tensors) {
        tensors.push(StoredTensor { name: name.to_string(), shape: vec![values.len()], values: values.into() });
    }
    let json = |value: serde_json::Result<String>| {
        value.map_err(|error| OutputError::Write { path: path.clone(), source: error.into() })
    };
    let metadata: BTreeMap<String, String> = [
        (CHECKPOINT, VERSION.to_string()),
        ("architecture", N::ARCHITECTURE.to_string()),
        ("options", json(serde_json::to_string(options))?),
        ("state", json(serde_json::to_string(state))?),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .into();
    Ok(Box::new(move || {
        for tensor in &mut tensors[..weights] {
            export::check_finite(tensor.values.iter().copied())
                .map_err(|problem| export::refuse(&path, &tensor.name, problem))?;
            tensor.name = tensor_name(WEIGHTS, &tensor.name);
        }
        let failed = |path: &Path, source| OutputError::Write { path: path.to_path_buf(), source };
        fs::create_dir_all(&folder).map_err(|source| failed(&folder, source))?;
        atomic::write(&path, |file| export::write(file, &metadata, &tensors))
            .map_err(|source| failed(&path, source))?;
        let all = list(&folder).map_err(|source| failed(&folder, source))?;
        for old in all.iter().rev().skip(keep.max(1)) {
            fs::remove_file(old).map_err(|source| failed(old, source))?;
        }
        Ok(())
    }))
}

/// State of the run that wrote a checkpoint.
///
/// # Errors
/// [`CheckpointError`].
pub fn state(path: &Path, architecture: &str, options: &Options) -> Result<State, CheckpointError> {
    Checkpoint::read(path, architecture, options).map(|checkpoint| checkpoint.state)
}

/// The checkpoints of a run, oldest first.
///
/// # Errors
/// The folder is there and cannot be read.
pub fn paths(run: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let path = run.join(FOLDER);
    match list(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        paths => paths.map_err(|source| CheckpointError::Folder { path, source }),
    }
}

/// Removes what a killed program left half-written in a run's folder, and all checkpoints too where `everything`.
///
/// # Errors
/// [`OutputError::Write`] naming the file.
pub(super) fn clean(run: &Path, everything: bool) -> Result<(), OutputError> {
    let mut removed = Vec::new();
    for folder in [run.to_path_buf(), run.join(FOLDER)] {
        removed.extend(atomic::leftovers(&folder));
    }
    if everything {
        removed.extend(list(&run.join(FOLDER)).unwrap_or_default());
    }
    for path in removed {
        fs::remove_file(&path).map_err(|source| OutputError::Write { path, source })?;
    }
    Ok(())
}

/// The checkpoints in a folder, oldest first: their names are padded with zeros, and so in the order of time.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("epoch-") && name.ends_with(".safetensors") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
