//! State of a run: the part of a checkpoint that is neither tensors nor options, of which reports are made.

use serde::{Deserialize, Serialize};

use super::{
    config::Options,
    evaluate::Examination,
    infobatch::PruningRatio,
    metrics::{EpochMetrics, Scores, Tally},
};

/// Position of a run, and its measurements so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The epoch under way, from 1.
    pub epoch: usize,
    /// Steps made in it.
    pub step: usize,
    /// Steps made in the whole run.
    pub total_steps: u64,
    /// Scores of its training images so far, but those of `scaled`.
    pub tally: Tally,
    /// Scores of those whose gradients InfoBatch scales; absent in checkpoints of earlier versions.
    #[serde(default)]
    pub scaled: Tally,
    /// Seconds spent in it so far on learning.
    pub learning_seconds: f64,
    /// Seconds spent in it so far.
    pub seconds: f64,
    /// The epochs before it.
    pub epochs: Vec<EpochMetrics>,
    /// Position in `epochs` of the best one.
    pub best: usize,
    /// Result of the best epoch's network on the test images.
    pub examination: Examination,
}

impl Default for State {
    /// Before the first step.
    fn default() -> Self {
        Self {
            epoch: 1,
            step: 0,
            total_steps: 0,
            tally: Tally::default(),
            scaled: Tally::default(),
            learning_seconds: 0.0,
            seconds: 0.0,
            epochs: Vec::new(),
            best: 0,
            examination: Examination::default(),
        }
    }
}

impl State {
    /// Scores of the epoch's training images so far: see [`EpochMetrics::train`].
    pub fn train_scores(&self, options: &Options) -> Scores {
        self.tally.scores_with(&self.scaled, options.infobatch.map_or(1.0, PruningRatio::factor))
    }

    /// Whether there is nothing left to do: all epochs are made, or `patience` of them without a better one.
    pub fn is_finished(&self, options: &Options) -> bool {
        let waited = self.epochs.len().saturating_sub(1 + self.best);
        self.epoch > options.epochs || options.patience.is_some_and(|patience| waited >= patience)
    }
}
