//! Whether a finished run has learnt anything.

use std::fmt;

use super::metrics::EpochMetrics;
use crate::data::Dataset;

/// Whether a run has learnt to tell the classes apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// It tells them apart better than a guess would.
    Learnt,
    /// Its loss is far above that of a guess: training diverged.
    Diverged {
        /// The loss in nats, of the test images or in training.
        loss: f64,
        /// The loss of guessing, each class as likely as another: the logarithm of their number.
        guess: f64,
    },
    /// Its accuracy is no better than that of the same answer to every image.
    Chance {
        /// The test accuracy, 0 to 1.
        accuracy: f64,
        /// Share of the most frequent class among the test images, 0 to 1.
        guess: f64,
    },
}

/// A loss this many times that of guessing is no network that learnt and errs, but one whose weights have run away.
const FAR_ABOVE: f64 = 20.0;

/// Standard deviations of a guess's accuracy that an accuracy must be above it.
const DEVIATIONS: f64 = 2.0;

impl Verdict {
    /// The verdict on a run by its best epoch, measured by the first `tested` test images.
    pub fn of(best: &EpochMetrics, dataset: &Dataset, tested: usize) -> Self {
        let classes = dataset.classes.len();
        let mut counts = vec![0_usize; classes];
        for label in dataset.test.labels().iter().take(tested) {
            if let Some(count) = counts.get_mut(usize::from(*label)) {
                *count += 1;
            }
        }
        let images = counts.iter().sum::<usize>().max(1) as f64;
        let guess = counts.iter().copied().max().unwrap_or_default() as f64 / images;
        let accuracy = best.test.accuracy;
        // Test images of one class tell nothing.
        let learnt = guess >= 1.0 || accuracy > guess + DEVIATIONS * (guess * (1.0 - guess) / images).sqrt();
        // Where it has learnt, training was far off for some steps at most, and came back.
        let loss = if learnt { best.test.loss } else { best.test.loss.max(best.train.loss) };
        let loss_of_guessing = (classes as f64).ln();
        if loss > FAR_ABOVE * loss_of_guessing {
            Self::Diverged { loss, guess: loss_of_guessing }
        } else if learnt {
            Self::Learnt
        } else {
            Self::Chance { accuracy, guess }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Learnt => formatter.write_str("the network has learnt"),
            Self::Diverged { loss, guess } => write!(
                formatter,
                "training diverged: the loss is {loss:.4}, that of guessing {guess:.4}; try a lower --learning-rate"
            ),
            Self::Chance { accuracy, guess } => write!(
                formatter,
                "the network has learnt nothing: its test accuracy is {:.2} %, that of the same answer to every image {:.2} %; try \
                 more --epochs, a smaller --batch-size or another --learning-rate",
                100.0 * accuracy,
                100.0 * guess
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        data::{LabelledImages, Origin, idx::Idx},
        training::metrics::Scores,
    };

    fn dataset(labels: Vec<u8>) -> Dataset {
        let images = || {
            let count = labels.len() as u32;
            let images = Idx::new([count, 1, 1], vec![0; labels.len()]).unwrap();
            let labels = Idx::new([count], labels.clone()).unwrap();
            LabelledImages::new(images, labels, 2, [Path::new("images"), Path::new("labels")]).unwrap()
        };
        Dataset {
            train: images(),
            validation: None,
            test: images(),
            classes: ["a", "b"].map(String::from).into(),
            files: Vec::new(),
            origin: Origin::Idx,
            test_paths: Vec::new(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn runs_that_failed_are_known() {
        // Six of the first ten images are of one class; its share is 0.6, with a deviation of 0.155.
        let dataset = dataset([[0; 6], [1; 6], [0; 6], [1; 6]].concat());
        let verdict_by = |tested: usize, loss: f64, accuracy: f64| {
            let scores = Scores { loss, accuracy };
            let best = EpochMetrics {
                epoch: 1,
                train: scores,
                validation: None,
                test: scores,
                images_per_second: 1.0,
                seconds: 1.0,
                skipped: 0,
            };
            Verdict::of(&best, &dataset, tested)
        };
        let verdict = |loss, accuracy| verdict_by(10, loss, accuracy);
        assert!(matches!(verdict(5e10, 0.9), Verdict::Diverged { .. }));
        assert!(matches!(verdict(20.1 * 2.0_f64.ln(), 1.0), Verdict::Diverged { .. }));
        assert_eq!(verdict(0.7, 0.9), Verdict::Chance { accuracy: 0.9, guess: 0.6 });
        assert_eq!(verdict(0.7, 0.92), Verdict::Learnt);
        // The first six are of one class.
        assert_eq!(verdict_by(6, 0.7, 1.0), Verdict::Learnt);
        assert!(matches!(verdict_by(6, 5e10, 1.0), Verdict::Diverged { .. }));
    }
}
