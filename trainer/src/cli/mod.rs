//! The command line: what can be asked for, one file for each command, and how results and errors leave the
//! program. Results go to stdout, everything else to stderr; exit status 0 is success, 1 a failure, 2 a
//! command line that asks for something impossible, 130 an interrupted run.

mod evaluate;
mod plot;
mod samples;
mod summary;
mod train;

use std::{
    env,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser},
};

use crate::{
    data::{DataFile, Dataset, source::Lookup},
    training::{TrainError, progress::say},
};

/// The largest batch accepted; at 224×224 its activations alone would take 60 GB.
const MAX_BATCH: u64 = 8192;

/// The exit status of a run that Ctrl-C ended, as shells have it.
const INTERRUPTED: u8 = 130;

const EXAMPLES: &str = "\
Examples:
  trainer --quick                          a few minutes on two cores, for a first look
  trainer                                  AlexNet, 10 epochs, into runs/alexnet
  trainer train --network lenet5 --epochs 3 --out runs/small
  trainer --resume runs/alexnet            go on after Ctrl-C, a crash or a power failure
  trainer train --init runs/alexnet/alexnet.safetensors --learning-rate 0.0001
  trainer evaluate --weights runs/alexnet/alexnet.safetensors
  trainer plot runs/alexnet runs/small     both in comparison.svg
  trainer samples --out samples --count 100

Without a command, `train` is meant. Exit status: 0 success, 1 failure, 2 wrong usage, 130 interrupted.";

/// Trains AlexNet (or LeNet-5) on Fashion-MNIST and exports safetensors weights.
#[derive(Debug, Parser)]
#[command(name = "trainer", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: train::TrainArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a network; what is done without a command
    Train(Box<train::TrainArgs>),
    /// Measure weights by the test images: loss, accuracy, confusion matrix
    Evaluate(evaluate::EvaluateArgs),
    /// Draw several runs in one picture
    Plot(plot::PlotArgs),
    /// Show a network's layers, shapes, parameters and multiply-adds
    Summary(summary::SummaryArgs),
    /// Write test images as PNG files into folders named after their classes
    Samples(samples::SamplesArgs),
}

/// The networks, as the command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NetworkName {
    // Comments and no documentation, which would blow `--help` up into its long form.
    // AlexNet of "Dive into Deep Learning" on 1×224×224.
    Alexnet,
    // LeNet-5 on 1×28×28.
    Lenet5,
}

/// Where the data comes from.
#[derive(Debug, Clone, Args)]
struct DataArgs {
    /// Folder of the four IDX files, gzipped or plain; no other place is looked at then [default:
    /// data/fashion-mnist, /usr/share/datasets/fashion-mnist, or a download]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to download missing files from, into --data, or else into data/fashion-mnist [default: the data set's
    /// own site, and no download with --data]
    #[arg(long, value_name = "URL")]
    data_url: Option<String>,
}

/// How much of the machine to use.
#[derive(Debug, Args)]
struct ThreadArgs {
    /// Threads to compute with [default: all cores, or as many as the run that goes on had]
    #[arg(long, value_name = "N", value_parser = number(1, 1024))]
    threads: Option<usize>,
}

/// A command line that parsed, but asks for what cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Runs the program with the process's arguments and says how it ended.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => cli.train.run(),
        Some(Command::Train(arguments)) => arguments.run(),
        Some(Command::Evaluate(arguments)) => arguments.run(),
        Some(Command::Plot(arguments)) => arguments.run(),
        Some(Command::Summary(arguments)) => arguments.run(),
        Some(Command::Samples(arguments)) => arguments.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if matches!(error.downcast_ref(), Some(TrainError::Interrupted { .. })) => {
            say(&message(&error));
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            say(&format!("error: {}", message(&error)));
            ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
        }
    }
}

impl DataArgs {
    /// The same, but where no folder is given that of these files, if they are still there.
    fn or_folder_of(&self, files: &[DataFile]) -> Self {
        let there = files.iter().all(|file| file.path.is_file());
        let folder = files.first().and_then(|file| file.path.parent()).filter(|_| there).map(PathBuf::from);
        Self { data: self.data.clone().or(folder), ..self.clone() }
    }

    /// Finds, reads and checks the data set.
    fn read(&self) -> anyhow::Result<Dataset> {
        let current = env::current_dir().context("cannot tell the current folder")?;
        let lookup = Lookup::new(self.data.as_deref(), self.data_url.as_deref(), &current);
        let dataset = Dataset::read(&lookup.locate(&say)?)?;
        Ok(dataset)
    }
}

impl ThreadArgs {
    /// Sets the number of threads of everything that follows, to `otherwise` where it is not given. Returns it.
    fn apply(&self, otherwise: Option<usize>) -> anyhow::Result<usize> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads.or(otherwise).unwrap_or(0))
            .build_global()
            .context("cannot start the threads")?;
        Ok(rayon::current_num_threads())
    }
}

/// Prints a result to stdout. A reader that has gone has seen enough: that is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

/// An error with its causes, but for those that it already ends with.
fn message(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |message, cause| {
        if message.ends_with(&cause) { message } else { format!("{message}: {cause}") }
    })
}

/// A parser of whole numbers within a range, which it names where it refuses.
fn number(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

/// A parser of names, which it lists where it refuses.
fn one_of<T: Copy + Send + Sync + 'static>(names: &'static [(&'static str, T)]) -> impl TypedValueParser<Value = T> {
    let find = |text: String| names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    PossibleValuesParser::new(names.iter().map(|(name, _)| *name)).try_map(move |text| find(text).ok_or("no such name"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::data::DataError;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_message_names_each_cause_once() {
        let cause = || io::Error::other("the disk is full");
        let error = anyhow::Error::new(cause()).context("cannot write x");
        assert_eq!(message(&error), "cannot write x: the disk is full");
        let source = DataError::Open { path: "x".into(), source: cause() };
        assert_eq!(message(&source.into()), "x: the disk is full");
    }

    #[test]
    fn no_command_means_train() {
        let cli = Cli::try_parse_from(["trainer", "--epochs", "3"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.train.recipe.resolve().unwrap().epochs, 3);
        let cli = Cli::try_parse_from(["trainer", "train", "--epochs", "3"]).unwrap();
        assert!(
            matches!(cli.command, Some(Command::Train(arguments)) if arguments.recipe.resolve().unwrap().epochs == 3)
        );
        assert!(Cli::try_parse_from(["trainer", "--epochs", "3", "summary"]).is_err());
    }
}
