//! Inputs on CUDA: the bytes of the images go to the GPU, and its kernels (`kernels/inputs.cu`) do the rest.

use cudarc::driver::{CudaSlice, DeviceRepr};
use dfdx::tensor::{Cuda, CudaError, TensorFromVec};
use image_files::preprocessing::{Normalisation, Preprocessing};
use infer_core::{
    describe::Maps,
    preprocess::{MAX_SIDE, Resize},
};

use super::{InputDevice, Picture, on_the_host};
use crate::{
    cuda::{
        engine::{Engine, ROWS, address, blocks},
        exchange,
        program::{COLOUR, INPUTS, Program},
    },
    data::{
        Frame,
        augment::{Changes, Rectangle},
        colour::{Colours, Step, UNITS},
    },
    device::CudaKernels,
    model::{ModelError, Network},
    ops::Images,
};

/// `Area` of the kernels.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Area {
    top: u32,
    left: u32,
    rows: u32,
    columns: u32,
}

impl From<Rectangle> for Area {
    /// Sides are no longer than [`MAX_SIDE`].
    fn from(rectangle: Rectangle) -> Self {
        let Rectangle { top, left, rows, columns } = rectangle;
        let [top, left, rows, columns] = [top, left, rows, columns].map(|side| side as u32);
        Self { top, left, rows, columns }
    }
}

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
    erased: Area,
    source: Area,
    resized: Area,
    coloured: u32,
}

// SAFETY: plain numbers, laid out as the struct of the same fields in `inputs.cu`.
unsafe impl DeviceRepr for Record {}

impl Record {
    /// The record of an image whose first byte is at `offset`; none where the kernels cannot make an input of it, as where there is
    /// none.
    fn new(picture: &Picture<'_>, offset: usize, resize: Resize, input: Maps) -> Option<Self> {
        let Frame { channels, width, height, pixels, .. } = picture.frame;
        let Changes { flip, right, down, brightness, contrast, erased, crop, colours } =
            picture.changes.unwrap_or(Changes::NONE);
        let whole = Rectangle { top: 0, left: 0, rows: height, columns: width };
        let (source, resize) = crop.map_or((whole, resize), |crop| (crop, Resize::Exact));
        let within = |begin: usize, length: usize, side: usize| {
            length > 0 && begin.checked_add(length).is_some_and(|end| end <= side)
        };
        let fits = channels == input.channels
            && width.max(height) <= MAX_SIDE
            && pixels.len() == picture.frame.len()
            && within(source.top, source.rows, height)
            && within(source.left, source.columns, width)
            && (colours.is_none() || channels == 3);
        let side = input.side;
        let [(columns, left), (rows, top)] = resize.placed((source.columns, source.rows), (side, side)).ok()?;
        let resized = Rectangle { top, left, rows, columns };
        (fits && within(left, side, columns) && within(top, side, rows)).then(|| Self {
            offset: offset as u64,
            width: width as u32,
            height: height as u32,
            flip: flip.into(),
            right,
            down,
            brightness,
            contrast,
            erased: erased.unwrap_or_default().into(),
            source: source.into(),
            resized: resized.into(),
            coloured: colours.is_some().into(),
        })
    }

    /// Whether the bytes of the image change.
    fn is_changed(&self) -> bool {
        self.flip != 0
            || (self.right, self.down) != (0, 0)
            || (self.brightness, self.contrast) != (0.0, 1.0)
            || self.erased.rows > 0
    }
}

/// Picture that an input is made of: where nothing but mirroring comes before the part that is resized, only that part.
fn needed<'a>(picture: &Picture<'a>) -> Picture<'a> {
    let Picture { frame, changes: Some(changes) } = *picture else { return *picture };
    let Some(Rectangle { top, left, rows, columns }) = changes.crop else { return *picture };
    let whole = Rectangle { top: 0, left: 0, rows, columns };
    let cropped = Changes { flip: changes.flip, crop: changes.crop, colours: changes.colours, ..Changes::NONE };
    let before = if changes.flip { frame.width.checked_sub(left + columns) } else { Some(left) };
    let part = before.map(|left| frame.part(left, top, columns, rows));
    match part.filter(|part| (part.width, part.height) == (columns, rows)) {
        Some(part) if cropped == changes && frame.pixels.len() == frame.len() => {
            Picture { frame: part, changes: Some(Changes { crop: Some(whole), ..changes }) }
        }
        _ => *picture,
    }
}

/// `ColourRecord` of the kernels.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct ColourRecord {
    image: u32,
    steps: [u32; 4],
    amounts: [f32; 4],
    light: [f32; 3],
}

// SAFETY: plain numbers, laid out as the struct of the same fields in `colour.cu`.
unsafe impl DeviceRepr for ColourRecord {}

impl ColourRecord {
    /// The record of image number `image` of a batch.
    fn new(image: usize, colours: &Colours) -> Self {
        let steps = colours.steps.map(|step| match step {
            step if step.is_none() => (0, 0.0),
            Step::Brightness(factor) => (1, factor),
            Step::Contrast(factor) => (2, factor),
            Step::Saturation(factor) => (3, factor),
            Step::Hue(turns) => (4, turns),
        });
        // A batch is as many images as the host has in memory.
        Self {
            image: image as u32,
            steps: steps.map(|(kind, _)| kind),
            amounts: steps.map(|(_, amount)| amount),
            light: colours.light,
        }
    }
}

/// `Normalisation` of the kernels: mean and standard deviation of each channel.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct ByChannel {
    mean: [f32; 3],
    std: [f32; 3],
}

