//! Quantisation: from f32 weights and ranges of activations to packed memory. Done once, ahead of time; what runs a network
//! reads its result alone.

use super::memory::{check_classes, is_scale, is_winograd_bias, is_winograd_scale, part_mut, write_header};
use super::plan::{Format, How, Plan, Step};
use super::{
    ACTIVATION, HIDDEN, INT4_FACTOR, INT4_WEIGHT, Int8Error, LARGEST_SUM, MOST_SECOND_SHIFT, MOST_SHIFT,
    NORM_MULTIPLIERS, PANEL, WEIGHT, norm_exponent, norm_index,
};
use crate::layers::LocalResponseNorm;
use crate::number::divide;
use crate::weights::Weights;
use core::num::NonZero;
use kernels::{INT4_GROUP, Line};

/// Ranges of activations: values beyond them are clipped to them.
#[derive(Debug, Clone, Copy)]
pub struct Ranges<'a> {
    /// The greatest magnitude of the network's input, normalised where the network wants it so.
    pub input: f32,
    /// The greatest magnitude of the outputs of each layer, in order, behind its ReLU where it has one. Those of pools and of
    /// the last layer are not looked at.
    pub outputs: &'a [f32],
}

/// The greatest multiplier.
const MULTIPLIER: f64 = 32_767.0;

/// Quantises `weights` into `lines`, which are as many as the plan says.
pub(super) fn pack(
    plan: &Plan,
    weights: &Weights<'_>,
    ranges: Ranges<'_>,
    lines: &mut [Line],
) -> Result<(), Int8Error> {
    let classes = check_classes(weights.classes())?;
    let (expected, found) = (plan.packed_len(classes), lines.len());
    if found != expected {
        return Err(Int8Error::Length { expected, found });
    }
    if ranges.outputs.len() != plan.steps().len() || !is_scale(ranges.input) {
        return Err(Int8Error::Ranges { found: ranges.outputs.len() });
    }
    let factor = f32::from(plan.input_limit) / ranges.input;
    if !is_scale(factor) {
        return Err(Int8Error::Factor);
    }
    let mut rest = lines;
    let header = rest.split_off_mut(..1).unwrap_or_default();
    let mut sources = weights.layers().iter();
    let mut scale = 1.0 / f64::from(factor);
    for (number, (step, range)) in plan.steps().iter().zip(ranges.outputs).enumerate() {
        let layer = step.layer.name;
        if matches!(step.how, How::MaxPool { .. }) {
            continue;
        }
        if !step.last && !is_scale(*range) {
            return Err(Int8Error::Ranges { found: number });
        }
        if matches!(step.how, How::Norm) {
            let output = f64::from(*range) / f64::from(ACTIVATION);
            write_norm(scale, output, &mut rest);
            scale = output;
            continue;
        }
        let &(weight, bias) = sources.next().ok_or(Int8Error::NotFinite { layer })?;
        if weight.iter().chain(bias).any(|value| !value.is_finite()) {
            return Err(Int8Error::NotFinite { layer });
        }
        let greatest = match step.output.format {
            Format::U7 => f64::from(ACTIVATION),
            Format::I16 => f64::from(HIDDEN),
        };
        let output = f64::from(*range) / greatest;
        let layer = Layer { step, classes, weight, bias, input: scale };
        layer.write(output, greatest, &mut rest)?;
        scale = output;
    }
    write_header(header, plan, classes, factor);
    Ok(())
}

/// A layer that is quantised.
struct Layer<'a> {
    step: &'a Step,
    classes: usize,
    /// Row-major, as in the f32 network.
    weight: &'a [f32],
    bias: &'a [f32],
    /// Scale of its inputs.
    input: f64,
}

