//! The start of a run: its configuration, whether it may use its folder, and the network that it begins or goes
//! on with. The command line parses and prints; what is done is here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use image_files::preprocessing::{OtherPreprocessing, Preprocessing};
use infer_core::{
    describe::{CLASSES, Description},
    preprocess::Resize,
};
use reporting::words::counted;

use super::{
    checkpoint::{self, Checkpoint},
    config::{CheckpointOptions, Options, PRODUCER, RunConfig, platform},
    device::TrainDevice,
    division::{image_counts, normalisation},
    error::{CheckpointError, OutputError, TrainError},
    frozen::MOST_BYTES,
    interrupt::Interrupt,
    output::{self, RunFolder},
    progress::Observer,
    run::{Outcome, Setting},
    transfer::Freeze,
};
use crate::{
    data::{DataError, DataFile, Dataset, Origin},
    device::MemoryError,
    export::{self, ExportError},
    model::{ModelError, Network},
};

/// Classes that are named where weights tell others apart; of more, the number is said.
const MOST_NAMED: usize = 20;

/// Why a run cannot start. Messages name the file or the folder.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A number of images to hold out, for data that have images of their own for it.
    #[error("--validation: these data have validation images of their own")]
    ValidationGiven,
    /// The data of a run that goes on are others.
    #[error("the data have changed: this run began with {}, and {} differs", .began.display(), .found.display())]
    DataChanged {
        /// The first file of the data that it began with.
        began: PathBuf,
        /// The first file that was found.
        found: PathBuf,
    },
    /// The weights that a run began with are others.
    #[error("{}: the weights that this run began with have changed", .path.display())]
    InitChanged {
        /// The file.
        path: PathBuf,
    },
    /// The run would write over the weights that it starts from.
    #[error("--init {}: the run would replace this file; name another folder with --out", .path.display())]
    InitReplaced {
        /// The file.
        path: PathBuf,
    },
    /// A run that is not finished is in the folder.
    #[error(
        "{path}: the run in this folder is not finished; go on with it by --resume {path}, name another folder with --out, or \
         replace it by --overwrite", path = .folder.display()
    )]
    Unfinished {
        /// The folder.
        folder: PathBuf,
    },
    /// A finished run is in the folder.
    #[error(
        "{}: a finished run is in this folder, with a test accuracy of {:.2} %; name another folder with --out, or replace it by \
         --overwrite", .folder.display(), 100.0 * .accuracy
    )]
    Finished {
        /// The folder.
        folder: PathBuf,
        /// Test accuracy of its best epoch, 0 to 1.
        accuracy: f64,
    },
    /// Weights of no run are in the folder.
    #[error("{}: weights are in this folder; name another one with --out, or allow it by --overwrite", .path.display())]
    Weights {
        /// The weights file.
        path: PathBuf,
    },
    /// The weights to start from are those of another network.
    #[error(
        "{}: these are weights of {found:?}, and the run trains {expected:?}; --network chooses another network", .path.display()
    )]
    InitNetwork {
        /// The weights file.
        path: PathBuf,
        /// Their network, by their metadata.
        found: String,
        /// The run's.
        expected: &'static str,
    },
    /// All layers of a network are to be frozen, or more than there are.
    #[error(
        "--freeze {layers}: {network} has {} layers with weights, of which the last one learns; expected features, or 1 to {most}",
        .most + 1
    )]
    Freeze {
        /// Layers that are to be frozen.
        layers: usize,
        /// The most that may be.
        most: usize,
        /// The network's name.
        network: &'static str,
    },
    /// Random weights are to be frozen.
    #[error(
        "--freeze, --recipe transfer: this run begins with random weights, which must learn; name others with --init"
    )]
    FreezeRandom,
    /// The metadata of a weights file ask for another preprocessing.
    #[error("{}: {reason}", .path.display())]
    Preprocessing {
        /// The file.
        path: PathBuf,
        /// Preprocessing that they ask for.
        #[source]
        reason: OtherPreprocessing,
    },
    /// The device has no memory for such batches.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The network cannot be made.
    #[error("cannot make the network: {0}")]
    Model(#[from] ModelError),
    /// There is nothing to learn from.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A file cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The weights that the run starts from cannot be used.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The run cannot go on from its checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The folder cannot be written to, or another process trains in it.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Description of a new run.
#[derive(Debug, Clone)]
pub struct NewRun<'a> {
    /// Its network.
    pub network: &'static Description,
    /// Options. The number of images held out, and the way of images to inputs, follow from the data and what is below.
    pub options: Options,
    /// Images to hold out; by default as many as the options say, but no more than a tenth, or of a folder two of each class.
    pub validation: Option<usize>,
    /// Whether the same share of each class is held out; by default of the images of a folder.
    pub stratify: Option<bool>,
    /// Way of images to inputs, as far as it is given.
    pub given: GivenPreprocessing,
    /// Whether inputs are normalised; by default as the weights in `init` know, or else as `normalise_by_default` says.
    pub normalise: Option<bool>,
    /// See `normalise`.
    pub normalise_by_default: bool,
    /// Weights to start from.
    pub init: Option<&'a Path>,
    /// Device, in words.
    pub device: String,
    /// Threads used.
    pub threads: usize,
    /// The arguments as they were given.
    pub command: Vec<String>,
}

