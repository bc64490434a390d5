//! Filters: from the weight to transformed filters, and their gradients back.
//!
//! Transformed filters are planes of `[depth][filters]`, one for each place of a transformed tile, where the depth is that of a
//! group.

use kernels::{
    Misfit,
    training::{Planes, PlanesMut, TrainingKernels},
};
use rayon::prelude::*;

use super::{super::buffer::Buffer, parts, plan::Plan};

/// Filters whose values are moved together: a cache line of them.
const LANES: usize = 16;
/// Filters that a thread transforms at a time.
const CHUNK: usize = 4096;

/// Where each tap of a filter lies: calls `visit(tap in the weight, plane, row of the plane)` for one input channel.
fn each_tap(plan: &Plan, channel: usize, mut visit: impl FnMut(usize, usize, usize)) {
    let (kernel, stride, taps) = (plan.window.kernel, plan.window.stride, plan.tile.taps());
    for y in 0..kernel {
        for x in 0..kernel {
            let plane = y / stride * taps + x / stride;
            let row = (channel * stride + y % stride) * stride + x % stride;
            visit((channel * kernel + y) * kernel + x, plane, row);
        }
    }
}

/// `U = G·g·Gᵀ` of a weight of `[filters][channels of a group][kernel][kernel]`.
pub(super) fn transform(plan: &Plan, kernels: &TrainingKernels, weight: &[f32]) -> Result<Buffer<f32>, Misfit> {
    let (filters, count) = (plan.filters, plan.group_depth() * plan.filters);
    let taps = plan.group * plan.window.kernel * plan.window.kernel;
    let mut planes = Buffer::new(plan.tile.taps() * plan.tile.taps() * count);
    // A stride that does not divide the kernel leaves taps that no weight fills.
    planes.par_chunks_mut(count).for_each(|plane| plane.fill(0.0));
    let step = plan.window.stride * plan.window.stride;
    parts(&mut planes, count, step * filters).into_par_iter().enumerate().for_each(|(channel, mut planes)| {
        for first in (0..filters).step_by(LANES) {
            each_tap(plan, channel, |tap, plane, row| {
                let target = &mut planes[plane][(row - channel * step) * filters + first..][..LANES];
                for (lane, value) in target.iter_mut().enumerate() {
                    *value = weight[(first + lane) * taps + tap];
                }
            });
        }
    });

    let mut transformed = Buffer::new(plan.tile.planes() * count);
    parts(&mut transformed, count, CHUNK).into_par_iter().enumerate().try_for_each(|(chunk, mut targets)| {
        let length = targets[0].len();
        let filters = Planes { values: &planes, stride: count, offset: chunk * CHUNK };
        kernels.filter(plan.tile, filters, PlanesMut { planes: &mut targets, offset: 0 }, length)
    })?;
    Ok(transformed)
}

/// Adds the gradient of transformed filters to the gradient of the weight.
pub(super) fn add_gradient(
    plan: &Plan,
    kernels: &TrainingKernels,
    transformed: &[f32],
    weight: &mut [f32],
) -> Result<(), Misfit> {
    let (filters, count) = (plan.filters, plan.group_depth() * plan.filters);
    let taps = plan.group * plan.window.kernel * plan.window.kernel;
    let mut planes = Buffer::new(plan.tile.taps() * plan.tile.taps() * count);
    parts(&mut planes, count, CHUNK).into_par_iter().enumerate().try_for_each(|(chunk, mut targets)| {
        let length = targets[0].len();
        let source = Planes { values: transformed, stride: count, offset: chunk * CHUNK };
        kernels.filter_transposed(plan.tile, source, PlanesMut { planes: &mut targets, offset: 0 }, length)
    })?;
    weight.par_chunks_mut(LANES * taps).enumerate().for_each(|(block, weight)| {
        for channel in 0..plan.group {
            each_tap(plan, channel, |tap, plane, row| {
                let source = &planes[plane * count + row * filters + block * LANES..][..LANES];
                for (lane, value) in source.iter().enumerate() {
                    weight[lane * taps + tap] += value;
                }
            });
        }
    });
    Ok(())
}
