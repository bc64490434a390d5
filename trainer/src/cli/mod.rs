//! The command line: what can be asked for, one file for each command, and how results and errors leave the
//! program. Results go to stdout, everything else to stderr; exit status 0 is success, 1 a run that learnt nothing, 2 what
//! could not be done, 130 a run that Ctrl-C interrupted (143 by SIGTERM, 129 by SIGHUP).

mod compress;
#[cfg(feature = "cuda")]
mod cuda;
mod evaluate;
mod export;
mod filters;
mod import;
mod plot;
mod samples;
mod summary;
mod train;

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, ensure};
use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser},
};
use indicatif::{ProgressBar, ProgressStyle};
use infer_core::describe::{CLASSES, Description};

use image_files::{atomic, preprocessing::Preprocessing};
use reporting::words::with_causes;
use trainer::{
    data::{
        DataFile, Dataset, Origin,
        folder::{self, FolderError, KEPT_SIDE, Reading, TestShare, Unreadable},
        source::{self, Lookup},
    },
    export::{Metadata, StoredFile},
    training::{TrainError, config::RunConfig, output, progress::say, start},
};

/// The largest batch accepted; at 224×224 its activations alone would take 60 GB.
const MAX_BATCH: u64 = 8192;

const EXAMPLES: &str = "\
Examples:
  trainer --quick                          a few minutes on two cores, for a first look
  trainer                                  AlexNet, 10 epochs, into runs/alexnet
  trainer train --network lenet5 --epochs 3 --out runs/small
  trainer --resume runs/alexnet            go on after Ctrl-C, a crash or a power failure
  trainer --data photos --out runs/photos  images of your own, in photos/cat, photos/dog, ...
  trainer train --init runs/alexnet/alexnet.safetensors --learning-rate 0.0001
  trainer evaluate --weights runs/alexnet/alexnet.safetensors
  trainer compress runs/alexnet --rank 128 --int8 -o small.safetensors
  trainer plot runs/alexnet runs/small     both in comparison.svg; --out FILE.html for a page
  trainer export runs/alexnet --onnx alexnet.onnx
  trainer filters runs/alexnet             the first layer's filters, in filters.png
  trainer samples --out samples --count 100

Without a command, `train` is meant.

Exit status: 0 success, 1 the run diverged or learnt nothing, 2 it could not be done (wrong usage, files, the device),
130 interrupted (143 by SIGTERM, 129 by SIGHUP).";

/// Examples of the short help.
const SHORT_EXAMPLES: &str = "\
Examples:
  trainer --quick                a few minutes on two cores, for a first look
  trainer --data photos          your own images: photos/cat, photos/dog, ...
  trainer --resume runs/alexnet  go on after Ctrl-C, a crash or a power failure";

/// Trains AlexNet or LeNet-5 on images, and exports the weights as safetensors
#[derive(Debug, Parser)]
#[command(name = "trainer", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true, after_help = SHORT_EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: train::TrainArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a network (the default command)
    Train(Box<train::TrainArgs>),
    /// Evaluate a weights file on the test images
    ///
    /// It prints loss, accuracy, precision, recall, F1 and the confusion matrix.
    Evaluate(evaluate::EvaluateArgs),
    /// Compress trained weights: layers of low rank, 8-bit integers
    Compress(compress::CompressArgs),
    /// Plot the curves of a run, or compare several
    Plot(plot::PlotArgs),
    /// Export trained weights as an ONNX model
    Export(export::ExportArgs),
    /// Import the weights of an ONNX model
    Import(import::ImportArgs),
    /// Draw the filters of the first layer
    Filters(filters::FiltersArgs),
    /// Show a network's layers, shapes, parameters and multiply-adds
    Summary(summary::SummaryArgs),
    /// Write test images as PNG files into a folder for each class
    Samples(samples::SamplesArgs),
    /// Show which NVIDIA GPUs and libraries this machine has
    #[cfg(feature = "cuda")]
    Cuda(cuda::CudaArgs),
}

