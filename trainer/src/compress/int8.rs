//! Weights in 8-bit integers: the ranges of activations are measured on calibration images, and everything else follows from
//! the weights by the definition in [`infer_core::int8`].

use std::{collections::BTreeMap, io::Write, path::Path};

use image_files::{
    atomic,
    header::{Entry, header},
    preprocessing::Normalisation,
};
use infer_core::{
    describe::Description,
    int8::{self, Int8Backend, Int8Error, Ranges},
    packed::{self, Backend, Line, LinearWeights, PackedError, Parallel, Plan},
    preprocess::normalise,
    weights::Weights,
};
use rayon::prelude::*;

use crate::{
    data::LabelledImages,
    export::ExportError,
    model::{ModelError, Network},
    ops::ConvDevice,
    training::metrics::{Scores, Tally},
};

/// Images that are computed at once.
const BATCH: usize = 32;

/// Why int8 weights could not be made or tried.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// There is no image to measure ranges on.
    #[error("calibration needs at least one image")]
    NoImages,
    /// There is no int8 network of that name.
    #[error("there is no int8 network {0}")]
    Network(&'static str),
    /// An image cannot become an input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The weights cannot be packed or run as floats.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// The weights cannot be quantised, or run as integers.
    #[error(transparent)]
    Int8(#[from] Int8Error),
}

/// The threads of rayon's pool.
struct Threads;

impl Parallel for Threads {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).into_par_iter().for_each(task);
    }
}

/// Inputs of a network, for the images at `positions`, one behind the other.
///
/// # Errors
/// The network's preprocessing.
pub fn inputs<D: ConvDevice, N: Network<D>>(
    data: &LabelledImages,
    positions: &[usize],
    normalisation: Option<Normalisation>,
) -> Result<Vec<f32>, ModelError> {
    let length = N::DESCRIPTION.input().values();
    let mut inputs = vec![0.0; positions.len() * length];
    inputs.par_chunks_mut(length).zip(positions).try_for_each(|(input, &position)| {
        let (width, height) = data.size(position);
        N::preprocess(width, height, data.image(position), input)?;
        if let Some(Normalisation { mean, std }) = normalisation {
            normalise(input, mean, std);
        }
        Ok::<(), ModelError>(())
    })?;
    Ok(inputs)
}

/// A network's packed and int8 plans.
///
/// # Errors
/// It is none of those that come with infer-core.
fn plans(description: &Description) -> Result<(&'static Plan, &'static int8::Plan), CompressError> {
    let floats = packed::NETWORKS.iter().find(|plan| plan.description().name == description.name);
    let integers = int8::NETWORKS.iter().find(|plan| plan.description().name == description.name);
    floats.copied().zip(integers.copied()).ok_or(CompressError::Network(description.name))
}

/// Quantises the weights of a network, with ranges that are the best for the given inputs.
///
/// # Errors
/// [`CompressError`].
pub fn quantise(weights: &Weights<'_>, inputs: &[f32]) -> Result<Vec<Line>, CompressError> {
    let (floats, integers) = plans(weights.description())?;
    let network = Floats::new(floats, weights)?;
    let network = network.network()?;
    let image = weights.description().input().values();
    if inputs.len() < image {
        return Err(CompressError::NoImages);
    }
    let mut greatest = vec![0.0_f32; weights.description().layers.len()];
    observe(&network, inputs, |layer, outputs| {
        greatest[layer] = outputs.iter().fold(greatest[layer], |greatest, value| greatest.max(value.abs()));
    })?;
    let mut histograms: Vec<_> = greatest.iter().map(|greatest| Histogram::new(*greatest)).collect();
    observe(&network, inputs, |layer, outputs| histograms[layer].add(outputs))?;
    let layers = weights.description().layers;
    let outputs = layers.iter().zip(&histograms).map(|(layer, histogram)| {
        // Where no ReLU follows, outputs have 14 bits: enough for twice the range that was seen.
        if layer.relu() { histogram.best_range() } else { 2.0 * histogram.greatest }
    });
    let outputs: Vec<f32> = outputs.map(|range| if range > 0.0 { range } else { 1.0 }).collect();
    let input = inputs.iter().fold(0.0_f32, |greatest, value| greatest.max(value.abs()));
    let input = if input > 0.0 { input } else { 1.0 };
    let mut lines = vec![Line::ZERO; integers.packed_len(weights.classes())];
    int8::Network::pack(integers, weights, Ranges { input, outputs: &outputs }, &mut lines)?;
    Ok(lines)
}

/// A network of floats, packed.
struct Floats {
    plan: &'static Plan,
    lines: Vec<Line>,
}

impl Floats {
    fn new(plan: &'static Plan, weights: &Weights<'_>) -> Result<Self, PackedError> {
        let mut lines = vec![Line::ZERO; plan.packed_len(weights.classes(), LinearWeights::F32)];
        packed::Network::pack(plan, weights, LinearWeights::F32, &mut lines)?;
        Ok(Self { plan, lines })
    }

    fn network(&self) -> Result<packed::Network<'_>, PackedError> {
        packed::Network::from_packed(self.plan, &self.lines, Backend::best())
    }
}

/// Passes the outputs of each layer on, for all inputs.
fn observe(
    network: &packed::Network<'_>,
    inputs: &[f32],
    mut observer: impl FnMut(usize, &[f32]),
) -> Result<(), PackedError> {
    let image = network.description().input().values();
    let mut workspace = vec![Line::ZERO; network.workspace_len(BATCH)];
    let mut logits = vec![0.0; BATCH * network.classes()];
    for inputs in inputs.chunks(BATCH * image) {
        let logits = &mut logits[..inputs.len() / image * network.classes()];
        network.forward_with_outputs(inputs, logits, &mut workspace, &Threads, &mut observer)?;
    }
    Ok(())
}

