//! `compress`: smaller weights, made of trained ones.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::Args;
use dfdx::tensor::Cpu;
use image_files::preprocessing::Normalisation;
use infer_core::weights::Weights;
use rand::seq::SliceRandom;
use reporting::words::grouped;

use super::{DataArgs, MessageArgs, NetworkName, ThreadArgs, UsageError, counted, evaluate::network_of, number, print};
use crate::{
    compress::int8,
    data::Dataset,
    export::{self, Metadata, StoredFile},
    model::{AlexNet, AlexNetRank64, AlexNetRank128, AlexNetRank256, LeNet5, Network},
    random,
    training::{self, config::PRODUCER, output, start},
};

/// Options of `compress`.
#[derive(Debug, Args)]
pub(super) struct CompressArgs {
    /// Weights file to compress (safetensors), or the folder of a run. The network is read from the file
    weights: PathBuf,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write the weights in 8-bit integers. The ranges of activations are measured on training images; at the end both networks
    /// are compared on the test images
    #[arg(long, required = true)]
    int8: bool,
    /// Number of training images to measure ranges on
    #[arg(long, value_name = "N", default_value = "512", value_parser = number(1, 100_000))]
    calibration: usize,
    /// Seed of the choice of those images
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// Replace the output if it exists
    #[arg(short, long)]
    force: bool,
    /// Compare on the first N test images [default: all]
    #[arg(long, value_name = "N", value_parser = number(1, u32::MAX.into()))]
    test_limit: Option<usize>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    messages: MessageArgs,
}

/// Metadata that describe a training run's result, which is not that of the compressed weights.
const RESULTS: [&str; 6] =
    ["test_accuracy", "test_loss", "train_accuracy", "train_loss", "validation_accuracy", "validation_loss"];

impl CompressArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        self.threads.apply(None)?;
        let weights = image_files::weights::named(&self.weights)?;
        let (output, exists) = (self.output.display(), self.output.try_exists());
        let exists = exists.with_context(|| format!("cannot look for {output}"))?;
        ensure!(self.force || !exists, UsageError(format!("{output} exists; replace it with --force")));
        let file = export::open(&weights)?;
        match network_of(&weights, &file)? {
            NetworkName::Alexnet => self.compress::<AlexNet<Cpu>>(&weights, &file),
            NetworkName::AlexnetRank64 => self.compress::<AlexNetRank64<Cpu>>(&weights, &file),
            NetworkName::AlexnetRank128 => self.compress::<AlexNetRank128<Cpu>>(&weights, &file),
            NetworkName::AlexnetRank256 => self.compress::<AlexNetRank256<Cpu>>(&weights, &file),
            NetworkName::Lenet5 => self.compress::<LeNet5<Cpu>>(&weights, &file),
        }
    }

    fn compress<N: Network<Cpu>>(&self, path: &Path, file: &StoredFile) -> anyhow::Result<()> {
        let source = Source::<N>::read(path, file, self)?;
        let weights = source.weights();
        let mut positions = source.positions.clone();
        positions.shuffle(&mut random::generator(self.seed, b"calibrat", 0, 0));
        positions.truncate(self.calibration);
        let images = counted(positions.len(), "training image");
        self.messages.note(&format!("Measuring activations on {images}"));
        let lines = int8::quantise(&weights, &source.inputs(&positions)?)?;

        let positions = training::test_positions(&source.dataset, self.test_limit);
        let images = counted(positions.len(), "test image");
        self.messages.note(&format!("Comparing on {images}"));
        let test = &source.dataset.test;
        let inputs = |positions: &[usize]| int8::inputs::<_, N>(test, positions, source.normalisation);
        let comparison = int8::compare(&weights, &lines, test, &positions, inputs, |_| ())?;

        let int8::Comparison { floats, int8, same, images: count } = comparison;
        let agreement = same as f64 / count.max(1) as f64;
        let mut metadata = source.metadata.clone();
        for key in RESULTS {
            if let Some(value) = metadata.remove(key) {
                metadata.insert(format!("parent_{key}"), value);
            }
        }
        let made = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
        metadata.extend([
            ("architecture".to_string(), N::ARCHITECTURE.to_string()),
            ("format".to_string(), "int8".to_string()),
            ("producer".to_string(), PRODUCER.to_string()),
            ("compressed_by".to_string(), format!("trainer {made}")),
            ("calibration_images".to_string(), self.calibration.min(source.positions.len()).to_string()),
            ("calibration_seed".to_string(), self.seed.to_string()),
            ("test_images".to_string(), count.to_string()),
            ("test_accuracy".to_string(), format!("{:.6}", int8.accuracy)),
            ("test_loss".to_string(), format!("{:.6}", int8.loss)),
            ("float_test_accuracy".to_string(), format!("{:.6}", floats.accuracy)),
            ("same_answers".to_string(), format!("{agreement:.6}")),
        ]);
        int8::save(&self.output, N::DESCRIPTION, &lines, &metadata)?;
        let before: usize = source.layers.iter().map(|(weight, bias)| 4 * (weight.len() + bias.len())).sum();
        let bytes = |count: usize| grouped(count as u64);
        print(&format!(
            "{}: {} bytes of weights, before {}\nOn {images}: accuracy {:.2} %, before {:.2} %; the same class for {:.2} %\n",
            self.output.display(),
            bytes(size_of_val(&lines[..])),
            bytes(before),
            100.0 * int8.accuracy,
            100.0 * floats.accuracy,
            100.0 * agreement,
        ))
    }
}

