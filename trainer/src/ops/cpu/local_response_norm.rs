//! Local response normalisation, image by image, and its gradient, by the formulas
//!
//! `y = x · s^−β` with `s = k + α · Σ x²`, and `∂x = ∂y · s^−β − 2·α·β · x · Σ (∂y · y / s)`, where both sums go over the channels
//! around.

use std::mem::take;

use dfdx::{
    shapes::HasShape,
    tensor::{Cpu, CpuError, PutTape, SplitTape, Tape, TensorFromVec},
    tensor_ops::ReshapeTo,
};
use infer_core::layers::LocalResponseNorm;
use rayon::prelude::*;

use super::{allocate, buffer::Buffer, values};
use crate::ops::Images;

const REACH: usize = LocalResponseNorm::REACH;
const K: f32 = LocalResponseNorm::K;
const ALPHA: f32 = LocalResponseNorm::ALPHA;
const BETA: f32 = LocalResponseNorm::BETA;

/// Local response normalisation on the CPU.
///
/// # Errors
/// [`CpuError::OutOfMemory`].
pub fn local_response_norm<T: Tape<f32, Cpu>>(input: Images<Cpu, T>) -> Result<Images<Cpu, T>, CpuError> {
    let (batch, channels, height, width) = *input.shape();
    let device = input.device().clone();
    let plane = (height * width).max(1);
    let image = (channels * plane).max(1);
    let (input, mut tape) = input.try_contiguous()?.split_tape();

    let mut output = allocate(&device, batch * channels * height * width)?;
    output.par_chunks_mut(image).zip(values(&input).par_chunks(image)).for_each_init(
        || Buffer::new(image),
        |sums, (output, input)| {
            sums_of_squares(input, plane, sums);
            for ((output, value), sum) in output.iter_mut().zip(input).zip(sums.iter()) {
                *output = value * power(*sum);
            }
        },
    );
    let output = device.try_tensor_from_vec(output, (batch, channels, height, width))?;

    let output_ghost = output.ghost();
    tape.add_backward_op(move |gradients| {
        // Two gradients of one map cannot be borrowed together: take one's memory out, and put it back.
        let output_gradient = take(&mut **gradients.get_or_alloc_mut(&output_ghost)?);
        let input_gradient = gradients.get_or_alloc_mut(&input)?;
        let images = values(&input);
        let images = images.par_chunks(image).zip(output_gradient.par_chunks(image));
        input_gradient.par_chunks_mut(image).zip(images).for_each_init(
            || (Buffer::new(image), Buffer::new(image)),
            |(sums, shares), (target, (input, gradient))| {
                sums_of_squares(input, plane, sums);
                for ((target, share), ((value, gradient), sum)) in
                    target.iter_mut().zip(shares.iter_mut()).zip(input.iter().zip(gradient).zip(sums.iter()))
                {
                    let direct = gradient * power(*sum);
                    *target += direct;
                    *share = direct * value / sum;
                }
                for_each_pair(channels, |channel, other| {
                    let target = &mut target[channel * plane..][..plane];
                    let others = input[channel * plane..][..plane].iter().zip(&shares[other * plane..][..plane]);
                    for (target, (value, share)) in target.iter_mut().zip(others) {
                        *target -= 2.0 * ALPHA * BETA * value * share;
                    }
                });
            },
        );
        **gradients.get_or_alloc_mut(&output_ghost)? = output_gradient;
        Ok(())
    });
    Ok(output.put_tape(tape))
}

/// `s` of each value of an image.
fn sums_of_squares(input: &[f32], plane: usize, sums: &mut [f32]) {
    sums.fill(K);
    for_each_pair(input.len() / plane, |channel, other| {
        let sums = &mut sums[channel * plane..][..plane];
        for (sum, value) in sums.iter_mut().zip(&input[other * plane..][..plane]) {
            *sum += ALPHA * value * value;
        }
    });
}

/// Calls `visit(channel, other)` for each channel and those around it, itself among them.
fn for_each_pair(channels: usize, mut visit: impl FnMut(usize, usize)) {
    for channel in 0..channels {
        for other in channel.saturating_sub(REACH)..channels.min(channel + REACH + 1) {
            visit(channel, other);
        }
    }
}

/// `s^−β`, by roots.
fn power(sum: f32) -> f32 {
    const { assert!(BETA == 0.75) };
    let root = sum.sqrt();
    (root * root.sqrt()).recip()
}
