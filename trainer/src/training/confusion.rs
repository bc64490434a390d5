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

/// Images of a class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassTotal {
    /// All of them.
    pub images: u64,
    /// Those that were taken for what they are.
    pub correct: u64,
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

    /// The images of each class.
    pub fn totals(&self) -> Vec<ClassTotal> {
        let mut totals = vec![ClassTotal::default(); self.classes];
        for ((label, predicted), count) in &self.counts {
            if let Some(total) = totals.get_mut(usize::from(*label)) {
                total.images += count;
                total.correct += if label == predicted { *count } else { 0 };
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
        assert_eq!((totals[2], totals[1]), (ClassTotal { images: 3, correct: 1 }, ClassTotal::default()));
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
