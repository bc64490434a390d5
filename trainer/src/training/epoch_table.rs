//! The table of epochs that grows while a network trains: a header, then a row an epoch, in 80 columns.

use std::time::Duration;

use reporting::{
    terminal::Colour,
    words::{duration, grouped, loss, percent, rate},
};

use super::metrics::{EpochMetrics, Scores};

/// The table of one run.
#[derive(Debug, Clone, Copy)]
pub struct EpochTable {
    /// Whether images are held out for validation.
    pub validation: bool,
    /// Whether the marks are in colour.
    pub coloured: bool,
}

/// Columns of the epoch, of a loss, of an accuracy, of a speed and of a duration.
const EPOCH: usize = 5;
const LOSS: usize = 6;
const ACCURACY: usize = 8;
const SPEED: usize = 8;
const TIME: usize = 11;

impl EpochTable {
    /// The header, two lines.
    pub fn header(self) -> String {
        let scores = |above: &str, below: [&str; 2]| {
            [[above, above], below].map(|[loss, accuracy]| format!("  {loss:>LOSS$} {accuracy:>ACCURACY$}"))
        };
        let mut lines = [format!("{:EPOCH$}", ""), format!("{:>EPOCH$}", "epoch")];
        let mut groups = vec!["train"];
        groups.extend(self.validation.then_some("val"));
        for group in groups {
            for (line, cells) in lines.iter_mut().zip(scores(group, ["loss", "accuracy"])) {
                *line += &cells;
            }
        }
        lines[0] += &format!(" {:>ACCURACY$}", "test");
        lines[1] += &format!(" {:>ACCURACY$}  {:>SPEED$}  {:>TIME$}", "accuracy", "images/s", "time");
        lines.map(|line| Colour::Bold.paint(&line, self.coloured)).join("\n")
    }

    /// The row of an epoch, marked where it is the best so far.
    pub fn row(self, epoch: &EpochMetrics, best: bool) -> String {
        let scores =
            |scores: &Scores| format!("  {:>LOSS$} {:>ACCURACY$}", loss(scores.loss), percent(scores.accuracy));
        let validation = match &epoch.validation {
            Some(validation) => scores(validation),
            None if self.validation => format!("  {:>LOSS$} {:>ACCURACY$}", "-", "-"),
            None => String::new(),
        };
        let time = Duration::try_from_secs_f64(epoch.seconds).map_or_else(|_| "-".to_string(), duration);
        format!(
            "{:>EPOCH$}{}{validation} {:>ACCURACY$}  {:>SPEED$}  {time:>TIME$}{}",
            grouped(epoch.epoch as u64),
            scores(&epoch.train),
            percent(epoch.test.accuracy),
            rate(epoch.images_per_second),
            if best { format!("  {}", Colour::Green.paint("best", self.coloured)) } else { String::new() }
        )
    }
}

#[cfg(test)]
mod tests {
    use reporting::words::width;

    use super::*;

    fn epoch(epoch: usize, validation: bool, seconds: f64) -> EpochMetrics {
        EpochMetrics {
            epoch,
            train: Scores { loss: 0.81234, accuracy: 0.7123 },
            validation: validation.then_some(Scores { loss: 0.45671, accuracy: 0.851_234 }),
            test: Scores { loss: 0.5, accuracy: 0.849 },
            images_per_second: 299.4,
            seconds,
            skipped: 0,
        }
    }

    #[test]
    fn rows_stand_under_their_header() {
        let table = EpochTable { validation: true, coloured: false };
        assert_eq!(
            table.header()
                + "\n"
                + &table.row(&epoch(1, true, 580.0), true)
                + "\n"
                + &table.row(&epoch(2, true, 7.3), false),
            "        train    train     val      val     test\n\
             epoch    loss accuracy    loss accuracy accuracy  images/s         time\n\
             \u{20}   1  0.8123  71.23 %  0.4567  85.12 %  84.90 %       299   9 min 40 s  best\n\
             \u{20}   2  0.8123  71.23 %  0.4567  85.12 %  84.90 %       299        7.3 s"
        );
    }

    #[test]
    fn without_validation_its_columns_are_absent() {
        let table = EpochTable { validation: false, coloured: false };
        assert!(!table.header().contains("val"));
        assert_eq!(table.row(&epoch(1, false, 60.0), false), "    1  0.8123  71.23 %  84.90 %       299   1 min 00 s");
    }

    #[test]
    fn the_widest_row_fits_80_columns() {
        let table = EpochTable { validation: true, coloured: false };
        let scores = Scores { loss: 5e10, accuracy: 1.0 };
        let widest = EpochMetrics {
            epoch: 9999,
            train: scores,
            validation: Some(scores),
            test: scores,
            images_per_second: 123_456.0,
            seconds: 3599.0,
            skipped: 0,
        };
        assert!(table.header().lines().chain([&*table.row(&widest, true)]).all(|line| width(line) < 80));
        let coloured = EpochTable { coloured: true, ..table };
        assert!(coloured.row(&widest, true).ends_with("\u{1b}[32mbest\u{1b}[0m"));
    }
}
