//! InfoBatch: epochs that skip part of the images that the network already knows well, and scale the gradients of the others like
//! them, so that the expected gradient stays the same.
//!
//! Qin et al., "InfoBatch: lossless training speed up by unbiased dynamic data pruning", ICLR 2024. An image whose last loss is below
//! the mean of all last losses is skipped with probability `r`; if it is not, its gradient is multiplied by `1 / (1 − r)`. The last
//! eighth of the epochs (the paper's δ = 0.875) learns from all images.

use std::ops::Range;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::random;

/// The fewest epochs of a run in which InfoBatch skips images: the first one knows no losses, and the last one skips none.
pub const FEWEST_EPOCHS: usize = 3;

/// Probability that an image with a low loss is skipped: 0 or more, and less than 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct PruningRatio(f64);

impl PruningRatio {
    /// Factor of the gradient of an image with a low loss that is not skipped, `1 / (1 − r)`: 1 or more.
    pub fn factor(self) -> f64 {
        1.0 / (1.0 - self.0)
    }
}

/// Why a number is no [`PruningRatio`].
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is no ratio of InfoBatch, expected a number from 0 to less than 1")]
pub struct PruningRatioError(f64);

impl TryFrom<f64> for PruningRatio {
    type Error = PruningRatioError;

    fn try_from(ratio: f64) -> Result<Self, PruningRatioError> {
        if (0.0..1.0).contains(&ratio) { Ok(Self(ratio)) } else { Err(PruningRatioError(ratio)) }
    }
}

impl From<PruningRatio> for f64 {
    fn from(ratio: PruningRatio) -> Self {
        ratio.0
    }
}

/// The last epoch, counted from 1, of so many that may skip images.
pub(super) fn last_pruned_epoch(epochs: usize) -> usize {
    epochs - epochs.div_ceil(8)
}

/// The images that an epoch learns from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EpochImages {
    /// Their positions in the data set, in the order of the epoch.
    pub(super) order: Vec<usize>,
    /// Whether the gradient of each is scaled; empty where none is.
    scaled: Vec<bool>,
}

impl EpochImages {
    /// All images, in the order of an epoch.
    pub(super) fn all(order: Vec<usize>) -> Self {
        Self { order, scaled: Vec::new() }
    }

    /// Whether the gradient of the image at some place in the order is scaled.
    pub(super) fn is_scaled(&self, place: usize) -> bool {
        self.scaled.get(place).copied().unwrap_or(false)
    }

    /// Factors of the gradients of the images at some places in the order; none where all are 1.
    pub(super) fn factors(&self, places: Range<usize>, ratio: Option<PruningRatio>) -> Option<Vec<f32>> {
        let factor = ratio?.factor() as f32;
        let factors: Vec<_> = places.map(|place| if self.is_scaled(place) { factor } else { 1.0 }).collect();
        factors.iter().any(|factor| *factor != 1.0).then_some(factors)
    }
}

/// The last loss of each training image, by its position in the data set, as far as it has one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Losses {
    /// Losses before the epoch under way, by which its images were chosen.
    before: Vec<Option<f32>>,
    /// Losses with those of the epoch under way.
    last: Vec<Option<f32>>,
}

impl Losses {
    /// No losses of so many images.
    pub(super) fn new(images: usize) -> Self {
        Self { before: vec![None; images], last: vec![None; images] }
    }

    /// Keeps the loss of the image at a position, for the next epoch.
    pub(super) fn record(&mut self, position: usize, loss: f64) {
        if let Some(last) = self.last.get_mut(position) {
            // Losses are finite; an f32 should not make one infinite.
            *last = Some(loss.min(f32::MAX.into()) as f32);
        }
    }

    /// Ends an epoch: the next one's images are chosen by all losses so far.
    pub(super) fn end_epoch(&mut self) {
        self.before.clone_from(&self.last);
    }