/// Trained weights, and the data that they were trained on.
struct Source<N> {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    classes: usize,
    metadata: Metadata,
    dataset: Dataset,
    normalisation: Option<Normalisation>,
    /// All training images.
    positions: Vec<usize>,
    network: std::marker::PhantomData<N>,
}

impl<N: Network<Cpu>> Source<N> {
    fn read(path: &Path, file: &StoredFile, args: &CompressArgs) -> anyhow::Result<Self> {
        let classes = file.classes(N::DESCRIPTION, "")?;
        let layers = N::DESCRIPTION.layers(classes).filter_map(|layer| Some((layer, layer.tensors?)));
        let layers = layers.map(|(layer, [weight, bias])| {
            let sizes = layer.weight_sizes();
            let weight = file.values(weight, &sizes[..layer.weight_rank()])?;
            Ok((weight, file.values(bias, &[layer.output.channels])?))
        });
        let layers = layers.collect::<Result<_, export::ExportError>>()?;
        file.refuse_others(|name| N::DESCRIPTION.tensors.contains(&name))?;
        let metadata = file.metadata.clone();
        let normalisation = start::stored_normalisation(path, &metadata, N::DESCRIPTION)?.flatten();
        let shown = path.display();
        if let Some(folder) = output::data_folder(&metadata).filter(|_| args.data.data.is_none()) {
            let message =
                format!("{shown}: these weights were trained on the images in {folder}; name that folder with --data");
            return Err(UsageError(message).into());
        }
        let dataset = args.data.read(output::test_share(&metadata), N::shrink, args.messages)?;
        let names = output::class_names(&metadata).map_or(Cow::Borrowed(&dataset.classes), Cow::Owned);
        ensure!(
            start::same_classes(&names, &dataset),
            "{shown}: these weights tell apart {}; the data have the classes {}",
            names.join(", "),
            dataset.classes.join(", ")
        );
        let positions = (0..dataset.train.len()).collect();
        let network = std::marker::PhantomData;
        Ok(Self { layers, classes, metadata, normalisation, positions, network, dataset })
    }

    fn weights(&self) -> Weights<'_> {
        let layers: Vec<_> = self.layers.iter().map(|(weight, bias)| (&weight[..], &bias[..])).collect();
        Weights::new(N::DESCRIPTION, self.classes, &layers)
    }

    fn inputs(&self, positions: &[usize]) -> anyhow::Result<Vec<f32>> {
        Ok(int8::inputs::<_, N>(&self.dataset.train, positions, self.normalisation)?)
    }
}
