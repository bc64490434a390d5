//! Packing: filters transformed and everything laid out in the order in which kernels read it. Done once, ahead of time.

use super::memory::{SectionsMut, Stored, first_not_finite, write_header};
use super::plan::{Grid, How, Plan};
use super::winograd::Conv;
use super::{LinearWeights, PackedError};
use crate::number::divide;
use crate::safetensors::WeightsError;
use crate::weights::Weights;
use core::ops::Range;
use kernels::{BLOCK, F16, Line, Tile, Winograd};

/// Packs `weights` into `lines`, which are as many as the layout needs.
pub(super) fn pack(
    plan: &Plan,
    weights: &Weights<'_>,
    linear: LinearWeights,
    lines: &mut [Line],
) -> Result<(), PackedError> {
    let classes = weights.classes();
    let mut sections = SectionsMut(lines);
    let header = sections.0.split_off_mut(..1).unwrap_or_default();
    let mut slices = weights.layers().iter();
    for step in plan.steps() {
        let Some([tensor, bias_tensor]) = step.layer.tensors else { continue };
        let mut layer = step.layer;
        if step.last {
            layer.output.channels = classes;
        }
        let &(weight, bias) = slices.next().ok_or(WeightsError::Missing { tensor })?;
        if weight.len() != layer.output.channels * layer.fan_in() {
            return Err(WeightsError::Missing { tensor }.into());
        }
        if bias.len() != layer.output.channels {
            return Err(WeightsError::Missing { tensor: bias_tensor }.into());
        }
        let source = Source { weight, fan_in: layer.fan_in() };
        match (&step.how, step.storage(linear)) {
            (How::Winograd { conv, stride }, _) => {
                let packed = sections.take(conv.weights_len());
                let (kernel, channels) = (layer.kernel(), layer.group_channels());
                pack_conv(conv, packed, |output, input, y, x| {
                    // Which of the pixels that were laid into channels.
                    let (input, column) = divide(input, *stride);
                    let (channel, row) = divide(input, *stride);
                    let (y, x) = (stride * y + row, stride * x + column);
                    let inside = channel < channels && y < kernel && x < kernel;
                    source.value(output, inside.then_some((channel * kernel + y) * kernel + x))
                });
                if first_not_finite(packed).is_some() {
                    return Err(PackedError::Overflow { tensor });
                }
            }
            (How::Direct(direct), _) => {
                let packed = sections.take::<f32>(step.weights_len(classes));
                let taps = direct.kernel * direct.kernel;
                // Weights of other groups' channels are zero.
                let group = layer.group_channels();
                let (outputs, _) = divide(layer.output.channels, layer.groups());
                pack_rows(packed, direct.depth(&step.input), source, |place| {
                    let (tap, channel) = divide(place, step.input.channels);
                    let (number, channel) = divide(channel, group);
                    Some((channel * taps + tap, number * outputs..(number + 1) * outputs))
                });
            }
            (How::Linear, Some(LinearWeights::F16)) => {
                if let Some(index) = weight.iter().position(|weight| !F16::from_f32(*weight).is_finite()) {
                    return Err(PackedError::TooLarge { tensor, index });
                }
                pack_linear(sections.take::<F16>(step.weights_len(classes)), &step.input, source);
            }
            (How::Linear, _) => pack_linear(sections.take::<f32>(step.weights_len(classes)), &step.input, source),
            (How::Norm | How::MaxPool { .. }, _) => (),
        }
        let padded = bias.iter().copied().chain(core::iter::repeat(0.0));
        for (packed, bias) in sections.take(step.padded(classes)).iter_mut().zip(padded) {
            *packed = bias;
        }
    }
    write_header(header, plan, classes, linear);
    Ok(())
}

