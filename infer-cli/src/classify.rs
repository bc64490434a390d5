//! `infer-cli classify`: puts search, network, pipeline and output together.

use std::{
    io::{self, IsTerminal},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use image_files::{
    decode,
    find::{Candidate, Search},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    args::Classify,
    evaluate::Evaluation,
    list::List,
    network::{self, Classifier},
    output::{self, Destination, Layout, Writer},
    pipeline::{self, Consumer, Record},
    text::{complain, printable},
    worker::{self, Worker},
};

/// Runs the command. The exit status is 0 if all images were classified, else 1.
///
/// # Errors
/// Wrong usage, no images, unusable weights, or output that cannot be written: exit status 2.
pub fn run(args: Classify) -> anyhow::Result<ExitCode> {
    let weights = network::weights_path(args.weights.as_deref())?;
    let file = network::map(&weights)?;
    let classifier = Classifier::new(&file, args.labels.as_deref(), args.kernel.backend()?)
        .with_context(|| format!("cannot use the weights in {}", weights.display()))?;
    let evaluation = args.evaluate.then(|| Evaluation::new(&classifier.labels)).transpose()?;
    let list = args.files_from.as_deref().map(|list| List::open(list, args.null)).transpose()?;
    let threads = worker::threads(args.threads);

    let destination = Destination::open(args.output.as_deref())?;
    let name = destination.name();
    let cannot_write = || format!("cannot write {name}");
    let labels = classifier.labels.clone();
    let layout = Layout { top_k: usize::from(args.top_k).min(labels.len()), labels, logits: args.logits };
    let color = output::use_color(args.color, destination.is_terminal());
    let progress = !destination.is_terminal() && io::stderr().is_terminal();
    let mut results = Results {
        writer: layout.writer(args.format, destination.handle().with_context(cannot_write)?, color),
        evaluation,
        strict: args.strict,
        classified: 0,
        failed: 0,
        first_failure: None,
        progress: if progress { progress_bar() } else { ProgressBar::hidden() },
    };

    let start = Instant::now();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start threads")?;
    let decoding = decode::Options { accept_damaged: args.accept_damaged };
    let workers = (0..threads).map(|_| Worker::new(&classifier, args.invert, decoding, &pool));
    let workers = workers.collect::<anyhow::Result<Vec<_>>>()?;
    let search = Search { recursive: !args.no_recursive, hidden: args.hidden };
    pipeline::run(candidates(args.paths, list, search), workers, &mut results)
        .and_then(|()| results.writer.flush().map_err(Into::into))
        .map_err(|error| if error.is::<io::Error>() { error.context(cannot_write()) } else { error })?;
    results.progress.finish_and_clear();

    if results.classified + results.failed == 0 {
        bail!("no images found; see --help for the kinds of files that are looked for");
    }
    let stopped = results.strict && results.failed > 0;
    if !stopped {
        destination.commit()?;
    }
    results.report(start.elapsed());
    Ok(if results.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The images of all paths, those of the command line first.
fn candidates(
    paths: Vec<PathBuf>,
    list: Option<List>,
    search: Search,
) -> impl Iterator<Item = anyhow::Result<Candidate>> + Send {
    let paths = paths.into_iter().map(Ok).chain(list.into_iter().flatten());
    paths.flat_map(move |path| -> Box<dyn Iterator<Item = _> + Send> {
        match path {
            Ok(path) => Box::new(search.images(path).map(Ok)),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    })
}

/// Takes the records: writes, counts, compares.
struct Results {
    writer: Box<dyn Writer>,
    evaluation: Option<Evaluation>,
    strict: bool,
    classified: u64,
    failed: u64,
    first_failure: Option<String>,
    progress: ProgressBar,
}

impl Consumer for Results {
    fn record(&mut self, record: Record) -> io::Result<ControlFlow<()>> {
        if self.classified + self.failed == 0 {
            self.writer.begin()?;
        }
        self.writer.record(&record)?;
        if let Some(evaluation) = &mut self.evaluation {
            evaluation.record(&record);
        }
        self.progress.inc(1);
        match &record.outcome {
            Ok(_) => self.classified += 1,
            Err(error) => {
                self.failed += 1;
                self.progress.set_message(format!("{} failed", self.failed));
                self.first_failure.get_or_insert_with(|| format!("{}: {error}", record.path.display()));
                if self.strict {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn idle(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Results {
    /// Says on the standard error what went wrong, how long it took (to people), and how right it was (if asked).
    fn report(&self, time: Duration) {
        let Self { classified, failed, .. } = self;
        let images = classified + failed;
        if let Some(failure) = &self.first_failure {
            if self.strict {
                complain(&format!("error: {failure}"));
            } else if images == 1 {
                complain(failure);
            } else {
                let first = if *failed > 1 { "; the first: " } else { ": " };
                complain(&format!("{failed} of {images} images could not be classified{first}{failure}"));
            }
        }
        if io::stderr().is_terminal() {
            let seconds = time.as_secs_f64();
            complain(&format!("{images} images in {seconds:.1} s, {:.1} images/s", images as f64 / seconds));
        }
        if let Some(evaluation) = &self.evaluation {
            eprint_lines(&evaluation.to_string());
        }
    }
}

fn eprint_lines(text: &str) {
    let mut lines = String::new();
    for line in text.lines() {
        lines += &printable(line);
        lines.push('\n');
    }
    // That nobody can read it is no reason to fail.
    let _ = io::Write::write_all(&mut io::stderr(), lines.as_bytes());
}

/// Counts images; how many there are nobody knows beforehand.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {human_pos} images, {per_sec}, {elapsed} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
