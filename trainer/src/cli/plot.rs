//! `plot`: a run's curves, or several runs in one picture.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::MessageArgs;
use crate::training::{
    config::RunConfig,
    curves::{self, ComparedRun},
    introduction::title,
    metrics::{self, EpochMetrics},
    progress::say,
    steps,
};
use image_files::atomic;

/// Options of `plot`.
#[derive(Debug, Args)]
pub(super) struct PlotArgs {
    /// Folders of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Picture to write (SVG)
    #[arg(short, long, visible_alias = "output", value_name = "FILE", default_value = "comparison.svg", value_parser = picture)]
    out: PathBuf,
    #[command(flatten)]
    messages: MessageArgs,
}

impl PlotArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let runs: Vec<_> = self
            .runs
            .iter()
            .map(|run| {
                let epochs = epochs(run)?;
                let steps = steps::read(&run.join("metrics.jsonl"));
                Ok(ComparedRun { name: name(run), epochs, steps })
            })
            .collect::<anyhow::Result<_>>()?;
        let data: Vec<Vec<String>> = self
            .runs
            .iter()
            .filter_map(|run| RunConfig::read(run).ok())
            .map(|config| config.data.into_iter().map(|file| file.sha256).collect())
            .collect();
        if data.windows(2).any(|pair| pair[0] != pair[1]) {
            say("warning: these runs were made on different data, so their curves cannot be compared");
        }
        let svg = match (&self.runs[..], &runs[..]) {
            // One run is drawn with all that was measured.
            ([folder], [run]) => {
                let config = RunConfig::read(folder).ok();
                let name = config.as_ref().map_or(run.name.as_str(), |config| title(&config.network));
                curves::draw(name, &run.epochs, &run.steps)
            }
            _ => curves::compare(&runs),
        };
        let svg = svg.map_err(anyhow::Error::msg)?;
        atomic::write::<io::Error>(&self.out, |file| file.write_all(svg.as_bytes()))
            .with_context(|| format!("cannot write {}", self.out.display()))?;
        self.messages.note(&format!("Wrote {}", self.out.display()));
        Ok(())
    }
}

/// The epochs of the run in a folder.
fn epochs(run: &Path) -> anyhow::Result<Vec<EpochMetrics>> {
    let folder = run.display();
    ensure!(run.exists(), "there is no folder {folder}; name the folder of a run, as --out named it");
    ensure!(!run.is_file(), "{folder} is a file; name the folder of a run");
    let path = run.join("metrics.csv");
    match File::open(&path).and_then(metrics::read_csv) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "there is no run in {folder}, or its first epoch has not ended: it holds no metrics.csv. The folder of a run has \
             config.json, metrics.csv (a line an epoch) and metrics.jsonl (a line a step)"
        ),
        epochs => epochs.with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A picture's path, whose extension must say what it is.
fn picture(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("svg") => Ok(path),
        _ => Err("expected a name that ends in .svg, the only kind of picture that is drawn".to_string()),
    }
}

/// Name of a run in a picture: its folder as it was given, without the parts that most runs share.
fn name(run: &Path) -> String {
    run.strip_prefix("runs").unwrap_or(run).display().to_string()
}
