//! Inputs on CUDA: the bytes of the images go to the GPU, and its kernels (`kernels/inputs.cu`) do the rest.

use cudarc::driver::{CudaSlice, DeviceRepr};
use dfdx::tensor::{Cuda, CudaError, TensorFromVec};
use image_files::preprocessing::{Normalisation, Preprocessing};
use infer_core::{describe::Maps, preprocess::Resize};

use super::{InputDevice, Picture, on_the_host};
use crate::{
    cuda::{
        engine::{Engine, ROWS, address, blocks},
        exchange::{self, Address},
        program::{INPUTS, Program},
    },
    data::{
        Frame,
        augment::{Changes, Rectangle},
    },
    device::CudaKernels,
    model::{ModelError, Network},
    ops::Images,
};

/// `ImageRecord` of the kernels.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Record {
    offset: u64,
    width: u32,
    height: u32,
    flip: u32,
    right: i32,
    down: i32,
    brightness: f32,
    contrast: f32,
    top: u32,
    left: u32,
    rows: u32,
    columns: u32,
}

// SAFETY: plain numbers, laid out as the struct of the same fields in `inputs.cu`.
unsafe impl DeviceRepr for Record {}

impl Record {
    /// The record of an image whose first byte is at `offset`. Sides are no longer than the preprocessing takes, below 2³².
    fn new(picture: &Picture<'_>, offset: usize) -> Self {
        let Changes { flip, right, down, brightness, contrast, erased, .. } = picture.changes.unwrap_or(Changes::NONE);
        let Frame { width, height, .. } = picture.frame;
        let Rectangle { top, left, rows, columns } = erased.unwrap_or_default();
        let [width, height, top, left, rows, columns] =
            [width, height, top, left, rows, columns].map(|side| side as u32);
        Self {
            offset: offset as u64,
            width,
            height,
            flip: flip.into(),
            right,
            down,
            brightness,
            contrast,
            top,
            left,
            rows,
            columns,
        }
    }
}

/// A batch that waits for the GPU.
#[derive(Debug)]
pub enum Prepared {
    /// For portable kernels: the inputs, made by the host.
    Inputs(Vec<f32>),
    /// For fused ones: what they make the inputs of.
    Pictures(Pictures),
}

/// Images as they go to the GPU.
#[derive(Debug)]
pub struct Pictures {
    records: Vec<Record>,
    bytes: Vec<u8>,
    /// Whether anything happens to the images before they are resized.
    changed: bool,
    /// Mean and standard deviation.
    normalisation: Option<(f32, f32)>,
}

impl InputDevice for Cuda {
    type Prepared = Prepared;
    type Way = CudaKernels;

    fn way(&self) -> Result<CudaKernels, CudaError> {
        Ok(Engine::of(self)?.kernels())
    }

    fn prepare<N: Network<Self>>(
        way: CudaKernels,
        pictures: &[Picture<'_>],
        preprocessing: &Preprocessing,
    ) -> Result<Prepared, ModelError> {
        // The kernels make gray inputs of whole images; the host makes the others, the same on every device.
        let whole = |picture: &Picture<'_>| {
            let drawn = picture.changes.is_some_and(|changes| changes.crop.is_some() || changes.colours.is_some());
            picture.frame.channels == 1 && !drawn
        };
        let kernels = way != CudaKernels::Portable
            && N::DESCRIPTION.input().channels == 1
            && preprocessing.resize == Resize::Exact
            && pictures.iter().all(whole);
        if !kernels {
            return on_the_host::<Self, N>(pictures, preprocessing).map(Prepared::Inputs);
        }
        let normalisation = match preprocessing.normalisation {
            Some(Normalisation::Gray { mean, std }) => Some((mean, std)),
            _ => None,
        };
        let mut bytes = Vec::with_capacity(pictures.iter().map(|picture| picture.frame.pixels.len()).sum());
        let mut records = Vec::with_capacity(pictures.len());
        for picture in pictures {
            picture.check()?;
            records.push(Record::new(picture, bytes.len()));
            bytes.extend_from_slice(picture.frame.pixels);
        }
        let changed = pictures.iter().any(|picture| picture.changes.is_some());
        Ok(Prepared::Pictures(Pictures { records, bytes, changed, normalisation }))
    }

    fn inputs(&self, prepared: Prepared, batch: usize, input: Maps) -> Result<Images<Self>, CudaError> {
        let Maps { channels, side } = input;
        match prepared {
            Prepared::Inputs(values) => self.try_tensor_from_vec(values, (batch, channels, side, side)),
            Prepared::Pictures(pictures) => pictures.inputs(self, side),
        }
    }
}

impl Pictures {
    fn inputs(&self, device: &Cuda, side: usize) -> Result<Images<Cuda>, CudaError> {
        let engine = Engine::of(device)?;
        // A batch is as many images as the host has in memory, a side at most what its square has room for there.
        let program = Program { file: &INPUTS, constants: vec![("SIDE", side as u32)] };
        let module = engine.module(&program)?;
        let (records, mut bytes) = (engine.upload(&self.records)?, engine.upload(&self.bytes)?);
        let batch = self.records.len();
        let (inputs, target) = exchange::uninitialised(device, &(batch, 1, side, side))?;
        let (count, side) = (batch as u32, side as u32);
        if self.changed && count > 0 {
            let changed: CudaSlice<u8> = engine.allocate(self.bytes.len())?;
            // SAFETY: a record for each block, by which its image lies within the bytes, of which there are as many in both.
            unsafe {
                let parameters = (address(&records), address(&bytes), address(&changed));
                engine.launch_of(&module, "inputs_change", (count, 1), parameters)
            }?;
            bytes = changed;
        }
        let (mean, std) = self.normalisation.unwrap_or((0.0, 1.0));
        let normalised = u32::from(self.normalisation.is_some());
        let images: [Address; 2] = [address(&records), address(&bytes)];
        let parameters = (count, images[0], images[1], normalised, mean, std, target);
        // SAFETY: as above; batch × side × side values are written, which is what the tensor has.
        unsafe { engine.launch_of(&module, "inputs_resize", (blocks(side * side), count.clamp(1, ROWS)), parameters) }?;
        Ok(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_laid_out_as_the_kernels_take_it() {
        // 8 bytes and eleven times 4, padded to a multiple of 8.
        assert_eq!((size_of::<Record>(), align_of::<Record>()), (56, 8));
    }
}
