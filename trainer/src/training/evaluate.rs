//! One pass over images without learning from them: the same for the held-out images, the test images and
//! the `evaluate` command.

use super::{
    TrainError,
    metrics::{Scores, Tally},
    prepare::{Normalisation, Preparation},
};
use crate::{
    data::{LabelledImages, loader},
    model::Network,
    ops::ConvDevice,
};

/// Classifies the images at `positions` and counts how well that went. `progress` is told after each batch how many images
/// it had and the scores so far; where it returns an error, the pass ends with it.
///
/// # Errors
/// [`TrainError::Device`] where the network or its preprocessing fails, and those of `progress`.
pub fn evaluate<D: ConvDevice, N: Network<D>>(
    network: &N,
    data: &LabelledImages,
    positions: &[usize],
    batch_size: usize,
    normalisation: Option<Normalisation>,
    mut progress: impl FnMut(usize, Scores) -> Result<(), TrainError>,
) -> Result<Tally, TrainError> {
    let mut tally = Tally::default();
    let preparation = Preparation { data, normalisation, augmentation: None };
    let preprocess = |position: usize, input: &mut [f32]| preparation.apply::<D, N>(position, input);
    loader::for_each_batch(data, positions, batch_size, super::input_length::<D, N>(), preprocess, |batch| {
        let count = batch.labels.len();
        let logits = network.logits(batch.images, count).map_err(TrainError::device)?;
        tally.add(&logits.as_vec(), &batch.labels);
        progress(count, tally.scores())
    })?;
    Ok(tally)
}
