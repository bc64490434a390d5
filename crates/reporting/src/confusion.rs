//! Which class is taken for which: counts that are kept for the pairs that occur, since a matrix of 10,000 classes would
//! take 800 MB.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Numbers of images of each class that were taken for each class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Confusion {
    classes: usize,
    /// By class and class taken for.
    counts: BTreeMap<(u16, u16), u64>,
}

/// Images of one class, and images taken for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassTotal {
    /// Images of the class.
    pub images: u64,
    /// Images that were taken for the class, rightly or not.
    pub predicted: u64,
    /// Images of the class that were taken for it.
    pub correct: u64,
}

impl ClassTotal {
    /// Share of the images taken for the class that are of the class, 0 to 1; none where no image was taken for it.
    pub fn precision(self) -> Option<f64> {
        share(self.correct, self.predicted)
    }

    /// Share of the images of the class that were taken for it, 0 to 1; none where there are no images of it.
    pub fn recall(self) -> Option<f64> {
        share(self.correct, self.images)
    }

    /// Harmonic mean of precision and recall, 0 to 1: `2·correct / (images + predicted)`; none where the class does not occur.
    pub fn f1(self) -> Option<f64> {
        share(2 * self.correct, self.images + self.predicted)
    }

    /// Whether there are images of the class, or images taken for it.
    pub fn occurs(self) -> bool {
        self.images + self.predicted > 0
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Confusion {
    /// The most classes for which a table of all pairs is of use to a reader; for more, [`Confusion::mistakes`] are.
    pub const READABLE: usize = 40;

    /// Counts an image of `label` that is taken for `predicted`, both less than `classes`.
    pub fn add(&mut self, label: u16, predicted: u16, classes: usize) {
        self.classes = self.classes.max(classes);
        *self.counts.entry((label, predicted)).or_default() += 1;
    }

    /// Number of classes; 0 before the first image.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Images counted.
    pub fn images(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Images that were taken for what they are.
    pub fn correct(&self) -> u64 {
        self.counts.iter().filter(|((label, predicted), _)| label == predicted).map(|(_, count)| count).sum()
    }

    /// The images of each class, and those taken for it.
    pub fn totals(&self) -> Vec<ClassTotal> {
        let mut totals = vec![ClassTotal::default(); self.classes];
        for ((label, predicted), count) in &self.counts {
            if let Some(total) = totals.get_mut(usize::from(*label)) {
                total.images += count;
                total.correct += if label == predicted { *count } else { 0 };
            }
            if let Some(total) = totals.get_mut(usize::from(*predicted)) {
                total.predicted += count;
            }
        }
        totals
    }

    /// All counts, by class and class taken for.
    pub fn matrix(&self) -> Vec<Vec<u64>> {
        let mut matrix = vec![vec![0; self.classes]; self.classes];
        for ((label, predicted), count) in &self.counts {
            let row = matrix.get_mut(usize::from(*label));
            if let Some(cell) = row.and_then(|row| row.get_mut(usize::from(*predicted))) {
                *cell = *count;
            }
        }
        matrix
    }

    /// Class, class taken for and images of each pair of different classes that occurs, the most frequent first.
    pub fn mistakes(&self) -> Vec<(usize, usize, u64)> {
        let wrong = self.counts.iter().filter(|((label, predicted), _)| label != predicted);
        let mut mistakes: Vec<_> =
            wrong.map(|((label, predicted), count)| (usize::from(*label), usize::from(*predicted), *count)).collect();
        mistakes.sort_by_key(|(.., count)| std::cmp::Reverse(*count));
        mistakes
    }
}

/// The counts in a checkpoint. Earlier versions wrote the matrix.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Matrix(Vec<Vec<u64>>),
    Counts { classes: usize, counts: Vec<(u16, u16, u64)> },
}

impl From<Confusion> for Stored {
    fn from(Confusion { classes, counts }: Confusion) -> Self {
        let counts = counts.into_iter().map(|((label, predicted), count)| (label, predicted, count)).collect();
        Self::Counts { classes, counts }
    }
}

impl From<Stored> for Confusion {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Counts { classes, counts } => {
                let counts = counts.into_iter().map(|(label, predicted, count)| ((label, predicted), count)).collect();
                Self { classes, counts }
            }
            Stored::Matrix(matrix) => {
                let rows = (0..=u16::MAX).zip(&matrix);
                let cells =
                    rows.flat_map(|(label, row)| (0..=u16::MAX).zip(row).map(move |(p, count)| ((label, p), *count)));
                Self { classes: matrix.len(), counts: cells.filter(|(_, count)| *count > 0).collect() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Confusion {
        let mut confusion = Confusion::default();
        for (label, predicted) in [(0, 0), (2, 1), (2, 1), (0, 2), (2, 2), (9_999, 3)] {
            confusion.add(label, predicted, 10_000);
        }
        confusion
    }

    #[test]
    fn pairs_are_counted() {
        let confusion = example();
        assert_eq!((confusion.classes(), confusion.images(), confusion.correct()), (10_000, 6, 2));
        assert_eq!(confusion.mistakes(), [(2, 1, 2), (0, 2, 1), (9_999, 3, 1)]);
        let totals = confusion.totals();
        assert_eq!(totals[2], ClassTotal { images: 3, predicted: 2, correct: 1 });
        assert_eq!(totals[1], ClassTotal { images: 0, predicted: 2, correct: 0 });
        assert_eq!([totals[1].precision(), totals[1].recall(), totals[1].f1()], [Some(0.0), None, Some(0.0)]);
        assert!(!totals[4].occurs() && totals[4].f1().is_none());
    }

    #[test]
    fn it_is_stored_by_pairs_and_read_from_a_matrix_too() {
        let stored = serde_json::to_string(&example()).unwrap();
        assert!(stored.len() < 100, "{stored}");
        assert_eq!(serde_json::from_str::<Confusion>(&stored).unwrap(), example());
        let earlier: Confusion = serde_json::from_str("[[1,0,1],[0,0,0],[0,2,1]]").unwrap();
        assert_eq!((earlier.classes(), earlier.images()), (3, 5));
        assert_eq!(earlier.matrix(), [[1, 0, 1], [0, 0, 0], [0, 2, 1]]);
        assert_eq!(serde_json::from_str::<Confusion>("[]").unwrap(), Confusion::default());
    }
}