/// The weights of a convolution, given as `weight(output, input, row, column)`: `U = G·g·Gᵀ`.
pub(super) fn pack_conv(conv: &Conv, packed: &mut [f32], weight: impl Fn(usize, usize, usize, usize) -> f32) {
    match conv.tile {
        Tile::F2x3 => transform::<2, 3, 4>(conv, weight, packed),
        Tile::F3x3 => transform::<3, 3, 5>(conv, weight, packed),
        Tile::F4x3 => transform::<4, 3, 6>(conv, weight, packed),
        Tile::F5x3 => transform::<5, 3, 7>(conv, weight, packed),
        Tile::F6x3 => transform::<6, 3, 8>(conv, weight, packed),
        Tile::F4x5 => transform::<4, 5, 8>(conv, weight, packed),
        Tile::F5x5 => transform::<5, 5, 9>(conv, weight, packed),
    }
}

/// Transforms each filter in f64 and rounds once: `packed` is `[N][N][outputs / 32][depth][32]`.
fn transform<const M: usize, const R: usize, const N: usize>(
    conv: &Conv,
    weight: impl Fn(usize, usize, usize, usize) -> f32,
    packed: &mut [f32],
) {
    let matrix = &Winograd::<M, R, N>::FILTER;
    let depth = conv.depth();
    for output in 0..conv.outputs {
        for input in 0..depth {
            let place = (output / BLOCK * depth + input) * BLOCK + output % BLOCK;
            let mut filter = [[0.0; R]; R];
            for (y, row) in filter.iter_mut().enumerate() {
                for (x, value) in row.iter_mut().enumerate() {
                    *value = f64::from(weight(output, input, y, x));
                }
            }
            let mut columns = [[0.0; R]; N];
            for (row, g) in columns.iter_mut().zip(matrix) {
                for (x, value) in row.iter_mut().enumerate() {
                    *value = (0..R).map(|y| g[y] * filter[y][x]).sum();
                }
            }
            let mut planes = packed.chunks_exact_mut((conv.outputs * depth).max(1));
            for row in columns {
                for g in matrix {
                    let value: f64 = row.iter().zip(g).map(|(value, g)| value * g).sum();
                    if let Some(packed) = planes.next().and_then(|plane| plane.get_mut(place)) {
                        *packed = value as f32;
                    }
                }
            }
        }
    }
}

/// A weight, row-major.
#[derive(Debug, Clone, Copy)]
struct Source<'w> {
    weight: &'w [f32],
    /// Products that an output sums.
    fan_in: usize,
}

impl Source<'_> {
    /// The value of an output's product; zero where there is no such output or product.
    fn value(&self, output: usize, product: Option<usize>) -> f32 {
        product.and_then(|product| self.weight.get(output * self.fan_in + product)).copied().unwrap_or_default()
    }
}

/// The weights of a linear layer.
fn pack_linear<T: Stored>(packed: &mut [T], input: &Grid, source: Source<'_>) {
    // What lies before gives row, column, channel, where the weights expect channel, row, column.
    let Grid { channels, side, pixel, .. } = *input;
    pack_rows(packed, input.depth(), source, |place| {
        let (position, channel) = if side == 1 { (0, place) } else { divide(place, pixel) };
        (channel < channels).then_some((channel * side * side + position, 0..usize::MAX))
    });
}

/// The weights of a matrix product, as `[outputs / 32][depth][32]`; `product` says which of a sum is at which depth, and in the sums
/// of which outputs it is.
fn pack_rows<T: Stored>(
    packed: &mut [T],
    depth: usize,
    source: Source<'_>,
    product: impl Fn(usize) -> Option<(usize, Range<usize>)>,
) {
    for (block, packed) in packed.chunks_exact_mut((BLOCK * depth).max(1)).enumerate() {
        for (place, packed) in packed.chunks_exact_mut(BLOCK).enumerate() {
            let product = product(place);
            for (lane, packed) in packed.iter_mut().enumerate() {
                let output = block * BLOCK + lane;
                let product = product.as_ref().filter(|(_, outputs)| outputs.contains(&output));
                *packed = T::from_f32(source.value(output, product.map(|(product, _)| *product)));
            }
        }
    }
}
