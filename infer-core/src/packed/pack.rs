//! Packing: filters transformed and everything laid out in the order in which kernels read it. Done once, ahead of time.

use super::layout::{
    CONV1, CONV2, CONV3, CONV4, CONV5, Conv, LAST_SIDE, LINEARS, Linear, STRIDE, SectionsMut, Stored, write_header,
};
use super::{LinearWeights, PackedError};
use crate::alexnet::AlexNet;
use crate::arch::{BLOCK, F16, Line, Tile, Winograd};

/// Packs `network` into `lines`, which are as many as the layout needs.
pub(super) fn pack(network: &AlexNet<'_>, weights: LinearWeights, lines: &mut [Line]) -> Result<(), PackedError> {
    let mut sections = SectionsMut(lines);
    let header = sections.0.split_off_mut(..1).unwrap_or_default();

    let conv1 = network.conv1.weight;
    pack_conv(&mut sections, &CONV1, network.conv1.bias, |o, i, y, x| {
        at(conv1, o, 0, STRIDE * y + i / STRIDE, STRIDE * x + i % STRIDE)
    });
    let conv2 = network.conv2.weight;
    pack_conv(&mut sections, &CONV2, network.conv2.bias, |o, i, y, x| at(conv2, o, i, y, x));
    let conv3 = network.conv3.weight;
    pack_conv(&mut sections, &CONV3, network.conv3.bias, |o, i, y, x| at(conv3, o, i, y, x));
    let conv4 = network.conv4.weight;
    pack_conv(&mut sections, &CONV4, network.conv4.bias, |o, i, y, x| at(conv4, o, i, y, x));
    let conv5 = network.conv5.weight;
    pack_conv(&mut sections, &CONV5, network.conv5.bias, |o, i, y, x| at(conv5, o, i, y, x));

    match weights {
        LinearWeights::F32 => pack_linears::<f32>(&mut sections, network),
        LinearWeights::F16 => {
            for (tensor, weights) in [
                ("linear1.weight", network.linear1.weight.as_flattened()),
                ("linear2.weight", network.linear2.weight.as_flattened()),
                ("linear3.weight", network.linear3.weight.as_flattened()),
            ] {
                if let Some(index) = weights.iter().position(|weight| !F16::from_f32(*weight).is_finite()) {
                    return Err(PackedError::TooLarge { tensor, index });
                }
            }
            pack_linears::<F16>(&mut sections, network);
        }
    }
    write_header(header, weights);
    Ok(())
}

/// A weight of a convolution; zero outside of the filter.
fn at<const I: usize, const K: usize>(weight: &[[[[f32; K]; K]; I]], o: usize, i: usize, y: usize, x: usize) -> f32 {
    let filter = weight.get(o).and_then(|filters| filters.get(i));
    filter.and_then(|filter| filter.get(y)?.get(x)).copied().unwrap_or_default()
}

/// The weights of a convolution, given as `weight(output, input, row, column)`: `U = G·g·Gᵀ`, and its bias.
pub(super) fn pack_conv(
    sections: &mut SectionsMut<'_>,
    conv: &Conv,
    bias: &[f32],
    weight: impl Fn(usize, usize, usize, usize) -> f32,
) {
    let packed = sections.take(conv.weights_len());
    match conv.tile {
        Tile::F2x3 => transform::<2, 3, 4>(conv, weight, packed),
        Tile::F3x3 => transform::<3, 3, 5>(conv, weight, packed),
        Tile::F4x3 => transform::<4, 3, 6>(conv, weight, packed),
        Tile::F6x3 => transform::<6, 3, 8>(conv, weight, packed),
        Tile::F4x5 => transform::<4, 5, 8>(conv, weight, packed),
        Tile::F5x5 => transform::<5, 5, 9>(conv, weight, packed),
    }
    sections.take(conv.outputs).copy_from_slice(bias);
}

/// Transforms each filter in f64 and rounds once: `packed` is `[N][N][outputs / 32][inputs][32]`.
fn transform<const M: usize, const R: usize, const N: usize>(
    conv: &Conv,
    weight: impl Fn(usize, usize, usize, usize) -> f32,
    packed: &mut [f32],
) {
    let matrix = &Winograd::<M, R, N>::FILTER;
    for output in 0..conv.outputs {
        for input in 0..conv.inputs {
            let place = (output / BLOCK * conv.inputs + input) * BLOCK + output % BLOCK;
            let mut columns = [[0.0; R]; N];
            for (row, g) in columns.iter_mut().zip(matrix) {
                for (x, value) in row.iter_mut().enumerate() {
                    *value = (0..R).map(|y| g[y] * f64::from(weight(output, input, y, x))).sum();
                }
            }
            let mut planes = packed.chunks_exact_mut(conv.outputs * conv.inputs);
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

fn pack_linears<T: Stored>(sections: &mut SectionsMut<'_>, network: &AlexNet<'_>) {
    let [linear1, linear2, linear3] = &LINEARS;
    // The last pool gives row, column, channel, where the weights expect channel, row, column.
    let pixels = LAST_SIDE * LAST_SIDE;
    pack_linear::<T>(sections, linear1, network.linear1.bias, |output, input| {
        let (pixel, channel) = (input / CONV5.outputs, input % CONV5.outputs);
        network.linear1.weight[output].get(channel * pixels + pixel).copied().unwrap_or_default()
    });
    pack_linear::<T>(sections, linear2, network.linear2.bias, |output, input| network.linear2.weight[output][input]);
    pack_linear::<T>(sections, linear3, network.linear3.bias, |output, input| network.linear3.weight[output][input]);
}

/// The weights of a linear layer, given as `weight(output, input)`, as `[outputs / 32][inputs][32]`, and its bias.
fn pack_linear<T: Stored>(
    sections: &mut SectionsMut<'_>,
    linear: &Linear,
    bias: &[f32],
    weight: impl Fn(usize, usize) -> f32,
) {
    let packed = sections.take::<T>(linear.padded() * linear.inputs);
    for (block, packed) in packed.chunks_exact_mut(BLOCK * linear.inputs).enumerate() {
        for (input, packed) in packed.chunks_exact_mut(BLOCK).enumerate() {
            for (lane, packed) in packed.iter_mut().enumerate() {
                let output = block * BLOCK + lane;
                *packed = T::from_f32(if output < linear.outputs { weight(output, input) } else { 0.0 });
            }
        }
    }
    let padded = bias.iter().copied().chain(core::iter::repeat(0.0));
    for (packed, bias) in sections.take(linear.padded()).iter_mut().zip(padded) {
        *packed = bias;
    }
}
