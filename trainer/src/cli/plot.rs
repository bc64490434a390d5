//! `plot`: a run's curves, or several runs in one picture or on one page.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::MessageArgs;
use image_files::atomic;
use trainer::{
    export,
    training::{
        checkpoint::Checkpoint,
        config::RunConfig,
        curves::{self, ComparedRun},
        introduction::title,
        metrics::{self, EpochMetrics},
        output,
        progress::say,
        report::{self, ReportedRun},
        steps,
    },
};

/// Options of `plot`.
#[derive(Debug, Args)]
pub(super) struct PlotArgs {
    /// Folders of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Picture (FILE.svg) or page (FILE.html) to write
    ///
    /// The page has curves that can be read off, scores, precision and recall of each class and the options that differ, each
    /// beside those of the first run.
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
        let content = match (&self.runs[..], &runs[..]) {
            _ if is_page(&self.out) => {
                let reported = self.runs.iter().zip(runs).map(|(folder, run)| reported(folder, run));
                Ok(report::compare(&reported.collect::<Vec<_>>()))
            }
            // One run is drawn with all that was measured.
            ([folder], [run]) => {
                let config = RunConfig::read(folder).ok();
                let name = config.as_ref().map_or(run.name.as_str(), |config| title(&config.network));
                curves::draw(name, &run.epochs, &run.steps)
            }
            _ => curves::compare(&runs),
        };
        let content = content.map_err(anyhow::Error::msg)?;
        atomic::write::<io::Error>(&self.out, |file| file.write_all(content.as_bytes()))
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

/// The run in a folder with all that is known of it.
fn reported(folder: &Path, run: ComparedRun) -> ReportedRun {
    let config = RunConfig::read(folder).ok();
    let answers = config.as_ref().and_then(|config| {
        let weights = folder.join(format!("{}.safetensors", config.network));
        let classes = output::class_names(&export::metadata(&weights).ok()?)?;
        let state = Checkpoint::newest(folder, &config.network, &config.options).ok()?.state;
        Some((classes, state.examination.tally))
    });
    ReportedRun { run, config, answers }
}

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("html"))
}

/// A path whose extension must say what it is.
fn picture(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("svg") || is_page(&path) => Ok(path),
        _ => Err("expected a name that ends in .svg (a picture) or .html (a page)".to_string()),
    }
}

/// Name of a run in a picture: its folder as it was given, without the parts that most runs share.
fn name(run: &Path) -> String {
    run.strip_prefix("runs").unwrap_or(run).display().to_string()
}
