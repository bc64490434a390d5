//! `evaluate`: how well a weights file does on the test images.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use dfdx::tensor::Cpu;
use safetensors::SafeTensors;
use serde::Serialize;

use super::{DataArgs, MAX_BATCH, NetworkName, ThreadArgs, agree, number, print, stored_normalisation};
use crate::{
    export,
    model::{AlexNet, Initialisation, LeNet5, Network},
    training::{
        self,
        config::ImageCounts,
        evaluate::evaluate,
        metrics::Tally,
        output,
        progress::{Observer, Phase, Progress},
    },
};

/// Options of `evaluate`.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// Weights to measure (safetensors); which network they are for is read from the file
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Test by the first N test images [default: all]
    #[arg(long, value_name = "N", value_parser = number(1, u32::MAX.into()))]
    test_limit: Option<usize>,
    /// Images at a time
    #[arg(long, value_name = "N", default_value = "64", value_parser = number(1, MAX_BATCH))]
    batch_size: usize,
    #[command(flatten)]
    threads: ThreadArgs,
}

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
    /// Images of each class (outer, as `classes`) taken for each class (inner).
    confusion: Vec<Vec<u64>>,
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
        match network_of(&self.weights)? {
            NetworkName::Alexnet => self.evaluate::<AlexNet<Cpu>>(),
            NetworkName::Lenet5 => self.evaluate::<LeNet5<Cpu>>(),
        }
    }

    fn evaluate<N: Network<Cpu>>(&self) -> anyhow::Result<()> {
        let mut network = N::init(&Cpu::default(), Initialisation::PyTorch, 0).context("cannot make the network")?;
        let metadata = export::load(&self.weights, &mut network)?;
        let path = self.weights.display();
        let normalisation = stored_normalisation(&self.weights, &metadata, N::SIDE)?.flatten();
        let dataset = self.data.read(output::test_share(&metadata), N::shrink)?;
        let names = output::class_names(&metadata).unwrap_or_else(|| dataset.classes.clone());
        ensure!(
            agree(&names, &dataset),
            "{path}: these weights tell apart {}; the data have the classes {}",
            names.join(", "),
            dataset.classes.join(", ")
        );
        let positions = training::test_positions(&dataset, self.test_limit);
        let mut progress = Progress::new();
        progress.start(0, ImageCounts { train: 0, validation: 0, test: positions.len() });
        progress.phase(0, Phase::Test, positions.len());
        let examination =
            evaluate(&network, &dataset.test, &positions, self.batch_size, normalisation, |images, scores| {
                progress.batch(images, scores);
                Ok(())
            })?;
        drop(progress);
        let report = Report::new(self.weights.clone(), N::ARCHITECTURE, &names, &examination.tally);
        if self.json { print(&format!("{}\n", serde_json::to_string(&report)?)) } else { print(&report.table()) }
    }
}

impl Report {
    fn new(weights: PathBuf, network: &'static str, names: &[String], tally: &Tally) -> Self {
        let scores = tally.scores();
        let confusion = tally.confusion().to_vec();
        let classes = names.iter().zip(&confusion).enumerate().map(|(class, (label, row))| {
            let images = row.iter().sum();
            ClassReport {
                class,
                label: label.clone(),
                images,
                correct: row[class],
                accuracy: (images > 0).then(|| row[class] as f64 / images as f64),
            }
        });
        Self {
            weights,
            network,
            images: tally.images(),
            loss: scores.loss,
            accuracy: scores.accuracy,
            classes: classes.collect(),
            confusion,
        }
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let mut header = vec!["class".to_string()];
        header.extend((0..self.classes.len()).map(|class| format!("→{class}")));
        header.extend(["images", "accuracy"].map(String::from));
        table.set_header(header);
        for (class, row) in self.classes.iter().zip(&self.confusion) {
            let mut cells = vec![format!("{} {}", class.class, class.label)];
            cells.extend(row.iter().map(u64::to_string));
            cells.push(class.images.to_string());
            cells.push(class.accuracy.map_or("-".to_string(), |accuracy| format!("{:.2} %", 100.0 * accuracy)));
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!(
            "{} ({}) on {} test images\nloss      {:.4}\naccuracy  {:.2} %\n\n\
             Images of each class (rows) taken for each class (columns)\n{}\n",
            self.weights.display(),
            self.network,
            self.images,
            self.loss,
            100.0 * self.accuracy,
            table.trim_fmt()
        )
    }
}

/// The network that a weights file is for: by its metadata, or else by its tensors' names.
fn network_of(path: &Path) -> anyhow::Result<NetworkName> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let (_, header) =
        SafeTensors::read_metadata(&bytes).with_context(|| format!("{}: not a safetensors file", path.display()))?;
    let architecture = header.metadata().as_ref().and_then(|metadata| metadata.get("architecture"));
    match architecture.map(String::as_str) {
        Some("alexnet") => Ok(NetworkName::Alexnet),
        Some("lenet5") => Ok(NetworkName::Lenet5),
        Some(other) => bail!("{}: unknown architecture {other:?}, expected alexnet or lenet5", path.display()),
        None if header.info("conv5.weight").is_some() => Ok(NetworkName::Alexnet),
        None if header.info("conv2.weight").is_some() => Ok(NetworkName::Lenet5),
        None => bail!(
            "{}: neither AlexNet nor LeNet-5: it has no tensor named conv5.weight or conv2.weight",
            path.display()
        ),
    }
}
