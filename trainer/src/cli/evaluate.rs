//! `evaluate`: how well a weights file does on the test images.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, ensure};
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use dfdx::tensor::Cpu;
use safetensors::SafeTensors;
use serde::Serialize;

use super::{DataArgs, MAX_BATCH, MessageArgs, NetworkName, ThreadArgs, UsageError, number, print};
use crate::{
    export,
    model::{AlexNet, Initialisation, LeNet5, Network},
    training::{
        self,
        config::ImageCounts,
        confusion::{ClassTotal, Confusion},
        evaluate::evaluate,
        metrics::Tally,
        output,
        progress::{Observer, Phase, Progress},
        start,
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
    images: u64,
    /// Mean cross-entropy in nats.
    loss: f64,
    /// 0 to 1.
    accuracy: f64,
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
    correct: u64,
    /// 0 to 1; absent where no image is of this class.
    accuracy: Option<f64>,
}

impl EvaluateArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        self.threads.apply(None)?;
        let weights = image_files::weights::named(&self.weights)?;
        match network_of(&weights)? {
            NetworkName::Alexnet => self.evaluate::<AlexNet<Cpu>>(&weights),
            NetworkName::Lenet5 => self.evaluate::<LeNet5<Cpu>>(&weights),
        }
    }

    fn evaluate<N: Network<Cpu>>(&self, weights: &Path) -> anyhow::Result<()> {
        let classes = export::classes(weights, N::DESCRIPTION)?;
        let mut network =
            N::init(&Cpu::default(), classes, Initialisation::PyTorch, 0).context("cannot make the network")?;
        let metadata = export::load(weights, &mut network)?;
        let path = weights.display();
        let normalisation = start::stored_normalisation(weights, &metadata, N::DESCRIPTION)?.flatten();
        if let Some(folder) = output::data_folder(&metadata).filter(|_| self.data.data.is_none()) {
            let message =
                format!("{path}: these weights were trained on the images in {folder}; name that folder with --data");
            return Err(UsageError(message).into());
        }
        let dataset = self.data.read(output::test_share(&metadata), N::shrink, self.messages)?;
        let names = output::class_names(&metadata).unwrap_or_else(|| dataset.classes.clone());
        ensure!(
            start::same_classes(&names, &dataset),
            "{path}: these weights tell apart {}; the data have the classes {}",
            names.join(", "),
            dataset.classes.join(", ")
        );
        let positions = training::test_positions(&dataset, self.test_limit);
        let (mut shown, mut nothing) = (Progress::new(), ());
        let progress: &mut dyn Observer = if self.messages.quiet { &mut nothing } else { &mut shown };
        progress.start(0, ImageCounts { train: 0, validation: 0, test: positions.len() });
        progress.phase(0, Phase::Test, positions.len());
        let examination =
            evaluate(&network, &dataset.test, &positions, self.batch_size, normalisation, |images, scores| {
                progress.batch(images, scores);
                Ok(())
            })?;
        drop(shown);
        let report = Report::new(weights.to_path_buf(), N::ARCHITECTURE, &names, &examination.tally);
        if self.json { print(&format!("{}\n", serde_json::to_string(&report)?)) } else { print(&report.table()) }
    }
}

impl Report {
    fn new(weights: PathBuf, network: &'static str, names: &[String], tally: &Tally) -> Self {
        let scores = tally.scores();
        let confusion = tally.confusion();
        let classes = names.iter().zip(confusion.totals()).enumerate().map(|(class, (label, total))| {
            let ClassTotal { images, correct } = total;
            let accuracy = (images > 0).then(|| correct as f64 / images as f64);
            ClassReport { class, label: label.clone(), images, correct, accuracy }
        });
        Self {
            weights,
            network,
            images: tally.images(),
            loss: scores.loss,
            accuracy: scores.accuracy,
            classes: classes.collect(),
            confusion: (names.len() <= MOST_IN_MATRIX).then(|| confusion.matrix()),
            confusions: confusion.mistakes(),
        }
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let mut header = vec!["class".to_string()];
        let matrix = self.confusion.as_deref().filter(|matrix| matrix.len() <= Confusion::READABLE);
        header.extend((0..matrix.map_or(0, <[_]>::len)).map(|class| format!("→{class}")));
        header.extend(["images", "accuracy"].map(String::from));
        table.set_header(header);
        for class in &self.classes {
            let mut cells = vec![format!("{} {}", class.class, class.label)];
            cells.extend(matrix.and_then(|matrix| matrix.get(class.class)).into_iter().flatten().map(u64::to_string));
            cells.push(class.images.to_string());
            cells.push(class.accuracy.map_or("-".to_string(), |accuracy| format!("{:.2} %", 100.0 * accuracy)));
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let heading = match matrix {
            Some(_) => "Images of each class (rows) taken for each class (columns)".to_string(),
            None => self.most_confused(),
        };
        format!(
            "{} ({}) on {} test images\nloss      {:.4}\naccuracy  {:.2} %\n\n{heading}\n{}\n",
            self.weights.display(),
            self.network,
            self.images,
            self.loss,
            100.0 * self.accuracy,
            table.trim_fmt()
        )
    }

    /// The pairs of classes that are confused most often, a line each.
    fn most_confused(&self) -> String {
        let name = |class: usize| self.classes.get(class).map_or("?", |class| &class.label);
        let pairs = self.confusions.iter().take(Confusion::READABLE / 2);
        let lines =
            pairs.map(|(label, predicted, images)| format!("  {} → {}: {images}\n", name(*label), name(*predicted)));
        format!("Most often taken for another class\n{}\nThe classes", lines.collect::<String>())
    }
}

/// The network that a weights file is for; see [`infer_core::describe::network_of`].
fn network_of(path: &Path) -> anyhow::Result<NetworkName> {
    export::metadata(path)?;
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let (_, header) =
        SafeTensors::read_metadata(&bytes).with_context(|| format!("{}: not a safetensors file", path.display()))?;
    let architecture = header.metadata().as_ref().and_then(|metadata| metadata.get("architecture"));
    let networks = || NetworkName::value_variants().iter().map(|network| network.description());
    let has = |name: &str| header.info(name).is_some();
    let found = infer_core::describe::network_of(networks(), architecture.map(String::as_str), has);
    let name = found.and_then(|found| NetworkName::value_variants().iter().find(|name| name.description() == found));
    let known: Vec<_> = networks().map(|network| network.name).collect();
    let (path, known) = (path.display(), known.join(" or "));
    name.copied().ok_or_else(|| match architecture {
        Some(other) => anyhow!("{path}: unknown architecture {other:?}, expected {known}"),
        None => anyhow!("{path}: it has no tensor of {known}"),
    })
}
