//! One pass over images without learning from them: the same for the held-out images, the test images, the commands `evaluate` and
//! `compress`, and for networks of floats and of integers.

use image_files::preprocessing::Preprocessing;
use reporting::confusion::Confusion;
use serde::{Deserialize, Serialize};

use super::{
    calibration::Calibration,
    error::TrainError,
    frozen::FrozenMaps,
    metrics::{Scores, Tally, judge},
    prepare::Preparation,
};
use crate::{
    data::{LabelledImages, loader},
    inputs::InputDevice,
    model::Network,
    nn::Frozen,
    ops::Images,
};

/// Mistakes that are remembered.
const MISTAKES: usize = 30;

/// Images that are remembered of each class and the class that they are taken for.
const EXAMPLES: usize = 8;

/// An image, most often one that the network takes for another class.
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
    /// Whether the network is right as often as its probabilities say; empty in checkpoints of earlier versions.
    #[serde(default)]
    pub calibration: Calibration,
    /// Some images of each class and the class that they are taken for, by both, then those first whose own class the network
    /// thinks the least likely. None of more classes than a matrix of confusions is drawn for.
    #[serde(default)]
    pub examples: Vec<Mistake>,
}

impl Examination {
    /// Adds the image at `position`, one of `classes` classes.
    fn add(&mut self, position: usize, label: u16, logits: &[f32], classes: usize) {
        self.tally.add(logits, &[label], classes);
        let label = usize::from(label);
        let logits = &logits[..classes];
        let (predicted, loss) = judge(logits, label);
        let (_, loss_of_answer) = judge(logits, predicted);
        self.calibration.add((-loss_of_answer).exp(), predicted == label);
        let mistake = Mistake { position, label, predicted, probability: (-loss).exp() };
        if classes <= Confusion::READABLE {
            self.add_example(mistake.clone());
        }
        if predicted == label {
            return;
        }
        let after = |other: &Mistake| {
            let order = other.probability.total_cmp(&mistake.probability).then(other.position.cmp(&mistake.position));
            order.is_lt()
        };
        let place = self.mistakes.partition_point(after);
        self.mistakes.insert(place, mistake);
        self.mistakes.truncate(MISTAKES);
    }

    /// Adds the images that follow at `positions` those that were added, given the logits of all of them.
    fn add_batch(&mut self, positions: &[usize], labels: &[u16], logits: &[f32], classes: usize) {
        let outputs = (logits.len() / labels.len().max(1)).max(1);
        let before = self.tally.images() as usize;
        let positions = positions.iter().skip(before);
        for ((logits, &label), &position) in logits.chunks_exact(outputs).zip(labels).zip(positions) {
            self.add(position, label, logits, classes);
        }
    }

    /// Remembers an image for its class and the class that it is taken for, if it is among the least sure of them.
    fn add_example(&mut self, example: Mistake) {
        let pair = |other: &Mistake| (other.label, other.predicted);
        let after = |other: &Mistake| {
            let order = pair(other).cmp(&pair(&example)).then(other.probability.total_cmp(&example.probability));
            order.then(other.position.cmp(&example.position)).is_lt()
        };
        let place = self.examples.partition_point(after);
        let end = self.examples.partition_point(|other| pair(other) <= pair(&example));
        let count = end - self.examples.partition_point(|other| pair(other) < pair(&example));
        if place == end && count == EXAMPLES {
            return;
        }
        if count == EXAMPLES {
            self.examples.remove(end - 1);
        }
        self.examples.insert(place, example);
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
        examination.add_batch(positions, &batch.labels, &found, data.classes());
        progress(count, examination.tally.scores())
    })?;
    Ok(examination)
}

/// Like [`evaluate`], given what the frozen convolutions of the network give for the images, `layers` of them.
///
/// # Errors
/// As [`evaluate`].
pub(super) fn evaluate_frozen<D: InputDevice, N: Network<D>>(
    network: &N,
    images: &ImageSet<'_>,
    (maps, layers): (&FrozenMaps, usize),
    mut progress: impl FnMut(usize, Scores) -> Result<(), TrainError>,
) -> Result<Examination, TrainError> {
    let ImageSet { data, positions, batch_size, .. } = *images;
    let mut examination = Examination::default();
    let prepare = |positions: &[usize]| Ok(maps.batch(positions));
    loader::for_each_batch(data, positions, batch_size, prepare, |batch| {
        let inputs = maps.upload(network.device(), &batch.images)?;
        let found = network.evaluate_from(inputs, Frozen { layers, computed: true })?.as_vec();
        examination.add_batch(positions, &batch.labels, &found, data.classes());
        progress(batch.labels.len(), examination.tally.scores())
    })?;
    Ok(examination)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn the_worst_mistakes_are_remembered() {
        const IMAGES: usize = 1500;
        let mut random = crate::random::generator(1, b"examined", 0, 0);
        let mut examination = Examination::default();
        let (mut all, mut examples) = (Vec::new(), Vec::new());
        for position in 0..IMAGES {
            // Few values, so that some mistakes are equally bad.
            let logits: Vec<f32> = (0..10).map(|_| random.gen_range(-2..=2) as f32).collect();
            let label = random.gen_range(0..10);
            examination.add(position, label as u16, &logits, 10);
            let exponentials: f64 = logits.iter().map(|&z| f64::from(z).exp()).sum();
            let probability = f64::from(logits[label]).exp() / exponentials;
            let largest = logits.iter().copied().fold(f32::MIN, f32::max);
            let predicted = logits.iter().position(|&z| z == largest).unwrap();
            examples.push(Mistake { position, label, predicted, probability });
            if predicted != label {
                all.push(Mistake { position, label, predicted, probability });
            }
        }
        assert_eq!(examination.calibration.images(), IMAGES as u64);
        // Of each pair of classes, the first eight by probability.
        examples.sort_by(|a, b| {
            let pair = (a.label, a.predicted).cmp(&(b.label, b.predicted));
            pair.then(a.probability.total_cmp(&b.probability)).then(a.position.cmp(&b.position))
        });
        let expected = examples.chunk_by(|a, b| (a.label, a.predicted) == (b.label, b.predicted));
        let expected: Vec<_> = expected.flat_map(|pair| pair.iter().take(EXAMPLES)).collect();
        assert!(expected.len() < examples.len(), "no pair has more than are remembered");
        assert_eq!(examination.examples.len(), expected.len());
        for (found, expected) in examination.examples.iter().zip(expected) {
            assert_eq!((found.label, found.predicted), (expected.label, expected.predicted));
            assert!((found.probability / expected.probability - 1.0).abs() < 1e-9);
        }
        assert_eq!(examination.tally.images(), IMAGES as u64);
        let accuracy = 1.0 - all.len() as f64 / IMAGES as f64;
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
