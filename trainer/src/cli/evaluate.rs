//! `evaluate`: how well a weights file does on the test images.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, ensure};
use clap::{Args, ValueEnum};
use dfdx::tensor::Cpu;
use serde::Serialize;

use reporting::words::alternatives;

use super::{DataArgs, MAX_BATCH, MessageArgs, NetworkName, ThreadArgs, counted, number, print, weights_file};
use trainer::{
    compress::{compare::Compared, stored::Int8File},
    export::{self, StoredFile},
    model::{
        AlexNet, AlexNet2012, AlexNetImageNet, AlexNetRank64, AlexNetRank128, AlexNetRank256, Initialisation, LeNet5,
        Network,
    },
    ops::Images,
    training::{
        self,
        config::ImageCounts,
        evaluate::{Examination, ImageSet, evaluate, evaluate_by},
        evaluation::MacroMean,
        metrics::{Scores, Tally},
        progress::{Observer, Phase, Progress},
    },
};

/// Options of `evaluate`.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// Weights file to evaluate (safetensors), or the folder of a run. The network is read from the file
    #[arg(short, long, value_name = "FILE")]
    weights: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Test on the first N test images [default: all]
    #[arg(long, value_name = "N", value_parser = number(1, u32::MAX.into()))]
    test_limit: Option<usize>,
    /// Take the mean of the logits of each image and of its mirror, left to right
    #[arg(long)]
    mirrored: bool,
    /// Batch size
    #[arg(long, value_name = "N", default_value = "64", value_parser = number(1, MAX_BATCH))]
    batch_size: usize,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    messages: MessageArgs,
}

/// The most classes whose matrix `--json` prints: 100 × 100 numbers.
const MOST_IN_MATRIX: usize = 100;

/// The result, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    weights: PathBuf,
    network: &'static str,
    /// Precision of the weights: "f32" or "int8".
    precision: &'static str,
    /// Whether the logits are the mean of those of an image and of its mirror.
    mirrored: bool,
    images: u64,
    /// Mean cross-entropy in nats.
    loss: f64,
    /// 0 to 1.
    accuracy: f64,
    /// Share of the images whose class is among the five likeliest, 0 to 1; absent for five classes or fewer.
    top_5_accuracy: Option<f64>,
    #[serde(rename = "macro")]
    macro_mean: MacroReport,
    classes: Vec<ClassReport>,
    /// Images of each class (outer, as `classes`) taken for each class (inner); absent for more than [`MOST_IN_MATRIX`].
    confusion: Option<Vec<Vec<u64>>>,
    /// Class, class taken for and images of each pair of classes that were confused, the most frequent first.
    confusions: Vec<(usize, usize, u64)>,
}

#[derive(Debug, Serialize)]
struct ClassReport {
    class: usize,
    label: String,
    images: u64,
    /// Images taken for this class.
    predicted: u64,
    correct: u64,
    /// 0 to 1; absent where no image is taken for this class.
    precision: Option<f64>,
    /// 0 to 1; absent where no image is of this class.
    recall: Option<f64>,
    /// 0 to 1; absent where both are.
    f1: Option<f64>,
}

/// Means over the classes that occur.
#[derive(Debug, Serialize)]
struct MacroReport {
    precision: f64,
    recall: f64,
    f1: f64,
}

impl EvaluateArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        self.threads.apply(None)?;
        let (weights, file) = weights_file(&self.weights, self.messages)?;
        match network_of(&weights, &file)? {
            NetworkName::Alexnet => self.evaluate::<AlexNet<Cpu>>(&weights, file),
            NetworkName::AlexnetImageNet => self.evaluate::<AlexNetImageNet<Cpu>>(&weights, file),
            NetworkName::Alexnet2012 => self.evaluate::<AlexNet2012<Cpu>>(&weights, file),
            NetworkName::AlexnetRank64 => self.evaluate::<AlexNetRank64<Cpu>>(&weights, file),
            NetworkName::AlexnetRank128 => self.evaluate::<AlexNetRank128<Cpu>>(&weights, file),
            NetworkName::AlexnetRank256 => self.evaluate::<AlexNetRank256<Cpu>>(&weights, file),
            NetworkName::Lenet5 => self.evaluate::<LeNet5<Cpu>>(&weights, file),
        }
    }

    fn evaluate<N: Network<Cpu>>(&self, weights: &Path, file: StoredFile) -> anyhow::Result<()> {
        let path = weights.display();
        ensure!(
            file.length(N::DESCRIPTION.packed_tensor).is_none(),
            "{path}: expected {}'s weights as they were trained, or int8 ones, found packed ones, which infer-cli runs",
            N::DESCRIPTION.title
        );
        let metadata = file.metadata.clone();
        let stored = Stored::<N>::read(&path, file)?;
        let (dataset, names, preprocessing) =
            self.data.of_weights(weights, &metadata, N::DESCRIPTION, self.messages)?;
        let positions = training::test_positions(&dataset, self.test_limit);
        let images = ImageSet {
            data: &dataset.test,
            positions: &positions,
            batch_size: self.batch_size,
            preprocessing,
            mirrored: self.mirrored,
        };
        let (mut shown, mut nothing) = (Progress::new(false), ());
        let progress: &mut dyn Observer = if self.messages.quiet { &mut nothing } else { &mut shown };
        progress.start(0, ImageCounts { train: 0, validation: 0, test: positions.len() });
        progress.phase(0, Phase::Test, positions.len());
        let Examination { tally, .. } = stored.examine(&images, |images, scores| progress.batch(images, scores))?;
        drop(shown);
        if self.json {
            let report = Report {
                weights: weights.to_path_buf(),
                precision: stored.precision(),
                mirrored: self.mirrored,
                ..Report::new(N::ARCHITECTURE, &names, &tally)
            };
            return print(&format!("{}\n", serde_json::to_string(&report)?));
        }
        let mirrored = if self.mirrored { " and their mirrors" } else { "" };
        let images = counted(positions.len(), "test image");
        let int8 = if matches!(stored, Stored::Int8(_)) { " in int8" } else { "" };
        let (network, data) = (N::ARCHITECTURE, dataset.name());
        print(&format!("{path} ({network}{int8}) on {images}{mirrored} of {data}\n{}", tally.evaluation(&names)))
    }
}

