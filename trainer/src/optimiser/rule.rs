//! Options of an optimiser, and the numbers of a step that follow from them.

use serde::{Deserialize, Serialize};

/// Name of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimiserName {
    /// Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1. Weight decay is L2 regularisation:
    /// added to the gradients.
    Adam,
    /// Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2: as Adam, but weight decay
    /// shrinks the weights and does not touch the gradients.
    AdamW,
    /// Stochastic gradient descent with momentum, as PyTorch's: `b = momentum·b + g`, `w -= rate·b`, the first `b` being
    /// the first gradient. Weight decay is L2 regularisation.
    Sgd,
}

impl OptimiserName {
    /// All of them, by their names on the command line.
    pub const NAMES: [(&'static str, Self); 3] = [("adam", Self::Adam), ("adamw", Self::AdamW), ("sgd", Self::Sgd)];
}

/// Everything that an optimiser is told, but for the learning rate, which may change with every step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimiserOptions {
    /// The rule.
    pub name: OptimiserName,
    /// Factor of the weights in weight decay, at least 0.
    pub weight_decay: f64,
    /// SGD's momentum, 0 to 1. Adam has its own (0.9 and 0.999).
    pub momentum: f64,
    /// The largest L2 norm of all gradients together; larger ones are scaled down to it. None: they stay as they are.
    pub clip_norm: Option<f64>,
    /// Decay of the moving average of the weights, 0 to 1; none is kept where absent. See [`average_decay`].
    pub average: Option<f64>,
}

impl Default for OptimiserOptions {
    /// Adam without anything else.
    fn default() -> Self {
        Self { name: OptimiserName::Adam, weight_decay: 0.0, momentum: 0.9, clip_norm: None, average: None }
    }
}

/// Adam's decay rates of both moments, and what keeps its quotient finite: PyTorch's defaults.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// The numbers of one step, the same for every value of every tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// Factor of the weights that is added to the gradients.
    pub regularisation: f32,
    /// Factor of the weights before the step is taken.
    pub shrink: f32,
    /// The rule with its own numbers.
    pub rule: Rule,
    /// Decay of the moving average of the weights in this step, where one is kept.
    pub average_decay: Option<f32>,
}

/// Rule of a step, given a gradient `g` that is clipped and regularised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// `m = β₁·m + (1 − β₁)·g`, `v = β₂·v + (1 − β₂)·g²`, `w -= step_size · m / (√v · second_scale + epsilon)`.
    Adam {
        /// β₁ and β₂.
        betas: [f32; 2],
        /// `1 − β₁` and `1 − β₂`: in `f32` the difference would be off by 5e-5 of itself.
        gains: [f32; 2],
        /// Learning rate over `1 − β₁ᵗ`.
        step_size: f32,
        /// `1 / √(1 − β₂ᵗ)`.
        second_scale: f32,
        /// Small number that keeps the quotient finite.
        epsilon: f32,
    },
    /// `b = momentum·b + g`, `w -= rate · b`.
    Sgd {
        /// The momentum.
        momentum: f32,
        /// Learning rate.
        rate: f32,
    },
}

impl Update {
    /// The numbers of step `step` (from 1).
    pub(super) fn new(options: &OptimiserOptions, step: u64, learning_rate: f64) -> Self {
        let decoupled = options.name == OptimiserName::AdamW;
        // Beyond two thousand million steps the corrections have long been 1.
        let power = |beta: f64| beta.powi(i32::try_from(step).unwrap_or(i32::MAX));
        let rule = match options.name {
            OptimiserName::Adam | OptimiserName::AdamW => Rule::Adam {
                betas: BETAS.map(|beta| beta as f32),
                gains: BETAS.map(|beta| (1.0 - beta) as f32),
                step_size: (learning_rate / (1.0 - power(BETAS[0]))) as f32,
                second_scale: (1.0 - power(BETAS[1])).sqrt().recip() as f32,
                epsilon: EPSILON as f32,
            },
            OptimiserName::Sgd => Rule::Sgd { momentum: options.momentum as f32, rate: learning_rate as f32 },
        };
        Self {
            regularisation: if decoupled { 0.0 } else { options.weight_decay as f32 },
            shrink: if decoupled { (1.0 - learning_rate * options.weight_decay) as f32 } else { 1.0 },
            rule,
            average_decay: options.average.map(|decay| average_decay(decay, step) as f32),
        }
    }
}

/// Decay of the weights' moving average in step `step` (from 1): `min(decay, (1 + step) / (10 + step))`, so that the
/// average of a short run does not remember the random weights that it began with.
pub fn average_decay(decay: f64, step: u64) -> f64 {
    decay.min((1 + step) as f64 / (10 + step) as f64)
}
