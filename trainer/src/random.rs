//! Random numbers that follow from what they are for: every use has a generator of its own, made from the run's seed, the
//! purpose, the epoch and a position. Nothing depends on how many numbers anything else has drawn, on the number of
//! threads, or on whether the run was stopped in between; and so there is no random state to keep.

use rand::{SeedableRng, rngs::StdRng};

/// The generator for one purpose (eight letters) at one moment and position.
pub fn generator(seed: u64, purpose: &[u8; 8], moment: u64, position: u64) -> StdRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(purpose);
    bytes[16..24].copy_from_slice(&moment.to_le_bytes());
    bytes[24..].copy_from_slice(&position.to_le_bytes());
    StdRng::from_seed(bytes)
}

/// A training step, as far as a network's dropout follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepKey {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 1.
    pub epoch: usize,
    /// The step of the epoch, from 1.
    pub step: usize,
    /// Whether half of the features are dropped, too: the inputs of the first linear layer.
    pub drop_features: bool,
}

impl StepKey {
    /// The generator for one purpose and position in this step. Epochs and steps count up to 2³², beyond which numbers
    /// would come again.
    pub fn generator(self, purpose: &[u8; 8], position: u64) -> StdRng {
        let moment = (self.epoch as u64) << 32 | (self.step as u64 & 0xffff_ffff);
        generator(self.seed, purpose, moment, position)
    }
}
