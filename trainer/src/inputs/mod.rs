//! From the images of a batch to a network's inputs: augmentation, resize, normalisation.
//!
//! Each device divides the work in its own way ([`InputDevice`]) between what is done ahead, on the loader's thread, and what
//! is done when the batch's turn comes. [`Cpu`] makes the inputs ahead, `cuda` sends the bytes and makes them on the GPU. All
//! give the same values.

#[cfg(feature = "cuda")]
mod cuda;

use dfdx::tensor::{Cpu, TensorFromVec};
use image_files::preprocessing::Normalisation;
use infer_core::preprocess::normalise;
#[cfg(feature = "cuda")]
use infer_core::preprocess::{MAX_SIDE, PreprocessError};

use crate::{
    data::augment::Changes,
    model::{ModelError, Network},
    ops::{ConvDevice, Images},
};

/// An image as the data set has it, and what is to happen to it before it is resized.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `width × height` gray values, row by row.
    pub pixels: &'a [u8],
    /// Changes that augmentation drew for it.
    pub changes: Option<Changes>,
}

#[cfg(feature = "cuda")]
impl Picture<'_> {
    /// Refuses what [`Network::preprocess`] would refuse.
    fn check(&self) -> Result<(), ModelError> {
        let side = self.width.max(self.height);
        if self.width == 0 || self.height == 0 {
            return Err(ModelError::Preprocess(PreprocessError::Empty));
        }
        if side > MAX_SIDE {
            return Err(ModelError::Preprocess(PreprocessError::TooLarge { side }));
        }
        ModelError::length("the pixels of an image", self.width * self.height, self.pixels.len())
    }
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
        normalisation: Option<Normalisation>,
    ) -> Result<Self::Prepared, ModelError>;

    /// The rest: inputs of `batch` × 1 × `side` × `side` from what was prepared for a network of that size.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    fn inputs(&self, prepared: Self::Prepared, batch: usize, side: usize) -> Result<Images<Self>, Self::Err>;
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
        normalisation: Option<Normalisation>,
    ) -> Result<Vec<f32>, ModelError> {
        on_the_host::<Self, N>(pictures, normalisation)
    }

    fn inputs(&self, prepared: Vec<f32>, batch: usize, side: usize) -> Result<Images<Self>, Self::Err> {
        self.try_tensor_from_vec(prepared, (batch, 1, side, side))
    }
}

/// Everything, one image after the other.
fn on_the_host<D: ConvDevice, N: Network<D>>(
    pictures: &[Picture<'_>],
    normalisation: Option<Normalisation>,
) -> Result<Vec<f32>, ModelError> {
    let length = N::SIDE * N::SIDE;
    let mut inputs = vec![0.0; pictures.len() * length];
    for (input, Picture { width, height, pixels, changes }) in inputs.chunks_exact_mut(length).zip(pictures) {
        match changes {
            Some(changes) => {
                let mut pixels = pixels.to_vec();
                changes.apply((*width, *height), &mut pixels);
                N::preprocess(*width, *height, &pixels, input)
            }
            None => N::preprocess(*width, *height, pixels, input),
        }?;
        if let Some(Normalisation { mean, std }) = normalisation {
            normalise(input, mean, std);
        }
    }
    Ok(inputs)
}
