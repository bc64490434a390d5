//! `infer-cli classify`: puts search, network, pipeline and output together.

use std::{
    fs,
    io::{self, IsTerminal},
    ops::ControlFlow,
    path::PathBuf,
    process::{self, ExitCode},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail, ensure};
use classifier::{Classifier, Options, Source};
use image_files::{
    decode,
    find::{Search, is_image},
};
use reporting::words::{duration, rate};

use crate::{
    args::{Classify, Format, ProgressStyle},
    evaluate::Evaluation,
    images::{Image, Skipped, Sources},
    interrupt::Interrupt,
    list::List,
    output::{self, Asked, Earlier, Opened, OutputOptions, Writer, refuse_input},
    partition::Partition,
    pipeline::{self, Consumer, Record},
    progress::Progress,
    shard::STANDARD_INPUT,
    sheet::Sheet,
    text::{complain, counted, escaped, printable},
    worker::Worker,
};

/// Runs the command. The exit status is 0 if all images were classified, else 1.
///
/// # Errors
/// Wrong usage, no images, unusable weights, or output that cannot be written: exit status 2.
pub fn run(args: Classify) -> anyhow::Result<ExitCode> {
    let source = Source::find(args.weights.as_deref())?;
    let classifier = Classifier::open(&source, args.labels.as_deref(), args.kernel.backend()?)?;
    let evaluation = args.evaluate.then(|| Evaluation::new(classifier.labels(), classifier.data())).transpose()?;
    let list = args.files_from.as_deref().map(|list| List::open(list, args.null)).transpose()?;
    let threads = classifier::threads(args.threads);

    for (option, output) in [("--output", &args.output), ("--report", &args.report)] {
        let Some(output) = output else { continue };
        let inputs = [source.path(), args.labels.as_ref(), args.files_from.as_ref()];
        refuse_input(option, output, inputs.into_iter().flatten().chain(&args.paths).map(PathBuf::as_path))?;
        let is_image = is_image(output) && output.is_file();
        ensure!(!is_image, "{option} {}: this file has an image's name, and is not replaced", output.display());
    }
    ensure!(args.report.is_none() || args.report != args.output, "--report and --output are the same file");
    let sheet = args.report.as_deref().map(|path| Sheet::new(path, classifier.labels())).transpose()?;
    let format = args.format()?;
    ensure!(
        !(args.null_output && matches!(format, Format::Jsonl | Format::Parquet)),
        "--null-output: JSON and Parquet have no place for bytes, use another format"
    );
    ensure!(!(args.resume && format == Format::Table), "--resume needs --format jsonl, csv or parquet");
    let both = args.paths.iter().any(|path| path.as_path() == STANDARD_INPUT)
        && args.files_from.as_deref() == Some(STANDARD_INPUT.as_ref());
    ensure!(!both, "the standard input can be a shard (-) or a list (--files-from -), not both");
    let interrupt = Interrupt::install().context("cannot catch signals")?;
    let labels = classifier.labels().to_vec();
    let layout = OutputOptions {
        top_k: usize::from(args.top_k).min(labels.len()),
        labels,
        logits: args.logits,
        doubts: classifier.checks().is_some(),
        null: args.null_output,
        csv_safe: args.csv_safe && format == Format::Csv,
    };
    let asked = Asked {
        path: args.output.as_deref(),
        format,
        partition: args.partition,
        resume: args.resume,
        whole: args.evaluate || args.report.is_some(),
        rows: args.rows as usize,
    };
    let Some(opened) = asked.open(&layout)? else {
        if !args.quiet {
            complain(&format!("{} is complete already", args.partition.map(Partition::name).unwrap_or_default()));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let name = opened.destination.name();
    let cannot_write = || format!("cannot write {name}");
    let skipped = Mutex::new(Skipped::default());
    let color = output::use_color(args.color, opened.destination.is_terminal());
    let writer = opened.writer(&asked, layout.clone(), color).with_context(cannot_write)?;
    let Opened { destination, earlier } = opened;
    let bar = !args.quiet && !destination.is_terminal() && io::stderr().is_terminal();
    let mut results = Results {
        writer,
        evaluation,
        sheet,
        strict: args.strict,
        quiet: args.quiet,
        begun: earlier.begun,
        classified: earlier.len() as u64 - earlier.failed,
        failed: earlier.failed,
        interrupt,
        unfinished: destination.unfinished(),
        go_on: if args.partition.is_some() { "the same command" } else { "--resume" },
        first_failure: None,
        progress: match args.progress {
            ProgressStyle::Json => Progress::json(earlier.len() as u64).context("cannot start a thread")?,
            ProgressStyle::Auto if bar => Progress::bar(earlier.len() as u64),
            ProgressStyle::Auto | ProgressStyle::None => Progress::hidden(),
        },
    };

    if source == Source::BuiltIn && !args.quiet {
        complain(&format!(
            "{source} tells ten kinds of clothing apart, light on black: {}; --weights FILE for others",
            classifier.labels().join(", ")
        ));
    }
    let start = Instant::now();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start threads")?;
    let orient = args.orient.unwrap_or(classifier.preprocessing().orient);
    let decoding = decode::Options { accept_damaged: args.accept_damaged, orient };
    let options = Options { invert: args.invert, decoding };
    let workers = (0..threads).map(|_| Worker::new(&classifier, options, args.report.is_some(), &pool)).collect();
    let search = Search { recursive: !args.no_recursive, hidden: args.hidden };
    let sources = |list| Sources { paths: args.paths.clone(), list, search, partition: args.partition };
    // A list that can be read only once leaves the total unknown.
    match args.files_from.as_deref().map(|list| List::again(list, args.null)) {
        Some(None) => {}
        Some(again) => results.progress.count(sources(again)),
        None => results.progress.count(sources(None)),
    }
    let images = sources(list)
        .images()
        .filter(|image| !skipped.lock().unwrap_or_else(PoisonError::into_inner).takes(image, args.verbose));
    let found = AtomicUsize::new(0);
    let images = images.inspect(|_| _ = found.fetch_add(1, Ordering::Relaxed));
    let done = pipeline::run(remaining(images, &earlier, &layout), workers, &mut results)
        .and_then(|()| results.end(args.partition.is_some()).map_err(Into::into))
        .map_err(|error| if error.is::<io::Error>() { error.context(cannot_write()) } else { error });
    results.progress.finish();
    let skipped = skipped.into_inner().unwrap_or_else(PoisonError::into_inner);

    let images = results.classified + results.failed;
    let (before, now) = (earlier.len(), found.into_inner());
    let done = done.and_then(|()| {
        ensure!(now >= before, "--resume: the earlier run classified {before} images, and now there are {now}");
        Ok(())
    });
    if let Err(error) = done {
        if images == 0 {
            destination.discard();
        }
        return Err(error);
    }
    if images == 0 && args.partition.is_some() {
        if !args.quiet {
            complain("no images in this part");
        }
    } else if images == 0 {
        destination.discard();
        let skipped = skipped.to_string();
        let skipped = if skipped.is_empty() { skipped } else { format!(" ({skipped})") };
        bail!("no images found{skipped}; see --help for the kinds of files that are looked for");
    }
    if results.strict && results.failed > 0 {
        destination.discard();
    } else {
        destination.commit()?;
        if let Some(sheet) = results.sheet.take() {
            sheet.write(&source.to_string())?;
        }
    }
    results.report(start.elapsed(), images - before as u64);
    if !skipped.is_empty() && !args.quiet {
        let lists = if args.verbose || !skipped.has_formats() { "" } else { "; -v lists them" };
        complain(&format!("{skipped}{lists}"));
    }
    Ok(if results.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The images but for those that an earlier run has classified, which must be the first ones.
fn remaining(
    images: impl Iterator<Item = anyhow::Result<Image>> + Send,
    earlier: &Earlier,
    layout: &OutputOptions,
) -> impl Iterator<Item = anyhow::Result<Image>> + Send {
    images.enumerate().filter_map(move |(place, image)| match image {
        Ok(image) if place < earlier.len() => (!earlier.is_of(place, &image.path, layout)).then(|| {
            let path = image.path.display();
            Err(anyhow!(
                "--resume: the images have changed: {path} is number {}, where the earlier run had another",
                place + 1
            ))
        }),
        other => Some(other),
    })
}

/// Takes the records: writes, counts, compares.
struct Results {
    writer: Box<dyn Writer>,
    evaluation: Option<Evaluation>,
    sheet: Option<Sheet>,
    strict: bool,
    /// Only errors are said.
    quiet: bool,
    /// Something stands in the output already.
    begun: bool,
    interrupt: Interrupt,
    /// Where the results of an interrupted run are.
    unfinished: Option<PathBuf>,
    /// The way for another run to go on from them.
    go_on: &'static str,
    classified: u64,
    failed: u64,
    first_failure: Option<String>,
    progress: Progress,
}

impl Consumer for Results {
    fn record(&mut self, record: Record) -> io::Result<ControlFlow<()>> {
        self.end_if_interrupted()?;
        self.begin()?;
        self.writer.record(&record)?;
        if let Some(evaluation) = &mut self.evaluation {
            evaluation.record(&record);
        }
        if let Some(sheet) = &mut self.sheet {
            let class = self.evaluation.as_ref().and_then(|evaluation| evaluation.class_of(&record.path));
            sheet.record(&record, class).map_err(io::Error::other)?;
        }
        self.progress.record(record.outcome.is_err());
        match &record.outcome {
            Ok(_) => self.classified += 1,
            Err(error) => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| format!("{}: {error}", escaped(&record.path)));
                if self.strict {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn idle(&mut self) -> io::Result<()> {
        self.end_if_interrupted()?;
        self.writer.flush()
    }
}

impl Results {
    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.writer.begin()?;
            self.begun = true;
        }
        Ok(())
    }

    /// Ends the output. One without records is begun, too, if `empty` ones are wanted.
    fn end(&mut self, empty: bool) -> io::Result<()> {
        if empty {
            self.begin()?;
        }
        if empty || self.classified + self.failed > 0 { self.writer.end() } else { self.writer.flush() }
    }

    /// Ends the program if a signal asked for it, whatever the threads and the search for images are at.
    fn end_if_interrupted(&mut self) -> io::Result<()> {
        let Some(status) = self.interrupt.requested() else { return Ok(()) };
        self.writer.keep()?;
        self.progress.finish();
        let images = self.classified + self.failed;
        let after = format!("interrupted after {}", counted(images, "image"));
        match &self.unfinished {
            Some(path) if images == 0 => {
                // That it stays is no harm.
                let _ = fs::remove_file(path);
                complain(&after);
            }
            Some(path) => {
                complain(&format!("{after}, which are in {}; {} goes on from them", path.display(), self.go_on))
            }
            None => complain(&after),
        }
        process::exit(status);
    }

    /// Says on the standard error what went wrong, how long the `new` images took (to people), and how right it was (if asked).
    fn report(&self, time: Duration, new: u64) {
        let Self { classified, failed, .. } = self;
        let images = classified + failed;
        let images_in_words = counted(images, "image");
        if self.first_failure.is_none() && *failed > 0 {
            complain(&format!("error: {failed} of {images_in_words} could not be classified by the earlier run"));
        }
        if let Some(failure) = &self.first_failure {
            if self.strict || images == 1 {
                complain(&format!("error: {failure}"));
            } else {
                let first = if *failed > 1 { "; the first: " } else { ": " };
                complain(&format!("error: {failed} of {images_in_words} could not be classified{first}{failure}"));
            }
        }
        if io::stderr().is_terminal() && !self.quiet {
            let rate = rate(new as f64 / time.as_secs_f64());
            complain(&format!("{} in {}, {rate} images/s", counted(new, "image"), duration(time)));
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