/// The networks, as the command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NetworkName {
    // Comments and no documentation, which would blow `--help` up into its long form.
    // AlexNet of "Dive into Deep Learning" on 1×224×224.
    Alexnet,
    // torchvision's AlexNet on 3×224×224.
    #[value(name = "alexnet-imagenet")]
    AlexnetImageNet,
    // The two streams of the paper on 3×227×227.
    #[value(name = "alexnet-2012")]
    Alexnet2012,
    // AlexNet with linear layers of low rank.
    AlexnetRank64,
    AlexnetRank128,
    AlexnetRank256,
    // LeNet-5 on 1×28×28.
    Lenet5,
}

impl NetworkName {
    /// Its layers and their sizes.
    fn description(self) -> &'static Description {
        match self {
            Self::Alexnet => &infer_core::alexnet::DESCRIPTION,
            Self::AlexnetImageNet => &infer_core::alexnet_imagenet::DESCRIPTION,
            Self::Alexnet2012 => &infer_core::alexnet_2012::DESCRIPTION,
            Self::AlexnetRank64 => &infer_core::alexnet_low_rank::rank64::DESCRIPTION,
            Self::AlexnetRank128 => &infer_core::alexnet_low_rank::rank128::DESCRIPTION,
            Self::AlexnetRank256 => &infer_core::alexnet_low_rank::rank256::DESCRIPTION,
            Self::Lenet5 => &infer_core::lenet5::DESCRIPTION,
        }
    }
}

const DATA: &str = "Data";
const SCREEN: &str = "Screen and machine";

/// Where the data comes from.
#[derive(Debug, Clone, Args)]
struct DataArgs {
    /// Data: a folder of images [default: Fashion-MNIST]
    ///
    /// Or a folder of four IDX files. Images lie in DIR/train/CLASS and DIR/test/CLASS, with DIR/val/CLASS (or valid) for validation if there is one, or in
    /// DIR/CLASS. IDX files may be gzipped. Fashion-MNIST is taken from data/fashion-mnist or from
    /// /usr/share/datasets/fashion-mnist, or downloaded.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Share of the images of each class that is kept for the test, for images as DIR/CLASS [default: 0.2, or as the weights
    /// were trained]
    #[arg(long, value_name = "SHARE", value_parser = test_share, allow_negative_numbers = true, help_heading = DATA)]
    test_share: Option<f64>,
    /// Seed of the choice of test images, for images as DIR/CLASS [default: 0, or as the weights were trained]
    #[arg(long, value_name = "N", help_heading = DATA)]
    test_seed: Option<u64>,
    /// Leave out images that cannot be read. They are listed in unreadable-images.txt
    #[arg(long, help_heading = DATA)]
    skip_unreadable: bool,
    /// Keep the images of a folder in this file and not in memory, for folders that are larger than it
    ///
    /// The next run takes the file as it is while the folder has the same files; else it is made anew. Nothing may change it while the
    /// program runs.
    #[arg(long, value_name = "FILE", help_heading = DATA)]
    cache: Option<PathBuf>,
    /// URL to download missing IDX files from, into --data or data/fashion-mnist [default: the data set's own site; no
    /// download with --data]
    #[arg(long, value_name = "URL", help_heading = DATA)]
    data_url: Option<String>,
}

/// Options that say how much of the machine to use.
#[derive(Debug, Args)]
struct ThreadArgs {
    /// Number of threads [default: all cores, or as many as the resumed run had]
    #[arg(short = 'j', long, value_name = "N", value_parser = number(1, 1024), help_heading = SCREEN)]
    threads: Option<usize>,
}

