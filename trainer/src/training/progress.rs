//! Progress on the screen while a network trains: a bar with the time left on a terminal, a plain line every few
//! seconds elsewhere, and a table of the epochs in both. Everything goes to stderr.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use reporting::{
    terminal::{Colour, allows_colour},
    words::{duration, grouped, loss, percent, rate},
};

use super::{
    config::ImageCounts,
    epoch_table::EpochTable,
    infobatch,
    metrics::{EpochMetrics, Scores},
};
use crate::times::Times;

/// The time between two plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Work of learning from an image (forward, backward, update) in units of that of evaluating one (forward).
pub(super) const TRAINING_WORK: u64 = 3;

/// Phase of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Computing what frozen layers give for all images, before the first epoch.
    Frozen,
    /// Learning from the training images.
    Train,
    /// Measuring by the held-out images.
    Validate,
    /// Measuring by the test images.
    Test,
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Frozen => "frozen layers",
            Self::Train => "training",
            Self::Validate => "validation",
            Self::Test => "test",
        })
    }
}

/// Is told how a run proceeds. The unit type ignores it all.
pub trait Observer {
    /// Each of `epochs` epochs will go through this many images.
    fn start(&mut self, epochs: usize, images: ImageCounts) {
        let _ = (epochs, images);
    }

    /// The run goes on: `epochs` epochs were made before, and `images` training images of the epoch under way were learnt
    /// from.
    fn resume(&mut self, epochs: usize, images: usize) {
        let _ = (epochs, images);
    }

    /// A pass over `images` images begins in `epoch` (from 1).
    fn phase(&mut self, epoch: usize, phase: Phase, images: usize) {
        let _ = (epoch, phase, images);
    }

    /// `images` more images are done; `scores` are those of the pass so far.
    fn batch(&mut self, images: usize, scores: Scores) {
        let _ = (images, scores);
    }

    /// The device spent the training pass of `epoch` (from 1) on this.
    fn times(&mut self, epoch: usize, times: &Times) {
        let _ = (epoch, times);
    }

    /// The run was asked to end, and saves what it has.
    fn interrupted(&mut self) {}

    /// An epoch ended, the best so far or not.
    fn epoch(&mut self, metrics: &EpochMetrics, best: bool) {
        let _ = (metrics, best);
    }
}

impl Observer for () {}

/// Shows progress on stderr.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    table: EpochTable,
    /// Whether the table's header was shown.
    headed: bool,
    epochs: usize,
    /// Training images of an epoch that skips none.
    train_images: usize,
    /// Whether the images that an epoch skips are told.
    verbose: bool,
    /// Of one epoch that skips no image, and of all.
    epoch_work: u64,
    work: u64,
    work_done: u64,
    /// Work done before the run was resumed.
    work_before: u64,
    /// Images of the next pass that were done before.
    images_before: usize,
    started: Instant,
    last_line: Instant,
    /// Seconds left, which the bar shows.
    seconds_left: Arc<AtomicU64>,
    pass: Pass,
}

/// The pass under way.
#[derive(Debug)]
struct Pass {
    epoch: usize,
    phase: Phase,
    images: usize,
    done: usize,
    /// Part of `done` that was done before the run was resumed.
    before: usize,
    started: Instant,
}

/// No time left is known yet.
const UNKNOWN: u64 = u64::MAX;

impl Default for Progress {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Progress {
    /// A bar where stderr is a terminal, plain lines where not. `verbose` adds a line for an epoch that skips images.
    pub fn new(verbose: bool) -> Self {
        let target = io::stderr().is_terminal().then(ProgressDrawTarget::stderr);
        let mut progress = Self::on(target, allows_colour());
        progress.verbose = verbose;
        progress
    }

