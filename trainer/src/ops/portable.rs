//! Convolution, local response normalisation and max-pooling composed of dfdx's public operations: for any dfdx device.
//!
//! Convolution and pooling are a `gather` with indices worked out on the host, so that gradients come from dfdx itself. Of the memory that
//! the tape keeps, the unfolded windows of a convolution are the largest part (kernel² / stride² times its input); pooling
//! keeps one index for each output.

use dfdx::{
    shapes::{Axes2, Axes3, Axis, Dim, HasShape},
    tensor::{NoneTape, PutTape, SplitTape, Tape, Tensor, WithEmptyTape},
    tensor_ops::{
        BroadcastTo, ChooseFrom, GatherTo, PermuteTo, ReshapeTo, TryAdd, TryConcatAlong, TryGt, TryMatMul, TryMul,
        TryNe,
    },
};

use infer_core::layers::LocalResponseNorm;
use rayon::prelude::*;

use super::{Conv2d, ConvDevice, ConvOptions, ConvSizes, Images, MaxPool2d, Plane, Vectors, Window};

/// A matrix with sizes known at run time.
type Matrix<D, T = NoneTape> = Tensor<(usize, usize), f32, D, T>;

/// Linear layer: a product of matrices, and a bias for each column. dfdx's product has the gradients of both factors, so that of the
/// input is computed whether it is asked for or not.
///
/// # Errors
/// The device's own.
pub fn linear<I: Dim, O: Dim, D: ConvDevice, T: Tape<f32, D>>(
    input: Vectors<I, D, T>,
    weight: Tensor<(O, I), f32, D>,
    bias: Tensor<(O,), f32, D>,
    _input_gradient: bool,
) -> Result<Vectors<O, D, T>, D::Err> {
    let output = input.try_matmul(weight.retaped::<T>().try_permute::<(I, O), Axes2<1, 0>>()?)?;
    let bias = bias.retaped::<T>().try_broadcast_like::<_, Axis<0>>(output.shape())?;
    output.try_add(bias)
}

/// Convolution: windows gathered into rows, one matrix product, a bias for each column. Groups are one convolution with weights
/// that are zero.
///
/// # Errors
/// The device's own.
pub fn conv2d<D: ConvDevice, T: Tape<f32, D>>(call: Conv2d<D, T>) -> Result<Images<D, T>, D::Err> {
    let sizes = call.sizes();
    let Conv2d { input, weight, bias, options, .. } = call;
    let ConvSizes { batch, filters, plane, .. } = sizes;
    let device = input.device().clone();

    let rows = if options.input_gradient {
        windows(input, sizes, &device)?
    } else {
        let (input, tape) = input.split_tape();
        windows(input, sizes, &device)?.put_tape(tape)
    };
    let weight = all_taps(weight.retaped::<T>(), sizes, &device)?;
    let output = rows.try_matmul(weight.try_permute::<_, Axes2<1, 0>>()?)?;
    let bias = bias.retaped::<T>().try_broadcast_like::<_, Axis<0>>(output.shape())?;
    let output = output
        .try_add(bias)?
        .try_reshape_like(&(batch, plane.positions(), filters))?
        .try_permute::<(usize, usize, usize), Axes3<0, 2, 1>>()?
        .try_reshape_like(&(batch, filters, plane.rows, plane.columns))?;
    if options.relu { output.try_relu() } else { Ok(output) }
}

/// The weight as filters × taps of all input channels, with zeros for those of other groups.
fn all_taps<D: ConvDevice, T: Tape<f32, D>>(
    weight: Images<D, T>,
    sizes: ConvSizes,
    device: &D,
) -> Result<Matrix<D, T>, D::Err> {
    let (filters, taps, groups) = (sizes.filters, sizes.taps(), sizes.groups());
    let weight = weight.try_reshape_like(&(filters, taps))?;
    if groups == 1 {
        return Ok(weight);
    }
    let weight = (weight, device.try_zeros_like(&(filters, 1))?).try_concat_along(Axis::<1>)?;
    let group = |filter: usize| filter / (filters / groups);
    let indices = (0..filters).flat_map(|filter| {
        let own = group(filter) * taps;
        (0..groups * taps).map(move |tap| tap.checked_sub(own).filter(|tap| *tap < taps).unwrap_or(taps))
    });
    let indices = device.try_tensor_from_vec(indices.collect(), (filters, groups * taps))?;
    weight.try_gather::<(usize, usize), _>(indices)
}

/// Values under the window at each position: (batch · positions) × taps of all channels.
fn windows<D: ConvDevice, T: Tape<f32, D>>(
    input: Images<D, T>,
    sizes: ConvSizes,
    device: &D,
) -> Result<Matrix<D, T>, D::Err> {
    let ConvSizes { batch, channels, plane, .. } = sizes;
    let Plane { height, width, window, .. } = plane;
    let mut image = input.try_reshape_like(&(batch, sizes.input()))?;
    let zero = sizes.input();
    if window.padding > 0 {
        image = (image, device.try_zeros_like(&(batch, 1))?).try_concat_along(Axis::<1>)?;
    }

    let mut indices = Vec::with_capacity(plane.positions() * sizes.taps());
    for row in 0..plane.rows {
        for column in 0..plane.columns {
            for channel in 0..channels {
                for k in 0..window.kernel {
                    for l in 0..window.kernel {
                        let source = window.source(row, k, height).zip(window.source(column, l, width));
                        indices.push(source.map_or(zero, |(y, x)| (channel * height + y) * width + x));
                    }
                }
            }
        }
    }
    let count = indices.len();
    let indices = device.try_tensor_from_vec(indices, (count,))?.try_broadcast_like::<_, Axis<0>>(&(batch, count))?;
    let taps = channels * window.kernel * window.kernel;
    image.try_gather::<(usize, usize), _>(indices)?.try_reshape_like(&(batch * plane.positions(), taps))
}

