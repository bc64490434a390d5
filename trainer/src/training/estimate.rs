//! Estimate of a run's duration, by a trial before its first step.

use std::time::{Duration, Instant};

use dfdx::{nn::ZeroGrads, tensor_ops::Backward};

use super::{
    config::{ImageCounts, Options},
    device::TrainDevice,
    division::split,
    error::TrainError,
    frozen::{FrozenMaps, bytes_of_frozen},
    loss::CrossEntropy,
    prepare::Preparation,
    progress::TRAINING_WORK,
};
use crate::{data::Dataset, model::Network, nn::Frozen, random::StepKey};

/// Images of the trial: what one takes depends little on how many there are.
const MOST_IMAGES: usize = 64;

/// A trial that takes longer needs no other to warm up for.
const LONG: Duration = Duration::from_secs(1);

/// Estimated duration of a run of `network` with these options on this device: one step is tried, of which nothing is kept.
/// `frozen_bytes` is what the outputs of frozen convolutions may take in memory.
///
/// # Errors
/// [`TrainError`].
pub fn estimate<D: TrainDevice, N: Network<D>>(
    device: &D,
    dataset: &Dataset,
    options: &Options,
    images: ImageCounts,
    network: &N,
    frozen_bytes: u64,
) -> Result<Duration, TrainError> {
    let split = split(dataset, options)?;
    let loss = CrossEntropy::new(dataset, &split, options);
    let count = options.batch_size.min(MOST_IMAGES).min(split.train.len());
    let positions = split.train.get(..count).unwrap_or_default();
    let all = images.train + images.validation + images.test;
    let kept = bytes_of_frozen(N::DESCRIPTION, options, all).is_some_and(|bytes| bytes <= frozen_bytes);
    let layers = options.frozen(N::DESCRIPTION);
    let started = Instant::now();
    let maps = kept.then(|| FrozenMaps::compute(network, options, &dataset.train, positions, |_| Ok(())));
    let maps = maps.transpose()?;
    let once = started.elapsed();
    let trial = || -> Result<Duration, TrainError> {
        let started = Instant::now();
        let Options { seed, drop_features, .. } = *options;
        let labels: Vec<u16> = positions.iter().filter_map(|at| dataset.train.labels().get(*at).copied()).collect();
        let inputs = match &maps {
            Some(maps) => maps.upload(device, &maps.batch(positions))?,
            None => {
                let way = device.way().map_err(TrainError::device)?;
                let preprocessing = options.preprocessing();
                let augmentation = options.augmentation_of(1).map(|augmentation| (augmentation, seed, 1));
                let preparation = Preparation::<D> { way, data: &dataset.train, preprocessing, augmentation };
                let prepared = preparation.batch::<N>(positions)?;
                device.inputs(prepared, count, N::DESCRIPTION.input()).map_err(TrainError::device)?
            }
        };
        let gradients = network.try_alloc_grads().map_err(TrainError::device)?;
        let key = StepKey { seed, epoch: 1, step: 1, drop_features };
        let logits = network.train_from(inputs, gradients, key, Frozen { layers, computed: kept })?;
        let loss = loss.mean(device, logits, &labels, None);
        loss.and_then(|loss| loss.try_backward()).map_err(TrainError::device)?;
        device.check()?;
        Ok(started.elapsed())
    };
    let first = trial()?;
    let time = if first > LONG { first } else { trial()? };
    let work = images.train as u64 * TRAINING_WORK + (images.validation + images.test) as u64;
    let trials = work as f64 / (TRAINING_WORK * count.max(1) as u64) as f64 * options.epochs as f64;
    let once = if kept { once.as_secs_f64() * all as f64 / count.max(1) as f64 } else { 0.0 };
    Ok(Duration::try_from_secs_f64(once + trials * time.as_secs_f64()).unwrap_or(Duration::MAX))
}