impl Layer<'_> {
    /// The weights of an output, in the order of the f32 network.
    fn filter(&self, output: usize) -> &[f32] {
        let fan_in = self.step.layer.fan_in();
        self.weight.get(output * fan_in..).and_then(|rest| rest.get(..fan_in)).unwrap_or_default()
    }

    /// The greatest magnitude of an output's weights, for which all of them are read.
    fn greatest(&self, output: usize) -> f32 {
        self.filter(output).iter().fold(0.0_f32, |greatest, weight| greatest.max(weight.abs()))
    }

    /// Scale of an output's weights: that of the greatest, but no less than what keeps the bias within its bound.
    fn weight_scale(&self, output: usize, greatest: f32) -> f64 {
        let bias = self.bias.get(output).copied().unwrap_or_default().abs();
        let scale =
            (f64::from(greatest) / self.greatest_weight()).max(f64::from(bias) / self.input / (LARGEST_SUM / 2) as f64);
        if scale > 0.0 { scale } else { 1.0 }
    }

    /// The greatest magnitude of a weight.
    fn greatest_weight(&self) -> f64 {
        match self.step.how {
            How::Int4 => f64::from(INT4_WEIGHT) * f64::from(INT4_FACTOR),
            _ => f64::from(WEIGHT),
        }
    }

    /// The place of a weight in an output's filter of the f32 network, by its place in the window; none where it fills up, or is
    /// of another group's channel.
    fn place(&self, output: usize, row: usize, at: usize) -> Option<usize> {
        let (_, run) = self.step.window();
        let channels = self.step.input.channels;
        let column = at.checked_div(channels)?;
        let channel = at.checked_rem(channels)?;
        let layer = &self.step.layer;
        let group = output.checked_div(layer.output.channels.checked_div(layer.groups())?)?;
        let channel_of_group = || {
            let channels = layer.group_channels();
            channel.checked_sub(group * channels).filter(|channel| *channel < channels)
        };
        let place = match self.step.how {
            How::Conv { kernel, .. } => (channel_of_group()? * kernel + row) * kernel + column,
            How::Winograd(tile) => (channel_of_group()? * tile.kernel() + row) * tile.kernel() + column,
            // The position is counted over the rows of the maps.
            _ => {
                let side = self.step.input.side;
                channel * side * side + column
            }
        };
        (at < run).then_some(place)
    }

    fn write(&self, output_scale: f64, greatest: f64, rest: &mut &mut [Line]) -> Result<(), Int8Error> {
        let Self { step, classes, .. } = *self;
        if matches!(step.how, How::Winograd(_)) {
            return self.write_winograd(output_scale, rest);
        }
        let (outputs, padded) = (step.outputs(classes), step.padded(classes));
        let (shifts, bias) = (part_mut::<u32>(rest, 2), part_mut::<i32>(rest, padded));
        let (mut multipliers, mut scales): (&mut [i16], &mut [f32]) = (&mut [], &mut []);
        if step.last {
            scales = part_mut(rest, padded);
        } else {
            multipliers = part_mut(rest, padded);
        }
        let groups = part_mut::<u8>(rest, step.factors_of(padded));
        let weights = part_mut::<i8>(rest, step.weights_len(classes));
        weights.fill(0);
        groups.fill(0);
        bias.fill(0);
        multipliers.fill(0);
        scales.fill(0.0);
        if matches!(step.how, How::Int4) {
            self.write_int4(weights, groups);
        } else {
            self.write_weights(weights);
        }

        // Until the biases are known, what the scales of weights follow from lies in their place.
        for (output, bias) in bias.iter_mut().enumerate().take(outputs) {
            *bias = self.greatest(output).to_bits().cast_signed();
        }
        let scale = |output, bits: i32| self.weight_scale(output, f32::from_bits(bits.cast_unsigned()));
        let scales_of_weights = || bias.iter().enumerate().take(outputs).map(|(output, bits)| scale(output, *bits));
        // From a sum to an output, exactly.
        let factor = |scale| self.input * scale / output_scale;
        // The first shift leaves 16 bits, or 15 and a sign, of the sums that are told apart.
        let needed = scales_of_weights().enumerate();
        let needed = needed.map(|(output, scale)| ((greatest + 0.5) / factor(scale)).min(self.bound(output, scale)));
        let needed = needed.fold(0.0, f64::max);
        let bits = if step.output.format == Format::U7 { 16 } else { 15 };
        let shift1 = (0..MOST_SHIFT).find(|shift| needed < f64::from(1_u32 << (bits + shift))).unwrap_or(MOST_SHIFT);
        let largest = scales_of_weights().map(factor).fold(0.0, f64::max) * f64::from(1_u32 << shift1);
        let fits = |shift: &u32| largest * f64::from(1_u32 << shift) <= MULTIPLIER;
        let shift2 = (1..=MOST_SECOND_SHIFT).rev().find(fits).unwrap_or(1);
        if let [first, second] = shifts {
            (*first, *second) = if step.last { (0, 1) } else { (shift1, shift2) };
        }
        let shifts = f64::from(1_u32 << shift1) * f64::from(1_u32 << shift2);
        for (multiplier, scale) in multipliers.iter_mut().zip(scales_of_weights()) {
            *multiplier = round((factor(scale) * shifts).min(MULTIPLIER)) as i16;
        }
        for (stored, scale) in scales.iter_mut().zip(scales_of_weights()) {
            *stored = (self.input * scale) as f32;
            if !is_scale(*stored) {
                return Err(Int8Error::Factor);
            }
        }
        // What the first shift cuts off is rounded.
        let half = if step.last || shift1 == 0 { 0 } else { 1 << (shift1 - 1) };
        for (output, bias) in bias.iter_mut().enumerate().take(outputs) {
            let real = f64::from(self.bias.get(output).copied().unwrap_or_default());
            *bias = round(real / (self.input * scale(output, *bias))) as i32 + half;
        }
        Ok(())
    }

    /// A Winograd convolution, whose scales and biases are floats.
    fn write_winograd(&self, output_scale: f64, rest: &mut &mut [Line]) -> Result<(), Int8Error> {
        let outputs = self.step.output.channels;
        let (scales, bias) = (part_mut::<f32>(rest, outputs), part_mut::<f32>(rest, outputs));
        for (output, (scale, bias)) in scales.iter_mut().zip(bias).enumerate() {
            *scale = (self.input * self.weight_scale(output, self.greatest(output)) / output_scale) as f32;
            *bias = (f64::from(self.bias.get(output).copied().unwrap_or_default()) / output_scale) as f32;
            if !is_winograd_scale(*scale) || !is_winograd_bias(*bias) {
                return Err(Int8Error::Factor);
            }
        }
        let weights = part_mut::<i8>(rest, self.step.weights_len(self.classes));
        weights.fill(0);
        self.write_weights(weights);
        Ok(())
    }

    fn write_weights(&self, weights: &mut [i8]) {
        let step = self.step;
        let (_, run) = step.window();
        let (depth, group) = (step.depth(), step.input.format.group());
        let filled = run.next_multiple_of(group);
        for (panel, weights) in weights.chunks_exact_mut((PANEL * depth).max(1)).enumerate() {
            for lane in 0..PANEL {
                let output = panel * PANEL + lane;
                if output >= step.outputs(self.classes) {
                    continue;
                }
                let (filter, scale) = (self.filter(output), self.weight_scale(output, self.greatest(output)));
                for (number, weights) in weights.chunks_exact_mut((PANEL * group).max(1)).enumerate() {
                    for (i, weight) in weights.iter_mut().skip(lane * group).take(group).enumerate() {
                        let (row, at) = divide(number * group + i, filled);
                        let value = self
                            .place(output, row, at)
                            .and_then(|place| filter.get(place))
                            .copied()
                            .unwrap_or_default();
                        let limit = f64::from(WEIGHT);
                        *weight = round(f64::from(value) / scale).clamp(-limit, limit) as i8;
                    }
                }
            }
        }
    }

    /// Weights of 4 bits: the factor of a group is the least by which its greatest weight fits.
    fn write_int4(&self, weights: &mut [i8], factors: &mut [u8]) {
        let sizes = NonZero::new(self.step.weights_of(PANEL)).zip(NonZero::new(self.step.factors_of(PANEL)));
        let Some((bytes, groups)) = sizes else { return };
        let panels = weights.chunks_exact_mut(bytes.get()).zip(factors.chunks_exact_mut(groups.get()));
        for (panel, (weights, factors)) in panels.enumerate() {
            let real = self.step.outputs(self.classes).saturating_sub(panel * PANEL).min(PANEL);
            for lane in 0..real {
                let output = panel * PANEL + lane;
                let scale = self.weight_scale(output, self.greatest(output));
                let weights = weights.chunks_exact_mut(PANEL * INT4_GROUP / 2);
                let factors = factors.chunks_exact_mut(PANEL).filter_map(|factors| factors.get_mut(lane));
                for (group, (weights, factor)) in weights.zip(factors).enumerate() {
                    *factor = self.write_group(output, scale, group, weights.get_mut(4 * lane..).unwrap_or_default());
                }
            }
        }
    }

    /// Weights of 4 bits of an output and a group of inputs, in four bytes of each line of 64; returns their factor.
    fn write_group(&self, output: usize, scale: f64, group: usize, weights: &mut [i8]) -> u8 {
        let filter = self.filter(output);
        let value = |i: usize| {
            let place = self.place(output, 0, group * INT4_GROUP + i);
            f64::from(place.and_then(|place| filter.get(place)).copied().unwrap_or_default()) / scale
        };
        let greatest = (0..INT4_GROUP).map(|i| value(i).abs()).fold(0.0, f64::max);
        let limit = f64::from(INT4_WEIGHT);
        let factor = libm::ceil(greatest / limit).clamp(1.0, f64::from(INT4_FACTOR));
        for i in 0..INT4_GROUP {
            let weight = round(value(i) / factor).clamp(-limit, limit) as i8;
            let (line, place) = divide(i, 8);
            let (half, place) = divide(place, 4);
            if let Some(byte) = weights.get_mut(line * 4 * PANEL + place) {
                *byte |= (weight & 15) << (4 * half);
            }
        }
        factor as u8
    }

    /// Bound of an output's sum, by the scale of its weights.
    fn bound(&self, output: usize, scale: f64) -> f64 {
        // What rounding adds at most.
        let rounded = if matches!(self.step.how, How::Int4) { f64::from(INT4_FACTOR) / 2.0 } else { 0.5 };
        let weights: f64 = self.filter(output).iter().map(|weight| f64::from(weight.abs()) / scale + rounded).sum();
        let input = match self.step.input.format {
            Format::U7 => f64::from(ACTIVATION),
            Format::I16 => f64::from(HIDDEN),
        };
        let bias = f64::from(self.bias.get(output).copied().unwrap_or_default().abs());
        weights * input + bias / (self.input * scale) + 1.0
    }
}

