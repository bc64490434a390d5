//! `train`: from options to a finished run in its folder, or from a run that was stopped to its end.

mod recipe;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::{Args, ValueEnum as _};
use dfdx::tensor::Cpu;
use image_files::preprocessing::Preprocessing;
use infer_core::describe::{Description, Maps};

use self::recipe::RecipeArgs;
use reporting::words::{duration, grouped, percent};

use super::{
    DataArgs, Failed, MessageArgs, NetworkName, ThreadArgs, UsageError, command, counted, evaluate::network_of, number,
    real,
};
use trainer::{
    data::{DataFile, Dataset, folder::Reading},
    device::{CudaKernels, DeviceChoice, Precision},
    export,
    model::{AlexNet, AlexNet2012, AlexNetImageNet, AlexNetRank64, AlexNetRank128, AlexNetRank256, LeNet5, Network},
    training::{
        self, Selected, TrainDevice, Verdict,
        config::{CheckpointOptions, Difference, ImageCounts, Options, RunConfig},
        interrupt::Interrupt,
        introduction::introduction,
        progress::{Observer, Progress, say},
        start::{self, GivenPreprocessing, NewRun, StartError, Started},
    },
};

#[cfg(feature = "cuda")]
use trainer::cuda;

/// Steps of a run that are too few to learn much in.
const FEW_STEPS: usize = 100;

/// Runs that take longer are told of a shorter one.
const LONG: Duration = Duration::from_secs(10 * 60);

const RUN: &str = "Run";
const GPU: &str = "NVIDIA GPUs";

/// Options of `train`. Those without a heading are the main ones, which the short help shows.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    pub(super) recipe: RecipeArgs,
    /// Number of epochs [default: 10]
    ///
    /// An epoch is a pass over the training images.
    #[arg(long, value_name = "N", value_parser = number(1, 100_000))]
    pub(super) epochs: Option<usize>,
    /// Output folder of the run [default: runs/<network>]
    ///
    /// The default has the next free number where that folder is in use.
    #[arg(short, long, alias = "output", value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in this folder
    ///
    /// It goes on from its last checkpoint, and the result is the same as without the stop. Options may be said again, but not changed. With --epochs, a run with a constant or stepwise learning rate gets more epochs, even if it is finished
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "quick", "recipe", "out", "overwrite", "test_share", "test_seed"])]
    resume: Option<PathBuf>,
    /// Device: cpu, cuda, cuda:N or auto
    ///
    /// cuda is an NVIDIA GPU, and needs a build with --features cuda; auto is a GPU if one can be used.
    #[arg(long, default_value_t, value_name = "NAME")]
    device: DeviceChoice,
    /// Replace the run in the output folder
    #[arg(long, help_heading = RUN)]
    overwrite: bool,
    /// Train by the configuration of another run
    ///
    /// The file is the config.json of its folder. Its options, its data and its weights to start from count where none are given.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "recipe"], help_heading = RUN)]
    config: Option<PathBuf>,
    /// Minutes between checkpoints within an epoch; 0: after every step. There is always one after an epoch [default: 10]
    #[arg(long, value_name = "MINUTES", value_parser = minutes, allow_negative_numbers = true, help_heading = RUN)]
    checkpoint_minutes: Option<f64>,
    /// Number of checkpoints to keep [default: 2]
    #[arg(long, value_name = "N", value_parser = number(1, 1_000_000), help_heading = RUN)]
    keep_checkpoints: Option<usize>,
    /// Memory for the outputs of frozen convolutions, in MB. Where they fit and no augmentation changes images, they are computed once,
    /// which changes no result; 0: compute them in every epoch [default: 2000]
    #[arg(long, value_name = "MB", value_parser = number(0, 1_000_000_000), help_heading = RUN)]
    frozen_memory: Option<usize>,
    /// Precision of matrix products on a GPU: f32, tf32 or bf16, or auto: tf32 for convolutions where the GPU has it and f32
    /// for linear layers, as in PyTorch. Sums, weights and everything else are f32
    #[arg(long, default_value_t, value_name = "NAME", help_heading = GPU)]
    precision: Precision,
    /// Kernels of convolutions on a GPU: fused (this program's own) or portable (composed of dfdx's operations)
    #[arg(long, default_value_t, value_name = "NAME", help_heading = GPU)]
    cuda_kernels: CudaKernels,
    /// Measure the time of each kind of kernel on a GPU: a table after each epoch, and kernel-times.csv in the output folder
    #[arg(long, help_heading = GPU)]
    time_kernels: bool,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    messages: MessageArgs,
}

