//! `plot`: several runs in one picture.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;

use crate::training::{curves, metrics, progress::say};
use image_files::atomic;

/// Options of `plot`.
#[derive(Debug, Args)]
pub(super) struct PlotArgs {
    /// Folders of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Picture to write (SVG)
    #[arg(long, value_name = "FILE", default_value = "comparison.svg")]
    out: PathBuf,
}

impl PlotArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let runs: Vec<_> = self
            .runs
            .iter()
            .map(|run| {
                let path = run.join("metrics.csv");
                let epochs = File::open(&path).and_then(metrics::read_csv);
                let epochs = epochs.with_context(|| format!("cannot read {}", path.display()))?;
                Ok((name(run), epochs))
            })
            .collect::<anyhow::Result<_>>()?;
        let svg = curves::compare(&runs).map_err(anyhow::Error::msg)?;
        atomic::write::<io::Error>(&self.out, |file| file.write_all(svg.as_bytes()))
            .with_context(|| format!("cannot write {}", self.out.display()))?;
        say(&format!("Wrote {}", self.out.display()));
        Ok(())
    }
}

/// Name of a run in a picture: its folder as it was given, without the parts that most runs share.
fn name(run: &Path) -> String {
    run.strip_prefix("runs").unwrap_or(run).display().to_string()
}
