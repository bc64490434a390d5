//! Answers of a network to images.

use anyhow::bail;
use image_files::checks::Doubt;
use infer_core::classify::{Prediction, softmax_in_place};

/// Answer of the network to an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// All classes, the most likely first.
    pub ranking: Vec<Prediction>,
    /// The network's outputs, one a class.
    pub logits: Vec<f32>,
    /// Reason to doubt the answer, where the weights say when.
    pub doubt: Option<Doubt>,
}

impl Answer {
    /// The answer where the first `classes` outputs stand for classes.
    ///
    /// # Errors
    /// The network's sums overflowed.
    pub fn new(outputs: &[f32], classes: usize) -> anyhow::Result<Self> {
        let logits = outputs.get(..classes).unwrap_or(outputs).to_vec();
        if let Some(class) = logits.iter().position(|logit| !logit.is_finite()) {
            bail!("the network's output for class {class} is {}: its weights are too large", logits[class]);
        }
        let mut probabilities = logits.clone();
        softmax_in_place(&mut probabilities);
        let predictions = probabilities.into_iter().enumerate();
        let mut ranking: Vec<_> = predictions.map(|(class, probability)| Prediction { class, probability }).collect();
        // A stable sort: of equals the one with the lower index comes first. (Both zeros are the same.)
        ranking.sort_by(|a, b| (logits[b.class] + 0.0).total_cmp(&(logits[a.class] + 0.0)));
        Ok(Self { ranking, logits, doubt: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_without_a_class_count_for_nothing() {
        let outputs = [1.0, 3.0, 2.0, 9.0, 9.0, 9.0, 9.0, f32::INFINITY, f32::NAN, 9.0];
        let Answer { ranking, logits, doubt } = Answer::new(&outputs, 3).unwrap();
        assert_eq!((logits, doubt), (vec![1.0, 3.0, 2.0], None));
        assert_eq!(ranking.iter().map(|best| best.class).collect::<Vec<_>>(), [1, 2, 0]);
        assert!((ranking.iter().map(|best| best.probability).sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((ranking[0].probability - 0.665_240_94).abs() < 1e-6);
        assert!(
            Answer::new(&outputs, 9).unwrap_err().to_string().starts_with("the network's output for class 7 is inf")
        );
    }
}