// SAFETY: plain numbers, laid out as `Normalisation` in `inputs.cuh`.
unsafe impl DeviceRepr for ByChannel {}

impl ByChannel {
    /// The normalisation of so many channels, which changes nothing where none is asked for; none where it is of others.
    fn new(normalisation: Option<Normalisation>, channels: usize) -> Option<Self> {
        let mut all = Self { mean: [0.0; 3], std: [1.0; 3] };
        let Some(given) = normalisation.map(|normalisation| normalisation.channels()) else { return Some(all) };
        for ((mean, std), given) in all.mean.iter_mut().zip(&mut all.std).zip(&given) {
            (*mean, *std) = *given;
        }
        (given.len() == channels).then_some(all)
    }
}

/// A batch that waits for the GPU.
#[derive(Debug)]
pub enum Prepared {
    /// The inputs, made by the host: for portable kernels, and where the fused ones cannot make them.
    Inputs(Vec<f32>),
    /// For fused kernels: what they make the inputs of.
    Pictures(Pictures),
}

/// Images as they go to the GPU.
#[derive(Debug)]
pub struct Pictures {
    records: Vec<Record>,
    /// Of the images whose colours change.
    colours: Vec<ColourRecord>,
    bytes: Vec<u8>,
    normalisation: ByChannel,
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
        let prepared = match way {
            CudaKernels::Fused => Pictures::new(pictures, preprocessing, N::DESCRIPTION.input()),
            CudaKernels::Portable => None,
        };
        // What the kernels do not make, the host makes or refuses, the same on every device.
        prepared.map_or_else(
            || on_the_host::<Self, N>(pictures, preprocessing).map(Prepared::Inputs),
            |pictures| Ok(Prepared::Pictures(pictures)),
        )
    }

    fn inputs(&self, prepared: Prepared, batch: usize, input: Maps) -> Result<Images<Self>, CudaError> {
        match prepared {
            Prepared::Inputs(values) => {
                self.try_tensor_from_vec(values, (batch, input.channels, input.side, input.side))
            }
            Prepared::Pictures(pictures) => pictures.inputs(self, input),
        }
    }
}

impl Pictures {
    /// The images as the kernels take them; none where they cannot make all of the inputs.
    fn new(pictures: &[Picture<'_>], preprocessing: &Preprocessing, input: Maps) -> Option<Self> {
        let normalisation = ByChannel::new(preprocessing.normalisation, input.channels)?;
        let pictures: Vec<_> = pictures.iter().map(needed).collect();
        let mut bytes = Vec::with_capacity(pictures.iter().map(|picture| picture.frame.pixels.len()).sum());
        let (mut records, mut colours) = (Vec::with_capacity(pictures.len()), Vec::new());
        for (image, picture) in pictures.iter().enumerate() {
            records.push(Record::new(picture, bytes.len(), preprocessing.resize, input)?);
            let changes = picture.changes.and_then(|changes| changes.colours);
            colours.extend(changes.map(|changes| ColourRecord::new(image, &changes)));
            picture.frame.append_to(&mut bytes);
        }
        Some(Self { records, colours, bytes, normalisation })
    }

    fn inputs(&self, device: &Cuda, input: Maps) -> Result<Images<Cuda>, CudaError> {
        let Maps { channels, side } = input;
        let engine = Engine::of(device)?;
        // A batch is as many images as the host has in memory, a side at most what its square has room for there.
        let (count, length) = (self.records.len() as u32, side as u32);
        let constants = vec![("CHANNELS", channels as u32), ("SIDE", length)];
        let module = engine.module(&Program { file: &INPUTS, constants })?;
        let (records, mut bytes) = (engine.upload(&self.records)?, engine.upload(&self.bytes)?);
        let (inputs, target) = exchange::uninitialised(device, &(self.records.len(), channels, side, side))?;
        if self.records.iter().any(Record::is_changed) {
            let changed: CudaSlice<u8> = engine.allocate(self.bytes.len())?;
            let parameters = (address(&records), address(&bytes), address(&changed));
            // SAFETY: a record for each block, by which its image lies within the bytes, of which there are as many in both.
            unsafe { engine.launch_of(&module, "inputs_change", (count, 1), parameters) }?;
            bytes = changed;
        }
        let grid = (blocks(length * length), count.clamp(1, ROWS));
        let parameters = (count, address(&records), address(&bytes), self.normalisation, target);
        // SAFETY: as above, and what is resized lies within its image; batch × channels × side × side values are written, which is
        // what the tensor has.
        unsafe { engine.launch_of(&module, "inputs_resize", grid, parameters) }?;
        if !self.colours.is_empty() {
            let constants = vec![("SIDE", length), ("UNITS", UNITS)];
            let module = engine.module(&Program { file: &COLOUR, constants })?;
            let colours = engine.upload(&self.colours)?;
            let parameters = (address(&colours), self.normalisation, target);
            // SAFETY: a record for each block, of an image of three channels in the batch.
            unsafe { engine.launch_of(&module, "inputs_colour", (self.colours.len() as u32, 1), parameters) }?;
        }
        Ok(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_laid_out_as_the_kernels_take_them() {
        // 8 bytes and twenty times 4.
        assert_eq!((size_of::<Record>(), align_of::<Record>()), (88, 8));
        assert_eq!((size_of::<ColourRecord>(), align_of::<ColourRecord>()), (48, 4));
        assert_eq!((size_of::<ByChannel>(), align_of::<ByChannel>()), (24, 4));
    }
}