/// Magnitudes of a layer's outputs, counted.
struct Histogram {
    greatest: f32,
    counts: Vec<u64>,
}

impl Histogram {
    /// Bins from zero to the greatest magnitude.
    const BINS: usize = 4096;

    fn new(greatest: f32) -> Self {
        Self { greatest, counts: vec![0; Self::BINS] }
    }

    /// Counts some values. Zeros have no error, and are left out.
    fn add(&mut self, values: &[f32]) {
        let scale = Self::BINS as f32 / self.greatest;
        for value in values.iter().filter(|value| **value != 0.0) {
            let bin = (value.abs() * scale) as usize;
            self.counts[bin.min(Self::BINS - 1)] += 1;
        }
    }

    /// The range for which the error of 127 levels is least, in the mean over the squares: larger values are clipped to it, smaller
    /// ones are rounded to one of the levels.
    fn best_range(&self) -> f32 {
        let width = f64::from(self.greatest) / Self::BINS as f64;
        let values = || self.counts.iter().enumerate().map(|(bin, count)| ((bin as f64 + 0.5) * width, *count as f64));
        let error = |range: f64| -> f64 {
            // A value that is rounded is off by a uniform share of a level.
            let rounded = (range / 127.0).powi(2) / 12.0;
            values().map(|(value, count)| count * if value <= range { rounded } else { (value - range).powi(2) }).sum()
        };
        let ranges = (1..=200).map(|step| f64::from(self.greatest) * f64::from(step) / 200.0);
        ranges.min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or_default() as f32
    }
}

/// Comparison of int8 weights with those that they were made of, on labelled images.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Scores of the network of floats.
    pub floats: Scores,
    /// Scores of the network of integers.
    pub int8: Scores,
    /// Images that both take for the same class.
    pub same: u64,
    /// Images in all.
    pub images: u64,
}

/// Classifies images by both networks. `inputs` gives the inputs of the images at some positions.
///
/// # Errors
/// [`CompressError`].
pub fn compare(
    weights: &Weights<'_>,
    lines: &[Line],
    data: &LabelledImages,
    positions: &[usize],
    inputs: impl Fn(&[usize]) -> Result<Vec<f32>, ModelError>,
    mut progress: impl FnMut(usize),
) -> Result<Comparison, CompressError> {
    let (plan, integers) = plans(weights.description())?;
    let floats = Floats::new(plan, weights)?;
    let floats = floats.network()?;
    let int8 = int8::Network::from_packed(integers, lines, Int8Backend::best())?;
    let mut workspace = vec![Line::ZERO; floats.workspace_len(BATCH).max(int8.workspace_len(BATCH))];
    let (mut tallies, mut same) = ([Tally::default(), Tally::default()], 0);
    let classes = weights.classes();
    for positions in positions.chunks(BATCH) {
        let inputs = inputs(positions)?;
        let [mut expected, mut found] = [(); 2].map(|()| vec![0.0; positions.len() * classes]);
        floats.forward(&inputs, &mut expected, &mut workspace, &Threads)?;
        int8.forward(&inputs, &mut found, &mut workspace, &Threads)?;
        let labels: Vec<u16> = positions.iter().filter_map(|at| data.labels().get(*at).copied()).collect();
        for (tally, logits) in tallies.iter_mut().zip([&expected, &found]) {
            tally.add(logits, &labels, data.classes());
        }
        let best = |logits: &[f32]| {
            let best = logits.iter().take(data.classes()).enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            best.map(|(class, _)| class)
        };
        let pairs = expected.chunks_exact(classes).zip(found.chunks_exact(classes));
        same += pairs.filter(|(expected, found)| best(expected) == best(found)).count() as u64;
        progress(positions.len());
    }
    let [floats, int8] = tallies;
    Ok(Comparison { images: int8.images(), floats: floats.scores(), int8: int8.scores(), same })
}

/// Writes int8 weights and metadata. An existing file is replaced only when the new one is complete.
///
/// # Errors
/// The file cannot be written.
pub fn save(
    path: &Path,
    description: &Description,
    lines: &[Line],
    metadata: &BTreeMap<String, String>,
) -> Result<(), ExportError> {
    let length = size_of_val(lines);
    let entry = Entry { name: description.int8_tensor, dtype: "U8", shape: &[length], length };
    let metadata = metadata.iter().map(|(key, value)| (key.clone(), value.clone()));
    let written = header(metadata, [entry], Line::SIZE).and_then(|header| {
        atomic::write(path, |file| {
            file.write_all(&header)?;
            file.write_all(Line::bytes(lines))
        })
    });
    written.map_err(|source| ExportError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_range_leaves_out_what_is_rare() {
        // Values as of a half of a normal distribution, in 10,000 quantiles, and one far outlier.
        let values: Vec<f32> = (1..10_000).map(|i| (-(1.0 - i as f32 / 10_000.0).ln()).sqrt()).collect();
        let mut histogram = Histogram::new(50.0);
        histogram.add(&values);
        histogram.add(&[50.0, 0.0, 0.0]);
        let chosen = histogram.best_range();
        // The error itself, value by value.
        let error = |range: f32| -> f64 {
            let step = range / 127.0;
            let off = |value: f32| f64::from((value / step).round().min(127.0) * step - value).powi(2);
            values.iter().chain([&50.0]).map(|value| off(*value)).sum()
        };
        let best =
            (1..=200).map(|step| 50.0 * step as f32 / 200.0).min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap();
        assert!((chosen - best).abs() <= 1.0, "{chosen}, {best}");
        assert!(error(chosen) <= 1.05 * error(best) && error(chosen) <= error(50.0));
    }
}