/// A configuration that is there already.
enum Base<'a> {
    /// Configuration of the run in this folder, which goes on.
    Resumed(&'a Path, RunConfig),
    /// Configuration of another run, for a new one.
    Saved(RunConfig),
}

impl Base<'_> {
    fn config(&self) -> &RunConfig {
        match self {
            Self::Resumed(_, config) | Self::Saved(config) => config,
        }
    }
}

impl TrainArgs {
    pub(super) fn run(mut self: Box<Self>) -> anyhow::Result<()> {
        self.take_network()?;
        let device = self.device.select(|line| self.messages.note(line)).map_err(UsageError)?;
        let base = self.base()?;
        let network = match &base {
            Some(base) => {
                let name = &base.config().network;
                NetworkName::from_str(name, false).ok().with_context(|| {
                    let file = self
                        .resume
                        .as_deref()
                        .map_or_else(|| self.config.clone().unwrap_or_default(), |folder| folder.join("config.json"));
                    format!("{}: unknown network {name:?}", file.display())
                })?
            }
            None => self.recipe.network.unwrap_or(NetworkName::Alexnet),
        };
        if let Some(given) = self.recipe.network.filter(|given| *given != network) {
            let names = [given, network].map(|name| name.description().name);
            let message = format!("--network {}: this configuration is for {}", names[0], names[1]);
            return Err(UsageError(message).into());
        }
        match device {
            Selected::Cpu if matches!(self.precision, Precision::Tf32 | Precision::Bf16) => {
                let message = format!("--precision {}: the processor computes in f32 only", self.precision);
                Err(UsageError(message).into())
            }
            Selected::Cpu if self.time_kernels => {
                Err(UsageError("--time-kernels: the processor computes, and has no kernels to time".to_string()).into())
            }
            Selected::Cpu => self.train_network(&Cpu::default(), "cpu".to_string(), network, base),
            #[cfg(feature = "cuda")]
            Selected::Cuda(ordinal) => {
                let options = self.recipe.resolve(self.epochs, base.as_ref().map(Base::config))?;
                if self.time_kernels {
                    cuda::timing::start(ordinal);
                }
                let (device, gpu) =
                    match cuda::open(ordinal, options.seed, self.precision, |line| self.messages.note(line)) {
                        Ok(opened) => opened,
                        Err(reason) if self.device == DeviceChoice::Auto && self.precision == Precision::Auto => {
                            self.messages.note(&format!("Computing on the processor: {reason}"));
                            return self.train_network(&Cpu::default(), "cpu".to_string(), network, base);
                        }
                        Err(reason) => return Err(reason).with_context(|| format!("--device {}", self.device)),
                    };
                let (products, note) = self.precision.on(gpu.capability);
                note.iter().for_each(|note| self.messages.note(note));
                cuda::set_kernels(&device, self.cuda_kernels)?;
                cuda::guarded(&device, &gpu, options.batch_size, || {
                    let name =
                        format!("{gpu}, precision {} ({products}), {} kernels", self.precision, self.cuda_kernels);
                    self.train_network(&device, name, network, base)
                })
            }
        }
    }

