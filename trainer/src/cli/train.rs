//! `train`: from options to a finished run in its folder.

use std::{env, path::PathBuf};

use anyhow::Context;
use clap::Args;
use dfdx::tensor::Cpu;

use super::{DataArgs, MAX_BATCH, NetworkName, ThreadArgs, UsageError, number};
use crate::{
    data::DataFile,
    device::{CudaKernels, DeviceChoice, Precision, Selected},
    export,
    model::{AlexNet, LeNet5, Network},
    ops::ConvDevice,
    training::{
        self,
        config::{self, Options, RunConfig},
        output::{self, RunFolder},
        progress::{Progress, say},
    },
};
#[cfg(feature = "cuda")]
use {crate::cuda, dfdx::tensor::Cuda};

const NO_LIMIT: u64 = u32::MAX as u64;

/// Options of `train`. Those that a preset may set are absent unless given.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// Network to train: AlexNet on 1×224×224 or LeNet-5 on 1×28×28
    #[arg(long, value_enum, default_value = "alexnet", value_name = "NAME")]
    network: NetworkName,
    #[command(flatten)]
    data: DataArgs,
    /// Folder for weights, metrics.csv, curves.svg and config.json; files of an earlier run are replaced
    /// [default: runs/<network>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Preset for a first look in a few minutes on two cores; options given beside it still count
    #[arg(long)]
    quick: bool,
    /// Passes over the training images [default: 10]
    #[arg(long, value_name = "N", value_parser = number(1, 100_000))]
    epochs: Option<usize>,
    /// Images a step [default: 256]
    #[arg(long, value_name = "N", value_parser = number(1, MAX_BATCH))]
    batch_size: Option<usize>,
    /// Adam's step size [default: 0.001]
    #[arg(long, value_name = "RATE", value_parser = learning_rate, allow_negative_numbers = true)]
    learning_rate: Option<f64>,
    /// L2 regularisation: this share of each weight is added to its gradient
    #[arg(long, value_name = "FACTOR", default_value = "0", value_parser = weight_decay, allow_negative_numbers = true)]
    weight_decay: f64,
    /// What initial weights, held-out images, order and dropout follow from
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// Training images held out, by whose accuracy the best epoch is chosen; 0: by training loss
    /// [default: 6000]
    #[arg(long, value_name = "N", value_parser = number(0, NO_LIMIT))]
    validation: Option<usize>,
    /// Learn from at most N images [default: all that are not held out]
    #[arg(long, value_name = "N", value_parser = number(1, NO_LIMIT))]
    train_limit: Option<usize>,
    /// Test by the first N test images [default: all]
    #[arg(long, value_name = "N", value_parser = number(1, NO_LIMIT))]
    test_limit: Option<usize>,
    #[command(flatten)]
    threads: ThreadArgs,
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
    /// Start from these weights (safetensors with the network's tensor names, PyTorch's too)
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
}

impl TrainArgs {
    /// The options with presets and defaults filled in.
    pub(super) fn resolve(&self) -> Options {
        let preset = match (self.quick, self.network) {
            (false, _) => Preset {
                epochs: 10,
                batch_size: 256,
                learning_rate: 0.001,
                validation: 6000,
                train_limit: None,
                test_limit: None,
            },
            // Small batches: so few images must make many steps to leave the plateau that this network starts on.
            (true, NetworkName::Alexnet) => Preset {
                epochs: 2,
                batch_size: 16,
                learning_rate: 0.0003,
                validation: 200,
                train_limit: Some(1600),
                test_limit: Some(500),
            },
            (true, NetworkName::Lenet5) => Preset {
                epochs: 3,
                batch_size: 64,
                learning_rate: 0.002,
                validation: 6000,
                train_limit: None,
                test_limit: None,
            },
        };
        Options {
            epochs: self.epochs.unwrap_or(preset.epochs),
            batch_size: self.batch_size.unwrap_or(preset.batch_size),
            learning_rate: self.learning_rate.unwrap_or(preset.learning_rate),
            weight_decay: self.weight_decay,
            seed: self.seed,
            validation: self.validation.unwrap_or(preset.validation),
            train_limit: self.train_limit.or(preset.train_limit),
            test_limit: self.test_limit.or(preset.test_limit),
        }
    }

