//! Convolution by matrix products over unfolded images.
//!
//! With the windows of one image, or of a few small ones, side by side in a matrix `X` (taps × positions), the weight a
//! matrix `W` (filters × taps) and the output's gradient a matrix `G` (filters × positions):
//! output `W·X + b`, weight's gradient `G·Xᵀ`, bias's gradient the sums of `G`'s rows, windows' gradient `Wᵀ·G`. With ReLU,
//! `G` is zero where the output is not positive. Groups have rows of their own of each of these matrices.

use std::mem::take;

use dfdx::{
    tensor::{Cpu, CpuError, PutTape, SplitTape, Tape, TensorFromVec},
    tensor_ops::ReshapeTo,
};
use rayon::prelude::*;

use super::{
    allocate,
    matrix::{Matrix, Mode, multiply},
    unfold::{Block, fold, unfold},
    values,
    winograd::{self, Extras, Plan},
};
use crate::ops::{Conv2d, ConvOptions, ConvSizes, Images};

/// Columns that make a matrix product efficient: smaller images are put side by side until there are as many.
const COLUMNS: usize = 512;

/// Convolution on the CPU.
///
/// The gradients of weight and bias are sums over the images of one thread, then over threads, in order: bit for bit the
/// same for the same number of threads.
///
/// # Errors
/// [`CpuError::OutOfMemory`].
pub fn conv2d<T: Tape<f32, Cpu>>(call: Conv2d<Cpu, T>) -> Result<Images<Cpu, T>, CpuError> {
    let sizes = call.sizes();
    let Conv2d { input, weight, bias, options, window } = call;
    let ConvOptions { relu, input_gradient } = options;
    let plane = sizes.plane;
    let extras = Extras { relu, pool: None };
    if let Some(plan) =
        Plan::new((sizes.channels, plane.height, plane.width), (sizes.filters, sizes.group), window, extras)
    {
        return winograd::run(input, vec![((weight, bias), plan)], input_gradient);
    }
    let device = input.device().clone();
    let (input, tape) = input.try_contiguous()?.split_tape();
    let (weight, weight_tape) = weight.retaped::<T>().try_contiguous()?.split_tape();
    let (bias, bias_tape) = bias.retaped::<T>().try_contiguous()?.split_tape();
    let mut tape = tape.merge(weight_tape).merge(bias_tape);

    let mut output = allocate(&device, sizes.batch * sizes.output())?;
    forward(sizes, relu, &values(&input), &values(&weight), &values(&bias), &mut output);
    let passes: Vec<bool> =
        if T::OWNS_TAPE && relu { output.par_iter().map(|y| *y != 0.0).collect() } else { Vec::new() };
    let output =
        device.try_tensor_from_vec(output, (sizes.batch, sizes.filters, sizes.plane.rows, sizes.plane.columns))?;

    let (output_ghost, bias_ghost) = (output.ghost(), bias.ghost());
    tape.add_backward_op(move |gradients| {
        // Two gradients of one map cannot be borrowed together: take the memory of some out, and put it back at the end.
        let output_gradient = take(&mut **gradients.get_or_alloc_mut(&output_ghost)?);
        let mut images_gradient =
            if input_gradient { take(&mut **gradients.get_or_alloc_mut(&input)?) } else { Vec::new() };
        let (images, weights) = (values(&input), values(&weight));
        let parts: Vec<GradientShare> = jobs(sizes, &images, &passes, &output_gradient, &mut images_gradient)
            .into_par_iter()
            .map(|job| job.run(sizes, &weights))
            .collect();
        for part in &parts {
            add(gradients.get_or_alloc_mut(&weight)?, &part.weight);
            add(gradients.get_or_alloc_mut(&bias_ghost)?, &part.bias);
        }
        **gradients.get_or_alloc_mut(&output_ghost)? = output_gradient;
        if input_gradient {
            **gradients.get_or_alloc_mut(&input)? = images_gradient;
        }
        Ok(())
    });
    Ok(output.put_tape(tape))
}

/// Number of images that go side by side into one matrix.
fn group(sizes: ConvSizes, images: usize) -> usize {
    COLUMNS.div_ceil(sizes.plane.positions()).min(images).max(1)
}

fn forward(sizes: ConvSizes, relu: bool, images: &[f32], weight: &[f32], bias: &[f32], output: &mut [f32]) {
    let (taps, groups, filters, positions) = (sizes.taps(), sizes.groups(), sizes.filters, sizes.plane.positions());
    let group = group(sizes, sizes.batch.div_ceil(rayon::current_num_threads()));
    output.par_chunks_mut(group * sizes.output()).zip(images.par_chunks(group * sizes.input())).for_each_init(
        <(Vec<f32>, Vec<f32>)>::default,
        |(windows, products), (output, images)| {
            let row = output.len() / filters;
            windows.resize(groups * taps * row, 0.0);
            products.resize(filters * row, 0.0);
            for (index, image) in images.chunks_exact(sizes.input()).enumerate() {
                unfold(image, sizes.plane, windows, Block { row, at: index * positions });
            }
            let filters = filters / groups;
            let parts = weight.chunks_exact(filters * taps).zip(windows.chunks_exact(taps * row));
            for ((weight, windows), products) in parts.zip(products.chunks_exact_mut(filters * row)) {
                multiply(Matrix::new(weight, filters, taps), Matrix::new(windows, taps, row), products, Mode::Replace);
            }
            for (index, image) in output.chunks_exact_mut(sizes.output()).enumerate() {
                let rows = products.chunks_exact(row).zip(bias);
                for (plane, (products, bias)) in image.chunks_exact_mut(positions).zip(rows) {
                    for (y, product) in plane.iter_mut().zip(&products[index * positions..]) {
                        let sum = product + bias;
                        // Not `max`: a NaN stays.
                        *y = if relu && sum < 0.0 { 0.0 } else { sum };
                    }
                }
            }
        },
    );
}

