//! Measurements of training: the scores of a pass over images, the line an epoch adds to `metrics.csv`, and
//! the rule that picks the best epoch.

use std::{cmp::Ordering, io};

use reporting::{
    confusion::Confusion,
    evaluation::{Evaluation, is_in_top},
};
use serde::{Deserialize, Serialize};

/// Mean loss and accuracy over some images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Share of images whose largest logit is their class's, 0 to 1.
    pub accuracy: f64,
}

/// Scores in the making: every image's loss, and which class was taken for which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    loss: f64,
    confusion: Confusion,
    /// Images whose class is among the likeliest; absent in checkpoints of earlier versions, which did not count them.
    #[serde(default)]
    in_top: Option<u64>,
}

impl Default for Tally {
    /// No image.
    fn default() -> Self {
        Self { loss: 0.0, confusion: Confusion::default(), in_top: Some(0) }
    }
}

/// One epoch's measurements: a line of `metrics.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Scores over the training images while they were learnt from (with dropout, weights changing). With InfoBatch, an image counts
    /// as many times as its gradient, so that this estimates the scores over all training images, those that are skipped included.
    pub train: Scores,
    /// Scores over the held-out images after the epoch, where any are held out.
    pub validation: Option<Scores>,
    /// Scores over the test images after the epoch. They choose nothing.
    pub test: Scores,
    /// Training images a second, evaluation and skipped images not counted.
    pub images_per_second: f64,
    /// Wall-clock seconds of the whole epoch, evaluation included.
    pub seconds: f64,
    /// Training images that InfoBatch skipped; absent in files of earlier versions, which skipped none.
    #[serde(default)]
    pub skipped: usize,
}

impl Tally {
    /// Adds a batch: `logits` holds as many values for each label, of which the first `classes` count, more than any
    /// label. Returns the batch's summed loss.
    pub fn add(&mut self, logits: &[f32], labels: &[u16], classes: usize) -> f64 {
        self.add_some(logits, labels, classes, |_| true)
    }

    /// Like [`Tally::add`], of the images of the batch alone that are `wanted` by their places in it.
    pub(super) fn add_some(
        &mut self,
        logits: &[f32],
        labels: &[u16],
        classes: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> f64 {
        let outputs = logits.len() / labels.len().max(1);
        let mut sum = 0.0;
        let rows = logits.chunks_exact(outputs.max(1)).zip(labels).enumerate().filter(|(place, _)| wanted(*place));
        for (_, (logits, &label)) in rows {
            let logits = &logits[..classes];
            let (predicted, loss) = judge(logits, usize::from(label));
            sum += loss;
            if let Some(in_top) = &mut self.in_top {
                *in_top += u64::from(is_in_top(logits, usize::from(label)));
            }
            // A label is one of the classes, and so is what it is taken for.
            self.confusion.add(label, predicted as u16, classes);
        }
        self.loss += sum;
        sum
    }

    /// Images added.
    pub fn images(&self) -> u64 {
        self.confusion.images()
    }

    /// Mean loss and accuracy; zero where no image was added.
    pub fn scores(&self) -> Scores {
        self.scores_with(&Self::default(), 1.0)
    }

    /// Mean loss and accuracy with the images of another tally, of which each counts `factor` times.
    pub(super) fn scores_with(&self, other: &Self, factor: f64) -> Scores {
        let sum = |of: fn(&Self) -> f64| of(self) + factor * of(other);
        let images = sum(|tally| tally.images() as f64).max(1.0);
        Scores {
            loss: sum(|tally| tally.loss) / images,
            accuracy: sum(|tally| tally.confusion.correct() as f64) / images,
        }
    }

    /// Which class was taken for which.
    pub fn confusion(&self) -> &Confusion {
        &self.confusion
    }

    /// Evaluation for `classes`.
    pub fn evaluation<'a>(&'a self, classes: &'a [String]) -> Evaluation<'a> {
        Evaluation { classes, confusion: &self.confusion, in_top: self.in_top, loss: Some(self.scores().loss) }
    }
}

/// The class that an image is taken for, and its loss: `ln Σⱼ exp(zⱼ) − z_label`.
pub(super) fn judge(logits: &[f32], label: usize) -> (usize, f64) {
    (largest(logits).0, log_sum_exp(logits) - f64::from(logits[label]))
}

/// `ln Σⱼ exp(zⱼ)`, with the largest logit taken out of the sum so that no exponential overflows.
pub(super) fn log_sum_exp(logits: &[f32]) -> f64 {
    let (_, largest) = largest(logits);
    let exponentials: f64 = logits.iter().map(|&z| (f64::from(z) - largest).exp()).sum();
    exponentials.ln() + largest
}

/// Position and value of the largest logit, the first of equals.
fn largest(logits: &[f32]) -> (usize, f64) {
    let mut best = (0, f32::NEG_INFINITY);
    for (class, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (class, logit);
        }
    }
    (best.0, best.1.into())
}