/// A network of a weights file.
enum Stored<N> {
    Floats(N),
    Int8(Int8File),
}

impl<N: Network<Cpu>> Stored<N> {
    fn read(path: &impl fmt::Display, file: StoredFile) -> anyhow::Result<Self> {
        if file.length(N::DESCRIPTION.int8_tensor).is_some() {
            let file = Int8File::new(&file);
            file.network(&mut Vec::new()).with_context(|| format!("cannot use the weights in {path}"))?;
            return Ok(Self::Int8(file));
        }
        let classes = file.classes(N::DESCRIPTION, "")?;
        let network = N::init(&Cpu::default(), classes, Initialisation::PyTorch, 0);
        let mut network = network.context("cannot make the network")?;
        export::load_opened(file, &mut network)?;
        Ok(Self::Floats(network))
    }

    /// Precision of the weights.
    fn precision(&self) -> &'static str {
        match self {
            Self::Floats(_) => "f32",
            Self::Int8(_) => "int8",
        }
    }

    fn examine(&self, images: &ImageSet<'_>, mut progress: impl FnMut(usize, Scores)) -> anyhow::Result<Examination> {
        match self {
            Self::Floats(network) => Ok(evaluate(network, images, |count, scores| {
                progress(count, scores);
                Ok(())
            })?),
            Self::Int8(file) => {
                let mut transformed = Vec::new();
                let network = file.network(&mut transformed)?;
                let mut classifier = Compared::Int8(&network).classifier()?;
                let logits = |inputs: Images<Cpu>| Ok(classifier(&inputs.as_vec())?);
                evaluate_by::<_, N, anyhow::Error>(&Cpu::default(), images, logits, |count, scores| {
                    progress(count, scores);
                    Ok(())
                })
            }
        }
    }
}

impl Report {
    /// The report of a tally, of f32 weights without a name.
    fn new(network: &'static str, names: &[String], tally: &Tally) -> Self {
        let (scores, evaluation) = (tally.scores(), tally.evaluation(names));
        let MacroMean { precision, recall, f1 } = evaluation.macro_mean();
        let classes = names.iter().zip(evaluation.totals()).enumerate().map(|(class, (label, total))| ClassReport {
            class,
            label: label.clone(),
            images: total.images,
            predicted: total.predicted,
            correct: total.correct,
            precision: total.precision(),
            recall: total.recall(),
            f1: total.f1(),
        });
        Self {
            weights: PathBuf::new(),
            network,
            precision: "f32",
            mirrored: false,
            images: tally.images(),
            loss: scores.loss,
            accuracy: scores.accuracy,
            top_5_accuracy: evaluation.top_accuracy(),
            macro_mean: MacroReport { precision, recall, f1 },
            classes: classes.collect(),
            confusion: (names.len() <= MOST_IN_MATRIX).then(|| tally.confusion().matrix()),
            confusions: tally.confusion().mistakes(),
        }
    }
}

/// The network that a weights file is for; see [`infer_core::describe::network_of`].
pub(super) fn network_of(path: &Path, file: &StoredFile) -> anyhow::Result<NetworkName> {
    let architecture = file.metadata.get("architecture");
    let networks = || NetworkName::value_variants().iter().map(|network| network.description());
    let found =
        infer_core::describe::network_of(networks(), architecture.map(String::as_str), |name| file.length(name));
    let name = found.and_then(|found| NetworkName::value_variants().iter().find(|name| name.description() == found));
    let known: Vec<_> = networks().map(|network| network.name).collect();
    let (path, known) = (path.display(), alternatives(&known));
    name.copied().ok_or_else(|| match architecture {
        Some(other) => anyhow!("{path}: unknown architecture {other:?}, expected {known}"),
        None => anyhow!("{path}: it has no tensor of {known}"),
    })
}