    /// Without `--network`, the network of the weights in `--init` is meant.
    fn take_network(&mut self) -> anyhow::Result<()> {
        let chosen = self.recipe.network.is_some() || self.resume.is_some() || self.config.is_some();
        if let Some(weights) = self.recipe.init.as_deref().filter(|_| !chosen) {
            self.recipe.network = Some(network_of(weights, &export::open_foreign(weights)?)?);
        }
        Ok(())
    }

    fn train_network<D: TrainDevice>(
        &self,
        device: &D,
        name: String,
        network: NetworkName,
        base: Option<Base<'_>>,
    ) -> anyhow::Result<()> {
        match network {
            NetworkName::Alexnet => self.train::<D, AlexNet<D>>(device, name, base),
            NetworkName::AlexnetImageNet => self.train::<D, AlexNetImageNet<D>>(device, name, base),
            NetworkName::Alexnet2012 => self.train::<D, AlexNet2012<D>>(device, name, base),
            NetworkName::AlexnetRank64 => self.train::<D, AlexNetRank64<D>>(device, name, base),
            NetworkName::AlexnetRank128 => self.train::<D, AlexNetRank128<D>>(device, name, base),
            NetworkName::AlexnetRank256 => self.train::<D, AlexNetRank256<D>>(device, name, base),
            NetworkName::Lenet5 => self.train::<D, LeNet5<D>>(device, name, base),
        }
    }

