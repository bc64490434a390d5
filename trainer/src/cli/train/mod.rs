//! `train`: from options to a finished run in its folder, or from a run that was stopped to its end.

mod recipe;

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum as _};
use dfdx::tensor::Cpu;

use self::recipe::RecipeArgs;
use super::{DataArgs, NetworkName, ThreadArgs, UsageError, agree, counted, number, real, stored_normalisation};
use crate::{
    data::{DataFile, Dataset, Origin},
    device::{CudaKernels, DeviceChoice, Precision, Selected},
    export,
    model::{AlexNet, LeNet5, Network},
    training::{
        self, Setting, TrainDevice,
        checkpoint::{self, Checkpoint},
        config::{self, CheckpointOptions, Options, RunConfig},
        interrupt::Interrupt,
        output::{self, RunFolder},
        progress::{Progress, say},
    },
};

#[cfg(feature = "cuda")]
use {crate::cuda, dfdx::tensor::Cuda};

/// Steps of a run that are too few to learn much in.
const FEW_STEPS: usize = 100;

/// Options of `train`.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// Go on with the run in this folder from its last checkpoint; it ends as if it had never stopped
    #[arg(long, value_name = "DIR", conflicts_with_all = ["RecipeArgs", "out", "overwrite", "test_share", "test_seed"])]
    resume: Option<PathBuf>,
    /// Folder for everything that the run writes; files of an earlier run are replaced [default: runs/<network>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a run that is not finished, too
    #[arg(long)]
    overwrite: bool,
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
    /// On a GPU, what the factors of matrix products are rounded to: f32, tf32 or bf16; all else is f32
    #[arg(long, default_value_t, value_name = "NAME")]
    precision: Precision,
    /// On a GPU, how convolutions are computed: fused into one operation with kernels of its own, or portable, composed
    /// of dfdx's operations
    #[arg(long, default_value_t, value_name = "NAME")]
    cuda_kernels: CudaKernels,
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
        let stopped = self
            .resume
            .as_deref()
            .map(|folder| -> anyhow::Result<_> { Ok(Stopped { folder, config: RunConfig::read(folder)? }) });
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
            Selected::Cpu if self.precision != Precision::F32 => {
                let message = format!("--precision {}: the processor computes in f32 only", self.precision);
                Err(UsageError(message).into())
            }
            Selected::Cpu => self.train_network(&Cpu::default(), "cpu".to_string(), network, stopped),
            #[cfg(feature = "cuda")]
            Selected::Cuda(ordinal) => {
                let options = stopped.as_ref().map(|stopped| stopped.config.options.clone());
                let options = options.map_or_else(|| self.recipe.resolve(), Ok)?;
                let (device, gpu) =
                    cuda::open(ordinal, options.seed).with_context(|| format!("--device {}", self.device))?;
                cuda::libraries::set_precision(self.precision);
                cuda::set_kernels(self.cuda_kernels);
                match network {
                    NetworkName::Alexnet => cuda::check_memory::<AlexNet<Cuda>>(&device, options.batch_size),
                    NetworkName::Lenet5 => cuda::check_memory::<LeNet5<Cuda>>(&device, options.batch_size),
                }
                .map_err(anyhow::Error::msg)?;
                cuda::guarded(&device, options.batch_size, || {
                    let name = format!("{gpu}, {}, {}", self.precision, self.cuda_kernels);
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
                let path = self.out.clone().unwrap_or_else(|| ["runs", N::ARCHITECTURE].iter().collect());
                (dataset, config, path)
            }
        };
        config.checkpoints = CheckpointOptions {
            minutes: self.checkpoint_minutes.unwrap_or(config.checkpoints.minutes),
            keep: self.keep_checkpoints.unwrap_or(config.checkpoints.keep),
        };
        let mut network =
            N::init(device, config.options.initialisation, config.options.seed).context("cannot make the network")?;
        let (folder, checkpoint) = if stopped.is_some() {
            same_data(&config.data, &dataset.files)?;
            let checkpoint = Checkpoint::newest(&path, N::ARCHITECTURE, &config.options)?;
            if checkpoint.state.is_finished(&config.options) {
                say(&format!("{}: this run is finished", path.display()));
                return Ok(());
            }
            (RunFolder::create(&path, config)?, Some(checkpoint))
        } else {
            if let Some(init) = &self.recipe.init {
                self.initialise(init, &mut network, &dataset, device, &config.options)?;
            }
            self.may_replace(&path)?;
            let folder = RunFolder::create(&path, config)?;
            if let Some(init) = &self.recipe.init {
                not_replaced(init, &folder.weights_path(N::ARCHITECTURE))?;
            }
            folder.remove_checkpoints()?;
            folder.write_config()?;
            (folder, None)
        };
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

    /// Sets the weights that the run starts from.
    fn initialise<D: TrainDevice, N: Network<D>>(
        &self,
        path: &Path,
        network: &mut N,
        dataset: &Dataset,
        device: &D,
        options: &Options,
    ) -> anyhow::Result<()> {
        let metadata = export::load(path, network)?;
        if let Some(names) = output::class_names(&metadata).filter(|names| !agree(names, dataset)) {
            let random = N::init(device, options.initialisation, options.seed).context("cannot make the network")?;
            export::copy(&random, network, |tensor| tensor.starts_with(N::LAST_LAYER));
            let (path, names) = (path.display(), names.join(", "));
            say(&format!("{path} tells other classes apart ({names}): its last layer, {}, begins anew", N::LAST_LAYER));
        }
        Ok(())
    }

    /// The configuration of a new run.
    fn config<D: TrainDevice, N: Network<D>>(
        &self,
        dataset: &Dataset,
        threads: usize,
        device: String,
    ) -> anyhow::Result<RunConfig> {
        let mut options = self.recipe.resolve()?;
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

    /// Refuses to replace a run that somebody may want to go on with.
    fn may_replace(&self, path: &Path) -> anyhow::Result<()> {
        let unfinished = || {
            let Some(newest) = checkpoint::paths(path).unwrap_or_default().pop() else { return false };
            let finished = RunConfig::read(path).is_ok_and(|config| {
                let state = checkpoint::state(&newest, &config.network, &config.options);
                state.is_ok_and(|state| state.is_finished(&config.options))
            });
            !finished
        };
        ensure!(
            self.overwrite || !unfinished(),
            "{}: the run in this folder is not finished; go on with it by --resume {0}, name another folder with --out, or \
             replace it by --overwrite",
            path.display()
        );
        Ok(())
    }
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
