//! A network beside the smaller one that was made of it, on the same images.

use image_files::{
    checks::{self, Checks},
    preprocessing::Normalisation,
};
use infer_core::{
    classify::softmax_in_place,
    int8::{self, Int8Backend},
    packed::Line,
};

use super::{BATCH, CompressError, Floats, Threads, Trained, int8::plan};
use crate::{
    data::LabelledImages,
    model::ModelError,
    training::metrics::{Scores, Tally},
};

/// A network to be compared.
#[derive(Debug, Clone, Copy)]
pub enum Compared<'a> {
    /// Its weights as floats.
    Floats(&'a Trained),
    /// Those of a network in 8-bit integers.
    Int8(&'a Trained, &'a [Line]),
}

/// Results of two networks on labelled images.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Scores of each.
    pub scores: [Scores; 2],
    /// Images that both take for the same class.
    pub same: u64,
    /// Images in all.
    pub images: u64,
}

/// Measures the limits by which an image that looks like none of those that a network knows is told, on the normalised inputs of
/// some that it does know: 99.9 % of them have a darker border, and for 98 % the likeliest class is likelier.
///
/// # Errors
/// [`CompressError`]; there is no image.
pub fn limits(
    network: Compared<'_>,
    inputs: &[f32],
    normalisation: Option<Normalisation>,
) -> Result<Checks, CompressError> {
    let (classes, maps) = (network.trained().classes, network.trained().description.input());
    let mut classifier = network.classifier()?;
    let (mut borders, mut probabilities) = (Vec::new(), Vec::new());
    for inputs in inputs.chunks(BATCH * maps.values()) {
        let mut logits = vec![0.0; inputs.len() / maps.values() * classes];
        classifier(inputs, &mut logits)?;
        borders.extend(inputs.chunks_exact(maps.values()).map(|image| border(image, maps.side, normalisation)));
        for logits in logits.chunks_exact_mut(classes) {
            softmax_in_place(logits);
            probabilities.push(f64::from(logits.iter().copied().fold(0.0, f32::max)));
        }
    }
    borders.sort_by(f64::total_cmp);
    probabilities.sort_by(f64::total_cmp);
    let at = |values: &[f64], share: f64| values.get((share * values.len() as f64) as usize).copied();
    let limits = at(&borders, 0.999).zip(at(&probabilities, 0.02)).ok_or(CompressError::NoImages)?;
    // Rounded outwards, to hundredths.
    let (border, probability) = ((limits.0 * 100.0).ceil() / 100.0, (limits.1 * 100.0).floor() / 100.0);
    let [border_at_most, probability_at_least] = [border, probability].map(|limit: f64| limit.clamp(0.0, 1.0) as f32);
    Ok(Checks { border_at_most, probability_at_least })
}

/// Mean of the outermost pixels of an image before it was normalised.
fn border(image: &[f32], side: usize, normalisation: Option<Normalisation>) -> f64 {
    let mean = checks::border(image, side);
    normalisation.map_or(mean, |Normalisation { mean: centre, std }| mean * f64::from(std) + f64::from(centre))
}

/// Computes the logits of inputs.
type Classifier<'a> = Box<dyn FnMut(&[f32], &mut [f32]) -> Result<(), CompressError> + 'a>;

impl Compared<'_> {
    fn trained(&self) -> &Trained {
        match self {
            Self::Floats(trained) | Self::Int8(trained, _) => trained,
        }
    }

    fn classifier(&self) -> Result<Classifier<'_>, CompressError> {
        match *self {
            Self::Floats(trained) => {
                let floats = Floats::new(&trained.weights())?;
                let mut workspace = vec![Line::ZERO; floats.network()?.workspace_len(BATCH)];
                Ok(Box::new(move |inputs, logits| {
                    Ok(floats.network()?.forward(inputs, logits, &mut workspace, &Threads)?)
                }))
            }
            Self::Int8(trained, lines) => {
                let network = int8::Network::from_packed(plan(trained.description)?, lines, Int8Backend::best())?;
                let mut workspace = vec![Line::ZERO; network.workspace_len(BATCH)];
                Ok(Box::new(move |inputs, logits| Ok(network.forward(inputs, logits, &mut workspace, &Threads)?)))
            }
        }
    }
}

/// Classifies images by both networks, which have the same input. `inputs` gives the inputs of the images at some positions.
///
/// # Errors
/// [`CompressError`]; the networks tell other numbers of classes apart.
pub fn compare(
    networks: [Compared<'_>; 2],
    data: &LabelledImages,
    positions: &[usize],
    inputs: impl Fn(&[usize]) -> Result<Vec<f32>, ModelError>,
) -> Result<Comparison, CompressError> {
    let [before, after] = &networks;
    let classes = before.trained().classes;
    if after.trained().classes != classes || after.trained().description.input() != before.trained().description.input()
    {
        return Err(CompressError::Network(before.trained().description.name.to_string()));
    }
    let mut classifiers = [before.classifier()?, after.classifier()?];
    let (mut tallies, mut same) = ([Tally::default(), Tally::default()], 0);
    for positions in positions.chunks(BATCH) {
        let inputs = inputs(positions)?;
        let labels: Vec<u16> = positions.iter().filter_map(|at| data.labels().get(*at).copied()).collect();
        let mut answers = [(); 2].map(|()| vec![0.0; positions.len() * classes]);
        for ((classifier, tally), logits) in classifiers.iter_mut().zip(&mut tallies).zip(&mut answers) {
            classifier(&inputs, logits)?;
            tally.add(logits, &labels, data.classes());
        }
        let best = |logits: &[f32]| {
            let best = logits.iter().take(data.classes()).enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            best.map(|(class, _)| class)
        };
        let [before, after] = &answers;
        let pairs = before.chunks_exact(classes).zip(after.chunks_exact(classes));
        same += pairs.filter(|(before, after)| best(before) == best(after)).count() as u64;
    }
    Ok(Comparison { images: tallies[0].images(), scores: tallies.map(|tally| tally.scores()), same })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_is_that_of_the_image_before_normalisation() {
        let mut image = [9.0; 16];
        for inner in [5, 6, 9, 10] {
            image[inner] = -3.0;
        }
        assert_eq!(border(&image, 4, None), 9.0);
        assert_eq!(border(&image, 4, Some(Normalisation { mean: 0.5, std: 0.25 })), 2.75);
        image[0] = 21.0;
        assert_eq!(border(&image, 4, None), 10.0);
    }
}
