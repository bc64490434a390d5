//! Dropout whose mask follows from the seed and the step.

use dfdx::{
    shapes::{Const, HasShape},
    tensor::Tape,
    tensor_ops::{ReshapeTo, TryMul},
};
use rand::RngCore;
use rayon::prelude::*;

use super::Vectors;
use crate::{ops::ConvDevice, random::StepKey};

/// Dropout with a probability of one half: `y = 2·x` where a coin shows heads, 0 where not. There is none in evaluation.
///
/// The coins of a step follow from the [`StepKey`], `LAYER` (which tells the network's dropouts apart) and the place in the
/// batch, and so they are the same with any number of threads, and in a run that was stopped and goes on.
///
/// Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
#[derive(Debug, Clone, Copy, Default)]
pub struct DropHalf<const LAYER: u8>;

impl<const LAYER: u8> DropHalf<LAYER> {
    /// A batch of vectors with half of their values dropped; without a key, with all of them as they are.
    ///
    /// # Errors
    /// The device's own.
    pub fn try_forward<const N: usize, D: ConvDevice, T: Tape<f32, D>>(
        self,
        input: Vectors<N, D, T>,
        key: Option<StepKey>,
    ) -> Result<Vectors<N, D, T>, D::Err> {
        let Some(key) = key else { return Ok(input) };
        let (batch, _) = *input.shape();
        let mask = input.device().mask(&coins(key, LAYER, batch, N), (batch, N))?;
        input.try_mul(mask.try_reshape_like(&(batch, Const::<N>))?)
    }
}

/// A bit for each of `length` values of each row of a batch, in words that each belong to one row.
fn coins(key: StepKey, layer: u8, batch: usize, length: usize) -> Vec<u64> {
    let words = length.div_ceil(64);
    let mut coins = vec![0; batch * words];
    let mut purpose = *b"dropout ";
    purpose[7] = layer;
    coins.par_chunks_mut(words.max(1)).enumerate().for_each(|(row, coins)| {
        let mut random = key.generator(&purpose, row as u64);
        coins.fill_with(|| random.next_u64());
    });
    coins
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dfdx::{
        shapes::Rank0,
        tensor::{Cpu, Gradients, TensorFromVec, Trace},
        tensor_ops::{Backward, SumTo},
    };

    use super::*;

    const KEY: StepKey = StepKey { seed: 1, epoch: 2, step: 3, drop_features: false };

    fn mask(key: StepKey, layer: u8, batch: usize, length: usize) -> Vec<f32> {
        Cpu::default().mask(&coins(key, layer, batch, length), (batch, length)).unwrap().as_vec()
    }

    #[test]
    fn half_is_dropped_and_the_rest_doubled() {
        let mask = mask(KEY, 1, 200, 1000);
        assert!(mask.iter().all(|&value| value == 0.0 || value == 2.0));
        // 200,000 coins: a deviation of 0.5 % is 4.5 standard deviations, for the rows and the columns 7.
        let kept = |values: &mut dyn Iterator<Item = &f32>| values.filter(|value| **value > 0.0).count() as f64;
        assert!((kept(&mut mask.iter()) / 200_000.0 - 0.5).abs() < 0.005);
        assert!(mask.chunks(1000).all(|row| (kept(&mut row.iter()) / 1000.0 - 0.5).abs() < 0.11));
        assert!((0..1000).all(|i| (kept(&mut mask.iter().skip(i).step_by(1000)) / 200.0 - 0.5).abs() < 0.25));
    }

    #[test]
    fn everything_that_it_follows_from_matters() {
        let bits = |key, layer| mask(key, layer, 2, 64).iter().map(|&value| value > 0.0).collect::<Vec<_>>();
        let masks = [
            bits(KEY, 1),
            bits(KEY, 2),
            bits(StepKey { seed: 2, ..KEY }, 1),
            bits(StepKey { epoch: 1, ..KEY }, 1),
            bits(StepKey { step: 4, ..KEY }, 1),
        ];
        let rows: BTreeSet<_> = masks.iter().flat_map(|mask| mask.chunks(64)).collect();
        assert_eq!(rows.len(), 10);
        assert_eq!(bits(KEY, 1), masks[0]);
        // A larger batch, and another number of threads, begin with the same rows.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(|| mask(KEY, 1, 5, 64))[..128], mask(KEY, 1, 2, 64));
    }

    #[test]
    fn the_gradient_passes_where_the_values_pass() {
        let device = Cpu::default();
        let input: Vectors<70, Cpu> = device.tensor_from_vec(vec![1.5; 210], (3, Const));
        let output = DropHalf::<1>.try_forward(input.trace(Gradients::leaky()), Some(KEY)).unwrap();
        let factors = mask(KEY, 1, 3, 70);
        assert!(output.as_vec().iter().zip(&factors).all(|(value, factor)| *value == 1.5 * factor));
        let gradients = output.sum::<Rank0, _>().backward();
        assert_eq!(gradients.get(&input).as_vec(), factors);
    }
}