/// Local response normalisation: the sums of squares are a convolution with windows of one position.
///
/// # Errors
/// The device's own.
pub fn local_response_norm<D: ConvDevice, T: Tape<f32, D>>(input: Images<D, T>) -> Result<Images<D, T>, D::Err> {
    let (_, channels, ..) = *input.shape();
    let device = input.device().clone();
    let near = |place: usize| (place / channels).abs_diff(place % channels) <= LocalResponseNorm::REACH;
    let weight =
        (0..channels * channels).map(|place| if near(place) { LocalResponseNorm::ALPHA } else { 0.0 }).collect();
    let weight = device.try_tensor_from_vec(weight, (channels, channels, 1, 1))?;
    let bias = device.try_tensor_from_vec(vec![LocalResponseNorm::K; channels], (channels,))?;
    let window = Window { kernel: 1, stride: 1, padding: 0 };
    let squares = input.with_empty_tape().try_square()?;
    let sums = conv2d(Conv2d::fitting(squares, weight, bias, window, ConvOptions::default()))?;
    input.try_mul(sums.try_powf(-LocalResponseNorm::BETA)?)
}

/// Max-pooling: the index of each window's first largest value, found without a tape, then one gather.
///
/// # Errors
/// The device's own.
pub fn max_pool2d<D: ConvDevice, T: Tape<f32, D>>(call: MaxPool2d<D, T>) -> Result<Images<D, T>, D::Err> {
    let MaxPool2d { input, window } = call;
    let (batch, channels, height, width) = *input.shape();
    let plane = Plane::new(height, width, window);
    let shape = (batch * channels, plane.positions());
    let device = input.device().clone();

    let planes = input.try_reshape_like(&(batch * channels, height * width))?;
    let (values, tape) = planes.split_tape();
    let mut best: Option<Matrix<D>> = None;
    let mut best_index: Option<Matrix<D>> = None;
    for k in 0..window.kernel {
        for l in 0..window.kernel {
            let sources = tap_sources(plane, k, l);
            let as_floats = sources.iter().map(|source| *source as f32).collect();
            let index = device.try_tensor_from_vec(as_floats, (shape.1,))?.try_broadcast_like::<_, Axis<0>>(&shape)?;
            let sources = device.try_tensor_from_vec(sources, (shape.1,))?;
            let value =
                values.clone().try_gather::<(usize, usize), _>(sources.try_broadcast_like::<_, Axis<0>>(&shape)?)?;
            (best, best_index) = match (best, best_index) {
                (Some(best), Some(best_index)) => {
                    let wins = value.try_gt(&best)? | value.try_ne(&value)?;
                    (Some(wins.clone().try_choose(value, best)?), Some(wins.try_choose(index, best_index)?))
                }
                _ => (Some(value), Some(index)),
            };
        }
    }
    // dfdx's conversion of a tensor to indices cannot be named in a bound, so the indices pass through the host.
    let indices = best_index.map_or_else(Vec::new, |index| index.as_vec());
    let indices = device.try_tensor_from_vec(indices.into_iter().map(|index| index as usize).collect(), shape)?;
    values.put_tape(tape).try_gather::<(usize, usize), _>(indices)?.try_reshape_like(&(
        batch,
        channels,
        plane.rows,
        plane.columns,
    ))
}

/// The index in the plane of tap (`k`, `l`) at each position of the window. A tap in the padding stands for the first value
/// that the window does cover, so that it can never be a new maximum.
fn tap_sources(plane: Plane, k: usize, l: usize) -> Vec<usize> {
    let Plane { height, width, window, rows, columns } = plane;
    let first = |position: usize| (position * window.stride).saturating_sub(window.padding);
    let mut sources = Vec::with_capacity(plane.positions());
    for row in 0..rows {
        for column in 0..columns {
            let (y, x) = window
                .source(row, k, height)
                .zip(window.source(column, l, width))
                .unwrap_or((first(row), first(column)));
            sources.push(y * width + x);
        }
    }
    sources
}

/// Same as [`ConvDevice::mask`], spread out on the host.
///
/// # Errors
/// The device's own.
pub fn mask<D: ConvDevice>(device: &D, words: &[u64], (rows, columns): (usize, usize)) -> Result<Matrix<D>, D::Err> {
    let mut mask = vec![0.0; rows * columns];
    let words = words.par_chunks(columns.div_ceil(64).max(1));
    mask.par_chunks_mut(columns.max(1)).zip(words).for_each(|(values, words)| {
        for (values, word) in values.chunks_mut(64).zip(words) {
            for (bit, value) in values.iter_mut().enumerate() {
                *value = 2.0 * (word >> bit & 1) as f32;
            }
        }
    });
    device.try_tensor_from_vec(mask, (rows, columns))
}