/// Way of images to inputs as far as somebody has given it; the rest is as the weights that a run starts from know it, or as is
/// usual for the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GivenPreprocessing {
    /// Resize of an image.
    pub resize: Option<Resize>,
    /// Whether images are turned as their Exif orientation says.
    pub orient: Option<bool>,
}

impl GivenPreprocessing {
    /// The whole way, where weights know theirs. Normalisation is that of the weights, if there are some.
    ///
    /// # Errors
    /// [`StartError`]: weights of another network, or that ask for another way than can be gone.
    pub fn complete(
        self,
        network: &Description,
        init: Option<&Path>,
    ) -> Result<(Preprocessing, Option<Preprocessing>), StartError> {
        let input = network.input();
        let known = match init {
            Some(path) => {
                let (metadata, expected) = (export::metadata(path)?, network.name);
                if let Some(found) = metadata.get("architecture").filter(|found| *found != expected) {
                    return Err(StartError::InitNetwork { path: path.to_path_buf(), found: found.clone(), expected });
                }
                stored_preprocessing(path, &metadata, network)?
            }
            None => None,
        };
        // Weights in colour that say nothing are ImageNet's, as torchvision's.
        let known = known.or((init.is_some() && input.channels > 1).then(|| Preprocessing::usual(input)));
        let otherwise = known.unwrap_or(Preprocessing { normalisation: None, ..Preprocessing::usual(input) });
        let resize = self.resize.unwrap_or(otherwise.resize);
        Ok((Preprocessing { resize, orient: self.orient.unwrap_or(otherwise.orient), ..otherwise }, known))
    }
}

impl NewRun<'_> {
    /// A run of `network` on the CPU, from random weights, with the threads that there are.
    pub fn new(network: &'static Description, options: Options) -> Self {
        Self {
            network,
            validation: None,
            stratify: None,
            given: GivenPreprocessing::default(),
            normalise: None,
            normalise_by_default: false,
            init: None,
            device: "cpu".to_string(),
            threads: rayon::current_num_threads(),
            command: Vec::new(),
            options,
        }
    }

    /// The configuration of the run on these data.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn config(self, dataset: &Dataset) -> Result<RunConfig, StartError> {
        let mut options = self.options;
        options.validation = match (dataset.validation, self.validation) {
            (Some(_), Some(_)) => return Err(StartError::ValidationGiven),
            (Some(given), None) => given,
            (None, Some(chosen)) => chosen,
            (None, None) => options.validation.min(usual_validation(dataset)),
        };
        options.stratify = self.stratify.unwrap_or(matches!(dataset.origin, Origin::Folder { .. }));
        let (layers, most) = (options.frozen(self.network), Freeze::most(self.network));
        if layers > most {
            return Err(StartError::Freeze { layers, most, network: self.network.title });
        }
        if layers > 0 && self.init.is_none() {
            return Err(StartError::FreezeRandom);
        }
        let (preprocessing, known) = self.given.complete(self.network, self.init)?;
        options.orient = preprocessing.orient;
        options.shorter_side = match preprocessing.resize {
            Resize::Exact => None,
            Resize::ShorterSide(side) => Some(side),
        };
        options.normalisation = match (self.normalise, known) {
            (None, Some(known)) => known.normalisation,
            (wanted, _) if wanted.unwrap_or(self.normalise_by_default) => Some(normalisation(dataset, &options)?),
            _ => None,
        };
        Ok(RunConfig {
            producer: PRODUCER.to_string(),
            command: self.command,
            network: self.network.name.to_string(),
            device: self.device,
            threads: self.threads,
            platform: platform(),
            checkpoints: CheckpointOptions::default(),
            images: image_counts(dataset, &options)?,
            data: dataset.files.clone(),
            test_share: match dataset.origin {
                Origin::Idx | Origin::Memory => None,
                Origin::Folder { kept } => kept,
            },
            init: self.init.map(DataFile::of).transpose()?,
            options,
        })
    }
}

/// Images that are held out of a data set where no number is given: a tenth, but of a folder at least two of each class, as long as
/// that is at most a fifth.
fn usual_validation(dataset: &Dataset) -> usize {
    let (images, classes) = (dataset.train.len(), dataset.classes.len());
    let least = match dataset.origin {
        Origin::Folder { .. } => (2 * classes).min(images / 5),
        Origin::Idx | Origin::Memory => 0,
    };
    least.max(images / 10)
}

