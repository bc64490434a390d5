//! Dropout's masks, which go to the device as bits.

use dfdx::tensor::{Cuda, CudaError, Tensor};

use crate::cuda::{
    engine::{Engine, ROWS, address, blocks},
    exchange,
};

/// Same as [`crate::ops::ConvDevice::mask`], by a kernel.
///
/// # Errors
/// The device's own.
pub fn mask(
    device: &Cuda,
    words: &[u64],
    (rows, columns): (usize, usize),
) -> Result<Tensor<(usize, usize), f32, Cuda>, CudaError> {
    let engine = Engine::of(device)?;
    let words = engine.upload(words)?;
    let (mask, target) = exchange::uninitialised(device, &(rows, columns))?;
    // Beyond 2³² rows or columns there is no memory for the mask.
    let (count, length) = (rows as u32, columns as u32);
    let parameters = (count, length, address(&words), target);
    // SAFETY: rows × columns values are written, and for each row columns / 64 words, rounded up, are read: the caller made so
    // many.
    unsafe { engine.launch("dropout_mask", blocks(length), count.clamp(1, ROWS), parameters) }?;
    Ok(mask)
}
