//! `import`: weights of an ONNX model as a weights file.

use std::{fs, path::PathBuf};

use anyhow::{Context, anyhow, ensure};
use clap::{Args, ValueEnum};
use image_files::weights::{ONNX, other_kind};

use super::{MessageArgs, NetworkName, UsageError};
use trainer::export::onnx::{self, OnnxError};

/// Options of `import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// ONNX model of one of the networks, for any number of classes
    ///
    /// Its weights must be in the same file. It may end with Softmax, which is left out.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Weights file (safetensors) to write
    #[arg(short, long, visible_alias = "out", value_name = "FILE")]
    output: PathBuf,
    /// Replace the output if it exists
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    messages: MessageArgs,
}

impl ImportArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (path, output) = (self.model.display(), self.output.display());
        let exists = self.output.try_exists().with_context(|| format!("cannot look for {output}"))?;
        ensure!(self.force || !exists, UsageError(format!("{output} exists; replace it with --force")));
        let same = exists && self.model.canonicalize().ok() == self.output.canonicalize().ok();
        ensure!(!same, UsageError(format!("{output}: this is the model to import; name another file")));
        let file = fs::read(&self.model).with_context(|| format!("{path}: cannot be read"))?;
        let networks: Vec<_> = NetworkName::value_variants().iter().map(|network| network.description()).collect();
        let imported = onnx::read(&file, &networks).map_err(|error| {
            let kind = match (&error, file.get(8)) {
                (OnnxError::Format(_), Some(b'{')) => Some("safetensors, which need no import"),
                (OnnxError::Format(_), _) => other_kind(&file).filter(|kind| *kind != ONNX),
                _ => None,
            };
            kind.map_or_else(
                || anyhow!("{path}: {error}"),
                |kind| anyhow!("{path}: expected an ONNX model, found {kind}"),
            )
        })?;
        imported.notes.iter().for_each(|note| self.messages.note(&format!("{path}: {note}")));
        imported.save(&self.output)?;
        let (title, classes) = (imported.network.title, imported.classes);
        self.messages.note(&format!("Wrote {title} for {classes} classes to {output}"));
        Ok(())
    }
}