/// Options that say what is shown on stderr beside errors.
#[derive(Debug, Clone, Copy, Default, Args)]
struct MessageArgs {
    /// Show no progress and no notes, only warnings and errors
    #[arg(short, long, conflicts_with = "verbose", help_heading = SCREEN)]
    quiet: bool,
    /// Show more: every file that is left out, and a run's options
    #[arg(short, long, help_heading = SCREEN)]
    verbose: bool,
}

impl MessageArgs {
    /// Writes a note to stderr, unless that shall be quiet.
    fn note(self, line: &str) {
        if !self.quiet {
            say(line);
        }
    }
}

/// A command line that parsed, but asks for what cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// A run that came to its end and is no success.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

/// Runs the program with the process's arguments and says how it ended.
pub(crate) fn run() -> ExitCode {
    let cli: Cli = reporting::arguments::parse();
    let result = match cli.command {
        None => Box::new(cli.train).run(),
        Some(Command::Train(arguments)) => arguments.run(),
        Some(Command::Evaluate(arguments)) => arguments.run(),
        Some(Command::Compress(arguments)) => arguments.run(),
        Some(Command::Plot(arguments)) => arguments.run(),
        Some(Command::Export(arguments)) => arguments.run(),
        Some(Command::Import(arguments)) => arguments.run(),
        Some(Command::Filters(arguments)) => arguments.run(),
        Some(Command::Summary(arguments)) => arguments.run(),
        Some(Command::Samples(arguments)) => arguments.run(),
        #[cfg(feature = "cuda")]
        Some(Command::Cuda(arguments)) => arguments.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(TrainError::Interrupted { status, .. }) = error.downcast_ref() {
                say(&with_causes(error.as_ref()));
                return ExitCode::from(*status);
            }
            say(&format!("error: {}", with_causes(error.as_ref())));
            ExitCode::from(if error.is::<Failed>() { 1 } else { 2 })
        }
    }
}

impl DataArgs {
    /// The data of a run that goes on: in the folder that is given, or where the run found them, if they are still there.
    ///
    /// # Errors
    /// A folder of images is not there any more.
    fn of_run(&self, config: &RunConfig) -> anyhow::Result<Self> {
        let found = match &config.data[..] {
            [DataFile { path, .. }] => {
                ensure!(
                    self.data.is_some() || path.is_dir(),
                    "{}: the images that this run began with are gone; name their folder with --data",
                    path.display()
                );
                Some(path.as_path())
            }
            files => files
                .first()
                .filter(|_| files.iter().all(|file| file.path.is_file()))
                .and_then(|file| file.path.parent()),
        };
        Ok(Self {
            data: self.data.clone().or_else(|| found.map(PathBuf::from)),
            test_share: self.test_share.or(config.test_share.map(|kept| kept.share)),
            test_seed: self.test_seed.or(config.test_share.map(|kept| kept.seed)),
            ..self.clone()
        })
    }

    /// The data for weights in a file, the names of the classes that they tell apart, and the way of an image to their inputs.
    ///
    /// # Errors
    /// The weights were trained on a folder that is not named, or the data have other classes; those of reading the data.
    fn of_weights(
        &self,
        weights: &Path,
        metadata: &Metadata,
        network: &Description,
        messages: MessageArgs,
    ) -> anyhow::Result<(Dataset, Vec<String>, Preprocessing)> {
        let path = weights.display();
        if let Some(folder) = output::data_folder(metadata).filter(|_| self.data.is_none()) {
            let message =
                format!("{path}: these weights were trained on the images in {folder}; name that folder with --data");
            return Err(UsageError(message).into());
        }
        let input = network.input();
        let stored = start::stored_preprocessing(weights, metadata, network)?;
        let preprocessing = stored.unwrap_or_else(|| Preprocessing::usual(input));
        let reading = Reading::of(input, preprocessing.resize, KEPT_SIDE, preprocessing.orient);
        let dataset = self.read(output::test_share(metadata), reading, messages)?;
        let names = output::class_names(metadata).unwrap_or_else(|| dataset.classes.clone());
        ensure!(
            start::same_classes(&names, &dataset),
            "{path}: these weights tell apart {}; the data have the classes {}",
            names.join(", "),
            dataset.classes.join(", ")
        );
        Ok((dataset, names, preprocessing))
    }