impl EpochMetrics {
    /// Whether this epoch's weights are better than `other`'s: by validation accuracy, among equals by
    /// validation loss; where nothing is held out, by training loss. Among equals the earlier epoch stays.
    pub fn better_than(&self, other: &Self) -> bool {
        let order = match (&self.validation, &other.validation) {
            (Some(this), Some(that)) => this.accuracy.total_cmp(&that.accuracy).then(that.loss.total_cmp(&this.loss)),
            _ => other.train.loss.total_cmp(&self.train.loss),
        };
        order == Ordering::Greater
    }

    /// The epoch's values by column name, in the order of the columns; an absent value is empty.
    pub fn columns(&self) -> [(&'static str, String); 10] {
        let held_out =
            |value: fn(&Scores) -> f64| self.validation.as_ref().map_or(String::new(), |s| decimal(value(s)));
        [
            ("epoch", self.epoch.to_string()),
            ("train_loss", decimal(self.train.loss)),
            ("validation_loss", held_out(|scores| scores.loss)),
            ("test_loss", decimal(self.test.loss)),
            ("train_accuracy", decimal(self.train.accuracy)),
            ("validation_accuracy", held_out(|scores| scores.accuracy)),
            ("test_accuracy", decimal(self.test.accuracy)),
            ("images_per_second", format!("{:.1}", self.images_per_second)),
            ("seconds", format!("{:.2}", self.seconds)),
            ("skipped", self.skipped.to_string()),
        ]
    }
}

fn decimal(value: f64) -> String {
    format!("{value:.6}")
}

/// Writes epochs as CSV with a header line.
///
/// # Errors
/// Where `writer` cannot be written to.
pub fn write_csv(epochs: &[EpochMetrics], writer: impl io::Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(writer);
    for (i, epoch) in epochs.iter().enumerate() {
        let columns = epoch.columns();
        if i == 0 {
            csv.write_record(columns.each_ref().map(|(name, _)| *name))?;
        }
        csv.write_record(columns.each_ref().map(|(_, value)| value))?;
    }
    csv.flush()
}

/// Reads what [`write_csv`] wrote.
///
/// # Errors
/// Where the file cannot be read, or a line is not an epoch's.
pub fn read_csv(reader: impl io::Read) -> io::Result<Vec<EpochMetrics>> {
    let mut csv = csv::Reader::from_reader(reader);
    let rows = csv.deserialize().map(|row| {
        let row: Row = row?;
        let held_out = row.validation_loss.zip(row.validation_accuracy);
        Ok(EpochMetrics {
            epoch: row.epoch,
            train: Scores { loss: row.train_loss, accuracy: row.train_accuracy },
            validation: held_out.map(|(loss, accuracy)| Scores { loss, accuracy }),
            test: Scores { loss: row.test_loss, accuracy: row.test_accuracy },
            images_per_second: row.images_per_second,
            seconds: row.seconds,
            skipped: row.skipped,
        })
    });
    rows.collect::<Result<_, csv::Error>>().map_err(io::Error::other)
}

/// A line of `metrics.csv`.
#[derive(Deserialize)]
struct Row {
    epoch: usize,
    train_loss: f64,
    validation_loss: Option<f64>,
    test_loss: f64,
    train_accuracy: f64,
    validation_accuracy: Option<f64>,
    test_accuracy: f64,
    images_per_second: f64,
    seconds: f64,
    #[serde(default)]
    skipped: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: usize, accuracy: f64, loss: f64) -> EpochMetrics {
        EpochMetrics {
            epoch: number,
            train: Scores { loss: 1.25, accuracy: 0.5 },
            validation: Some(Scores { loss, accuracy }),
            test: Scores { loss: 0.75, accuracy: 1.0 / 3.0 },
            images_per_second: 1234.56,
            seconds: 7.891,
            skipped: 12 * (number - 1),
        }
    }

