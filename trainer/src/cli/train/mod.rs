//! `train`: from options to a finished run in its folder, or from a run that was stopped to its end.

mod recipe;

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Args, ValueEnum as _};
use dfdx::tensor::Cpu;

use self::recipe::RecipeArgs;
use super::{DataArgs, NetworkName, ThreadArgs, UsageError, counted, number, real};
use crate::{
    data::Dataset,
    device::{CudaKernels, DeviceChoice, Precision},
    model::{AlexNet, LeNet5, Network},
    training::{
        self, Selected, Setting, TrainDevice,
        config::{CheckpointOptions, RunConfig},
        interrupt::Interrupt,
        introduction::introduction,
        progress::{Progress, say},
        start::{self, NewRun, StartError, Started},
    },
};

#[cfg(feature = "cuda")]
use crate::cuda;

/// Steps of a run that are too few to learn much in.
const FEW_STEPS: usize = 100;

/// Options of `train`.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// Resume the run in this folder from its last checkpoint. The result is the same as without the stop. With --epochs, a
    /// run with a constant or stepwise learning rate gets more epochs, even if it is finished
    #[arg(long, value_name = "DIR", conflicts_with_all = ["RecipeArgs", "out", "overwrite", "test_share", "test_seed"])]
    resume: Option<PathBuf>,
    /// Output folder of the run [default: runs/<network>, with the next free number if it is in use]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the run in the output folder
    #[arg(long)]
    overwrite: bool,
    /// Number of epochs: passes over the training images [default: 10]
    #[arg(long, value_name = "N", value_parser = number(1, 100_000), help_heading = recipe::RECIPE)]
    pub(super) epochs: Option<usize>,
    /// Minutes between checkpoints within an epoch; 0: after every step. There is always one after an epoch [default: 10]
    #[arg(long, value_name = "MINUTES", value_parser = minutes, allow_negative_numbers = true)]
    checkpoint_minutes: Option<f64>,
    /// Number of checkpoints to keep [default: 2]
    #[arg(long, value_name = "N", value_parser = number(1, 1_000_000))]
    keep_checkpoints: Option<usize>,
    /// Device: cpu, cuda or cuda:N (an NVIDIA GPU; needs a build with --features cuda), or auto: a GPU if one can be used
    #[arg(long, default_value_t, value_name = "NAME")]
    device: DeviceChoice,
    /// Precision of matrix products on a GPU: f32, tf32 or bf16, or auto: tf32 for convolutions where the GPU has it and f32
    /// for linear layers, as in PyTorch. Sums, weights and everything else are f32
    #[arg(long, default_value_t, value_name = "NAME")]
    precision: Precision,
    /// Kernels of convolutions on a GPU: fused (this program's own) or portable (composed of dfdx's operations)
    #[arg(long, default_value_t, value_name = "NAME")]
    cuda_kernels: CudaKernels,
    /// Measure the time of each kind of kernel on a GPU: a table after each epoch, and kernel-times.csv in the output folder
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
                let path = self.out.clone().unwrap_or_else(|| start::free_folder(Path::new("runs"), N::ARCHITECTURE));
                (dataset, config, path)
            }
        };
        config.checkpoints = CheckpointOptions {
            minutes: self.checkpoint_minutes.unwrap_or(config.checkpoints.minutes),
            keep: self.keep_checkpoints.unwrap_or(config.checkpoints.keep),
        };
        let started = match &stopped {
            None => start::begin::<D, N>(device, &dataset, &path, config, self.overwrite).map(Some),
            Some(_) => start::resume(device, &dataset, &path, config, self.epochs.is_some()),
        };
        let Some(Started { network, checkpoint, folder, other_classes }) = started.map_err(usage)? else {
            say(&format!("{}: this run is finished; --epochs N gives it more epochs, up to N in all", path.display()));
            return Ok(());
        };
        if stopped.is_some() && checkpoint.is_none() {
            say(&format!("{}: stopped before its first checkpoint, this run begins again", path.display()));
        }
        if let Some((others, init)) = other_classes.zip(folder.config().init.as_ref()) {
            let last = N::DESCRIPTION.layers.last().map_or("", |layer| layer.name);
            let weights = init.path.display();
            say(&format!("{weights}: these weights tell apart {others}: the last layer, {last}, begins anew"));
        }
        let config = folder.config();
        say(&introduction(config, checkpoint.as_ref().map(|checkpoint| &checkpoint.state), &path));
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
        let run = NewRun {
            network: N::DESCRIPTION,
            options: self.recipe.resolve(self.epochs)?,
            validation: self.recipe.validation,
            normalise: self.recipe.normalise(),
            normalise_by_default: self.recipe.preset_normalises(),
            init: self.recipe.init.as_deref(),
            device,
            threads,
            command: command(),
        };
        run.config(dataset).map_err(usage)
    }
}

/// An error of the command line's, where it is one.
fn usage(error: StartError) -> anyhow::Error {
    match error {
        StartError::ValidationGiven => UsageError(error.to_string()).into(),
        error => error.into(),
    }
}

/// The arguments as given, under the program's name instead of its path.
fn command() -> Vec<String> {
    let arguments = env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once("trainer".to_string()).chain(arguments).collect()
}

fn minutes(text: &str) -> Result<f64, String> {
    real(text, |minutes| (0.0..=1e6).contains(&minutes), "a number from 0 to 1000000")
}
