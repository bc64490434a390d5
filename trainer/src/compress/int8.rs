//! Weights in 8-bit integers: the ranges of activations are measured on calibration images, and everything else follows from
//! the weights by the definition in [`infer_core::int8`].

use std::{collections::BTreeMap, io::Write, path::Path};

use image_files::{
    atomic,
    header::{Entry, header},
};
use infer_core::{
    describe::{Description, Kind},
    int8::{self, Plan, Ranges},
    packed::Line,
    weights::Weights,
};

use super::{CompressError, Floats};
use crate::export::ExportError;

/// Convolutions of a network in 8-bit integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convolutions {
    /// Winograd's where they have a size for it: the fastest, with memory for transformed weights.
    Winograd,
    /// Direct ones, whose weights are used where they are.
    Direct,
}

/// Algorithm of convolutions, and width of linear layers' weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Algorithm of convolutions.
    pub convolutions: Convolutions,
    /// Whether linear layers have weights of 4 bits, where their sizes allow it.
    pub int4: bool,
}

/// Weights in 8-bit integers.
#[derive(Debug)]
pub struct Quantised {
    /// Plan by which they are packed.
    pub plan: &'static Plan,
    /// Packed memory.
    pub lines: Vec<Line>,
}

/// The int8 plan of a network.
///
/// # Errors
/// There is no such network, or none of its layers may have weights of 4 bits.
pub fn plan(description: &Description, form: Form) -> Result<&'static Plan, CompressError> {
    let plans = int8::NETWORKS.iter().filter(|plan| plan.description().name == description.name);
    let plans = plans.filter(|plan| plan.has_int4() == form.int4);
    let plan = match form.convolutions {
        Convolutions::Winograd => plans.max_by_key(|plan| plan.transformed_len()),
        Convolutions::Direct => plans.min_by_key(|plan| plan.transformed_len()),
    };
    plan.copied().ok_or_else(|| {
        let name = description.name.to_string();
        if form.int4 { CompressError::Int4(name) } else { CompressError::Network(name) }
    })
}

/// Quantises the weights of a network, with ranges that are the best for the given inputs.
///
/// # Errors
/// [`CompressError`].
pub fn quantise(weights: &Weights<'_>, inputs: &[f32], form: Form) -> Result<Quantised, CompressError> {
    let plan = plan(weights.description(), form)?;
    let network = Floats::new(weights)?;
    let mut greatest = vec![0.0_f32; weights.description().layers.len()];
    network.observe(inputs, |layer, outputs| {
        greatest[layer] = outputs.iter().fold(greatest[layer], |greatest, value| greatest.max(value.abs()));
    })?;
    let mut histograms: Vec<_> = greatest.iter().map(|greatest| Histogram::new(*greatest)).collect();
    network.observe(inputs, |layer, outputs| histograms[layer].add(outputs))?;
    let layers = weights.description().layers;
    let outputs = layers.iter().zip(&histograms).map(|(layer, histogram)| {
        // Outputs of a linear layer that no ReLU follows have 14 bits: enough for twice the range that was seen.
        if matches!(layer.kind, Kind::Linear { relu: false, .. }) {
            2.0 * histogram.greatest
        } else {
            histogram.best_range()
        }
    });
    let outputs: Vec<f32> = outputs.map(|range| if range > 0.0 { range } else { 1.0 }).collect();
    let input = inputs.iter().fold(0.0_f32, |greatest, value| greatest.max(value.abs()));
    let input = if input > 0.0 { input } else { 1.0 };
    let mut lines = vec![Line::ZERO; plan.packed_len(weights.classes())];
    int8::Network::pack(plan, weights, Ranges { input, outputs: &outputs }, &mut lines)?;
    Ok(Quantised { plan, lines })
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
