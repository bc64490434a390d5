//! `train`: from options to a finished run in its folder, or from a run that was stopped to its end.

mod recipe;

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum as _};
use dfdx::tensor::Cpu;

use self::recipe::RecipeArgs;
use super::{DataArgs, NetworkName, ThreadArgs, UsageError, agree, counted, number, real, stored_normalisation};
use crate::{
    data::{DataFile, Dataset, Origin},
    device::{CudaKernels, DeviceChoice, Precision},
    export,
    model::{AlexNet, LeNet5, Network},
    training::{
        self, CheckpointError, Selected, Setting, TrainDevice,
        checkpoint::{self, Checkpoint},
        config::{self, CheckpointOptions, Options, RunConfig},
        interrupt::Interrupt,
        output::{self, RunFolder},
        progress::{Progress, say},
    },
};

#[cfg(feature = "cuda")]
use crate::cuda;

/// Steps of a run that are too few to learn much in.
const FEW_STEPS: usize = 100;

/// Options of `train`.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// Go on with the run in this folder from its last checkpoint; it ends as if it had never stopped. With --epochs, a run
    /// of a constant or stepwise learning rate gets more epochs, also where it is finished
    #[arg(long, value_name = "DIR", conflicts_with_all = ["RecipeArgs", "out", "overwrite", "test_share", "test_seed"])]
    resume: Option<PathBuf>,
    /// Folder for everything that the run writes [default: runs/<network>, or with the next number that is free]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the run that is in the folder
    #[arg(long)]
    overwrite: bool,
    /// Passes over the training images [default: 10]
    #[arg(long, value_name = "N", value_parser = number(1, 100_000), help_heading = recipe::RECIPE)]
    pub(super) epochs: Option<usize>,
    /// Minutes from one checkpoint within an epoch to the next, 0 for one after every step; there is one after each epoch
    /// [default: 10]
    #[arg(long, value_name = "MINUTES", value_parser = minutes, allow_negative_numbers = true)]
    checkpoint_minutes: Option<f64>,
    /// Keep the last N checkpoints [default: 2]
    #[arg(long, value_name = "N", value_parser = number(1, 1_000_000))]
    keep_checkpoints: Option<usize>,
    /// Where to compute: cpu, cuda or cuda:N (an NVIDIA GPU, where the program was built for it), or auto, which takes
    /// a GPU if it can
    #[arg(long, default_value_t, value_name = "NAME")]
    device: DeviceChoice,
    /// On a GPU, what the factors of matrix products are rounded to; sums, weights and all else are f32. auto: tf32 for
    /// convolutions where the GPU has it, f32 for linear layers, as in PyTorch; f32, tf32 or bf16: that for both
    #[arg(long, default_value_t, value_name = "NAME")]
    precision: Precision,
    /// On a GPU, how convolutions are computed: fused into one operation with kernels of its own, or portable, composed
    /// of dfdx's operations
    #[arg(long, default_value_t, value_name = "NAME")]
    cuda_kernels: CudaKernels,
    /// On a GPU, measure where its time goes: a table after each epoch, and kernel-times.csv in the run's folder
    #[arg(long)]
    time_kernels: bool,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    pub(super) recipe: RecipeArgs,
}

/// A run that goes on.
struct Stopped<'a> {
    folder: &'a Path,
    config: RunConfig,
}

