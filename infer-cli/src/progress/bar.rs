//! A bar for people: how many images are done, how fast, and once all folders are searched, out of how many and how long it still
//! takes.

use std::{fmt, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use reporting::{
    terminal::{Colour, allows_colour},
    words::{counted, duration, grouped, rate},
};

/// A bar on a terminal.
pub struct Bar {
    bar: ProgressBar,
    coloured: bool,
    failed: u64,
}

impl Bar {
    /// A bar on the standard error. `done` images were classified before.
    pub fn new(done: u64) -> Self {
        Self::on(ProgressDrawTarget::stderr(), allows_colour(), done)
    }

    fn on(target: ProgressDrawTarget, coloured: bool, done: u64) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {done}, {rate} images/s, {time}{msg}".to_string()));
        bar.set_position(done);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, coloured, failed: 0 }
    }

    /// A function that shows the total, once it is known.
    pub fn total(&self) -> impl FnOnce(u64) + Send + 'static {
        let (bar, coloured) = (self.bar.clone(), self.coloured);
        move |total| show_total(&bar, total, coloured)
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
        self.bar.finish_and_clear();
    }
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

    fn on(terminal: &InMemoryTerm) -> Bar {
        Bar::on(ProgressDrawTarget::term_like(Box::new(terminal.clone())), false, 0)
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
}
