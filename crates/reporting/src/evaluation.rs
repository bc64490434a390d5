//! Evaluation of a classifier: accuracy, top-5 accuracy, and precision, recall and F1 of each class with their means, as one text.

use std::fmt::{self, Write as _};

use crate::{
    confusion::{ClassTotal, Confusion},
    table::plain,
    words::{counted, grouped, loss, percent, printable, shortened},
};

/// Classes among which the right one has to be for [`Evaluation::top_accuracy`]. With as many classes or fewer, all images
/// would count.
pub const TOP: usize = 5;

/// Columns of a terminal for the name of a class in the table of all classes.
const NAME: usize = 38;

/// Columns of a terminal for the name of a class beside the matrix.
const ROW_NAME: usize = 18;

/// Whether the class `label` is among the [`TOP`] classes with the largest logits. Of equal logits, those of lower classes count as
/// larger, as in the choice of the best class.
pub fn is_in_top(logits: &[f32], label: usize) -> bool {
    let Some(own) = logits.get(label) else { return false };
    let before = |(class, logit): (usize, &f32)| logit > own || (logit == own && class < label);
    logits.iter().enumerate().filter(|&logit| before(logit)).count() < TOP
}

/// Result of a classifier on images whose classes are known. Its text is the same in every program.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'a> {
    /// The classes' names.
    pub classes: &'a [String],
    /// Which class was taken for which.
    pub confusion: &'a Confusion,
    /// Number of images whose class was among the [`TOP`] likeliest ones; none where it was not counted.
    pub in_top: Option<u64>,
    /// Mean cross-entropy in nats, where it was measured.
    pub loss: Option<f64>,
}

/// Means over the classes that occur, each class counting the same. A precision or a recall without images counts as 0, as in
/// scikit-learn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MacroMean {
    /// Mean precision, 0 to 1.
    pub precision: f64,
    /// Mean recall, 0 to 1.
    pub recall: f64,
    /// Mean F1, 0 to 1.
    pub f1: f64,
}

impl Evaluation<'_> {
    /// Share of the images that were taken for what they are, 0 to 1; 0 where there are none.
    pub fn accuracy(&self) -> f64 {
        self.confusion.correct() as f64 / self.confusion.images().max(1) as f64
    }

    /// Share of the images whose class was among the [`TOP`] likeliest, 0 to 1; none with [`TOP`] classes or fewer.
    pub fn top_accuracy(&self) -> Option<f64> {
        let in_top = self.in_top.filter(|_| self.classes.len() > TOP)?;
        Some(in_top as f64 / self.confusion.images().max(1) as f64)
    }

    /// Precision, recall and F1 by class, in the order of the classes.
    pub fn totals(&self) -> Vec<ClassTotal> {
        let mut totals = self.confusion.totals();
        totals.resize(self.classes.len(), ClassTotal::default());
        totals
    }

    /// Means of precision, recall and F1.
    pub fn macro_mean(&self) -> MacroMean {
        let totals: Vec<_> = self.totals().into_iter().filter(|total| total.occurs()).collect();
        let mean = |value: fn(ClassTotal) -> Option<f64>| {
            let sum: f64 = totals.iter().filter_map(|total| value(*total)).sum();
            sum / totals.len().max(1) as f64
        };
        MacroMean { precision: mean(ClassTotal::precision), recall: mean(ClassTotal::recall), f1: mean(ClassTotal::f1) }
    }

    /// Precision, recall and F1 by class as a table.
    fn class_table(&self) -> String {
        let mut table = plain(["class", "images", "precision", "recall", "F1"], 1);
        for (class, total) in self.totals().into_iter().enumerate() {
            let scores = [total.precision(), total.recall(), total.f1()];
            let scores = scores.map(|score| score.map_or("-".to_string(), percent));
            table.add_row([self.name(class, NAME), grouped(total.images)].into_iter().chain(scores));
        }
        let MacroMean { precision, recall, f1 } = self.macro_mean();
        let means = [precision, recall, f1].map(percent);
        table.add_row(["macro mean".to_string(), grouped(self.confusion.images())].into_iter().chain(means));
        table.trim_fmt()
    }

    /// Class and name, in some columns of a terminal.
    fn name(&self, class: usize, columns: usize) -> String {
        let name = self.classes.get(class).map_or("?", String::as_str);
        shortened(&format!("{class} {}", printable(name)), columns)
    }

    /// The matrix, or where it would be too large to read, the pairs of classes that are confused most often.
    fn confusions(&self) -> String {
        if self.classes.len() > Confusion::READABLE {
            let mut text = String::from("Most often taken for another class:\n");
            let mistakes = self.confusion.mistakes();
            for (label, predicted, images) in mistakes.into_iter().take(Confusion::READABLE / 2) {
                let (label, predicted) = (self.name(label, 30), self.name(predicted, 30));
                let _ = writeln!(text, "  {label} → {predicted}: {}", counted(images, "image"));
            }
            return text;
        }
        let columns: Vec<String> = (0..self.classes.len()).map(|class| class.to_string()).collect();
        let mut table = plain(std::iter::once("").chain(columns.iter().map(String::as_str)), 1);
        let mut matrix = self.confusion.matrix();
        matrix.resize(self.classes.len(), vec![0; self.classes.len()]);
        for (class, row) in matrix.iter().enumerate() {
            let counts = row.iter().map(|count| if *count == 0 { "·".to_string() } else { count.to_string() });
            table.add_row(std::iter::once(self.name(class, ROW_NAME)).chain(counts));
        }
        format!("Images of each class (rows) taken for each class (columns):\n{}\n", table.trim_fmt())
    }
}

impl fmt::Display for Evaluation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (correct, images) = (self.confusion.correct(), self.confusion.images());
        writeln!(
            f,
            "accuracy        {:>8}  ({} of {})",
            percent(self.accuracy()),
            grouped(correct),
            counted(images, "image")
        )?;
        if let Some(accuracy) = self.top_accuracy() {
            writeln!(f, "top-{TOP} accuracy  {:>8}", percent(accuracy))?;
        }
        if let Some(value) = self.loss {
            writeln!(f, "loss            {:>6}", loss(value))?;
        }
        write!(f, "\n{}\n\n{}", self.class_table(), self.confusions())
    }
}

#[cfg(test)]
mod tests;
