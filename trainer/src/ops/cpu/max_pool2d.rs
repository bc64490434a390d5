//! Max-pooling, one image of the batch after the other on each thread; the backward pass needs only where each maximum was.

use std::mem::take;

use dfdx::{
    shapes::HasShape,
    tensor::{Cpu, CpuError, PutTape, SplitTape, Tape, TensorFromVec},
    tensor_ops::ReshapeTo,
};
use rayon::prelude::*;

use super::{allocate, values};
use crate::ops::{Images, MaxPool2d, Plane};

/// Max-pooling on the CPU.
///
/// # Errors
/// [`CpuError::OutOfMemory`].
pub fn max_pool2d<T: Tape<f32, Cpu>>(call: MaxPool2d<Cpu, T>) -> Result<Images<Cpu, T>, CpuError> {
    let MaxPool2d { input, window } = call;
    let (batch, channels, height, width) = *input.shape();
    let device = input.device().clone();
    let plane = Plane::new(height, width, window);
    let (inputs, outputs) = (channels * height * width, channels * plane.positions());
    let (input, mut tape) = input.try_contiguous()?.split_tape();

    let mut output = allocate(&device, batch * outputs)?;
    let mut maxima = vec![0_u32; if T::OWNS_TAPE { batch * outputs } else { 0 }];
    let images = values(&input);
    if T::OWNS_TAPE {
        (output.par_chunks_mut(outputs), maxima.par_chunks_mut(outputs), images.par_chunks(inputs))
            .into_par_iter()
            .for_each(|(output, maxima, image)| {
                pool(image, plane, |index, value, source| {
                    output[index] = value;
                    maxima[index] = source as u32;
                });
            });
    } else {
        output.par_chunks_mut(outputs).zip(images.par_chunks(inputs)).for_each(|(output, image)| {
            pool(image, plane, |index, value, _| output[index] = value);
        });
    }
    drop(images);
    let output = device.try_tensor_from_vec(output, (batch, channels, plane.rows, plane.columns))?;

    let (input_ghost, output_ghost) = (input.ghost(), output.ghost());
    tape.add_backward_op(move |gradients| {
        // Two gradients of one map cannot be borrowed together: take one's memory out, and put it back.
        let output_gradient = take(&mut **gradients.get_or_alloc_mut(&output_ghost)?);
        let size = plane.height * plane.width;
        (
            gradients.get_or_alloc_mut(&input_ghost)?.par_chunks_mut(size),
            output_gradient.par_chunks(plane.positions()),
            maxima.par_chunks(plane.positions()),
        )
            .into_par_iter()
            .for_each(|(input, output, maxima)| {
                for (gradient, source) in output.iter().zip(maxima) {
                    input[*source as usize] += gradient;
                }
            });
        **gradients.get_or_alloc_mut(&output_ghost)? = output_gradient;
        Ok(())
    });
    Ok(output.put_tape(tape))
}

/// Calls `keep(output index, largest value, its index in the plane)` for each output of one image.
fn pool(image: &[f32], plane: Plane, mut keep: impl FnMut(usize, f32, usize)) {
    let Plane { height, width, window, rows, columns } = plane;
    let range = |position: usize, size: usize| {
        let start = position * window.stride;
        start.saturating_sub(window.padding)..(start + window.kernel - window.padding).min(size)
    };
    let mut index = 0;
    for values in image.chunks_exact(height * width) {
        for row in 0..rows {
            for column in 0..columns {
                let (ys, xs) = (range(row, height), range(column, width));
                let mut source = ys.start * width + xs.start;
                let mut largest = values[source];
                for y in ys {
                    for x in xs.clone() {
                        let value = values[y * width + x];
                        if value > largest || value.is_nan() {
                            (largest, source) = (value, y * width + x);
                        }
                    }
                }
                keep(index, largest, source);
                index += 1;
            }
        }
    }
}
