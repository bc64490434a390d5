//! From the images of a batch to a network's inputs: augmentation, resize, normalisation.
//!
//! Each device divides the work in its own way ([`InputDevice`]) between what is done ahead, on the loader's thread, and what
//! is done when the batch's turn comes. [`Cpu`] makes the inputs ahead, `cuda` sends the bytes and makes them on the GPU. All
//! give the same values.

#[cfg(feature = "cuda")]
mod cuda;

use dfdx::tensor::{Cpu, TensorFromVec};
use image_files::preprocessing::Preprocessing;
use infer_core::{describe::Maps, preprocess::Resize};

use crate::{
    data::{
        Frame,
        augment::{Changes, Rectangle},
    },
    model::{ModelError, Network},
    ops::{ConvDevice, Images},
};

/// An image as the data set has it, and what is to happen to it before it is resized.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// The image.
    pub frame: Frame<'a>,
    /// Changes that augmentation drew for it.
    pub changes: Option<Changes>,
}

/// A device that makes network inputs of images.
pub trait InputDevice: ConvDevice {
    /// A batch in the host's memory, done as far as it can be ahead.
    type Prepared: Send;

    /// Setting that the division of the work depends on, beside the device.
    type Way: Copy + Send + Sync;

    /// Division of the work on this device.
    ///
    /// # Errors
    /// The device's own.
    fn way(&self) -> Result<Self::Way, Self::Err>;

    /// Work that can be done ahead, on any thread, while the device works on earlier batches.
    ///
    /// # Errors
    /// Images that cannot become inputs of the network.
    fn prepare<N: Network<Self>>(
        way: Self::Way,
        pictures: &[Picture<'_>],
        preprocessing: &Preprocessing,
    ) -> Result<Self::Prepared, ModelError>;

    /// The rest: `batch` inputs of that size from what was prepared for a network that takes them.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    fn inputs(&self, prepared: Self::Prepared, batch: usize, input: Maps) -> Result<Images<Self>, Self::Err>;
}

impl InputDevice for Cpu {
    type Prepared = Vec<f32>;
    type Way = ();

    fn way(&self) -> Result<(), Self::Err> {
        Ok(())
    }

    fn prepare<N: Network<Self>>(
        (): (),
        pictures: &[Picture<'_>],
        preprocessing: &Preprocessing,
    ) -> Result<Vec<f32>, ModelError> {
        on_the_host::<Self, N>(pictures, preprocessing)
    }

    fn inputs(&self, prepared: Vec<f32>, batch: usize, input: Maps) -> Result<Images<Self>, Self::Err> {
        self.try_tensor_from_vec(prepared, (batch, input.channels, input.side, input.side))
    }
}

/// Everything, one image after the other.
fn on_the_host<D: ConvDevice, N: Network<D>>(
    pictures: &[Picture<'_>],
    preprocessing: &Preprocessing,
) -> Result<Vec<f32>, ModelError> {
    let length = N::DESCRIPTION.input().values();
    let mut inputs = vec![0.0; pictures.len() * length];
    for (input, Picture { frame, changes }) in inputs.chunks_exact_mut(length).zip(pictures) {
        match changes {
            Some(changes) => {
                let mut pixels = Vec::with_capacity(frame.pixels.len());
                frame.append_to(&mut pixels);
                changes.apply(frame, &mut pixels);
                let changed = Frame::new(frame.channels, frame.width, frame.height, &pixels);
                match changes.crop {
                    Some(Rectangle { top, left, rows, columns }) => {
                        N::preprocess(&changed.part(left, top, columns, rows), Resize::Exact, input)?;
                    }
                    None => N::preprocess(&changed, preprocessing.resize, input)?,
                }
                if let Some(colours) = changes.colours {
                    colours.apply(input);
                }
            }
            None => N::preprocess(frame, preprocessing.resize, input)?,
        }
        if let Some(normalisation) = preprocessing.normalisation {
            normalisation.apply(input);
        }
    }
    Ok(inputs)
}