impl TrainArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let device = self.device.select(say).map_err(UsageError)?;
        let stopped = self.resume.as_deref().map(|folder| -> anyhow::Result<_> {
            let config = RunConfig::read(folder)?;
            let config = match self.epochs {
                Some(epochs) => config.extended(epochs).with_context(|| folder.display().to_string())?,
                None => config,
            };
            Ok(Stopped { folder, config })
        });
        let stopped = stopped.transpose()?;
        let network = match &stopped {
            Some(Stopped { folder, config }) => {
                NetworkName::from_str(&config.network, false).ok().with_context(|| {
                    format!("{}: unknown network {:?}", folder.join("config.json").display(), config.network)
                })?
            }
            None => self.recipe.network,
        };
        match device {
            Selected::Cpu if matches!(self.precision, Precision::Tf32 | Precision::Bf16) => {
                let message = format!("--precision {}: the processor computes in f32 only", self.precision);
                Err(UsageError(message).into())
            }
            Selected::Cpu if self.time_kernels => {
                Err(UsageError("--time-kernels: the processor computes, and has no kernels to time".to_string()).into())
            }
            Selected::Cpu => self.train_network(&Cpu::default(), "cpu".to_string(), network, stopped),
            #[cfg(feature = "cuda")]
            Selected::Cuda(ordinal) => {
                let options = stopped.as_ref().map(|stopped| stopped.config.options.clone());
                let options = options.map_or_else(|| self.recipe.resolve(self.epochs), Ok)?;
                if self.time_kernels {
                    cuda::timing::start();
                }
                let (device, gpu) = match cuda::open(ordinal, options.seed, self.precision, say) {
                    Ok(opened) => opened,
                    Err(reason) if self.device == DeviceChoice::Auto && self.precision == Precision::Auto => {
                        say(&format!("Computing on the processor: {reason}"));
                        return self.train_network(&Cpu::default(), "cpu".to_string(), network, stopped);
                    }
                    Err(reason) => return Err(reason).with_context(|| format!("--device {}", self.device)),
                };
                let (products, note) = self.precision.on(gpu.capability);
                note.iter().for_each(|note| say(note));
                cuda::set_kernels(&device, self.cuda_kernels).map_err(anyhow::Error::msg)?;
                let description = network.description();
                cuda::memory::check_batch(&device, description, description.classes(), options.batch_size)
                    .map_err(anyhow::Error::msg)?;
                cuda::guarded(&device, &gpu, options.batch_size, || {
                    let name =
                        format!("{gpu}, precision {} ({products}), {} kernels", self.precision, self.cuda_kernels);
                    self.train_network(&device, name, network, stopped)
                })
            }
        }
    }

    fn train_network<D: TrainDevice>(
        &self,
        device: &D,
        name: String,
        network: NetworkName,
        stopped: Option<Stopped<'_>>,
    ) -> anyhow::Result<()> {
        match network {
            NetworkName::Alexnet => self.train::<D, AlexNet<D>>(device, name, stopped),
            NetworkName::Lenet5 => self.train::<D, LeNet5<D>>(device, name, stopped),
        }
    }

    fn train<D: TrainDevice, N: Network<D>>(
        &self,
        device: &D,
        name: String,
        stopped: Option<Stopped<'_>>,
    ) -> anyhow::Result<()> {
        let threads = self.threads.apply(stopped.as_ref().map(|stopped| stopped.config.threads))?;
        let (dataset, mut config, path) = match &stopped {
            Some(stopped) => {
                let dataset = self.data.of_run(&stopped.config)?.read(None, N::shrink)?;
                let path = stopped.folder.to_path_buf();
                (dataset, RunConfig { threads, device: name, ..stopped.config.clone() }, path)
            }
            None => {
                let dataset = self.data.read(None, N::shrink)?;
                let config = self.config::<D, N>(&dataset, threads, name)?;
                let path = self.out.clone().unwrap_or_else(|| free_folder(Path::new("runs"), N::ARCHITECTURE));
                (dataset, config, path)
            }
        };
        config.checkpoints = CheckpointOptions {
            minutes: self.checkpoint_minutes.unwrap_or(config.checkpoints.minutes),
            keep: self.keep_checkpoints.unwrap_or(config.checkpoints.keep),
        };
        let checkpoint = match &stopped {
            None => None,
            Some(_) => {
                same_data(&config.data, &dataset.files)?;
                match Checkpoint::newest(&path, N::ARCHITECTURE, &config.options) {
                    Err(CheckpointError::None { .. }) => {
                        say(&format!("{}: stopped before its first checkpoint, this run begins again", path.display()));
                        None
                    }
                    checkpoint => Some(checkpoint?),
                }
            }
        };
        if checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.state.is_finished(&config.options)) {
            say(&format!("{}: this run is finished; --epochs N gives it more epochs, up to N in all", path.display()));
            return Ok(());
        }
        let network = match (&checkpoint, &config.init) {
            (Some(checkpoint), _) => random(device, checkpoint.classes(N::DESCRIPTION)?, &config.options)?,
            (None, None) => random(device, dataset.classes.len(), &config.options)?,
            (None, Some(init)) => {
                let found = DataFile::of(&init.path)?;
                ensure!(
                    found.sha256 == init.sha256,
                    "{}: the weights that this run began with have changed",
                    init.path.display()
                );
                initialised::<D, N>(&init.path, &dataset, device, &config.options)?
            }
        };
        if stopped.is_none() {
            self.may_replace(&path)?;
        }
        let folder = RunFolder::create(&path, config)?;
        if let Some(init) = &self.recipe.init {
            not_replaced(init, &folder.weights_path(N::ARCHITECTURE))?;
        }
        if checkpoint.is_none() {
            folder.remove_checkpoints()?;
        }
        if checkpoint.is_none() || self.epochs.is_some() {
            folder.write_config()?;
        }
        let config = folder.config();
        say(&introduction(N::ARCHITECTURE, config, checkpoint.as_ref(), &path));
        let steps = config.images.train.div_ceil(config.options.batch_size) * config.options.epochs;
        if steps < FEW_STEPS {
            say(&format!(
                "That makes only {}: with so few images, a smaller --batch-size and more --epochs may help",
                counted(steps, "step")
            ));
        }
        let interrupt = Interrupt::install().context("cannot catch Ctrl-C")?;
        let mut progress = Progress::new();
        let setting = Setting {
            device,
            dataset: &dataset,
            options: &config.options,
            folder: Some(&folder),
            observer: &mut progress,
            interrupt,
        };
        let outcome = training::train(setting, network, checkpoint.as_ref())?;
        drop(progress);
        let best = &outcome.epochs[outcome.best];
        say(&format!(
            "Done: epoch {} is the best, with a test accuracy of {:.2} %; its weights are in {}",
            best.epoch,
            100.0 * best.test.accuracy,
            folder.weights_path(N::ARCHITECTURE).display()
        ));
        Ok(())
    }

    /// The configuration of a new run.
    fn config<D: TrainDevice, N: Network<D>>(
        &self,
        dataset: &Dataset,
        threads: usize,
        device: String,
    ) -> anyhow::Result<RunConfig> {
        let mut options = self.recipe.resolve(self.epochs)?;
        if let Some(given) = dataset.validation {
            let message = "--validation: these data have validation images of their own";
            ensure!(self.recipe.validation.is_none(), UsageError(message.to_string()));
            options.validation = given;
        } else if self.recipe.validation.is_none() {
            options.validation = options.validation.min(dataset.train.len() / 10);
        }
        let told = |path: &Path| stored_normalisation(path, &export::metadata(path)?, N::SIDE);
        let told = self.recipe.init.as_deref().map(told).transpose()?.flatten();
        options.normalisation = match (self.recipe.normalise(), told) {
            (None, Some(stored)) => stored,
            (wanted, _) if wanted.unwrap_or(self.recipe.preset_normalises()) => {
                Some(training::normalisation(dataset, &options)?)
            }
            _ => None,
        };
        Ok(RunConfig {
            producer: config::PRODUCER.to_string(),
            command: command(),
            network: N::ARCHITECTURE.to_string(),
            device,
            threads,
            platform: config::platform(),
            checkpoints: CheckpointOptions::default(),
            images: training::image_counts(dataset, &options)?,
            data: dataset.files.clone(),
            test_share: match dataset.origin {
                Origin::Idx => None,
                Origin::Folder { kept } => kept,
            },
            init: self.recipe.init.as_deref().map(DataFile::of).transpose()?,
            options,
        })
    }

    /// Refuses to replace a run.
    fn may_replace(&self, path: &Path) -> anyhow::Result<()> {
        if self.overwrite {
            return Ok(());
        }
        let path_shown = path.display();
        let newest = checkpoint::paths(path).unwrap_or_default().pop();
        let state = RunConfig::read(path).ok().zip(newest.as_ref()).and_then(|(config, newest)| {
            let state = checkpoint::state(newest, &config.network, &config.options).ok()?;
            state.is_finished(&config.options).then_some(state)
        });
        ensure!(
            newest.is_none() || state.is_some(),
            "{path_shown}: the run in this folder is not finished; go on with it by --resume {path_shown}, name another folder \
             with --out, or replace it by --overwrite"
        );
        if let Some(best) = state.as_ref().and_then(|state| state.epochs.get(state.best)) {
            bail!(
                "{path_shown}: a finished run is in this folder, with a test accuracy of {:.2} %; name another folder with --out, \
                 or replace it by --overwrite",
                100.0 * best.test.accuracy
            );
        }
        // A run that ended before its first checkpoint leaves nothing that anybody could want.
        let mut files = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        if let Some(weights) = files.find(|file| file.extension().is_some_and(|extension| extension == "safetensors")) {
            bail!(
                "{}: weights are in this folder; name another one with --out, or allow it by --overwrite",
                weights.display()
            );
        }
        Ok(())
    }
}

