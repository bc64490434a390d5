//! Convolutions by Winograd's minimal filtering, on channels-last images: kernels of [`kernels::training`] for the
//! transforms and poolings, matrix products for the sums over channels.
//!
//! A whole tower is one operation on the tape. Of each layer it keeps the output (after ReLU and pooling) and where the
//! maxima were, which is all that the backward pass cannot compute again.

mod filters;
mod layer;
mod layout;
mod plan;

use std::mem::take;

use dfdx::{
    shapes::HasShape,
    tensor::{Cpu, CpuError, PutTape, SplitTape, Tape, Tensor, TensorFromVec},
    tensor_ops::ReshapeTo,
};
use kernels::{Backend, Misfit};

use self::{
    layer::{GradientSums, Layer, Output},
    layout::{channels_first, channels_last},
};
use super::{allocate, buffer::Buffer, values};
use crate::ops::{Images, Stage, Tower};

pub(super) use plan::{Extras, Plan};

/// A tower on the CPU: by this path if all of its stages fit it, else one by one.
///
/// # Errors
/// [`CpuError::OutOfMemory`].
pub fn tower<T: Tape<f32, Cpu>>(call: Tower<Cpu, T>) -> Result<Images<Cpu, T>, CpuError> {
    match plans(&call) {
        Some(plans) => {
            let layers = call.stages.into_iter().map(|Stage { weight, bias, .. }| (weight, bias)).zip(plans).collect();
            run(call.input, layers, call.input_gradient)
        }
        None => call.one_by_one(),
    }
}

fn plans<T: Tape<f32, Cpu>>(call: &Tower<Cpu, T>) -> Option<Vec<Plan>> {
    let (_, channels, height, width) = *call.input.shape();
    let mut input = (channels, height, width);
    let plans = call.stages.iter().map(|stage| {
        let extras = Extras { relu: true, pool: stage.pool };
        let plan = Plan::new(input, (stage.weight.shape().0, stage.weight.shape().1), stage.window, extras)?;
        input = plan.output();
        Some(plan)
    });
    let plans: Option<Vec<Plan>> = plans.collect();
    plans.filter(|plans| !plans.is_empty())
}

/// A layer's weight and bias.
type Parameters<T> = (Images<Cpu, T>, Tensor<(usize,), f32, Cpu, T>);

/// The layers, one after the other; at least one.
pub(super) fn run<T: Tape<f32, Cpu>>(
    input: Images<Cpu, T>,
    layers: Vec<(Parameters<dfdx::tensor::NoneTape>, Plan)>,
    input_gradient: bool,
) -> Result<Images<Cpu, T>, CpuError> {
    let device = input.device().clone();
    let (batch, channels, height, width) = *input.shape();
    let (input, mut tape) = input.try_contiguous()?.split_tape();
    let (mut parameters, mut plans) = (Vec::new(), Vec::new());
    for ((weight, bias), plan) in layers {
        let (weight, weight_tape) = weight.retaped::<T>().try_contiguous()?.split_tape();
        let (bias, bias_tape) = bias.retaped::<T>().try_contiguous()?.split_tape();
        tape = tape.merge(weight_tape).merge(bias_tape);
        parameters.push((weight, bias));
        plans.push(plan);
    }

    let mut images = Buffer::new(batch * channels * height * width);
    if channels == 1 {
        input.copy_into(&mut images);
    } else {
        channels_last(&values(&input), channels, height * width, &mut images);
    }
    let mut outputs: Vec<Output> = Vec::new();
    for ((weight, bias), plan) in parameters.iter().zip(&plans) {
        let layer = Layer::new(plan, Backend::best_training(), &values(weight)).map_err(misfit)?;
        let images = outputs.last().map_or(&images, |output| &output.values);
        let output = layer.forward(images, &values(bias)).map_err(misfit)?;
        if !T::OWNS_TAPE {
            outputs.clear();
        }
        outputs.push(output);
    }
    let (filters, rows, columns) = plans.last().map_or((0, 0, 0), Plan::output);
    let mut maps = allocate(&device, batch * filters * rows * columns)?;
    if let Some(output) = outputs.last() {
        channels_first(&output.values, filters, rows * columns, &mut maps);
    }
    let output = device.try_tensor_from_vec(maps, (batch, filters, rows, columns))?;

    let output_ghost = output.ghost();
    tape.add_backward_op(move |gradients| {
        let mut gradient = {
            let values = gradients.get_or_alloc_mut(&output_ghost)?;
            let mut gradient = Buffer::new(values.len());
            channels_last(values, filters, rows * columns, &mut gradient);
            Some(gradient)
        };
        while let (Some(output), Some((weight, bias)), Some(plan)) = (outputs.pop(), parameters.pop(), plans.pop()) {
            let images = outputs.last().map_or(&images, |output| &output.values);
            let layer = Layer::new(&plan, Backend::best_training(), &values(&weight)).map_err(misfit)?;
            // Two gradients of one map cannot be borrowed together: take one's memory out, and put it back.
            let mut weight_sums = take(&mut **gradients.get_or_alloc_mut(&weight)?);
            let sums = GradientSums { weight: &mut weight_sums, bias: gradients.get_or_alloc_mut(&bias)? };
            let wanted = input_gradient || !plans.is_empty();
            let output_gradient = gradient.as_deref().unwrap_or_default();
            gradient = layer.backward(images, &output, output_gradient, sums, wanted).map_err(misfit)?;
            **gradients.get_or_alloc_mut(&weight)? = weight_sums;
        }
        if let Some(gradient) = gradient.filter(|_| input_gradient) {
            let mut channels_first_gradient = Buffer::new(gradient.len());
            channels_first(&gradient, channels, height * width, &mut channels_first_gradient);
            let sums = gradients.get_or_alloc_mut(&input)?;
            for (sum, gradient) in sums.iter_mut().zip(channels_first_gradient.iter()) {
                *sum += gradient;
            }
        }
        Ok(())
    });
    Ok(output.put_tape(tape))
}

/// dfdx's error for a plan whose sizes do not fit each other, which [`Plan::new`] rules out.
fn misfit(_: Misfit) -> CpuError {
    CpuError::WrongNumElements
}

/// Planes of `plane` values, each cut into pieces of `piece`: part i holds piece i of every plane, so that threads can each
/// have some. What remains of a plane behind its last whole piece is a shorter one.
fn parts(values: &mut [f32], plane: usize, piece: usize) -> Vec<Vec<&mut [f32]>> {
    let planes = values.len() / plane;
    let mut parts: Vec<Vec<&mut [f32]>> = Vec::new();
    parts.resize_with(plane.div_ceil(piece), || Vec::with_capacity(planes));
    for plane in values.chunks_exact_mut(plane) {
        for (part, piece) in parts.iter_mut().zip(plane.chunks_mut(piece)) {
            part.push(piece);
        }
    }
    parts
}
