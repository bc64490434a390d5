//! `compress`: AlexNet's weights to those of an AlexNet of low rank.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use dfdx::tensor::Cpu;
use infer_core::describe::Description;
use reporting::{
    table::plain,
    words::{alternatives, grouped, percent},
};

use super::{
    DataArgs, MAX_BATCH, MessageArgs, ThreadArgs, UsageError, counted,
    evaluate::{Opened, network_of},
    number, print, real,
};
use crate::{
    compress::{self, Compressed, Images, TARGETS},
    export,
    model::{AlexNet, Network},
    training::config::{Options, PRODUCER, shell_line},
};

/// Options of `compress`.
#[derive(Debug, Args)]
pub(super) struct CompressArgs {
    /// AlexNet's weights (safetensors), or the folder of a run
    #[arg(value_name = "WEIGHTS")]
    weights: PathBuf,
    /// Rank of the two large linear layers: 64, 128 or 256, or auto: the smallest that keeps --keep of their variance
    #[arg(long, value_name = "N", value_parser = rank)]
    rank: Rank,
    /// Share of the variance of each layer's outputs that --rank auto keeps, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0.95", value_parser = share, allow_negative_numbers = true)]
    keep: f64,
    /// Weights file to write; an existing one is replaced
    #[arg(short, long, visible_alias = "output", value_name = "FILE")]
    out: PathBuf,
    /// Number of training images to calibrate by
    #[arg(long, value_name = "N", default_value = "2000", value_parser = number(1, 1_000_000))]
    calibration: usize,
    /// Number of images that are held out and measure the accuracy [default: 6000, or a tenth of fewer images]
    #[arg(long, value_name = "N", value_parser = number(1, u32::MAX.into()))]
    validation: Option<usize>,
    /// Batch size
    #[arg(long, value_name = "N", default_value = "64", value_parser = number(1, MAX_BATCH), hide_short_help = true)]
    batch_size: usize,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    messages: MessageArgs,
}

/// What `--rank` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    Auto,
    Of(&'static Description),
}

impl CompressArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        self.threads.apply(None)?;
        let weights = image_files::weights::named(&self.weights)?;
        let replaced = self.out.canonicalize().is_ok_and(|out| weights.canonicalize().is_ok_and(|from| from == out));
        if replaced {
            let message = format!("--out {}: these are the weights to compress; name another file", self.out.display());
            return Err(UsageError(message).into());
        }
        // Before minutes are spent on weights that could not be kept.
        let folder = self.out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        tempfile::tempfile_in(folder)
            .with_context(|| format!("--out {}: cannot write to {}", self.out.display(), folder.display()))?;
        let file = export::open(&weights)?;
        let (found, original) =
            (network_of(&weights, &file)?.description(), <AlexNet<Cpu> as Network<Cpu>>::DESCRIPTION);
        ensure!(
            found == original,
            "{}: these are weights of {}; only {}'s can be compressed",
            weights.display(),
            found.name,
            original.name
        );
        let opened = Opened::<AlexNet<Cpu>>::new(&weights, file, &self.data, self.messages)?;
        let Opened { network, metadata, normalisation, dataset, .. } = &opened;
        let seed = metadata.get("seed").and_then(|seed| seed.parse().ok()).unwrap_or(0);
        let held_out = self.validation.unwrap_or(Options::default().validation.min(dataset.train.len() / 10));
        if dataset.validation.is_some() && self.validation.is_some() {
            return Err(UsageError("--validation: these data have validation images of their own".to_string()).into());
        }
        let images = Images::choose(dataset, self.calibration, held_out, seed)?;
        self.messages.note(&format!(
            "Calibrating by {}, measuring by {} that are held out",
            counted(images.calibration.len(), "training image"),
            counted(images.held_out.len(), "image")
        ));
        // Ranks for which there are too few images are left out, but for the one that is asked for, which is refused then.
        let possible = |target: &&Description| compress::rank(target) < images.calibration.len();
        let mut targets = TARGETS.to_vec();
        targets.retain(|target| possible(target) || self.rank == Rank::Of(target));
        if targets.is_empty() {
            targets.extend(TARGETS.first());
        }
        let found = compress::compress(network, &targets, &dataset.train, &images, self.batch_size, *normalisation)?;
        let accuracy = percent(found.original.scores().accuracy);
        let before = fs::metadata(&weights).with_context(|| weights.display().to_string())?.len();
        let (from, bytes) = (weights.display(), grouped(before));
        let count = counted(images.held_out.len(), "held-out image");
        print(&format!("{from}: {bytes} bytes, {accuracy} of {count}\n\n{}\n\n", table(&found.compressed)))?;

        let chosen = self.chosen(&found.compressed)?;
        let command = shell_line(&super::command());
        compress::save(&self.out, network, chosen, metadata, command, PRODUCER)?;
        let after = fs::metadata(&self.out).with_context(|| self.out.display().to_string())?.len();
        let (out, name, accuracy) =
            (self.out.display(), chosen.target.name, percent(chosen.held_out.scores().accuracy));
        let (bytes, share) = (grouped(after), percent(after as f64 / before as f64));
        print(&format!("{out}: {name}, {bytes} bytes ({share} of the original), {accuracy} of {count}\n"))?;
        self.messages.note(&format!("Training makes up for what was lost: {}", fine_tuning(&self.out)));
        Ok(())
    }

    /// The network to write.
    fn chosen<'c>(&self, compressed: &'c [Compressed]) -> anyhow::Result<&'c Compressed> {
        match self.rank {
            Rank::Of(target) => compressed.iter().find(|compressed| compressed.target == target),
            Rank::Auto => compress::smallest(compressed, self.keep),
        }
        .ok_or_else(|| {
            let keep = percent(self.keep);
            let most = compressed.last().map_or(0, |last| compress::rank(last.target));
            anyhow!("--keep {}: no rank keeps {keep} in both layers; lower --keep, or take --rank {most}", self.keep)
        })
    }
}

/// A row for each network.
fn table(compressed: &[Compressed]) -> String {
    let mut table = plain(["NETWORK", "LINEAR1 KEEPS", "LINEAR2 KEEPS", "HELD OUT", "BYTES"], 1);
    for Compressed { target, kept: [first, second], held_out, .. } in compressed {
        let bytes = size_of::<f32>() * target.parameters(target.classes());
        table.add_row([
            target.name.to_string(),
            percent(*first),
            percent(*second),
            percent(held_out.scores().accuracy),
            grouped(bytes as u64),
        ]);
    }
    table.trim_fmt()
}

/// The command that trains compressed weights on.
fn fine_tuning(weights: &Path) -> String {
    let weights = weights.to_string_lossy();
    let recipe = ["--recipe", "best", "--learning-rate", "0.0001", "--epochs", "3"];
    let arguments: Vec<_> = ["trainer", "--init", &weights].into_iter().chain(recipe).map(String::from).collect();
    shell_line(&arguments)
}

fn rank(text: &str) -> Result<Rank, String> {
    if text == "auto" {
        return Ok(Rank::Auto);
    }
    let target = TARGETS.iter().find(|target| compress::rank(target).to_string() == text);
    let ranks: Vec<_> = TARGETS.iter().map(|target| compress::rank(target).to_string()).collect();
    let names: Vec<_> = ranks.iter().map(String::as_str).chain(["auto"]).collect();
    target.map(|target| Rank::Of(target)).ok_or_else(|| format!("expected {}", alternatives(&names)))
}

fn share(text: &str) -> Result<f64, String> {
    real(text, |share| (0.0..=1.0).contains(&share), "a number from 0 to 1")
}