    /// Finds, reads and checks the data set. `kept` says which images of a folder are for the test where the command line does
    /// not, `reading` how they are kept in memory.
    fn read(&self, kept: Option<TestShare>, reading: Reading, messages: MessageArgs) -> anyhow::Result<Dataset> {
        let folder = self.data.as_deref().filter(|folder| self.data_url.is_none() && !source::has_any(folder));
        let dataset = if let Some(folder) = folder {
            let kept = kept.unwrap_or_default();
            let share = self.test_share.unwrap_or(kept.share);
            let seed = self.test_seed.unwrap_or(kept.seed);
            let unreadable = if self.skip_unreadable { Unreadable::Skipped } else { Unreadable::Refused };
            let bar = if messages.quiet { ProgressBar::hidden() } else { reading_bar(folder) };
            let progress = |images: usize| {
                bar.set_length(images as u64);
                bar.inc(1);
            };
            let share = TestShare { share, seed };
            let images = folder::count(folder, share)?;
            let place = self.cache.as_ref().map_or("memory".to_string(), |file| file.display().to_string());
            messages.note(&format!(
                "{}: {} to read, in {place} at most {} where they are of 4:3",
                folder.display(),
                counted(images, "image"),
                bytes(images as u64 * reading.bytes() as u64)
            ));
            let cache = self.cache.as_deref();
            let read = Dataset::read_folder(folder, share, reading, unreadable, cache, &progress);
            bar.finish_and_clear();
            if let Err(FolderError::Images { bad, .. }) = &read {
                list_unreadable(bad)?;
            }
            let dataset = read?;
            let (images, test) = (dataset.train.len() + dataset.test.len(), dataset.test.len());
            let (count, names, folder) = (dataset.classes.len(), dataset.classes.join(", "), folder.display());
            let validation =
                dataset.validation.map_or(String::new(), |count| format!("{count} to choose the best epoch by, "));
            let images = counted(images, "image");
            messages.note(&format!(
                "{folder}: {images} of {count} classes ({names}), {validation}{test} of them to test by"
            ));
            if !dataset.left_out.is_empty() {
                list_unreadable(&dataset.left_out)?;
                let files = counted(dataset.left_out.len(), "file");
                say(&format!("warning: {folder}: {files} left out that cannot be read, listed in {UNREADABLE}"));
                if messages.verbose {
                    dataset.left_out.iter().for_each(|(path, reason)| say(&format!("{}: {reason}", path.display())));
                }
            }
            dataset
        } else {
            ensure!(
                self.cache.is_none(),
                UsageError("--cache: IDX files are small, and always in memory; leave it out".to_string())
            );
            if let Some(data) = self.data.as_deref().filter(|data| self.data_url.is_some() && source::has_others(data))
            {
                let message = format!(
                    "--data-url: {} holds other files, among which nothing is downloaded; name a new folder with --data",
                    data.display()
                );
                return Err(UsageError(message).into());
            }
            let current = env::current_dir().context("cannot tell the current folder")?;
            let lookup = Lookup::new(self.data.as_deref(), self.data_url.as_deref(), &current);
            Dataset::read(&lookup.locate(&|line| messages.note(line))?)?
        };
        if self.test_share.is_some() || self.test_seed.is_some() {
            let chosen = matches!(dataset.origin, Origin::Folder { kept: Some(_) });
            let message = "--test-share, --test-seed: these data have test images of their own";
            ensure!(chosen, UsageError(message.to_string()));
        }
        Ok(dataset)
    }
}

