//! `export`: trained weights in the formats of other programs.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, ensure};
use clap::Args;

use super::{MessageArgs, UsageError, trained};
use image_files::atomic;
use trainer::export::{ExportError, onnx};

/// Options of `export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Weights file (safetensors), or the folder of a run. The network is read from the file
    #[arg(value_name = "FILE")]
    weights: PathBuf,
    /// ONNX model to write, of operator set 13
    ///
    /// Its input `image` has N images as the network takes them, after preprocessing, its output `logits` a row for each. The
    /// model's metadata are those of the weights file: classes, preprocessing and how it was trained.
    #[arg(long, value_name = "FILE", required = true)]
    onnx: PathBuf,
    /// Replace the output if it exists
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    messages: MessageArgs,
}

impl ExportArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let output = self.onnx.display();
        let exists = self.onnx.try_exists().with_context(|| format!("cannot look for {output}"))?;
        ensure!(self.force || !exists, UsageError(format!("{output} exists; replace it with --force")));
        let (weights, file, network) = trained(&self.weights, self.messages)?;
        let same = exists && weights.canonicalize().ok() == self.onnx.canonicalize().ok();
        ensure!(!same, UsageError(format!("{output}: these are the weights to export; name another file")));
        let classes = file.classes(network, "")?;
        let expected = |name: &str| network.tensors.contains(&name);
        file.refuse_others(expected)?;
        let values = |name: &str, shape: &[usize]| -> Result<Vec<f32>, ExportError> { file.values(name, shape) };
        let model = onnx::model(network, classes, &file.metadata, values)?;
        atomic::write::<io::Error>(&self.onnx, |file| file.write_all(&model))
            .with_context(|| format!("cannot write {output}"))?;
        self.messages.note(&format!("Wrote {} for {classes} classes to {output}", network.title));
        Ok(())
    }
}