    pub(super) fn run(&self) -> anyhow::Result<()> {
        match self.device.select(say).map_err(UsageError)? {
            Selected::Cpu if self.precision != Precision::F32 => {
                let message = format!("--precision {}: the processor computes in f32 only", self.precision);
                Err(UsageError(message).into())
            }
            Selected::Cpu => self.train_network(&Cpu::seed_from_u64(self.seed), "cpu".to_string()),
            #[cfg(feature = "cuda")]
            Selected::Cuda(ordinal) => {
                let (device, gpu) =
                    cuda::open(ordinal, self.seed).with_context(|| format!("--device {}", self.device))?;
                cuda::libraries::set_precision(self.precision);
                cuda::set_kernels(self.cuda_kernels);
                let batch_size = self.resolve().batch_size;
                match self.network {
                    NetworkName::Alexnet => cuda::check_memory::<AlexNet<Cuda>>(&device, batch_size),
                    NetworkName::Lenet5 => cuda::check_memory::<LeNet5<Cuda>>(&device, batch_size),
                }
                .map_err(anyhow::Error::msg)?;
                cuda::guarded(&device, batch_size, || {
                    self.train_network(&device, format!("{gpu}, {}, {}", self.precision, self.cuda_kernels))
                })
            }
        }
    }

    fn train_network<D: ConvDevice>(&self, device: &D, name: String) -> anyhow::Result<()> {
        match self.network {
            NetworkName::Alexnet => self.train::<D, AlexNet<D>>(device, name),
            NetworkName::Lenet5 => self.train::<D, LeNet5<D>>(device, name),
        }
    }

    fn train<D: ConvDevice, N: Network<D>>(&self, device: &D, name: String) -> anyhow::Result<()> {
        let threads = self.threads.apply()?;
        let options = self.resolve();
        let dataset = self.data.read()?;
        let images = training::image_counts(&dataset, &options)?;
        let config = RunConfig {
            producer: config::PRODUCER,
            command: command(),
            network: N::ARCHITECTURE,
            device: name,
            threads,
            platform: config::platform(),
            images,
            data: dataset.files.clone(),
            init: self.init.as_deref().map(DataFile::of).transpose()?,
            options,
        };
        let mut network = N::init(device, config.options.seed).context("cannot make the network")?;
        if let Some(path) = &self.init {
            export::load(path, &mut network)?;
        }
        let path = self.out.clone().unwrap_or_else(|| ["runs", N::ARCHITECTURE].iter().collect());
        let metadata = output::describing(N::ARCHITECTURE, N::SIDE, &dataset.classes, &config);
        let folder = RunFolder::create(&path, metadata)?;
        folder.write_config(&config)?;
        say(&format!(
            "Training {} by {} on {} images, {} held out, {} to test by, with {threads} threads; into {}",
            N::ARCHITECTURE,
            config.device,
            images.train,
            images.validation,
            images.test,
            path.display()
        ));
        let mut progress = Progress::new();
        let outcome = training::train(device, network, &dataset, &config.options, Some(&folder), &mut progress)?;
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
}

/// What `--quick`, or its absence, stands for.
struct Preset {
    epochs: usize,
    batch_size: usize,
    learning_rate: f64,
    validation: usize,
    train_limit: Option<usize>,
    test_limit: Option<usize>,
}

/// The arguments as given, under the program's name instead of its path.
fn command() -> Vec<String> {
    let arguments = env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once("trainer".to_string()).chain(arguments).collect()
}

fn learning_rate(text: &str) -> Result<f64, String> {
    real(text, |rate| rate > 0.0 && rate <= 10.0, "a number greater than 0 and at most 10")
}

fn weight_decay(text: &str) -> Result<f64, String> {
    real(text, |factor| (0.0..=1.0).contains(&factor), "a number from 0 to 1")
}

fn real(text: &str, accepts: fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    text.parse().ok().filter(|&value| accepts(value)).ok_or_else(|| format!("expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_out_of_range_are_refused() {
        for text in ["0", "-1", "NaN", "inf", "11", "fast", ""] {
            assert!(learning_rate(text).is_err(), "{text}");
        }
        assert_eq!(learning_rate("1e-3"), Ok(0.001));
        for text in ["-0.1", "NaN", "1.5"] {
            assert!(weight_decay(text).is_err(), "{text}");
        }
        assert_eq!(weight_decay("0"), Ok(0.0));
    }
}
