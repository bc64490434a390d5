//! Which images a run learns from, and which it is measured by.

use image_files::preprocessing::Normalisation;

use super::{
    config::{ImageCounts, Options},
    error::TrainError,
    prepare,
};
use crate::data::{Dataset, loader::Split};

/// Numbers of images that each epoch will learn from and be measured by.
///
/// # Errors
/// [`TrainError::NothingToTrain`].
pub fn image_counts(dataset: &Dataset, options: &Options) -> Result<ImageCounts, TrainError> {
    let split = split(dataset, options)?;
    Ok(ImageCounts {
        train: split.train.len(),
        validation: split.validation.len(),
        test: test_positions(dataset, options.test_limit).len(),
    })
}

/// Normalisation that gives the training images a mean of 0 and a standard deviation of 1.
///
/// # Errors
/// [`TrainError::NothingToTrain`].
pub fn normalisation(dataset: &Dataset, options: &Options) -> Result<Normalisation, TrainError> {
    Ok(prepare::normalisation(&dataset.train, &split(dataset, options)?.train))
}

/// The test images to measure by: all, or the first `limit`.
pub fn test_positions(dataset: &Dataset, limit: Option<usize>) -> Vec<usize> {
    (0..dataset.test.len().min(limit.unwrap_or(usize::MAX))).collect()
}

/// A weight of each class in the loss, where the options ask for weights: see [`ClassWeights::of`](super::transfer::ClassWeights::of).
pub(super) fn class_weights(dataset: &Dataset, split: &Split, options: &Options) -> Option<Vec<f32>> {
    let labels = split.train.iter().filter_map(|position| dataset.train.labels().get(*position).copied());
    options.class_weights.of(labels, dataset.train.classes())
}

pub(super) fn split(dataset: &Dataset, options: &Options) -> Result<Split, TrainError> {
    let images = dataset.train.len();
    if let Some(given) = dataset.validation {
        let learnt = images.saturating_sub(given);
        let split = Split::new(learnt, 0, options.train_limit, options.seed);
        return split
            .map(|split| Split { validation: (learnt..images).collect(), ..split })
            .ok_or(TrainError::NothingToTrain { images, validation: given });
    }
    let labels = Some(dataset.train.labels()).filter(|_| options.stratify);
    Split::stratified(images, labels, options.validation, options.train_limit, options.seed)
        .ok_or(TrainError::NothingToTrain { images, validation: options.validation })
}