    fn train<D: TrainDevice, N: Network<D>>(
        &self,
        device: &D,
        name: String,
        base: Option<Base<'_>>,
    ) -> anyhow::Result<()> {
        let threads = self.threads.apply(base.as_ref().map(|base| base.config().threads))?;
        let data = base.as_ref().map(|base| self.data.of_run(base.config())).transpose()?;
        let options = self.recipe.resolve(self.epochs, base.as_ref().map(Base::config))?;
        self.check_colours(N::DESCRIPTION, &options)?;
        let given = self.given_preprocessing(base.as_ref().map(Base::config));
        let preprocessing = match (given.resize, given.orient) {
            (Some(resize), Some(orient)) => Preprocessing { resize, orient, normalisation: None },
            _ => given.complete(N::DESCRIPTION, self.recipe.init.as_deref())?.0,
        };
        let reading =
            Reading::of(N::DESCRIPTION.input(), preprocessing.resize, options.kept_side, preprocessing.orient);
        let dataset = data.as_ref().unwrap_or(&self.data).read(None, reading, self.messages)?;
        let (mut config, path) = match &base {
            Some(Base::Resumed(folder, config)) => {
                (RunConfig { threads, device: name, ..config.clone() }, folder.to_path_buf())
            }
            _ => {
                let config = self.config::<D, N>(&dataset, threads, name, base.as_ref().map(Base::config))?;
                let path = self.out.clone().unwrap_or_else(|| start::free_folder(Path::new("runs"), N::ARCHITECTURE));
                (config, path)
            }
        };
        config.checkpoints = CheckpointOptions {
            minutes: self.checkpoint_minutes.unwrap_or(config.checkpoints.minutes),
            keep: self.keep_checkpoints.unwrap_or(config.checkpoints.keep),
        };
        let resumed = matches!(base, Some(Base::Resumed(..)));
        let started = match resumed {
            false => start::begin::<D, N>(device, &dataset, &path, config, self.overwrite).map(Some),
            true => start::resume(device, &dataset, &path, config, self.epochs.is_some()),
        };
        let note = |line: &str| self.messages.note(line);
        let Some(mut started) = started.map_err(usage)? else {
            note(&format!("{}: this run is finished; --epochs N gives it more epochs, up to N in all", path.display()));
            return Ok(());
        };
        started.frozen_bytes =
            self.frozen_memory.map_or(started.frozen_bytes, |megabytes| 1_000_000 * megabytes as u64);
        let Started { network, checkpoint, folder, notes, frozen_bytes } = &started;
        if resumed && checkpoint.is_none() {
            note(&format!("{}: stopped before its first checkpoint, this run begins again", path.display()));
        }
        notes.iter().for_each(|line| note(line));
        let config = folder.config().clone();
        let weights = folder.weights_path(N::ARCHITECTURE);
        note(&introduction(&config, checkpoint.as_ref().map(|checkpoint| &checkpoint.state), &path));
        let ImageCounts { train, validation, test } = config.images;
        if let Some(bytes) = training::bytes_of_frozen(N::DESCRIPTION, &config.options, train + validation + test) {
            let megabytes = grouped(bytes.div_ceil(1_000_000));
            note(&match bytes <= *frozen_bytes {
                true => format!("Outputs of frozen convolutions: computed once, {megabytes} MB in memory"),
                false => format!(
                    "Outputs of frozen convolutions: computed in every epoch; with --frozen-memory {}, only once",
                    bytes.div_ceil(1_000_000)
                ),
            });
        }
        let steps = config.images.train.div_ceil(config.options.batch_size) * config.options.epochs;
        if steps < FEW_STEPS {
            say(&format!(
                "warning: that makes only {}: with so few images, a smaller --batch-size and more --epochs may help",
                counted(steps, "step")
            ));
        }
        if self.messages.verbose {
            note(&format!("Options: {}", serde_json::to_string(&config.options)?));
        }
        let interrupt = Interrupt::install().context("cannot catch Ctrl-C")?;
        if checkpoint.is_none() && !self.messages.quiet {
            let time = training::estimate(device, &dataset, &config.options, config.images, network, *frozen_bytes)?;
            note(&self.forecast(time, config.options.infobatch.is_some()));
        }
        let (mut shown, mut nothing) = (Progress::new(self.messages.verbose), ());
        let observer: &mut dyn Observer = if self.messages.quiet { &mut nothing } else { &mut shown };
        let outcome = started.train(device, &dataset, observer, interrupt)?;
        drop(shown);
        let best = &outcome.epochs[outcome.best];
        if config.options.infobatch.is_some() {
            let skipped: usize = outcome.epochs.iter().map(|epoch| epoch.skipped).sum();
            let all = config.images.train * outcome.epochs.len();
            let share = percent(skipped as f64 / all.max(1) as f64);
            note(&format!(
                "InfoBatch: {} of {} training images were skipped in {}, {share}",
                grouped(skipped as u64),
                grouped(all as u64),
                counted(outcome.epochs.len(), "epoch")
            ));
        }
        note(&format!(
            "Done: epoch {} is the best, with a test accuracy of {:.2} %\nIts weights are in {}",
            best.epoch,
            100.0 * best.test.accuracy,
            weights.display()
        ));
        match Verdict::of(best, &dataset, config.images.test) {
            // So few steps cannot have taught it much; that was said.
            Verdict::Chance { .. } if steps < FEW_STEPS => Ok(()),
            Verdict::Learnt => Ok(()),
            failed => Err(Failed(format!("{}: {failed}", path.display())).into()),
        }
    }

