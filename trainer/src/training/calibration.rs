//! Calibration: whether a network is right as often as the probabilities of its answers say (Guo et al., "On Calibration of Modern
//! Neural Networks", 2017).

use serde::{Deserialize, Serialize};

/// Ranges of probability that answers are counted by.
pub const BINS: usize = 10;

/// Answers by their probability.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    bins: [Bin; BINS],
}

/// Answers with probabilities of a range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Number of answers.
    pub images: u64,
    /// Right ones among them.
    pub correct: u64,
    /// Sum of their probabilities.
    probability: f64,
}

impl Bin {
    /// Mean probability and share of right answers, each 0 to 1; none without answers.
    pub fn means(self) -> Option<(f64, f64)> {
        let images = self.images as f64;
        (self.images > 0).then(|| (self.probability / images, self.correct as f64 / images))
    }
}

impl Calibration {
    /// Adds an answer with the probability of its class, 0 to 1.
    pub fn add(&mut self, probability: f64, correct: bool) {
        let place = ((probability * BINS as f64) as usize).min(BINS - 1);
        if let Some(bin) = self.bins.get_mut(place) {
            bin.images += 1;
            bin.correct += u64::from(correct);
            bin.probability += probability;
        }
    }

    /// Answers by their probability, from 0 on, each range as wide.
    pub fn bins(&self) -> &[Bin; BINS] {
        &self.bins
    }

    /// Number of answers.
    pub fn images(&self) -> u64 {
        self.bins.iter().map(|bin| bin.images).sum()
    }

    /// Expected calibration error: the mean distance of probability and share of right answers over the ranges, weighted by their
    /// answers; 0 without answers.
    pub fn expected_error(&self) -> f64 {
        let distance = |bin: &Bin| bin.means().map_or(0.0, |(said, found)| (said - found).abs() * bin.images as f64);
        self.bins.iter().map(distance).sum::<f64>() / self.images().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_their_probability() {
        let mut calibration = Calibration::default();
        assert_eq!((calibration.images(), calibration.expected_error()), (0, 0.0));
        for (probability, correct) in [(0.92, true), (0.98, false), (1.0, true), (0.31, false), (0.0, false)] {
            calibration.add(probability, correct);
        }
        let counts = calibration.bins().map(|bin| (bin.images, bin.correct));
        assert_eq!((counts[0], counts[3], counts[9]), ((1, 0), (1, 0), (3, 2)));
        assert!(calibration.bins()[5].means().is_none());
        let (said, found) = calibration.bins()[9].means().unwrap();
        assert!((said - 2.9 / 3.0).abs() < 1e-12 && (found - 2.0 / 3.0).abs() < 1e-12);
        // By hand: (|2.9 − 2| + 0.31 + 0) / 5.
        assert!((calibration.expected_error() - 1.21 / 5.0).abs() < 1e-12);
    }
}
