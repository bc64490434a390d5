//! The command line: what can be asked for, and the help that explains it.

mod classify;

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use infer_core::packed::{Backend, LinearWeights};

pub use self::classify::{Classify, Format, ProgressStyle};

/// Classify images with AlexNet or LeNet-5.
#[derive(Debug, Parser)]
#[command(
    name = "infer-cli",
    version,
    max_term_width = 100,
    propagate_version = true,
    after_help = "Exit status: 0 success, 1 some images could not be classified, 2 it could not be done.\n\n\
                  Try `infer-cli classify --help`."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Classify(Box<Classify>),
    Inspect(Inspect),
    Pack(Pack),
    Bench(Bench),
}

/// The instructions that a network is computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// The fastest that this CPU has
    Auto,
    /// Those that every CPU of this kind has
    Scalar,
    /// x86-64 with AVX2, FMA and F16C
    Avx2,
    /// x86-64 with AVX-512
    Avx512,
    /// aarch64 with NEON
    Neon,
}

impl Kernel {
    /// The backend of infer-core.
    ///
    /// # Errors
    /// This CPU does not have it.
    pub fn backend(self) -> anyhow::Result<Backend> {
        let backend = match self {
            Self::Auto => Backend::best(),
            Self::Scalar => Backend::Scalar,
            Self::Avx2 => Backend::Avx2,
            Self::Avx512 => Backend::Avx512,
            Self::Neon => Backend::Neon,
        };
        let available = || Backend::ALL.iter().filter(|b| b.available()).map(Backend::to_string);
        ensure!(
            backend.available(),
            "--kernel {backend}: this CPU does not have the instructions, only {}",
            available().collect::<Vec<_>>().join(", ")
        );
        Ok(backend)
    }
}

const INSPECT_NOTES: &str = "\
Exit status:
  0  the file is a valid safetensors file
  2  wrong usage, or it is not, or it cannot be read

Examples:
  infer-cli inspect alexnet.safetensors
  infer-cli inspect --json model.safetensors | jq '.tensors[].name'";

/// Show what a safetensors file holds and which network it fits
#[derive(Debug, Args)]
#[command(after_long_help = INSPECT_NOTES)]
pub struct Inspect {
    /// A safetensors file
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const PACK_NOTES: &str = "\
Packed weights open at once, as they are mapped and used in place; others are packed each time a program starts. The metadata \
(classes, preprocessing, …) stay with them. They are good for every CPU and every --kernel, but only for this version's layout, \
and not for training: keep the original.

Examples:
  infer-cli pack --weights alexnet.safetensors --output alexnet.packed.safetensors
  infer-cli pack --weights alexnet.safetensors --linear-weights f16 --output alexnet.f16.safetensors
      Less memory, and single images in two thirds of the time; logits change by less than a thousandth of the largest.";

/// Write weights packed, the way the kernels read them
#[derive(Debug, Args)]
#[command(after_long_help = PACK_NOTES)]
pub struct Pack {
    /// Weights, as the trainer or PyTorch writes them [default: as classify]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub weights: Option<PathBuf>,

    /// Where to write the packed weights; the file appears when it is complete
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,

    /// Replace FILE if it exists
    #[arg(long)]
    pub force: bool,

    /// Number format of the stored weights of linear layers; arithmetic is f32 in either case
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Linear::F32)]
    pub linear_weights: Linear,
}

/// Number format of stored linear weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Linear {
    /// 32 bits, as they are
    F32,
    /// Rounded to half-width floats
    F16,
}

impl From<Linear> for LinearWeights {
    fn from(linear: Linear) -> Self {
        match linear {
            Linear::F32 => Self::F32,
            Linear::F16 => Self::F16,
        }
    }
}

/// Measure a network's speed on this machine, in all and layer by layer
#[derive(Debug, Args)]
pub struct Bench {
    /// Weights, packed or not [default: as classify]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub weights: Option<PathBuf>,

    /// Instructions to compute with; auto takes the fastest that this CPU has
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Kernel::Auto)]
    pub kernel: Kernel,

    /// Duration of each measurement in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1.5", value_parser = seconds)]
    pub time: Duration,

    /// Number of threads to measure, beside one [default: the number of CPUs]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected a number from 0 to 3600".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