/// A network with random weights.
fn random<D: TrainDevice, N: Network<D>>(device: &D, classes: usize, options: &Options) -> anyhow::Result<N> {
    N::init(device, classes, options.initialisation, options.seed).context("cannot make the network")
}

/// A network with the weights that a run starts from. Where they tell other classes apart, the last layer's are random.
fn initialised<D: TrainDevice, N: Network<D>>(
    path: &Path,
    dataset: &Dataset,
    device: &D,
    options: &Options,
) -> anyhow::Result<N> {
    let outputs = export::classes(path, N::DESCRIPTION)?;
    let names = output::class_names(&export::metadata(path)?);
    let agrees = match &names {
        Some(names) => agree(names, dataset) && names.len() <= outputs,
        None => outputs == dataset.classes.len(),
    };
    if agrees {
        let mut network = random(device, outputs, options)?;
        export::load(path, &mut network)?;
        return Ok(network);
    }
    let mut network = random(device, dataset.classes.len(), options)?;
    export::load_all_but_last(path, &mut network, N::DESCRIPTION)?;
    let found = names.map_or(format!("{outputs} classes"), |names| format!("other classes ({})", names.join(", ")));
    let last = N::DESCRIPTION.layers.last().map_or("", |layer| layer.name);
    say(&format!("{}: these weights tell apart {found}: the last layer, {last}, begins anew", path.display()));
    Ok(network)
}

