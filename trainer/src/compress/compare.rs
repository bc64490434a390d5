//! A network beside the smaller one that was made of it, on the same images.

use dfdx::tensor::Cpu;
use image_files::{
    checks::{self, Checks},
    preprocessing::Normalisation,
};
use infer_core::{classify::softmax_in_place, describe::Description, int8, packed::Line};

use super::{BATCH, CompressError, Floats, Threads, Trained};
use crate::{
    model::Network,
    ops::Images,
    training::{
        evaluate::{ImageSet, evaluate_by},
        metrics::{Scores, Tally},
    },
};

/// A network to be compared.
#[derive(Debug, Clone, Copy)]
pub enum Compared<'a> {
    /// One of floats.
    Floats(&'a Trained),
    /// One of 8-bit integers.
    Int8(&'a int8::Network<'a>),
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
    let (classes, maps) = (network.classes(), network.description().input());
    let mut classifier = network.classifier()?;
    let (mut borders, mut probabilities) = (Vec::new(), Vec::new());
    for inputs in inputs.chunks(BATCH * maps.values()) {
        let mut logits = classifier(inputs)?;
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
    let Some(normalisation) = normalisation else { return checks::border(image, side) };
    let channels = normalisation.channels();
    let planes = image.chunks_exact((side * side).max(1)).zip(&channels);
    let borders = planes.map(|(plane, (mean, std))| checks::border(plane, side) * f64::from(*std) + f64::from(*mean));
    borders.sum::<f64>() / channels.len() as f64
}

/// Computes the logits of inputs, any number of them.
pub type Classifier<'a> = Box<dyn FnMut(&[f32]) -> Result<Vec<f32>, CompressError> + 'a>;

impl<'a> Compared<'a> {
    /// The network as a table.
    fn description(&self) -> &'static Description {
        match self {
            Self::Floats(trained) => trained.description,
            Self::Int8(network) => network.description(),
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        match self {
            Self::Floats(trained) => trained.classes,
            Self::Int8(network) => network.classes(),
        }
    }

    /// The network, ready to run.
    ///
    /// # Errors
    /// [`CompressError`]: weights of floats that cannot be packed.
    pub fn classifier(&self) -> Result<Classifier<'a>, CompressError> {
        let (image, classes) = (self.description().input().values(), self.classes());
        match *self {
            Self::Floats(trained) => {
                let floats = Floats::new(&trained.weights())?;
                let mut workspace = vec![Line::ZERO; floats.network()?.workspace_len(BATCH)];
                Ok(in_batches(image, classes, move |inputs, logits| {
                    Ok(floats.network()?.forward(inputs, logits, &mut workspace, &Threads)?)
                }))
            }
            Self::Int8(network) => {
                let mut workspace = vec![Line::ZERO; network.workspace_len(BATCH)];
                Ok(in_batches(image, classes, move |inputs, logits| {
                    Ok(network.forward(inputs, logits, &mut workspace, &Threads)?)
                }))
            }
        }
    }
}

/// A classifier of any number of images by a forward pass of [`BATCH`].
fn in_batches<'a>(
    image: usize,
    classes: usize,
    mut forward: impl FnMut(&[f32], &mut [f32]) -> Result<(), CompressError> + 'a,
) -> Classifier<'a> {
    Box::new(move |inputs| {
        let mut logits = vec![0.0; inputs.len() / image * classes];
        let batches = inputs.chunks(BATCH * image).zip(logits.chunks_mut(BATCH * classes));
        batches.into_iter().try_for_each(|(inputs, logits)| forward(inputs, logits))?;
        Ok(logits)
    })
}

/// Classifies images by both networks, which have the input of `N`.
///
/// # Errors
/// [`CompressError`]; the networks tell other numbers of classes apart.
pub fn compare<N: Network<Cpu>>(
    networks: [Compared<'_>; 2],
    images: &ImageSet<'_>,
) -> Result<Comparison, CompressError> {
    let [before, after] = &networks;
    let (classes, input) = (before.classes(), N::DESCRIPTION.input());
    let fits = |network: &Compared<'_>| network.classes() == classes && network.description().input() == input;
    if !networks.iter().all(fits) {
        return Err(CompressError::Network(after.description().name.to_string()));
    }
    let (first, second) = (classified::<N>(before, images)?, classified::<N>(after, images)?);
    let same = first.1.iter().zip(&second.1).filter(|(before, after)| before == after).count() as u64;
    Ok(Comparison { images: first.0.images(), scores: [first.0.scores(), second.0.scores()], same })
}

/// Tally of a network on images, and the class that each is taken for.
fn classified<N: Network<Cpu>>(
    network: &Compared<'_>,
    images: &ImageSet<'_>,
) -> Result<(Tally, Vec<Option<usize>>), CompressError> {
    let (mut classifier, classes) = (network.classifier()?, network.classes());
    let mut chosen = Vec::with_capacity(images.positions.len());
    let logits = |inputs: Images<Cpu>| {
        let logits = classifier(&inputs.as_vec())?;
        let best = |logits: &[f32]| {
            let named = logits.iter().take(images.data.classes()).enumerate();
            named.max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class)
        };
        chosen.extend(logits.chunks_exact(classes).map(best));
        Ok(logits)
    };
    let examination = evaluate_by::<_, N, CompressError>(&Cpu::default(), images, logits, |_, _| Ok(()))?;
    Ok((examination.tally, chosen))
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
        assert_eq!(border(&image, 4, Some(Normalisation::Gray { mean: 0.5, std: 0.25 })), 2.75);
        let three = [image, [1.0; 16], [-1.0; 16]].concat();
        let normalisation = Normalisation::Rgb { mean: [0.5, 0.0, 0.25], std: [0.25, 0.5, 0.0] };
        assert_eq!(border(&three, 4, Some(normalisation)), (2.75 + 0.5 + 0.25) / 3.0);
        assert_eq!(border(&three, 4, None), 3.0);
        image[0] = 21.0;
        assert_eq!(border(&image, 4, None), 10.0);
    }
}