/// A run that can be trained by [`train`](super::train).
#[derive(Debug)]
pub struct Started<N> {
    /// Its network.
    pub network: N,
    /// Where it goes on from, if it does not begin.
    pub checkpoint: Option<Checkpoint>,
    /// Its folder, taken for this process.
    pub folder: RunFolder,
    /// Differences between the weights that it starts from and its own at the beginning, such as a last layer for other classes, in
    /// sentences.
    pub notes: Vec<String>,
    /// See [`Setting::frozen_bytes`].
    pub frozen_bytes: u64,
}

impl<N> Started<N> {
    /// Trains it: see [`train`](super::train).
    ///
    /// # Errors
    /// [`TrainError`]; what was written before remains.
    pub fn train<D: TrainDevice>(
        self,
        device: &D,
        dataset: &Dataset,
        observer: &mut dyn Observer,
        interrupt: Interrupt,
    ) -> Result<Outcome<N>, TrainError>
    where
        N: Network<D>,
    {
        let Self { network, checkpoint, folder, frozen_bytes, .. } = self;
        let options = &folder.config().options;
        let setting = Setting { device, dataset, options, folder: Some(&folder), observer, interrupt, frozen_bytes };
        super::train(setting, network, checkpoint.as_ref())
    }
}

/// Starts a new run in a folder. `overwrite` allows it to replace a run that is there.
///
/// # Errors
/// [`StartError`]; nothing of the folder's is changed then.
pub fn begin<D: TrainDevice, N: Network<D>>(
    device: &D,
    dataset: &Dataset,
    folder: &Path,
    config: RunConfig,
    overwrite: bool,
) -> Result<Started<N>, StartError> {
    let (network, notes) = first_network(device, dataset, &config)?;
    if !overwrite {
        may_replace(folder)?;
    }
    let init = config.init.as_ref().map(|init| init.path.clone());
    let folder = RunFolder::create(folder, config)?;
    if let Some(init) = init {
        not_replaced(&init, &folder.weights_path(N::ARCHITECTURE))?;
    }
    folder.remove_checkpoints()?;
    folder.write_config()?;
    Ok(Started { network, checkpoint: None, folder, notes, frozen_bytes: MOST_BYTES })
}

/// Goes on with the run in a folder, from its newest checkpoint; one that was stopped before its first begins again. None where
/// the run is finished. `changed` says that `config` is not that of the folder, so that it is written.
///
/// # Errors
/// [`StartError`]; nothing of the folder's is changed then.
pub fn resume<D: TrainDevice, N: Network<D>>(
    device: &D,
    dataset: &Dataset,
    folder: &Path,
    config: RunConfig,
    changed: bool,
) -> Result<Option<Started<N>>, StartError> {
    same_data(&config.data, &dataset.files)?;
    let checkpoint = match Checkpoint::newest(folder, N::ARCHITECTURE, &config.options) {
        Err(CheckpointError::None { .. }) => None,
        checkpoint => Some(checkpoint?),
    };
    if checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.state.is_finished(&config.options)) {
        return Ok(None);
    }
    let (network, notes) = match &checkpoint {
        Some(checkpoint) => (random(device, checkpoint.classes(N::DESCRIPTION)?, &config.options)?, Vec::new()),
        None => first_network(device, dataset, &config)?,
    };
    let folder = RunFolder::create(folder, config)?;
    if checkpoint.is_none() {
        folder.remove_checkpoints()?;
    }
    if checkpoint.is_none() || changed {
        folder.write_config()?;
    }
    Ok(Some(Started { network, checkpoint, folder, notes, frozen_bytes: MOST_BYTES }))
}

/// The first folder for a run of a network that no run is in: `runs/alexnet`, `runs/alexnet-2` and so on.
pub fn free_folder(runs: &Path, network: &str) -> PathBuf {
    let names = std::iter::once(network.to_string()).chain((2..).map(|number| format!("{network}-{number}")));
    let mut folders = names.map(|name| runs.join(name));
    // There are more numbers than folders.
    folders.find(|folder| !folder.join("config.json").exists()).unwrap_or_else(|| runs.join(network))
}

/// Way of an image to the inputs that the weights in a file expect, where the metadata say; see [`Preprocessing::understand`].
///
/// # Errors
/// [`StartError::Preprocessing`] naming the file.
pub fn stored_preprocessing(
    path: &Path,
    metadata: &export::Metadata,
    network: &Description,
) -> Result<Option<Preprocessing>, StartError> {
    let stored = metadata.get("preprocessing").map(|text| Preprocessing::understand(text, network.input()));
    let refused = |reason| StartError::Preprocessing { path: path.to_path_buf(), reason };
    stored.transpose().map_err(refused)
}