    /// A bar on `target`, or plain lines where there is none.
    fn on(target: Option<ProgressDrawTarget>, coloured: bool) -> Self {
        let now = Instant::now();
        let seconds_left = Arc::new(AtomicU64::new(UNKNOWN));
        let coloured = coloured && target.is_some();
        Self {
            bar: target.map(|target| bar(target, coloured, seconds_left.clone())),
            table: EpochTable { validation: false, coloured },
            headed: false,
            epochs: 0,
            train_images: 0,
            verbose: false,
            epoch_work: 0,
            work: 0,
            work_done: 0,
            work_before: 0,
            images_before: 0,
            started: now,
            last_line: now,
            seconds_left,
            pass: Pass { epoch: 0, phase: Phase::Train, images: 0, done: 0, before: 0, started: now },
        }
    }

    /// Scores and speed of the pass in words.
    fn describe(&self, scores: Scores) -> String {
        let speed = (self.pass.done - self.pass.before) as f64 / self.pass.started.elapsed().as_secs_f64().max(1e-9);
        let Scores { loss: value, accuracy } = scores;
        format!("accuracy {}, loss {}, {} images/s", percent(accuracy), loss(value), rate(speed))
    }

    /// The epoch under way, of all.
    fn title(&self) -> String {
        match self.epochs {
            0 => "evaluating".to_string(),
            epochs => format!("epoch {}/{epochs}", self.pass.epoch),
        }
    }

    /// The images of the pass that are done, of all.
    fn count(&self) -> String {
        let Pass { phase, done, images, .. } = &self.pass;
        format!("{phase} {}/{}", grouped(*done as u64), grouped(*images as u64))
    }

    /// The time left if the rest goes as fast as what is done, in whole seconds.
    fn time_left(&self) -> Duration {
        let done = self.work_done.saturating_sub(self.work_before).max(1);
        let left = self.work.saturating_sub(self.work_done) as f64 / done as f64;
        Duration::from_secs((left * self.started.elapsed().as_secs_f64()).ceil() as u64)
    }

    /// Counts the work of a run whose epoch under way learns from some images, so that an epoch that skips images has less of it. As
    /// many are expected to be skipped in each of those that follow, but for the last ones, which skip none.
    fn plan(&mut self, epoch: usize, images: usize) {
        let skipped = self.train_images.saturating_sub(images);
        let epochs_left = |last: usize| (last + 1).saturating_sub(epoch) as u64;
        let before = self.work_done.saturating_sub(TRAINING_WORK * self.images_before as u64);
        let whole = before + epochs_left(self.epochs).saturating_mul(self.epoch_work);
        let skipping = epochs_left(infobatch::last_pruned_epoch(self.epochs));
        self.work = whole.saturating_sub(skipping * TRAINING_WORK * skipped as u64);
        if let Some(bar) = &self.bar {
            bar.set_length(self.work);
        }
        if self.verbose && skipped > 0 {
            let [skipped, all] = [skipped, self.train_images].map(|images| grouped(images as u64));
            self.line(&format!("epoch {epoch}/{}: InfoBatch skips {skipped} of {all} training images", self.epochs));
        }
    }

    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => say(line),
        }
    }
}