    #[test]
    fn a_tally_counts_and_averages() {
        let mut tally = Tally::default();
        let mut logits = [0.0; 20];
        logits[3] = 2.0;
        logits[10 + 4] = 1e4;
        let sum = tally.add(&logits, &[3, 5], 10);
        // −ln(e² / (e² + 9)), and a difference that no exponential survives.
        let first = (1.0 + 9.0 * (-2.0_f64).exp()).ln();
        assert!((sum - first - 1e4).abs() < 1e-9);
        let scores = tally.scores();
        assert!((scores.loss - sum / 2.0).abs() < 1e-12);
        assert_eq!((tally.images(), scores.accuracy), (2, 0.5));
        assert_eq!((tally.confusion().matrix()[3][3], tally.confusion().matrix()[5][4]), (1, 1));
        // Ten images of the class with the fifth largest logit, and one of the sixth.
        let falling: Vec<f32> = (0..10).map(|class| -(class as f32)).collect();
        tally.add(&falling.repeat(11), &[4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5], 10);
        let classes = vec![String::new(); 10];
        // Of the two before, one was right, and 5 was the seventh.
        assert_eq!(tally.evaluation(&classes).top_accuracy(), Some(11.0 / 13.0));
        let earlier: Tally =
            serde_json::from_str(r#"{"loss":1.0,"confusion":{"classes":10,"counts":[[0,0,2]]}}"#).unwrap();
        assert_eq!((earlier.evaluation(&classes).top_accuracy(), earlier.images()), (None, 2));
        tally.add(&[f32::NAN; 10], &[0], 10);
        assert!(tally.scores().loss.is_nan());
    }

    #[test]
    fn outputs_without_a_class_count_for_nothing() {
        let mut logits = [9.0; 10];
        logits[..3].copy_from_slice(&[0.0, 2.0, 1.0]);
        let mut tally = Tally::default();
        let loss = tally.add(&logits, &[1], 3);
        assert!((loss - (1.0 + (-2.0_f64).exp() + (-1.0_f64).exp()).ln()).abs() < 1e-12);
        assert_eq!((tally.confusion().matrix()[1][1], tally.scores().accuracy), (1, 1.0));
    }

    #[test]
    fn the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss() {
        assert!(epoch(2, 0.9, 1.0).better_than(&epoch(1, 0.8, 0.1)));
        assert!(epoch(2, 0.9, 0.5).better_than(&epoch(1, 0.9, 0.6)));
        assert!(!epoch(2, 0.9, 0.5).better_than(&epoch(1, 0.9, 0.5)));
        let without =
            |loss| EpochMetrics { validation: None, train: Scores { loss, accuracy: 0.5 }, ..epoch(1, 0.0, 0.0) };
        assert!(without(0.4).better_than(&without(0.5)));
        assert!(!without(0.5).better_than(&without(0.5)));
    }

    #[test]
    fn csv_has_one_line_an_epoch_and_leaves_absent_values_empty() {
        let mut epochs = [epoch(1, 0.8, 0.5), epoch(2, 0.9, 0.4)];
        epochs[1].validation = None;
        let mut bytes = Vec::new();
        write_csv(&epochs, &mut bytes).unwrap();
        let expected = "epoch,train_loss,validation_loss,test_loss,train_accuracy,validation_accuracy,test_accuracy,images_per_second,seconds,skipped
1,1.250000,0.500000,0.750000,0.500000,0.800000,0.333333,1234.6,7.89,0
2,1.250000,,0.750000,0.500000,,0.333333,1234.6,7.89,12
";
        assert_eq!(str::from_utf8(&bytes).unwrap(), expected);
        let read = read_csv(&bytes[..]).unwrap();
        let mut again = Vec::new();
        write_csv(&read, &mut again).unwrap();
        assert!(again == bytes && read[1].validation.is_none());
        assert!(read_csv(&b"epoch,loss\n1,2\n"[..]).unwrap_err().to_string().contains("missing field"));
    }
}