/// Whether the names of the classes of weights may be those of these data too.
pub fn same_classes(names: &[String], dataset: &Dataset) -> bool {
    // The names of IDX files' labels are a guess.
    *names == dataset.classes || (dataset.origin == Origin::Idx && names.len() == dataset.classes.len())
}

/// The network that a run begins with, and in sentences, how the weights that it starts from differ.
fn first_network<D: TrainDevice, N: Network<D>>(
    device: &D,
    dataset: &Dataset,
    config: &RunConfig,
) -> Result<(N, Vec<String>), StartError> {
    let (options, classes) = (&config.options, dataset.classes.len());
    let Some(init) = &config.init else { return Ok((random(device, classes, options)?, Vec::new())) };
    init_unchanged(init)?;
    let file = export::open_foreign(&init.path)?;
    export::check_trained(&init.path, &file, N::DESCRIPTION)?;
    let (last, bias) = match N::DESCRIPTION.layers.last() {
        Some(layer) => (layer.name, layer.tensors.map_or("", |[_, bias]| bias)),
        None => ("", ""),
    };
    let outputs = file.length(bias);
    let names = output::class_names(&file.metadata);
    let path = init.path.display();
    let mut notes = file.changes();
    let fitting = outputs.filter(|outputs| match &names {
        Some(names) => same_classes(names, dataset) && names.len() <= *outputs && CLASSES.contains(outputs),
        None => *outputs == classes,
    });
    let mut network = random(device, fitting.unwrap_or(classes), options)?;
    if fitting.is_some() {
        export::load_opened(file, &mut network)?;
        return Ok((network, notes));
    }
    export::load_all_but_last(file, &mut network, N::DESCRIPTION)?;
    notes.push(match (names, outputs) {
        (_, None) => format!("{path}: these weights have no last layer, {last}: it begins anew"),
        (Some(names), _) if names.len() <= MOST_NAMED => {
            let others = names.join(", ");
            format!("{path}: these weights tell apart other classes ({others}): the last layer, {last}, begins anew")
        }
        (_, Some(outputs)) => {
            let others = counted(outputs as u64, "class");
            format!("{path}: these weights tell apart {others}: the last layer, {last}, begins anew")
        }
    });
    Ok((network, notes))
}

/// A network with random weights, on a device that has memory to train it.
fn random<D: TrainDevice, N: Network<D>>(device: &D, classes: usize, options: &Options) -> Result<N, StartError> {
    device.check_memory(N::DESCRIPTION, classes, options.batch_size)?;
    Ok(N::init(device, classes, options.initialisation, options.seed)?)
}

/// Refuses to replace a run.
fn may_replace(folder: &Path) -> Result<(), StartError> {
    let newest = checkpoint::paths(folder).unwrap_or_default().pop();
    let state = RunConfig::read(folder).ok().zip(newest.as_ref()).and_then(|(config, newest)| {
        let state = checkpoint::state(newest, &config.network, &config.options).ok()?;
        state.is_finished(&config.options).then_some(state)
    });
    let folder = folder.to_path_buf();
    if newest.is_some() && state.is_none() {
        return Err(StartError::Unfinished { folder });
    }
    if let Some(best) = state.as_ref().and_then(|state| state.epochs.get(state.best)) {
        return Err(StartError::Finished { folder, accuracy: best.test.accuracy });
    }
    // A run that ended before its first checkpoint leaves nothing that anybody could want.
    let mut files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let weights = files.find(|file| file.extension().is_some_and(|extension| extension == "safetensors"));
    weights.map_or(Ok(()), |path| Err(StartError::Weights { path }))
}

/// Refuses to write a run's weights over those that it starts from.
fn not_replaced(init: &Path, weights: &Path) -> Result<(), StartError> {
    let same = weights.canonicalize().is_ok_and(|weights| init.canonicalize().is_ok_and(|init| init == weights));
    if same { Err(StartError::InitReplaced { path: init.to_path_buf() }) } else { Ok(()) }
}

/// Refuses weights to start from that are not those that were named before.
///
/// # Errors
/// [`StartError::InitChanged`], or the file cannot be read.
pub fn init_unchanged(init: &DataFile) -> Result<(), StartError> {
    if DataFile::of(&init.path)?.sha256 == init.sha256 {
        return Ok(());
    }
    Err(StartError::InitChanged { path: init.path.clone() })
}

/// Refuses data that are not those the run began with.
///
/// # Errors
/// [`StartError::DataChanged`].
pub fn same_data(began: &[DataFile], found: &[DataFile]) -> Result<(), StartError> {
    if began.len() == found.len() && began.iter().zip(found).all(|(a, b)| a.sha256 == b.sha256) {
        return Ok(());
    }
    let path = |files: &[DataFile]| files.first().map_or_else(PathBuf::new, |file| file.path.clone());
    Err(StartError::DataChanged { began: path(began), found: path(found) })
}