    /// Chooses the images of `epoch`, counted from 1 of `epochs`, given its order of all training images.
    pub(super) fn choose(
        &self,
        order: Vec<usize>,
        ratio: PruningRatio,
        seed: u64,
        (epoch, epochs): (usize, usize),
    ) -> EpochImages {
        if epoch > last_pruned_epoch(epochs) {
            return EpochImages::all(order);
        }
        let known = || self.before.iter().flatten().map(|loss| f64::from(*loss));
        let mean = known().sum::<f64>() / known().count().max(1) as f64;
        let mut images = EpochImages::default();
        for position in order {
            let loss = self.before.get(position).copied().flatten();
            let is_low = loss.is_some_and(|loss| f64::from(loss) < mean);
            let skips = || random::generator(seed, b"skipping", epoch as u64, position as u64).gen_bool(ratio.0);
            if !(is_low && skips()) {
                images.order.push(position);
                images.scaled.push(is_low);
            }
        }
        images
    }

    /// The losses as tensors of a checkpoint, with their names.
    pub(super) fn tensors(&self) -> [(&'static str, Vec<f32>); 2] {
        let stored = |losses: &[Option<f32>]| losses.iter().map(|loss| loss.unwrap_or(NONE)).collect();
        [(BEFORE, stored(&self.before)), (LAST, stored(&self.last))]
    }

    /// The losses of so many images, of a checkpoint whose tensors `values` returns by name and shape.
    ///
    /// # Errors
    /// Those of `values`, and where a value is no loss, the name of its tensor with what is wrong, by `refused`.
    pub(super) fn read<E>(
        images: usize,
        values: impl Fn(&str, &[usize]) -> Result<Vec<f32>, E>,
        refused: impl Fn(String) -> E,
    ) -> Result<Self, E> {
        let losses = |name| {
            let stored = values(name, &[images])?;
            let read = stored.into_iter().enumerate().map(|(image, value)| match value {
                NONE => Ok(None),
                loss if loss >= 0.0 => Ok(Some(loss)),
                _ => Err(refused(format!(
                    "{name} is {value} for image {image}, expected a loss of 0 or more, or {NONE} where there is none yet"
                ))),
            });
            read.collect::<Result<Vec<_>, E>>()
        };
        Ok(Self { before: losses(BEFORE)?, last: losses(LAST)? })
    }
}

/// Names of the tensors in a checkpoint.
const BEFORE: &str = "losses.before";
const LAST: &str = "losses.last";
pub(super) const TENSORS: [&str; 2] = [BEFORE, LAST];

/// The value in a checkpoint of an image that has no loss yet.
const NONE: f32 = -1.0;

#[cfg(test)]
mod tests {
    use dfdx::{
        tensor::{Cpu, Gradients, TensorFromVec, Trace},
        tensor_ops::Backward,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{nn::Logits, training::loss::CrossEntropy};

    fn ratio(ratio: f64) -> PruningRatio {
        ratio.try_into().unwrap()
    }

    /// Losses of images as a checkpoint would have them before an epoch, in units of 1/64.
    fn losses(known: &[Option<u16>]) -> Losses {
        let mut losses = Losses::new(known.len());
        for (position, loss) in known.iter().enumerate() {
            loss.iter().for_each(|loss| losses.record(position, f64::from(*loss) / 64.0));
        }
        losses.end_epoch();
        losses
    }

    /// The positions of the images whose loss is below the mean, by the definition and in whole numbers.
    fn low(known: &[Option<u16>]) -> Vec<bool> {
        let count = known.iter().flatten().count() as u64;
        let sum: u64 = known.iter().flatten().map(|loss| u64::from(*loss)).sum();
        known.iter().map(|loss| loss.is_some_and(|loss| u64::from(loss) * count < sum)).collect()
    }

    proptest! {
        #[test]
        fn images_are_chosen_by_the_papers_definition(
            known in prop::collection::vec(prop::option::weighted(0.9, 0_u16..500), 1..300),
            probability in 0.0..0.95,
            seed: u64,
            epochs in 1_usize..40,
            place in 0.0..1.0,
        ) {
            let epoch = 1 + (place * epochs as f64) as usize;
            let order: Vec<usize> = (0..known.len()).rev().collect();
            let ratio = ratio(probability);
            let images = losses(&known).choose(order.clone(), ratio, seed, (epoch, epochs));
            let low = low(&known);
            // δ = 0.875: with whole numbers, epoch e of n skips images where e ≤ 7n/8.
            let prunes = 8 * epoch <= 7 * epochs;
            let mut kept = images.order.iter().enumerate().peekable();
            let mut skipped = 0;
            for position in order {
                match kept.next_if(|(_, kept)| **kept == position) {
                    Some((place, _)) => prop_assert_eq!(images.is_scaled(place), prunes && low[position]),
                    None => {
                        prop_assert!(prunes && low[position], "image {position} is skipped");
                        skipped += 1;
                    }
                }
            }
            prop_assert_eq!(kept.next(), None);
            // As many are skipped as a binomial distribution all but never exceeds.
            let count = low.iter().filter(|low| prunes && **low).count() as f64;
            let deviation = (count * probability * (1.0 - probability)).sqrt();
            prop_assert!((f64::from(skipped) - count * probability).abs() <= 7.0 * deviation + 8.0, "{skipped} of {count}");
            if let Some(factors) = images.factors(0..images.order.len(), Some(ratio)) {
                for (place, factor) in factors.into_iter().enumerate() {
                    let expected = if images.is_scaled(place) { 1.0 / (1.0 - probability) } else { 1.0 };
                    prop_assert_eq!(factor, expected as f32);
                }
            } else {
                prop_assert!(probability == 0.0 || (0..images.order.len()).all(|place| !images.is_scaled(place)));
            }
        }
    }

    #[test]
    fn what_is_skipped_follows_from_seed_epoch_and_image() {
        // All but the last are low, and stay so if one of them changes.
        let mut known: Vec<_> = vec![Some(8); 200];
        known[199] = Some(499);
        let of = |known: &[Option<u16>], order: Vec<usize>, seed, epoch| {
            let mut chosen = losses(known).choose(order, ratio(0.5), seed, (epoch, 40)).order;
            chosen.sort_unstable();
            chosen
        };
        let all: Vec<usize> = (0..200).collect();
        let first = of(&known, all.clone(), 1, 5);
        assert_eq!(first, of(&known, all.iter().rev().copied().collect(), 1, 5));
        assert_ne!(first, of(&known, all.clone(), 2, 5));
        assert_ne!(first, of(&known, all.clone(), 1, 6));
        known[3] = Some(7);
        assert_eq!(first, of(&known, all.clone(), 1, 5));
        // What is recorded counts from the next epoch on.
        let mut recorded = losses(&known);
        (0..200).for_each(|position| recorded.record(position, 0.5));
        assert_eq!(recorded.choose(all.clone(), ratio(0.5), 1, (5, 40)).order.len(), first.len());
        recorded.end_epoch();
        assert_eq!(recorded.choose(all, ratio(0.5), 1, (5, 40)).order.len(), 200);
    }

    #[test]
    fn the_expected_gradient_is_that_of_all_images() {
        const IMAGES: usize = 24;
        const CLASSES: usize = 5;
        const DRAWS: usize = 4000;
        let device = Cpu::default();
        let labels: Vec<u16> = (0..IMAGES).map(|image| (image * 7 % CLASSES) as u16).collect();
        let logits: Vec<f32> = (0..IMAGES * CLASSES).map(|i| ((i * 131 + 7) % 61) as f32 / 16.0).collect();
        let loss = CrossEntropy { classes: CLASSES, smoothing: 0.1, class_weights: None };
        // The gradient of the sum over the images of a batch by all images' logits.
        let gradient = |images: &[usize], factors: Option<&[f32]>| {
            let values = images.iter().flat_map(|image| &logits[image * CLASSES..][..CLASSES]).copied().collect();
            let labels: Vec<_> = images.iter().map(|image| labels[*image]).collect();
            let batch: Logits<Cpu> = device.tensor_from_vec(values, (images.len(), CLASSES.into()));
            let mean = loss.mean(&device, batch.trace(Gradients::leaky()), &labels, factors).unwrap();
            let found = mean.backward().get(&batch).as_vec();
            let mut all = vec![0.0; IMAGES * CLASSES];
            for (row, image) in found.chunks_exact(CLASSES).zip(images) {
                for (sum, value) in all[image * CLASSES..].iter_mut().zip(row) {
                    *sum = images.len() as f64 * f64::from(*value);
                }
            }
            all
        };
        let order: Vec<usize> = (0..IMAGES).collect();
        let mut known = Losses::new(IMAGES);
        for image in 0..IMAGES {
            known.record(image, loss.of_image(&logits[image * CLASSES..][..CLASSES], labels[image]));
        }
        known.end_epoch();
        for probability in [0.25, 0.5, 0.8] {
            let mut mean = vec![0.0; IMAGES * CLASSES];
            let mut low = vec![false; IMAGES];
            for seed in 0..DRAWS {
                let images = known.choose(order.clone(), ratio(probability), seed as u64, (2, 10));
                let factors = images.factors(0..images.order.len(), Some(ratio(probability)));
                let found = gradient(&images.order, factors.as_deref());
                mean.iter_mut().zip(found).for_each(|(mean, value)| *mean += value / DRAWS as f64);
                images.order.iter().enumerate().for_each(|(place, image)| low[*image] |= images.is_scaled(place));
            }
            assert!((5..IMAGES - 5).contains(&low.iter().filter(|low| **low).count()), "{low:?}");
            // Five standard deviations of the mean of draws, each the value times 0 or 1 / (1 − r).
            let deviations = 5.0 * (probability / (1.0 - probability) / DRAWS as f64).sqrt();
            for (i, (found, expected)) in mean.iter().zip(gradient(&order, None)).enumerate() {
                let tolerance = 1e-5 + if low[i / CLASSES] { deviations * expected.abs() } else { 0.0 };
                assert!((found - expected).abs() < tolerance, "{probability}, logit {i}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn losses_are_read_as_they_were_stored() {
        let mut stored = losses(&[Some(3), None, Some(0)]);
        stored.record(1, 7e300);
        let tensors = stored.tensors();
        assert_eq!(tensors[0], ("losses.before", vec![3.0 / 64.0, -1.0, 0.0]));
        assert_eq!(tensors[1], ("losses.last", vec![3.0 / 64.0, f32::MAX, 0.0]));
        let read = |tensors: &[(&str, Vec<f32>)]| {
            let values = |name: &str, shape: &[usize]| {
                let (_, values) = tensors.iter().find(|(found, _)| *found == name).unwrap();
                assert_eq!(shape, [3]);
                Ok(values.clone())
            };
            Losses::read(3, values, |reason| reason)
        };
        assert_eq!(read(&tensors), Ok(stored));
        for bad in [-0.5, -2.0, f32::NAN] {
            let mut tensors = tensors.clone();
            tensors[1].1[2] = bad;
            let error = read(&tensors).unwrap_err();
            assert!(
                error.starts_with(&format!("losses.last is {bad} for image 2, expected a loss of 0 or more")),
                "{error}"
            );
        }
    }

    #[test]
    fn ratios_are_probabilities_less_than_1() {
        for bad in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            assert!(PruningRatio::try_from(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::from_str::<PruningRatio>("0.5").unwrap(), ratio(0.5));
        assert_eq!(serde_json::to_string(&ratio(0.5)).unwrap(), "0.5");
        let error = serde_json::from_str::<PruningRatio>("1.5").unwrap_err().to_string();
        assert!(error.contains("1.5 is no ratio of InfoBatch, expected a number from 0 to less than 1"), "{error}");
        // The fewest epochs of which one skips images that an earlier one has recorded.
        assert_eq!([1, 2, 3, 4, 8, 9, 16, 100].map(last_pruned_epoch), [0, 1, 2, 3, 7, 7, 14, 87]);
        assert!(last_pruned_epoch(FEWEST_EPOCHS) == 2);
    }
}