impl Observer for Progress {
    fn start(&mut self, epochs: usize, images: ImageCounts) {
        self.epochs = epochs;
        self.train_images = images.train;
        self.epoch_work = TRAINING_WORK * images.train as u64 + (images.validation + images.test) as u64;
        self.work = self.epoch_work.saturating_mul(epochs.max(1) as u64);
        self.table.validation = images.validation > 0;
        self.started = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_length(self.work);
            bar.enable_steady_tick(Duration::from_millis(250));
        }
    }

    fn resume(&mut self, epochs: usize, images: usize) {
        self.images_before = images;
        self.work_before = self.epoch_work * epochs as u64 + TRAINING_WORK * images as u64;
        self.work_done = self.work_before;
    }

    fn phase(&mut self, epoch: usize, phase: Phase, images: usize) {
        if phase == Phase::Train {
            self.plan(epoch, images);
        }
        // What was learnt of an epoch that is only left to be measured belongs to no pass.
        let before = if phase == Phase::Train { self.images_before } else { 0 };
        if phase != Phase::Frozen {
            self.images_before = 0;
        }
        if self.pass.phase == Phase::Frozen {
            // The time left follows from the epochs alone.
            self.started = Instant::now();
        }
        self.pass = Pass { epoch, phase, images, done: before, before, started: Instant::now() };
        if let Some(bar) = &self.bar {
            bar.set_prefix(self.title());
            bar.set_position(self.work_done);
            bar.set_message(self.count());
        }
    }

    fn batch(&mut self, images: usize, scores: Scores) {
        self.pass.done += images;
        self.work_done += images as u64
            * match self.pass.phase {
                Phase::Frozen => 0,
                Phase::Train => TRAINING_WORK,
                Phase::Validate | Phase::Test => 1,
            };
        if self.pass.phase == Phase::Frozen {
            if let Some(bar) = &self.bar {
                bar.set_message(self.count());
            }
            return;
        }
        let (count, description, left) = (self.count(), self.describe(scores), self.time_left());
        if let Some(bar) = &self.bar {
            self.seconds_left.store(left.as_secs(), Ordering::Relaxed);
            bar.set_position(self.work_done);
            // The most wanted first: a narrow terminal cuts the end off.
            bar.set_message(format!("{count}: {description}"));
        } else if self.last_line.elapsed() >= PLAIN_INTERVAL {
            self.last_line = Instant::now();
            self.line(&format!("{}: {count} images, {description}, {} left", self.title(), duration(left)));
        }
    }

    fn times(&mut self, epoch: usize, times: &Times) {
        self.line(&format!("epoch {epoch}/{}: the GPU's time in training\n{times}", self.epochs));
    }

    fn interrupted(&mut self) {
        self.line("Saving the run; a second Ctrl-C ends it at once, without its last steps");
    }

    fn epoch(&mut self, metrics: &EpochMetrics, best: bool) {
        let row = self.table.row(metrics, best);
        match std::mem::replace(&mut self.headed, true) {
            true => self.line(&row),
            false => self.line(&format!("{}\n{row}", self.table.header())),
        }
        self.last_line = Instant::now();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Two lines as wide as the terminal: the bar of the whole run between the epoch and the time left, and the pass under way.
fn bar(target: ProgressDrawTarget, coloured: bool, seconds_left: Arc<AtomicU64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), target);
    let filled = Colour::Cyan.paint("{wide_bar}", coloured);
    let template = format!("{{prefix}} [{filled}] {{percent:>3}} %{{left}}\n  {{wide_msg}}");
    // The template is good for indicatif; were it not, indicatif's own style would show.
    if let Ok(style) = ProgressStyle::with_template(&template) {
        let left = move |_: &ProgressState, out: &mut dyn fmt::Write| {
            let seconds = seconds_left.load(Ordering::Relaxed);
            if seconds != UNKNOWN {
                // Writing to a string cannot fail.
                let _ = write!(out, ", {} left", duration(Duration::from_secs(seconds)));
            }
        };
        bar.set_style(style.progress_chars("=> ").with_key("left", left));
    }
    bar
}