/// Local response normalisation, from values of one scale to those of another.
fn write_norm(input: f64, output: f64, rest: &mut &mut [Line]) {
    let (shift, multipliers) = (part_mut::<u32>(rest, 1), part_mut::<i16>(rest, NORM_MULTIPLIERS));
    let factor = |sum: f64| {
        let alpha = f64::from(LocalResponseNorm::ALPHA);
        let root = libm::sqrt(f64::from(LocalResponseNorm::K) + alpha * input * input * sum);
        // To the power of β.
        input / output / (root * libm::sqrt(root))
    };
    let fits = |shift: &u32| factor(0.0) * f64::from(1_u32 << shift) <= MULTIPLIER;
    let t = (1..=MOST_SECOND_SHIFT).rev().find(fits).unwrap_or(1);
    shift.fill(t);
    for sum in 0..=5 * u32::from(ACTIVATION).pow(2) {
        let exponent = norm_exponent(sum);
        // The middle of the sums that have this multiplier.
        let first = sum >> exponent << exponent;
        if sum == first
            && let Some(multiplier) = multipliers.get_mut(norm_index(sum))
        {
            let middle = f64::from(first) + f64::from((1_u32 << exponent) - 1) / 2.0;
            *multiplier = round((factor(middle) * f64::from(1_u32 << t)).min(MULTIPLIER)) as i16;
        }
    }
}

/// The nearest integer, ties away from zero.
fn round(value: f64) -> f64 {
    libm::round(value)
}