/// The first folder for a run of a network that no run is in: `runs/alexnet`, `runs/alexnet-2` and so on.
fn free_folder(runs: &Path, network: &str) -> PathBuf {
    let names = std::iter::once(network.to_string()).chain((2..).map(|number| format!("{network}-{number}")));
    let mut folders = names.map(|name| runs.join(name));
    // There are more numbers than folders.
    folders.find(|folder| !folder.join("config.json").exists()).unwrap_or_else(|| runs.join(network))
}

/// Refuses to write a run's weights over those that it starts from.
fn not_replaced(init: &Path, weights: &Path) -> anyhow::Result<()> {
    let same = weights.canonicalize().is_ok_and(|weights| init.canonicalize().is_ok_and(|init| init == weights));
    ensure!(!same, "--init {}: the run would replace this file; name another folder with --out", init.display());
    Ok(())
}

/// What the run is, in words.
fn introduction(network: &str, config: &RunConfig, checkpoint: Option<&Checkpoint>, path: &Path) -> String {
    let (images, path) = (config.images, path.display());
    match checkpoint {
        Some(Checkpoint { state, .. }) => format!(
            "Going on with {network} by {} in epoch {} of {} after {}, with {}; in {path}",
            config.device,
            state.epoch,
            config.options.epochs,
            counted(state.step, "step"),
            counted(config.threads, "thread")
        ),
        None => format!(
            "Training {network} by {} on {}, {} held out, {} to test by, with {}; into {path}",
            config.device,
            counted(images.train, "image"),
            images.validation,
            images.test,
            counted(config.threads, "thread")
        ),
    }
}

/// Refuses data that are not those the run began with.
fn same_data(expected: &[DataFile], found: &[DataFile]) -> anyhow::Result<()> {
    let same = expected.len() == found.len() && expected.iter().zip(found).all(|(a, b)| a.sha256 == b.sha256);
    let path = |files: &[DataFile]| files.first().map_or(String::new(), |file| file.path.display().to_string());
    ensure!(same, "the data have changed: this run began with {}, and {} differs", path(expected), path(found));
    Ok(())
}

/// The arguments as given, under the program's name instead of its path.
fn command() -> Vec<String> {
    let arguments = env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once("trainer".to_string()).chain(arguments).collect()
}

fn minutes(text: &str) -> Result<f64, String> {
    real(text, |minutes| (0.0..=1e6).contains(&minutes), "a number from 0 to 1000000")
}
