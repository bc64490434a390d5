//! The GPU's memory: how much there is, and how much training takes.

use dfdx::tensor::Cuda;
use infer_core::describe::{Description, Kind, Layer};

use super::{check, engine::Engine, exchange, failure::Code, libraries::driver};
use crate::device::{CudaKernels, DeviceError, MemoryError};

/// Bytes of memory on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Not in use by anyone.
    pub free: usize,
    /// All.
    pub total: usize,
}

/// Makes an open device the current one of this thread, as allocating does. A failure shows in what comes after.
pub(crate) fn make_current(device: &Cuda) {
    let _ = exchange::unfilled(|| dfdx::tensor::Storage::<f32>::try_alloc_len(device, 1));
}

/// The memory of an open device.
///
/// # Errors
/// The driver's.
pub fn of(device: &Cuda) -> Result<DeviceMemory, Code> {
    make_current(device);
    let (mut free, mut total) = (0, 0);
    // SAFETY: both places are writable.
    check(unsafe { driver::cuMemGetInfo_v2(&mut free, &mut total) })?;
    Ok(DeviceMemory { free, total })
}

/// Bytes of a value.
const VALUE: usize = size_of::<f32>();
/// Copies of all weights that training holds: weights, gradients, both moments of Adam, the moving average, and a network of it.
const WEIGHT_COPIES: usize = 6;
/// Bytes that the libraries need for themselves.
const LIBRARIES: usize = 256 << 20;

/// Bytes that a training step takes for each image of a batch. The emulator counts them, and `scripts/cuda-emulate` holds that
/// a batch which should fit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BytesPerImage {
    /// With fused kernels.
    fused: usize,
    /// Beside those, where what convolutions unfold is kept.
    windows: usize,
    /// With portable kernels.
    portable: usize,
}

impl BytesPerImage {
    fn of(network: &Description) -> Self {
        let convolution = |layer: &&Layer| matches!(layer.kind, Kind::Conv { .. });
        let sum = |size: fn(&Layer) -> usize, of: &dyn Fn(&&Layer) -> bool| -> usize {
            network.layers.iter().filter(of).map(size).sum()
        };
        // Of all channels, also where a filter sees those of its group alone.
        let unfolded = |layer: &Layer| layer.groups() * layer.fan_in() * layer.output.side * layer.output.side;
        let convolutions = || network.layers.iter().filter(convolution);
        let largest_unfolded = convolutions().map(unfolded).max().unwrap_or(0);
        let largest_output = convolutions().map(|layer| layer.output.values()).max().unwrap_or(0);
        let all_unfolded = sum(unfolded, &convolution);
        let all_outputs = sum(|layer| layer.output.values(), &convolution);
        let pooled = sum(|layer| layer.output.values(), &|layer| matches!(layer.kind, Kind::MaxPool { .. }));
        let vectors = sum(|layer| layer.output.channels, &|layer| matches!(layer.kind, Kind::Linear { .. }));
        let around = network.input().values() + pooled + 6 * vectors;
        let norms = sum(|layer| layer.output.values(), &|layer| layer.kind == Kind::LocalResponseNorm);
        Self {
            // One convolution's windows, its output and its gradient at a time, and the inputs of normalisations.
            fused: VALUE * (largest_unfolded + 2 * largest_output + norms + around),
            windows: VALUE * (all_unfolded - largest_unfolded),
            // The windows and their gradients, and outputs before and behind bias and ReLU, of all convolutions; of normalisations
            // squares, their sums and powers, in the layouts that they go through, and the gradients of all of them.
            portable: VALUE * (2 * all_unfolded + 3 * all_outputs + 14 * norms + around),
        }
    }
}

/// Refuses batches that training a network for so many classes has no memory for, and lets fused kernels keep what
/// convolutions unfold where there is memory for that too.
///
/// # Errors
/// The batch size that would do, where there is one; the driver's.
pub fn check_batch(device: &Cuda, network: &Description, classes: usize, batch_size: usize) -> Result<(), MemoryError> {
    let free = of(device).map_err(DeviceError::new)?.free;
    let engine = Engine::of(device).map_err(DeviceError::new)?;
    let fixed = WEIGHT_COPIES * VALUE * network.parameters(classes) + LIBRARIES;
    let BytesPerImage { fused, windows, portable } = BytesPerImage::of(network);
    let needed = |per_image: usize| fixed.saturating_add(per_image.saturating_mul(batch_size));
    let per_image = match engine.kernels() {
        CudaKernels::Fused => fused,
        CudaKernels::Portable => portable,
    };
    if needed(per_image) <= free {
        engine.keep_windows(needed(per_image + windows) <= free);
        return Ok(());
    }
    let largest = free.saturating_sub(fixed).checked_div(per_image).filter(|images| *images > 0);
    Err(MemoryError::TooLittle { batch_size, needed: needed(per_image), free, largest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_follow_from_the_layers() {
        // What the emulator counted for a step, an image.
        let alexnet = BytesPerImage::of(&infer_core::alexnet::DESCRIPTION);
        let lenet5 = BytesPerImage::of(&infer_core::lenet5::DESCRIPTION);
        let alexnet_2012 = BytesPerImage::of(&infer_core::alexnet_2012::DESCRIPTION);
        let near = |found: usize, counted: usize| (0.95..1.15).contains(&(found as f64 / counted as f64));
        for (found, counted) in [
            (alexnet.fused, 9 << 20),
            (alexnet.windows, 6 << 20),
            (alexnet.portable, 32 << 20),
            (lenet5.fused, 118 << 10),
            (lenet5.windows, 56 << 10),
            (lenet5.portable, 360 << 10),
            (alexnet_2012.fused + alexnet_2012.windows, 21 << 20),
        ] {
            assert!(near(found, counted), "{found}, counted {counted}");
        }
    }
}
