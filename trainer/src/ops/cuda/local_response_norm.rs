//! Local response normalisation of maps as dfdx has them. Nothing is kept for the backward pass but the input.

use cudarc::driver::DevicePtr;
use dfdx::{
    shapes::HasShape,
    tensor::{Cuda, CudaError, PutTape, SplitTape, Tape},
    tensor_ops::ReshapeTo,
};
use infer_core::layers::LocalResponseNorm;

use crate::{
    cuda::{
        engine::{Engine, ROWS, blocks},
        exchange::{self, Shared},
        program::{NORM, Program},
    },
    ops::{Images, portable},
};

/// Same as [`crate::ops::ConvDevice::local_response_norm`], by kernels; by dfdx's operations where the maps are too large for them.
///
/// # Errors
/// The device's own.
pub fn local_response_norm<T: Tape<f32, Cuda>>(input: Images<Cuda, T>) -> Result<Images<Cuda, T>, CudaError> {
    const { assert!(LocalResponseNorm::BETA == 0.75, "the kernels have its roots") };
    let shape = *input.shape();
    let (batch, channels, height, width) = shape;
    let number = |value: Option<usize>| value.and_then(|value| u32::try_from(value).ok());
    let image = number(height.checked_mul(width).and_then(|plane| plane.checked_mul(channels)));
    // Distances between the planes of an image are signed in the kernels.
    let (Some(_), Some(planes)) = (image.filter(|values| *values < 1 << 28), number(batch.checked_mul(channels)))
    else {
        return portable::local_response_norm(input);
    };
    let plane = (height * width) as u32;
    let device = input.device().clone();
    let engine = Engine::of(&device)?;
    let constants = vec![("CHANNELS", channels as u32), ("PLANE", plane), ("REACH", LocalResponseNorm::REACH as u32)];
    let module = engine.module(&Program { file: &NORM, constants })?;
    let (input, mut tape) = input.try_contiguous()?.split_tape();
    let input_ghost = input.ghost();
    let input = Shared::new(input)?;

    let (output, target) = exchange::uninitialised(&device, &shape)?;
    let grid = (blocks(plane), planes.clamp(1, ROWS));
    let parameters = (planes, LocalResponseNorm::K, LocalResponseNorm::ALPHA, input.address(), target);
    // SAFETY: input and output have as many planes of that size, those of an image one behind the other.
    unsafe { engine.launch_of(&module, "maps_norm", grid, parameters) }?;

    let output_ghost = output.ghost();
    tape.add_backward_op(move |gradients| {
        let gradient = *gradients.get_or_alloc_mut(&output_ghost)?.device_ptr();
        let target = *gradients.get_or_alloc_mut(&input_ghost)?.device_ptr();
        let (k, alpha) = (LocalResponseNorm::K, LocalResponseNorm::ALPHA);
        let parameters = (planes, k, alpha, input.address(), gradient, target);
        // SAFETY: as above; gradients are as large as what they are of.
        unsafe { engine.launch_of(&module, "maps_norm_backward", grid, parameters) }?;
        Ok(())
    });
    Ok(output.put_tape(tape))
}
