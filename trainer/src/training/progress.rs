//! Progress on the screen while a network trains: a bar with the time left on a terminal, a plain line every few
//! seconds elsewhere, and a line for each epoch in both. Everything goes to stderr.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::{
    config::ImageCounts,
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
    epochs: usize,
    /// Of one epoch, and of all.
    epoch_work: u64,
    work: u64,
    work_done: u64,
    /// Work done before the run was resumed.
    work_before: u64,
    /// Images of the next pass that were done before.
    images_before: usize,
    started: Instant,
    last_line: Instant,
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

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// A bar where stderr is a terminal, plain lines where not.
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            bar: io::stderr().is_terminal().then(bar),
            epochs: 0,
            epoch_work: 0,
            work: 0,
            work_done: 0,
            work_before: 0,
            images_before: 0,
            started: now,
            last_line: now,
            pass: Pass { epoch: 0, phase: Phase::Train, images: 0, done: 0, before: 0, started: now },
        }
    }

    /// Scores and speed of the pass in words.
    fn describe(&self, scores: Scores) -> String {
        let speed = (self.pass.done - self.pass.before) as f64 / self.pass.started.elapsed().as_secs_f64().max(1e-9);
        format!("{speed:.1} images/s, loss {:.4}, accuracy {:.2} %", scores.loss, 100.0 * scores.accuracy)
    }

    fn title(&self) -> String {
        let pass = &self.pass;
        match self.epochs {
            0 => pass.phase.to_string(),
            epochs => format!("epoch {}/{epochs} {}", pass.epoch, pass.phase),
        }
    }

    /// The time left if the rest goes as fast as what is done.
    fn time_left(&self) -> Duration {
        let done = self.work_done.saturating_sub(self.work_before).max(1);
        let left = self.work.saturating_sub(self.work_done) as f64 / done as f64;
        Duration::try_from_secs_f64(left * self.started.elapsed().as_secs_f64()).unwrap_or(Duration::MAX)
    }

    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }
}

impl Observer for Progress {
    fn start(&mut self, epochs: usize, images: ImageCounts) {
        self.epochs = epochs;
        self.epoch_work = TRAINING_WORK * images.train as u64 + (images.validation + images.test) as u64;
        self.work = self.epoch_work.saturating_mul(epochs.max(1) as u64);
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
        // What was learnt of an epoch that is only left to be measured belongs to no pass.
        let before = if phase == Phase::Train { self.images_before } else { 0 };
        self.images_before = 0;
        self.pass = Pass { epoch, phase, images, done: before, before, started: Instant::now() };
        let title = self.title();
        if let Some(bar) = &self.bar {
            bar.set_prefix(title);
            bar.set_message(format!("{images} images"));
        }
    }

    fn batch(&mut self, images: usize, scores: Scores) {
        self.pass.done += images;
        self.work_done += images as u64
            * match self.pass.phase {
                Phase::Train => TRAINING_WORK,
                Phase::Validate | Phase::Test => 1,
            };
        let description = self.describe(scores);
        if let Some(bar) = &self.bar {
            bar.set_position(self.work_done);
            // The most wanted first: a narrow terminal cuts the end off.
            bar.set_message(format!("{:#} left, {description}", HumanDuration(self.time_left())));
        } else if self.last_line.elapsed() >= PLAIN_INTERVAL {
            self.last_line = Instant::now();
            let (title, left) = (self.title(), HumanDuration(self.time_left()));
            let Pass { done, images, .. } = self.pass;
            self.line(&format!("{title}: {done}/{images} images, {description}, {left} left"));
        }
    }

    fn times(&mut self, epoch: usize, times: &Times) {
        self.line(&format!("epoch {epoch}/{}: the GPU's time in training\n{times}", self.epochs));
    }

    fn epoch(&mut self, metrics: &EpochMetrics, best: bool) {
        let scores = |name: &str, scores: &Scores| {
            format!("{name} loss {:.4} accuracy {:.2} %, ", scores.loss, 100.0 * scores.accuracy)
        };
        self.line(&format!(
            "epoch {}/{}: {}{}{}{:.1} images/s, {:.0} s{}",
            metrics.epoch,
            self.epochs,
            scores("training", &metrics.train),
            metrics.validation.as_ref().map_or(String::new(), |held_out| scores("validation", held_out)),
            scores("test", &metrics.test),
            metrics.images_per_second,
            metrics.seconds,
            if best { " (best)" } else { "" }
        ));
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

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    // The template is a constant; were it wrong, indicatif's own style would show.
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:8}] {percent:>3}% {wide_msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Writes a line to stderr; where nobody reads it any more, that is no reason to stop working.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