    /// The configuration to go by, where there is one already.
    fn base(&self) -> anyhow::Result<Option<Base<'_>>> {
        if let Some(path) = &self.config {
            let path = if path.is_dir() { path.join("config.json") } else { path.clone() };
            return Ok(Some(Base::Saved(RunConfig::read_file(&path)?)));
        }
        let Some(folder) = self.resume.as_deref() else { return Ok(None) };
        let config = RunConfig::read(folder)?;
        let config = match self.epochs {
            Some(epochs) => config.extended(epochs).with_context(|| folder.display().to_string())?,
            None => config,
        };
        let given = self.recipe.resolve(None, Some(&config))?;
        let mut changed = given.differences(&config.options);
        let mut change = |flag: &str, this: String, other: String| {
            changed.push(Difference { flag: flag.to_string(), this, other });
        };
        let normalises = config.options.normalisation.is_some();
        if let Some(given) = self.recipe.normalise().filter(|given| *given != normalises) {
            change("--normalise", given.to_string(), normalises.to_string());
        }
        if let Some(given) = &self.recipe.init {
            let init = config.init.as_ref();
            if init.is_none_or(|init| DataFile::of(given).is_ok_and(|given| given.sha256 != init.sha256)) {
                let before = init.map_or("random weights".to_string(), |init| init.path.display().to_string());
                change("--init", given.display().to_string(), before);
            }
        }
        if let Some(Difference { flag, this, other }) = changed.first() {
            let message = format!(
                "{flag} {this}: the run in {} began with {other}, and goes on with it; leave {flag} out, or begin a new run",
                folder.display()
            );
            return Err(UsageError(message).into());
        }
        Ok(Some(Base::Resumed(folder, config)))
    }

    /// Says how long the run will take, or at most where it will skip images.
    fn forecast(&self, time: Duration, skips: bool) -> String {
        let quick = match self.recipe.is_quick() || time < LONG {
            true => "",
            false => "\nFor a first look, trainer --quick takes a few minutes",
        };
        format!(
            "That takes {}about {} on this machine{quick}",
            if skips { "at most " } else { "" },
            duration(Duration::from_secs(time.as_secs_f64().ceil() as u64))
        )
    }

    /// Way of images to inputs as it is given, or as another run's configuration has it.
    fn given_preprocessing(&self, base: Option<&RunConfig>) -> GivenPreprocessing {
        let given = self.recipe.given_preprocessing();
        let base = base.map(|config| config.options.preprocessing());
        GivenPreprocessing {
            resize: given.resize.or(base.map(|base| base.resize)),
            orient: given.orient.or(base.map(|base| base.orient)),
        }
    }

    /// Refuses changes of colours for a network that sees none, and sides that are too short.
    fn check_colours(&self, network: &Description, options: &Options) -> Result<(), UsageError> {
        let Maps { channels, side } = network.input();
        if options.augmentation.colours() && channels == 1 {
            let message = format!("--saturation, --hue, --lighting: {} takes gray images", network.name);
            return Err(UsageError(message));
        }
        match options.shorter_side.filter(|shorter| *shorter < side) {
            Some(shorter) => Err(UsageError(format!(
                "--shorter-side {shorter}: expected {side} or more, the input of {}",
                network.name
            ))),
            None => Ok(()),
        }
    }

    /// The configuration of a new run.
    fn config<D: TrainDevice, N: Network<D>>(
        &self,
        dataset: &Dataset,
        threads: usize,
        device: String,
        base: Option<&RunConfig>,
    ) -> anyhow::Result<RunConfig> {
        let saved = base.map(|config| config.options.validation).filter(|_| dataset.validation.is_none());
        let init = base.and_then(|config| config.init.as_ref());
        init.filter(|_| self.recipe.init.is_none()).map(start::init_unchanged).transpose()?;
        let same_data = base.is_none_or(|config| start::same_data(&config.data, &dataset.files).is_ok());
        if self.data.data.is_none() && !same_data {
            say("warning: --config: the data are not those of that run");
        }
        let run = NewRun {
            network: N::DESCRIPTION,
            options: self.recipe.resolve(self.epochs, base)?,
            validation: self.recipe.validation.or(saved),
            stratify: self.recipe.stratify().or(base.map(|config| config.options.stratify)),
            given: self.given_preprocessing(base),
            normalise: self.recipe.normalise().or(base.map(|config| config.options.normalisation.is_some())),
            normalise_by_default: self.recipe.preset_normalises(),
            init: self.recipe.init.as_deref().or(init.map(|init| init.path.as_path())),
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
        StartError::ValidationGiven | StartError::Freeze { .. } | StartError::FreezeRandom => {
            UsageError(error.to_string()).into()
        }
        error => error.into(),
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    real(text, |minutes| (0.0..=1e6).contains(&minutes), "a number from 0 to 1000000")
}
