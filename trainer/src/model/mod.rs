//! The networks: [`AlexNet`] and [`LeNet5`], what all networks have in common ([`Network`]), and what they cost
//! ([`Summary`]).

mod alexnet;
mod initialise;
mod lenet5;
mod summary;

use dfdx::{
    nn::TensorCollection,
    shapes::{Const, HasShape, Shape},
    tensor::{Gradients, NoneTape, OwnedTape},
    tensor_ops::ReshapeTo,
};
use image::DynamicImage;
use image_files::gray::Gray;
use infer_core::preprocess::{PreprocessError, gray, resize_bilinear};

pub use alexnet::AlexNet;
pub use initialise::{Initialisation, initialise};
pub use lenet5::LeNet5;
pub use summary::{Row, Summary};

use crate::{
    nn::{FeatureMaps, Vectors},
    ops::{ConvDevice, Images},
    random::StepKey,
};

/// Number of classes that the networks tell apart at most: 10, or the value of the environment variable `ALEXNET_CLASSES`, 10 to
/// 256, when this crate was compiled.
pub const CLASSES: usize = match option_env!("ALEXNET_CLASSES") {
    None => 10,
    Some(text) => match usize::from_str_radix(text, 10) {
        Ok(classes) => classes,
        Err(_) => panic!("ALEXNET_CLASSES is not a number"),
    },
};

const _: () = assert!(10 <= CLASSES && CLASSES <= 256, "ALEXNET_CLASSES is not a number from 10 to 256");

/// What a network answers: batch × [`CLASSES`], before softmax.
pub type Logits<D, T = NoneTape> = Vectors<CLASSES, D, T>;

/// An image classifier that can be trained, with one-channel square images.
pub trait Network<D: ConvDevice>: TensorCollection<f32, D> + Clone {
    /// Name in weight files and on the command line.
    const ARCHITECTURE: &'static str;
    /// Height and width of the input.
    const SIDE: usize;
    /// Name of the layer that tells the classes apart, whatever they are.
    const LAST_LAYER: &'static str = "linear3";

    /// A new network with random weights. The same `seed` gives the same values on every device.
    ///
    /// # Errors
    /// The device's own.
    fn init(device: &D, initialisation: Initialisation, seed: u64) -> Result<Self, ModelError>;

    /// Where the network computes.
    fn device(&self) -> &D;

    /// Evaluation: no dropout, no tape. `inputs` is batch × 1 × [`Self::SIDE`] × [`Self::SIDE`] values, from 0 to 1 where
    /// they are not normalised.
    ///
    /// # Errors
    /// An empty batch or inputs of another size, or the device's own.
    fn evaluate(&self, inputs: Images<D>) -> Result<Logits<D>, ModelError>;

    /// Training: as [`Network::evaluate`] with dropout, recorded for the backward pass. What dropout drops follows from `key`.
    ///
    /// # Errors
    /// As [`Network::evaluate`].
    fn train(
        &self,
        inputs: Images<D>,
        gradients: Gradients<f32, D>,
        key: StepKey,
    ) -> Result<Logits<D, OwnedTape<f32, D>>, ModelError>;

    /// As [`Network::evaluate`], for inputs in the host's memory.
    ///
    /// # Errors
    /// As [`Network::evaluate`].
    fn logits(&self, images: impl AsRef<[f32]>, batch: usize) -> Result<Logits<D>, ModelError> {
        self.evaluate(upload(self.device(), images.as_ref(), batch, Self::SIDE)?)
    }

    /// As [`Network::train`], for inputs in the host's memory.
    ///
    /// # Errors
    /// As [`Network::evaluate`].
    fn logits_traced(
        &self,
        images: impl AsRef<[f32]>,
        batch: usize,
        gradients: Gradients<f32, D>,
        key: StepKey,
    ) -> Result<Logits<D, OwnedTape<f32, D>>, ModelError> {
        self.train(upload(self.device(), images.as_ref(), batch, Self::SIDE)?, gradients, key)
    }

    /// Turns one grayscale image (`height` rows of `width` bytes) into the [`Self::SIDE`]² values of a network's input.
    ///
    /// # Errors
    /// Sizes that do not fit the slices, or an image that cannot be resized.
    fn preprocess(width: usize, height: usize, pixels: &[u8], output: &mut [f32]) -> Result<(), ModelError>;

    /// Makes a decoded image gray, and in each direction in which it is longer than [`Self::SIDE`] as long as that, by the
    /// resize of [`Network::preprocess`]. It becomes the same input as the image itself would, but for rounding to bytes.
    ///
    /// # Errors
    /// It has no pixels, or values that are none of an image.
    fn shrink(image: &DynamicImage) -> anyhow::Result<Gray>;

    /// Layers, sizes and costs, worked out from the layers' types.
    fn summary() -> Summary;
}

/// Why a network cannot do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// A batch of no images.
    #[error("a batch needs at least one image")]
    EmptyBatch,
    /// A slice that is not as long as the sizes given with it.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Its length by the sizes.
        expected: usize,
        /// Its length.
        found: usize,
    },
    /// The image cannot be resized.
    #[error("the image cannot be preprocessed: {0}")]
    Preprocess(PreprocessError),
    /// The device failed, as it does when it runs out of memory.
    #[error("the device failed: {0}")]
    Device(String),
}

impl ModelError {
    /// Wraps an error of any dfdx device.
    pub fn device(error: impl std::fmt::Display) -> Self {
        Self::Device(error.to_string())
    }

    pub(crate) fn length(what: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if expected == found { Ok(()) } else { Err(Self::Length { what, expected, found }) }
    }
}

/// Copies a batch of one-channel images to the device.
fn upload<D: ConvDevice>(device: &D, images: &[f32], batch: usize, side: usize) -> Result<Images<D>, ModelError> {
    ModelError::length("a batch of images", batch.saturating_mul(side * side), images.len())?;
    let mut tensor = device.try_zeros_like(&(batch, 1, side, side)).map_err(ModelError::device)?;
    tensor.copy_from(images);
    Ok(tensor)
}

/// Inputs as the layers of a network of input side `SIDE` take them.
fn typed<const SIDE: usize, D: ConvDevice>(inputs: Images<D>) -> Result<FeatureMaps<1, SIDE, D>, ModelError> {
    let batch = inputs.shape().0;
    if batch == 0 {
        return Err(ModelError::EmptyBatch);
    }
    ModelError::length("a batch of images", batch.saturating_mul(SIDE * SIDE), inputs.shape().num_elements())?;
    inputs.try_reshape_like(&(batch, Const, Const, Const)).map_err(ModelError::device)
}

/// [`Network::preprocess`] for a network of input side `SIDE`.
fn preprocess<const SIDE: usize>(
    width: usize,
    height: usize,
    pixels: &[u8],
    output: &mut [f32],
) -> Result<(), ModelError> {
    ModelError::length("the pixels of an image", width.saturating_mul(height), pixels.len())?;
    ModelError::length("a network's input", SIDE * SIDE, output.len())?;
    let (rows, _) = output.as_chunks_mut::<SIDE>();
    resize_bilinear(width, height, |x, y| gray(pixels[y * width + x]), rows).map_err(ModelError::Preprocess)
}