/// One thread's share of the backward pass: consecutive images.
struct Job<'a> {
    images: &'a [f32],
    /// Where the ReLU lets the gradient through; empty without ReLU.
    passes: &'a [bool],
    output_gradient: &'a [f32],
    /// Gradient of the images, which is added to; empty if none is wanted.
    images_gradient: &'a mut [f32],
}

/// Share of one job of the gradients of weight and bias.
struct GradientShare {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

fn jobs<'a>(
    sizes: ConvSizes,
    images: &'a [f32],
    passes: &'a [bool],
    output_gradient: &'a [f32],
    mut images_gradient: &'a mut [f32],
) -> Vec<Job<'a>> {
    let share = sizes.batch.div_ceil(rayon::current_num_threads()).max(1);
    let mut jobs = Vec::new();
    for (index, images) in images.chunks(share * sizes.input()).enumerate() {
        let outputs = share * sizes.output();
        let output_gradient = &output_gradient[index * outputs..output_gradient.len().min((index + 1) * outputs)];
        let passes = if passes.is_empty() { passes } else { &passes[index * outputs..][..output_gradient.len()] };
        let (head, tail) = images_gradient.split_at_mut(images.len().min(images_gradient.len()));
        images_gradient = tail;
        jobs.push(Job { images, passes, output_gradient, images_gradient: head });
    }
    jobs
}

impl Job<'_> {
    fn run(self, sizes: ConvSizes, weight: &[f32]) -> GradientShare {
        let (taps, groups, filters, positions) = (sizes.taps(), sizes.groups(), sizes.filters, sizes.plane.positions());
        let of_group = filters / groups;
        let group = group(sizes, self.images.len() / sizes.input());
        let mut part = GradientShare { weight: vec![0.0; filters * taps], bias: vec![0.0; filters] };
        let (mut windows, mut gradient) = (Vec::new(), Vec::new());
        for (index, images) in self.images.chunks(group * sizes.input()).enumerate() {
            let count = images.len() / sizes.input();
            let row = count * positions;
            windows.resize(groups * taps * row, 0.0);
            gradient.resize(filters * row, 0.0);

            let first = index * group * sizes.output();
            let output_gradient = &self.output_gradient[first..][..count * sizes.output()];
            let passes = self.passes.get(first..).unwrap_or_default();
            side_by_side(output_gradient, passes, sizes, &mut gradient);
            for (sum, gradient) in part.bias.iter_mut().zip(gradient.chunks_exact(row)) {
                *sum += gradient.iter().sum::<f32>();
            }
            let gradients = || gradient.chunks_exact(of_group * row).map(|part| Matrix::new(part, of_group, row));

            for (image, pixels) in images.chunks_exact(sizes.input()).enumerate() {
                unfold(pixels, sizes.plane, &mut windows, Block { row, at: image * positions });
            }
            let parts = windows.chunks_exact(taps * row).zip(part.weight.chunks_exact_mut(of_group * taps));
            for (gradient, (windows, weight)) in gradients().zip(parts) {
                multiply(gradient, Matrix::new(windows, taps, row).transposed(), weight, Mode::Add);
            }

            if !self.images_gradient.is_empty() {
                let parts = weight.chunks_exact(of_group * taps).zip(windows.chunks_exact_mut(taps * row));
                for (gradient, (weight, windows)) in gradients().zip(parts) {
                    multiply(Matrix::new(weight, of_group, taps).transposed(), gradient, windows, Mode::Replace);
                }
                let images_gradient = &mut self.images_gradient[index * group * sizes.input()..][..images.len()];
                for (image, pixels) in images_gradient.chunks_exact_mut(sizes.input()).enumerate() {
                    fold(&windows, sizes.plane, pixels, Block { row, at: image * positions });
                }
            }
        }
        part
    }
}

/// Turns the gradients of a few output images (image × filter × position) into one matrix (filter × (image, position)),
/// with zeros where the ReLU lets nothing through.
fn side_by_side(output_gradient: &[f32], passes: &[bool], sizes: ConvSizes, matrix: &mut [f32]) {
    let positions = sizes.plane.positions();
    let row = matrix.len() / sizes.filters;
    for (index, plane) in output_gradient.chunks_exact(positions).enumerate() {
        let (image, filter) = (index / sizes.filters, index % sizes.filters);
        let target = &mut matrix[filter * row + image * positions..][..positions];
        target.copy_from_slice(plane);
        if let Some(passes) = passes.get(index * positions..(index + 1) * positions) {
            for (value, passes) in target.iter_mut().zip(passes) {
                *value = if *passes { *value } else { 0.0 };
            }
        }
    }
}

fn add(sums: &mut [f32], values: &[f32]) {
    sums.par_iter_mut().zip(values).with_min_len(1 << 14).for_each(|(sum, value)| *sum += value);
}
