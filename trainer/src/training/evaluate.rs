//! One pass over images without learning from them: the same for the held-out images, the test images and
//! the `evaluate` command.

use super::{TrainError, metrics::Tally, progress::Observer};
use crate::{
    data::{LabelledImages, loader},
    model::Network,
    ops::ConvDevice,
};

/// Classifies the images at `positions` and counts how well that went.
///
/// # Errors
/// [`TrainError::Device`] where the network or its preprocessing fails.
pub fn evaluate<D: ConvDevice, N: Network<D>>(
    network: &N,
    data: &LabelledImages,
    positions: &[usize],
    batch_size: usize,
    observer: &mut dyn Observer,
) -> Result<Tally, TrainError> {
    let mut tally = Tally::default();
    let preprocess = super::preprocessing::<D, N>(data);
    loader::for_each_batch(data, positions, batch_size, super::input_length::<D, N>(), preprocess, |batch| {
        let count = batch.labels.len();
        let logits = network.logits(batch.images, count).map_err(TrainError::device)?;
        tally.add(&logits.as_vec(), &batch.labels);
        observer.batch(count, tally.scores());
        Ok(())
    })?;
    Ok(tally)
}