/// Writes a line to stderr; where nobody reads it any more, that is no reason to stop working.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;
    use reporting::words::width;

    use super::*;

    const IMAGES: ImageCounts = ImageCounts { train: 54_000, validation: 6_000, test: 10_000 };
    const SCORES: Scores = Scores { loss: 0.41234, accuracy: 0.851_234 };

    fn epoch(epoch: usize) -> EpochMetrics {
        let (train, validation) = (SCORES, Some(SCORES));
        EpochMetrics { epoch, train, validation, test: SCORES, images_per_second: 299.0, seconds: 3599.0, skipped: 0 }
    }

    /// Screen of a terminal of some columns in the second epoch of three.
    fn shown(columns: u16, coloured: bool) -> (InMemoryTerm, Progress) {
        let terminal = InMemoryTerm::new(20, columns);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let mut progress = Progress::on(Some(target), coloured);
        progress.start(3, IMAGES);
        progress.phase(1, Phase::Train, IMAGES.train);
        progress.batch(IMAGES.train, SCORES);
        progress.epoch(&epoch(1), true);
        progress.phase(2, Phase::Train, IMAGES.train);
        progress.batch(27_000, SCORES);
        progress.bar.as_ref().unwrap().tick();
        (terminal, progress)
    }

    #[test]
    fn the_screen_is_as_wide_as_the_terminal_and_nothing_of_it_is_cut_off_at_80_columns() {
        for columns in [80, 120, 200] {
            let (terminal, progress) = shown(columns, false);
            let contents = terminal.contents();
            let [.., row, bar, pass] = contents.lines().collect::<Vec<_>>()[..] else { panic!("{contents}") };
            assert!(row.starts_with("    1  0.4123  85.12 %") && row.ends_with("59 min 59 s  best"), "{contents}");
            assert!(bar.starts_with("epoch 2/3 [====") && bar.ends_with(" s left"), "{contents}");
            // The bar takes what the words leave.
            assert_eq!(width(bar), usize::from(columns), "{contents}");
            assert!(bar.matches(['=', '>', ' ']).count() > usize::from(columns) / 2, "{contents}");
            assert!(pass.starts_with("  training 27,000/54,000: accuracy 85.12 %, loss 0.4123, "), "{contents}");
            assert!(pass.ends_with(" images/s"), "{contents}");
            drop(progress);
            assert!(terminal.contents().ends_with("best"), "{}", terminal.contents());
        }
    }

    #[test]
    fn an_epoch_that_skips_images_has_less_work_and_so_have_those_that_follow() {
        let mut progress = Progress::on(None, false);
        progress.start(8, IMAGES);
        let whole = 3 * 54_000 + 6_000 + 10_000;
        let mut epoch = |epoch, images, expected: u64| {
            for (phase, images) in [(Phase::Train, images), (Phase::Validate, 6_000), (Phase::Test, 10_000)] {
                progress.phase(epoch, phase, images);
                assert_eq!(progress.work, expected, "{epoch}");
                progress.batch(images, SCORES);
            }
            progress.work - progress.work_done
        };
        assert_eq!(epoch(1, 54_000, 8 * whole), 7 * whole);
        // The second to the seventh epoch skip images, the last one none.
        let mut work = 8 * whole - 6 * 3 * 20_000;
        assert_eq!(epoch(2, 34_000, work), 6 * whole - 5 * 3 * 20_000);
        work -= 5 * 3 * 4_000;
        for number in 3..8 {
            epoch(number, 30_000, work);
        }
        assert_eq!(epoch(8, 54_000, work), 0);
        // A run that goes on in the middle of an epoch.
        let mut resumed = Progress::on(None, false);
        resumed.start(8, IMAGES);
        resumed.resume(6, 20_000);
        resumed.phase(7, Phase::Train, 30_000);
        assert_eq!(resumed.work - resumed.work_done, 3 * 10_000 + 16_000 + whole);
    }

    #[test]
    fn a_narrow_terminal_keeps_what_matters_most() {
        let (terminal, _progress) = shown(45, false);
        assert!(
            terminal.contents().contains("\n  training 27,000/54,000: accuracy 85.12 %, l"),
            "{}",
            terminal.contents()
        );
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        let escapes = |coloured| String::from_utf8(shown(80, coloured).0.contents_formatted()).unwrap();
        assert!(escapes(true).contains("\u{1b}[36m") && escapes(true).contains("\u{1b}[32m"));
        assert!(!escapes(false).contains("\u{1b}[36m") && !escapes(false).contains("\u{1b}[32m"));
        assert!(!Progress::on(None, true).table.coloured);
    }
}
