//! Max-pooling of maps as dfdx has them; the tap of each maximum is kept for the backward pass, a byte each.

use cudarc::driver::DevicePtr;
use dfdx::{
    shapes::HasShape,
    tensor::{Cuda, CudaError, PutTape, SplitTape, Tape},
    tensor_ops::ReshapeTo,
};

use super::{
    MAX_POOL,
    kernels::{Sizes, Stored},
};
use crate::{
    cuda::{
        engine::{Engine, ROWS, address, blocks},
        exchange::{self, Shared},
    },
    ops::{Images, MaxPool2d, Plane, portable},
};

/// Same as [`crate::ops::ConvDevice::max_pool2d`], by kernels; by dfdx's operations where the window is too large for them.
///
/// # Errors
/// The device's own.
pub fn max_pool2d<T: Tape<f32, Cuda>>(call: MaxPool2d<Cuda, T>) -> Result<Images<Cuda, T>, CudaError> {
    let (batch, channels, height, width) = *call.input.shape();
    let plane = Plane::new(height, width, call.window);
    let sizes = if call.window.kernel > MAX_POOL { None } else { Sizes::new(batch, channels, plane) };
    let planes = batch.checked_mul(channels).and_then(|planes| u32::try_from(planes).ok());
    let (Some(sizes), Some(planes)) = (sizes, planes) else { return portable::max_pool2d(call) };
    let device = call.input.device().clone();
    let engine = Engine::of(&device)?;
    let module = engine.module(&sizes.pool_program(Stored::F32))?;
    let (input, mut tape) = call.input.try_contiguous()?.split_tape();
    let input_ghost = input.ghost();
    let input = Shared::new(input)?;

    let (output, target) = exchange::uninitialised(&device, &(batch, channels, plane.rows, plane.columns))?;
    let choices = engine.allocate::<u8>(batch * channels * plane.positions())?;
    let rows = planes.clamp(1, ROWS);
    let parameters = (planes, input.address(), target, address(&choices));
    // SAFETY: the planes of the input have the sizes that the program was made for; the output and the choices have a place for each
    // position of the window in each of them.
    unsafe { engine.launch_of(&module, "maps_pool", (blocks(plane.positions() as u32), rows), parameters) }?;

    let output_ghost = output.ghost();
    tape.add_backward_op(move |gradients| {
        let gradient = *gradients.get_or_alloc_mut(&output_ghost)?.device_ptr();
        let target = *gradients.get_or_alloc_mut(&input_ghost)?.device_ptr();
        let parameters = (planes, address(&choices), gradient, target);
        // SAFETY: as above; gradients are as large as what they are of.
        unsafe {
            engine.launch_of(&module, "maps_pool_backward", (blocks((height * width) as u32), rows), parameters)
        }?;
        Ok(())
    });
    Ok(output.put_tape(tape))
}
