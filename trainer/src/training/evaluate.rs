//! One pass over images without learning from them: the same for the held-out images, the test images, the commands `evaluate` and
//! `compress`, and for networks of floats and of integers.

use image_files::preprocessing::Preprocessing;
use serde::{Deserialize, Serialize};

use super::{
    error::TrainError,
    metrics::{Scores, Tally, judge},
    prepare::Preparation,
};
use crate::{
    data::{LabelledImages, loader},
    inputs::InputDevice,
    model::Network,
    ops::Images,
};

/// Mistakes that are remembered.
const MISTAKES: usize = 30;

/// An image that the network takes for another class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// Its position in the data.
    pub position: usize,
    /// Its class.
    pub label: usize,
    /// The class that it is taken for.
    pub predicted: usize,
    /// The probability that the network gives to the right class.
    pub probability: f64,
}

/// Result of classifying some images.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Examination {
    /// Which classes are taken for which.
    pub tally: Tally,
    /// Of the images that are taken for another class, those whose own the network thinks the least likely, the worst
    /// first.
    pub mistakes: Vec<Mistake>,
}

impl Examination {
    /// Adds the image at `position`, one of `classes` classes.
    fn add(&mut self, position: usize, label: u16, logits: &[f32], classes: usize) {
        self.tally.add(logits, &[label], classes);
        let label = usize::from(label);
        let (predicted, loss) = judge(&logits[..classes], label);
        if predicted == label {
            return;
        }
        let mistake = Mistake { position, label, predicted, probability: (-loss).exp() };
        let after = |other: &Mistake| {
            let order = other.probability.total_cmp(&mistake.probability).then(other.position.cmp(&mistake.position));
            order.is_lt()
        };
        let place = self.mistakes.partition_point(after);
        self.mistakes.insert(place, mistake);
        self.mistakes.truncate(MISTAKES);
    }
}

/// Images to classify, and how they are shown to the network.
#[derive(Debug, Clone, Copy)]
pub struct ImageSet<'a> {
    /// The data that they are from.
    pub data: &'a LabelledImages,
    /// Their positions in it.
    pub positions: &'a [usize],
    /// Images that are computed at once.
    pub batch_size: usize,
    /// Way of an image to the network's input.
    pub preprocessing: Preprocessing,
    /// Whether the logits of an image are the mean of its own and those of its mirror, left to right. Of probabilities, that is
    /// the geometric mean, scaled to a sum of 1.
    pub mirrored: bool,
}

/// Classifies images and counts how well that went. `progress` is told after each batch how many images it had and the scores so
/// far; where it returns an error, the pass ends with it.
///
/// # Errors
/// [`TrainError::Device`] and [`TrainError::Model`], and those of `progress`.
pub fn evaluate<D: InputDevice, N: Network<D>>(
    network: &N,
    images: &ImageSet<'_>,
    progress: impl FnMut(usize, Scores) -> Result<(), TrainError>,
) -> Result<Examination, TrainError> {
    let logits = |inputs| Ok(network.evaluate(inputs)?.as_vec());
    evaluate_by::<D, N, _>(network.device(), images, logits, progress)
}

/// Like [`evaluate`], by anything that computes the logits of a batch of inputs of the network `N`, which are on a device.
///
/// # Errors
/// As [`evaluate`], and those of `logits`.
pub fn evaluate_by<D: InputDevice, N: Network<D>, E: From<TrainError> + Send>(
    device: &D,
    images: &ImageSet<'_>,
    mut logits: impl FnMut(Images<D>) -> Result<Vec<f32>, E>,
    mut progress: impl FnMut(usize, Scores) -> Result<(), E>,
) -> Result<Examination, E> {
    let ImageSet { data, positions, batch_size, preprocessing, mirrored } = *images;
    let mut examination = Examination::default();
    let mut left = positions.iter();
    let way = device.way().map_err(TrainError::device)?;
    let preparation = Preparation::<D> { way, data, preprocessing, augmentation: None };
    let prepare = |positions: &[usize]| -> Result<_, E> {
        let mirror = mirrored.then(|| preparation.mirrored::<N>(positions)).transpose()?;
        Ok((preparation.batch::<N>(positions)?, mirror))
    };
    loader::for_each_batch(data, positions, batch_size, prepare, |batch| {
        let count = batch.labels.len();
        let mut logits_of =
            |prepared| logits(device.inputs(prepared, count, N::DESCRIPTION.input()).map_err(TrainError::device)?);
        let (images, mirror) = batch.images;
        let mut found = logits_of(images)?;
        if let Some(mirror) = mirror {
            let mirrored = logits_of(mirror)?;
            found.iter_mut().zip(mirrored).for_each(|(logit, mirrored)| *logit = 0.5 * (*logit + mirrored));
        }
        let classes = (found.len() / count.max(1)).max(1);
        for ((logits, label), &position) in found.chunks_exact(classes).zip(batch.labels).zip(left.by_ref()) {
            examination.add(position, label, logits, data.classes());
        }
        progress(count, examination.tally.scores())
    })?;
    Ok(examination)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn the_worst_mistakes_are_remembered() {
        let mut random = crate::random::generator(1, b"examined", 0, 0);
        let mut examination = Examination::default();
        let mut all = Vec::new();
        for position in 0..200 {
            // Few values, so that some mistakes are equally bad.
            let logits: Vec<f32> = (0..10).map(|_| random.gen_range(-2..=2) as f32).collect();
            let label = random.gen_range(0..10);
            examination.add(position, label as u16, &logits, 10);
            let exponentials: f64 = logits.iter().map(|&z| f64::from(z).exp()).sum();
            let probability = f64::from(logits[label]).exp() / exponentials;
            let largest = logits.iter().copied().fold(f32::MIN, f32::max);
            let predicted = logits.iter().position(|&z| z == largest).unwrap();
            if predicted != label {
                all.push(Mistake { position, label, predicted, probability });
            }
        }
        assert_eq!(examination.tally.images(), 200);
        let accuracy = 1.0 - all.len() as f64 / 200.0;
        assert!((examination.tally.scores().accuracy - accuracy).abs() < 1e-12);
        all.sort_by(|a, b| a.probability.total_cmp(&b.probability).then(a.position.cmp(&b.position)));
        assert!(all.len() > MISTAKES);
        assert_eq!(examination.mistakes.len(), MISTAKES);
        for (found, expected) in examination.mistakes.iter().zip(&all) {
            assert!((found.probability / expected.probability - 1.0).abs() < 1e-9, "{found:?} {expected:?}");
            assert_eq!((found.label == found.predicted, expected.label == expected.predicted), (false, false));
        }
        let places = |mistakes: &[Mistake]| {
            mistakes.iter().map(|mistake| mistake.position).collect::<std::collections::BTreeSet<_>>()
        };
        assert!(places(&examination.mistakes).len() == MISTAKES);
    }
}