/// A bar on a terminal while the images of a folder are read; indicatif draws nothing elsewhere.
fn reading_bar(folder: &Path) -> ProgressBar {
    let bar = ProgressBar::new(0);
    // The template is a constant; were it wrong, indicatif's own style would show.
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {human_pos}/{human_len} images {per_sec} {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(folder.display().to_string());
    bar
}

/// A number of bytes in words, as 3.2 GB.
fn bytes(count: u64) -> String {
    match count as f64 {
        count if count < 1e6 => format!("{:.0} kB", (count / 1e3).ceil()),
        count if count < 1e9 => format!("{:.0} MB", (count / 1e6).ceil()),
        count => format!("{:.1} GB", count / 1e9),
    }
}

/// Where images that cannot be read are listed.
const UNREADABLE: &str = "unreadable-images.txt";

/// Lists files that cannot be read, a line each, with the reason behind a tab.
fn list_unreadable(files: &[(PathBuf, String)]) -> anyhow::Result<()> {
    let lines: String = files.iter().map(|(path, reason)| format!("{}\t{reason}\n", path.display())).collect();
    let written: io::Result<()> = atomic::write(Path::new(UNREADABLE), |file| file.write_all(lines.as_bytes()));
    written.with_context(|| format!("cannot write {UNREADABLE}"))
}

/// A number of things, in words.
fn counted(count: usize, thing: &str) -> String {
    reporting::words::counted(count as u64, thing)
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

/// The arguments as given, under the program's name instead of its path.
fn command() -> Vec<String> {
    let arguments = env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once("trainer".to_string()).chain(arguments).collect()
}

/// Prints a result to stdout. A reader that has gone has seen enough: that is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

/// A parser of whole numbers within a range, which it names where it refuses.
fn number(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

/// Weights from a file or the folder of a run: the file's path, and the file. Those of another program are taken, too, and `messages`
/// say what is changed of them.
fn weights_file(path: &Path, messages: MessageArgs) -> anyhow::Result<(PathBuf, StoredFile)> {
    let weights = image_files::weights::named(path)?;
    let file = trainer::export::open_foreign(&weights)?;
    for change in file.changes() {
        messages.note(&change);
    }
    Ok((weights, file))
}

/// The same of weights as they were trained, and which network they are of.
fn trained(path: &Path, messages: MessageArgs) -> anyhow::Result<(PathBuf, StoredFile, &'static Description)> {
    let (weights, file) = weights_file(path, messages)?;
    let network = evaluate::network_of(&weights, &file)?.description();
    trainer::export::check_trained(&weights, &file, network)?;
    Ok((weights, file, network))
}

/// A parser of numbers of classes.
fn classes() -> RangedU64ValueParser<usize> {
    number(*CLASSES.start() as u64, *CLASSES.end() as u64)
}

/// A parser of names, which it lists where it refuses.
fn one_of<T: Copy + Send + Sync + 'static>(names: &'static [(&'static str, T)]) -> impl TypedValueParser<Value = T> {
    let find = |text: String| names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    PossibleValuesParser::new(names.iter().map(|(name, _)| *name)).try_map(move |text| find(text).ok_or("no such name"))
}

/// A number within a range that is named where it is refused.
fn real(text: &str, accepts: fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    text.parse().ok().filter(|&value| accepts(value)).ok_or_else(|| format!("expected {expected}"))
}

fn test_share(text: &str) -> Result<f64, String> {
    real(text, |share| share > 0.0 && share < 1.0, "a number greater than 0 and less than 1")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_means_train() {
        let cli = Cli::try_parse_from(["trainer", "--epochs", "3"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.train.recipe.resolve(cli.train.epochs, None).unwrap().epochs, 3);
        let cli = Cli::try_parse_from(["trainer", "train", "--epochs", "3"]).unwrap();
        assert!(
            matches!(cli.command, Some(Command::Train(arguments)) if arguments.recipe.resolve(arguments.epochs, None).unwrap().epochs == 3)
        );
        assert!(Cli::try_parse_from(["trainer", "--epochs", "3", "summary"]).is_err());
    }
}
