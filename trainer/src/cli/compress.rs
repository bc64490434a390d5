//! `compress`: smaller weights, made of trained ones.

use std::{
    marker::PhantomData,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::Args;
use dfdx::tensor::Cpu;
use image_files::{atomic, checks, preprocessing::Preprocessing};
use infer_core::{alexnet_low_rank as low, describe::Description};
use rand::seq::SliceRandom;
use reporting::{
    table::plain,
    words::{grouped, percent},
};

use super::{
    DataArgs, MessageArgs, NetworkName, ThreadArgs, UsageError, command, counted, evaluate::network_of, number, print,
    real, weights_file,
};
use trainer::{
    compress::{
        Trained,
        compare::{Compared, Comparison, compare, limits},
        inputs,
        int8::{self, Convolutions, Form, Quantised},
        low_rank::{self, LowRank},
        stored,
    },
    data::Dataset,
    export::{Metadata, StoredFile},
    model::{AlexNet, AlexNet2012, AlexNetImageNet, AlexNetRank64, AlexNetRank128, AlexNetRank256, LeNet5, Network},
    random,
    training::{self, config::PRODUCER, evaluate::ImageSet},
};

/// Options of `compress`.
#[derive(Debug, Args)]
pub(super) struct CompressArgs {
    /// Weights file to compress (safetensors), or the folder of a run. The network is read from the file
    weights: PathBuf,
    /// File to write
    #[arg(short, long, visible_alias = "out", value_name = "FILE")]
    output: PathBuf,
    /// Replace AlexNet's linear1 and linear2 by two factors each, of this rank; auto takes the smallest that keeps enough
    #[arg(long, value_name = "RANK", value_parser = super::one_of(&Rank::NAMES), required_unless_present = "int8")]
    rank: Option<Rank>,
    /// With --rank auto: share of the variance of each layer's outputs that is to be kept, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0.95", value_parser = share)]
    keep: f64,
    /// Write the weights in 8-bit integers, by the ranges that activations have on the calibration images
    #[arg(long)]
    int8: bool,
    /// With --int8: use weights where they are, in the file or in flash, instead of transforming those of convolutions into memory,
    /// which makes them faster on CPUs without AMX
    #[arg(long, requires = "int8")]
    in_place: bool,
    /// With --int8: write the weights of linear layers, but the last, in 4 bits: half of the file, and faster for single images
    #[arg(long, requires = "int8", conflicts_with = "rank")]
    int4: bool,
    /// Write limits into the metadata by which infer-cli marks images that look like none of the training images: how light their
    /// border is, how likely the likeliest class
    #[arg(long)]
    checks: bool,
    /// Number of training images to calibrate on
    #[arg(long, value_name = "N", default_value = "1024", value_parser = number(1, 100_000))]
    calibration: usize,
    /// Seed of the choice of those images
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// Weights file to compare the result with, instead of the one that is compressed
    #[arg(long, value_name = "FILE")]
    parent: Option<PathBuf>,
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

/// Rank of the factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// The smallest that keeps enough.
    Auto,
    /// The place in [`RANKS`].
    Of(usize),
}

/// Test images whose inputs are in memory at a time.
const COMPARED_AT_ONCE: usize = 256;

/// The networks of low rank, the smallest first.
const RANKS: [&Description; 3] = [&low::rank64::DESCRIPTION, &low::rank128::DESCRIPTION, &low::rank256::DESCRIPTION];

impl Rank {
    const NAMES: [(&str, Self); 4] =
        [("64", Self::Of(0)), ("128", Self::Of(1)), ("256", Self::Of(2)), ("auto", Self::Auto)];

    /// The networks to try.
    fn networks(self) -> &'static [&'static Description] {
        match self {
            Self::Auto => &RANKS,
            Self::Of(place) => &RANKS[place..=place],
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    real(text, |share| (0.0..=1.0).contains(&share), "a number from 0 to 1")
}

/// Metadata of a training run's result, which is not that of the compressed weights.
const RESULTS: [&str; 6] =
    ["test_accuracy", "test_loss", "train_accuracy", "train_loss", "validation_accuracy", "validation_loss"];

impl CompressArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        self.threads.apply(None)?;
        let weights = image_files::weights::named(&self.weights)?;
        let output = self.output.display();
        let exists = self.output.try_exists().with_context(|| format!("cannot look for {output}"))?;
        ensure!(self.force || !exists, UsageError(format!("{output} exists; replace it with --force")));
        let same = exists && weights.canonicalize().ok() == self.output.canonicalize().ok();
        ensure!(!same, UsageError(format!("{output}: these are the weights to compress; name another file")));
        atomic::check(&self.output).with_context(|| format!("cannot write {output}"))?;
        let (weights, file) = weights_file(&weights, self.messages)?;
        let network = network_of(&weights, &file)?;
        ensure!(
            self.rank.is_none() || network == NetworkName::Alexnet,
            UsageError(format!(
                "--rank: {} holds {}, and only alexnet has layers to factor",
                weights.display(),
                network.description().name
            ))
        );
        match network {
            NetworkName::Alexnet => self.compress::<AlexNet<Cpu>>(&weights, &file),
            NetworkName::AlexnetImageNet => self.compress::<AlexNetImageNet<Cpu>>(&weights, &file),
            NetworkName::Alexnet2012 => self.compress::<AlexNet2012<Cpu>>(&weights, &file),
            NetworkName::AlexnetRank64 => self.compress::<AlexNetRank64<Cpu>>(&weights, &file),
            NetworkName::AlexnetRank128 => self.compress::<AlexNetRank128<Cpu>>(&weights, &file),
            NetworkName::AlexnetRank256 => self.compress::<AlexNetRank256<Cpu>>(&weights, &file),
            NetworkName::Lenet5 => self.compress::<LeNet5<Cpu>>(&weights, &file),
        }
    }

    fn compress<N: Network<Cpu>>(&self, path: &Path, file: &StoredFile) -> anyhow::Result<()> {
        let convolutions = if self.in_place { Convolutions::Direct } else { Convolutions::Winograd };
        let form = Form { convolutions, int4: self.int4 };
        if self.int8 {
            // Refused before anything is computed.
            int8::plan(N::DESCRIPTION, form)?;
        }
        let source = Source::<N>::read(path, file, self)?;
        let mut positions: Vec<usize> = (0..source.dataset.train.len()).collect();
        positions.shuffle(&mut random::generator(self.seed, b"calibrat", 0, 0));
        positions.truncate(self.calibration);
        let images = counted(positions.len(), "training image");
        self.messages.note(&format!("Calibrating on {images}"));
        let calibration = inputs::<_, N>(&source.dataset.train, &positions, &source.preprocessing)?;

        let factored = self.rank.map(|rank| self.factorise(rank, &source.trained, &calibration)).transpose()?;
        let smaller = factored.as_ref().map_or(&source.trained, |factored| &factored.trained);
        let integers = self.int8.then(|| int8::quantise(&smaller.weights(), &calibration, form)).transpose()?;

        let tested = training::test_positions(&source.dataset, self.test_limit);
        let images = counted(tested.len(), "test image");
        self.messages.note(&format!("Comparing on {images}"));
        let parent = self.parent.as_ref().map(|parent| {
            let (parent, file) = weights_file(parent, self.messages)?;
            let network = network_of(&parent, &file)?;
            anyhow::Ok(Trained::read(&file, network.description())?)
        });
        let parent = parent.transpose()?;
        let before = Compared::Floats(parent.as_ref().unwrap_or(&source.trained));
        let mut transformed = Vec::new();
        let network = integers.as_ref().map(|weights| stored::network(weights, &mut transformed)).transpose()?;
        let after = network.as_ref().map_or(Compared::Floats(smaller), Compared::Int8);
        let set = ImageSet {
            data: &source.dataset.test,
            positions: &tested,
            batch_size: COMPARED_AT_ONCE,
            preprocessing: source.preprocessing,
            mirrored: false,
        };
        let comparison = compare::<N>([before, after], &set)?;

        let mut metadata = self.metadata(&source.metadata, smaller.description(), positions.len(), &comparison);
        if self.checks {
            let limits = limits(after, &calibration, source.preprocessing.normalisation)?;
            metadata.insert(checks::KEY.to_string(), serde_json::to_string(&limits)?);
        }
        let bytes = match &integers {
            Some(Quantised { lines, .. }) => {
                int8::save(&self.output, smaller.description(), lines, &metadata)?;
                size_of_val(&lines[..])
            }
            None => {
                smaller.save(&self.output, &metadata)?;
                smaller.bytes()
            }
        };
        let Comparison { scores: [before, after], same, images: count } = comparison;
        let bytes_of = |count: usize| grouped(count as u64);
        print(&format!(
            "{} ({}): {} bytes of weights, before {}\nOn {images}: accuracy {}, before {}; the same class for {}\n",
            self.output.display(),
            smaller.description().title,
            bytes_of(bytes),
            bytes_of(source.trained.bytes()),
            percent(after.accuracy),
            percent(before.accuracy),
            percent(same as f64 / count.max(1) as f64),
        ))
    }

    /// The network of low rank that was asked for; of several, the first that keeps enough, else the last.
    fn factorise(&self, rank: Rank, trained: &Trained, calibration: &[f32]) -> anyhow::Result<LowRank> {
        let mut table = plain(["NETWORK", "LAYER", "KEPT"], 2);
        let mut found = None;
        for network in rank.networks() {
            let factored = low_rank::factorise(trained, network, calibration)?;
            for kept in &factored.layers {
                table.add_row([network.name.to_string(), kept.layer.to_string(), percent(kept.variance)]);
            }
            let enough = factored.layers.iter().all(|kept| kept.variance >= self.keep);
            found = Some(factored);
            if enough {
                break;
            }
        }
        self.messages.note(&table.trim_fmt());
        found.context("there is no network of low rank")
    }

    /// Metadata of the result: the source's, and what was done.
    fn metadata(
        &self,
        source: &Metadata,
        description: &Description,
        calibration: usize,
        comparison: &Comparison,
    ) -> Metadata {
        let mut metadata = source.clone();
        for key in RESULTS {
            if let Some(value) = metadata.remove(key) {
                metadata.insert(format!("parent_{key}"), value);
            }
        }
        let Comparison { scores: [before, after], same, images } = comparison;
        let number = |value: f64| format!("{value:.6}");
        metadata.extend(
            [
                ("architecture", description.name.to_string()),
                ("format", if self.int8 { "int8" } else { "pt" }.to_string()),
                ("producer", PRODUCER.to_string()),
                ("compressed_by", command().join(" ")),
                ("calibration_images", calibration.to_string()),
                ("calibration_seed", self.seed.to_string()),
                ("test_images", images.to_string()),
                ("test_accuracy", number(after.accuracy)),
                ("test_loss", number(after.loss)),
                ("compared_test_accuracy", number(before.accuracy)),
                ("compared_same_class", number(*same as f64 / (*images).max(1) as f64)),
            ]
            .map(|(key, value)| (key.to_string(), value)),
        );
        metadata
    }
}

/// Trained weights, and the data that they were trained on.
struct Source<N> {
    trained: Trained,
    metadata: Metadata,
    dataset: Dataset,
    preprocessing: Preprocessing,
    network: PhantomData<N>,
}

impl<N: Network<Cpu>> Source<N> {
    fn read(path: &Path, file: &StoredFile, args: &CompressArgs) -> anyhow::Result<Self> {
        let trained = Trained::read(file, N::DESCRIPTION)?;
        let metadata = file.metadata.clone();
        let (dataset, _, preprocessing) = args.data.of_weights(path, &metadata, N::DESCRIPTION, args.messages)?;
        Ok(Self { trained, metadata, preprocessing, dataset, network: PhantomData })
    }
}
