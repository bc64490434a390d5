//! Progress of a classification on the standard error: how many images are done, how fast, and once all folders are searched,
//! out of how many and how long it still takes.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use image_files::find::{Kind, Search};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use reporting::{
    terminal::{Colour, allows_colour},
    words::{counted, duration, grouped, rate},
};

use crate::list::List;

/// Shows progress where there is a terminal.
pub struct Progress {
    bar: ProgressBar,
    coloured: bool,
    failed: u64,
    /// Ends the search for the total.
    ended: Arc<AtomicBool>,
}

/// Images that will be classified.
pub struct Sources {
    /// Paths of the command line.
    pub paths: Vec<PathBuf>,
    /// List of more paths, with NUL characters between them or not.
    pub list: Option<(PathBuf, bool)>,
    /// Search within folders.
    pub search: Search,
}

impl Progress {
    /// Progress on the standard error, or none. `done` images were classified before.
    pub fn new(shown: bool, done: u64) -> Self {
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self::on(target, allows_colour(), done)
    }

    fn on(target: ProgressDrawTarget, coloured: bool, done: u64) -> Self {
        let hidden = target.is_hidden();
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {done}, {rate} images/s, {time}{msg}".to_string()));
        bar.set_position(done);
        bar.reset_eta();
        if !hidden {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, coloured, failed: 0, ended: Arc::default() }
    }

    /// Counts the images in a thread of its own, and shows the total when it is known. A list on the standard input, or in
    /// anything but an ordinary file, can be read only once: then the total stays unknown.
    pub fn count(&self, sources: Sources) {
        if self.bar.is_hidden() || sources.list.as_ref().is_some_and(|(list, _)| !is_file(list)) {
            return;
        }
        let (bar, coloured, ended) = (self.bar.clone(), self.coloured, self.ended.clone());
        // Without the thread, the total stays unknown.
        let _ = thread::Builder::new().spawn(move || {
            if let Some(total) = sources.total(&ended) {
                show_total(&bar, total, coloured);
            }
        });
    }

    /// An image is done.
    pub fn record(&mut self, failed: bool) {
        self.bar.inc(1);
        if failed {
            self.failed += 1;
            let failures = format!("{} failed", grouped(self.failed));
            self.bar.set_message(format!(", {}", Colour::Red.paint(&failures, self.coloured)));
        }
    }

    /// Clears it away.
    pub fn finish(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.bar.finish_and_clear();
    }
}

impl Sources {
    /// The number of images; none where the run has `ended` before it is known.
    fn total(self, ended: &AtomicBool) -> Option<u64> {
        let list = match &self.list {
            Some((list, null)) => Some(List::open(list, *null).ok()?),
            None => None,
        };
        let listed = list.into_iter().flatten().map_while(Result::ok);
        let mut total = 0;
        for path in self.paths.into_iter().chain(listed) {
            for candidate in self.search.images(path) {
                if ended.load(Ordering::Relaxed) {
                    return None;
                }
                total += u64::from(!matches!(candidate.kind, Kind::Skipped(_)));
            }
        }
        Some(total)
    }
}

fn is_file(path: &Path) -> bool {
    path != "-" && fs::metadata(path).is_ok_and(|found| found.is_file())
}

fn show_total(bar: &ProgressBar, total: u64, coloured: bool) {
    let filled = Colour::Cyan.paint("{wide_bar}", coloured);
    bar.set_style(style(format!("[{filled}] {{done}}, {{rate}} images/s, {{left}} left{{msg}}")));
    bar.set_length(total.max(bar.position()));
}

/// A style with the program's own numbers and durations.
fn style(template: String) -> ProgressStyle {
    let done = |state: &ProgressState, out: &mut dyn fmt::Write| {
        let done = match state.len() {
            Some(total) => format!("{}/{}", grouped(state.pos()), counted(total, "image")),
            None => counted(state.pos(), "image"),
        };
        // Writing to a string cannot fail, here and below.
        let _ = out.write_str(&done);
    };
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| _ = out.write_str(&rate(state.per_sec()));
    let time = |state: &ProgressState, out: &mut dyn fmt::Write| _ = out.write_str(&whole(state.elapsed()));
    let left = |state: &ProgressState, out: &mut dyn fmt::Write| _ = out.write_str(&whole(state.eta()));
    // The templates are good for indicatif; were they not, indicatif's own style would show.
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    style
        .progress_chars("=> ")
        .with_key("done", done)
        .with_key("rate", rate)
        .with_key("time", time)
        .with_key("left", left)
}

/// A duration in whole seconds.
fn whole(time: Duration) -> String {
    duration(Duration::from_secs(time.as_secs()))
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;
    use reporting::words::width;

    use super::*;

    fn on(terminal: &InMemoryTerm) -> Progress {
        Progress::on(ProgressDrawTarget::term_like(Box::new(terminal.clone())), false, 0)
    }

    #[test]
    fn the_bar_takes_what_the_words_leave() {
        for columns in [80, 120] {
            let terminal = InMemoryTerm::new(5, columns);
            let mut progress = on(&terminal);
            progress.record(true);
            progress.bar.tick();
            assert!(terminal.contents().contains(" 1 image, "), "{}", terminal.contents());
            show_total(&progress.bar, 1_234_567, false);
            progress.bar.set_position(654_321);
            // That is drawn at once.
            progress.bar.set_message(", 1 failed");
            let line = terminal.contents();
            assert!(line.starts_with("[==") && line.contains("] 654,321/1,234,567 images, "), "{line}");
            assert!(line.ends_with(" left, 1 failed") && width(&line) == usize::from(columns), "{line}");
            progress.finish();
            assert_eq!(terminal.contents(), "");
        }
    }

    #[test]
    fn the_total_counts_what_will_be_classified() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.jpg", "c.heic", "d.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let list = folder.path().join("list");
        fs::write(&list, "x.png\ny.png\n").unwrap();
        let search = Search { recursive: true, hidden: false };
        let sources = |list| Sources { paths: vec![folder.path().into(), "z.png".into()], list, search };
        assert_eq!(sources(None).total(&AtomicBool::new(false)), Some(3));
        assert_eq!(sources(Some((list.clone(), false))).total(&AtomicBool::new(false)), Some(5));
        assert_eq!(sources(None).total(&AtomicBool::new(true)), None);
        assert!(is_file(&list) && !is_file(Path::new("-")) && !is_file(folder.path()));
    }
}
