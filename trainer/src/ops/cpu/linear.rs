//! Linear layers: three products of matrices, on all threads.

use std::mem::take;

use dfdx::{
    shapes::{Dim, HasShape},
    tensor::{Cpu, CpuError, PutTape, SplitTape, Tape, Tensor, TensorFromVec},
    tensor_ops::ReshapeTo,
};

use super::{
    allocate,
    matrix::{Matrix, add_product},
    values,
};
use crate::ops::Vectors;

/// A linear layer on the CPU; the backward pass computes the gradient of the input only with `input_gradient`.
///
/// # Errors
/// [`CpuError::OutOfMemory`].
pub fn linear<I: Dim, O: Dim, T: Tape<f32, Cpu>>(
    input: Vectors<I, Cpu, T>,
    weight: Tensor<(O, I), f32, Cpu>,
    bias: Tensor<(O,), f32, Cpu>,
    input_gradient: bool,
) -> Result<Vectors<O, Cpu, T>, CpuError> {
    let (batch, inputs) = (input.shape().0, input.shape().1.size());
    let classes = bias.shape().0;
    let outputs = classes.size();
    let device = input.device().clone();
    let (input, mut tape) = input.try_contiguous()?.split_tape();
    // dfdx keeps its tensors' memory to itself. These copies serve both passes.
    let (vectors, weights) = (values(&input), values(&weight));

    let mut output = allocate(&device, batch * outputs)?;
    let start = values(&bias);
    output.chunks_exact_mut(outputs.max(1)).for_each(|row| row.copy_from_slice(&start));
    let columns = Matrix::new(&weights, outputs, inputs).transposed();
    add_product(Matrix::new(&vectors, batch, inputs), columns, &mut output);
    let output = device.try_tensor_from_vec(output, (batch, classes))?;

    let output_ghost = output.ghost();
    tape.add_backward_op(move |gradients| {
        // Two gradients of one map cannot be borrowed together: take one's memory out, and put it back.
        let output_gradient = take(&mut **gradients.get_or_alloc_mut(&output_ghost)?);
        let of_output = Matrix::new(&output_gradient, batch, outputs);
        let bias_gradient = gradients.get_or_alloc_mut(&bias)?;
        for row in output_gradient.chunks_exact(outputs.max(1)) {
            bias_gradient.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let vectors = Matrix::new(&vectors, batch, inputs);
        add_product(of_output.transposed(), vectors, gradients.get_or_alloc_mut(&weight)?);
        if input_gradient {
            let weights = Matrix::new(&weights, outputs, inputs);
            add_product(of_output, weights, gradients.get_or_alloc_mut(&input)?);
        }
        **gradients.get_or_alloc_mut(&output_ghost)? = output_gradient;
        Ok(())
    });
    Ok(output.put_tape(tape))
}
