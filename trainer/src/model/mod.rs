//! Networks that can be trained: what all have in common ([`Network`]), and what they cost ([`Summary`]). Each is infer-core's
//! list of layers, of which [`network!`](crate::network) makes a dfdx module.

mod initialise;
mod network;
mod summary;

use dfdx::{
    nn::TensorCollection,
    shapes::{HasShape, Shape},
    tensor::{Gradients, OwnedTape},
    tensor_ops::ReshapeTo,
};
use infer_core::{
    describe::{CLASSES, Description, Kind, Maps},
    preprocess::{PreprocessError, Resize, gray, luma, resize_bilinear, resize_channels, rgb},
};

pub use alexnet::AlexNet;
pub use alexnet_2012::AlexNet2012;
pub use alexnet_imagenet::AlexNetImageNet;
pub use alexnet_low_rank::{rank64::AlexNetRank64, rank128::AlexNetRank128, rank256::AlexNetRank256};
pub use initialise::{Initialisation, initialise};
pub use lenet5::LeNet5;
pub use summary::{Row, Summary};

use crate::{
    data::Frame,
    device::DeviceError,
    nn::{Frozen, Logits},
    ops::{ConvDevice, Images},
    random::StepKey,
};

/// AlexNet for gray images of 224×224: see [`infer_core::alexnet`](mod@infer_core::alexnet).
pub mod alexnet {
    use infer_core::alexnet::{DESCRIPTION, LAYERS};

    infer_core::alexnet!(crate::network);
}

/// torchvision's AlexNet for colour images of 3×224×224: see [`infer_core::alexnet_imagenet`](mod@infer_core::alexnet_imagenet).
pub mod alexnet_imagenet {
    use infer_core::alexnet_imagenet::{DESCRIPTION, LAYERS};

    infer_core::alexnet_imagenet!(crate::network);
}

/// AlexNet of 2012 for colour images of 3×227×227: see [`infer_core::alexnet_2012`](mod@infer_core::alexnet_2012).
pub mod alexnet_2012 {
    use infer_core::alexnet_2012::{DESCRIPTION, LAYERS};

    infer_core::alexnet_2012!(crate::network);
}

/// AlexNet with linear layers of low rank: see [`infer_core::alexnet_low_rank`](mod@infer_core::alexnet_low_rank).
pub mod alexnet_low_rank {
    /// Rank 64.
    pub mod rank64 {
        use infer_core::alexnet_low_rank::rank64::{DESCRIPTION, LAYERS};

        infer_core::alexnet_low_rank!(64, crate::network);
    }

    /// Rank 128.
    pub mod rank128 {
        use infer_core::alexnet_low_rank::rank128::{DESCRIPTION, LAYERS};

        infer_core::alexnet_low_rank!(128, crate::network);
    }

    /// Rank 256.
    pub mod rank256 {
        use infer_core::alexnet_low_rank::rank256::{DESCRIPTION, LAYERS};

        infer_core::alexnet_low_rank!(256, crate::network);
    }
}

/// LeNet-5 for gray images of 28×28: see [`infer_core::lenet5`](mod@infer_core::lenet5).
pub mod lenet5 {
    use infer_core::lenet5::{DESCRIPTION, LAYERS};

    infer_core::lenet5!(crate::network);
}

/// An image classifier that can be trained. [`network!`](crate::network) makes one of a list of layers.
pub trait Network<D: ConvDevice>: TensorCollection<f32, D> + Clone {
    /// Its name, its layers and their sizes.
    const DESCRIPTION: &'static Description;
    /// Name in weights files and on the command line.
    const ARCHITECTURE: &'static str = Self::DESCRIPTION.name;
    /// Height and width of the input.
    const SIDE: usize = Self::DESCRIPTION.input().side;

    /// A new network with random weights, for so many classes. The same `seed` gives the same values on every device.
    ///
    /// # Errors
    /// A number of classes that is not among [`infer_core::describe::CLASSES`]; the device's own.
    fn init(device: &D, classes: usize, initialisation: Initialisation, seed: u64) -> Result<Self, ModelError>;

    /// Where the network computes.
    fn device(&self) -> &D;

    /// The number of classes that it tells apart: logits for each image.
    fn classes(&self) -> usize;

    /// Evaluation: no dropout, no tape. `inputs` is batch × channels × [`Self::SIDE`] × [`Self::SIDE`] values, from 0 to 1
    /// where they are not normalised.
    ///
    /// # Errors
    /// An empty batch or inputs of another size, or the device's own.
    fn evaluate(&self, inputs: Images<D>) -> Result<Logits<D>, ModelError> {
        self.evaluate_from(inputs, Frozen::default())
    }

    /// Like [`Network::evaluate`], of images or of what the frozen convolutions give.
    ///
    /// # Errors
    /// As [`Network::evaluate`].
    fn evaluate_from(&self, inputs: Images<D>, frozen: Frozen) -> Result<Logits<D>, ModelError>;

    /// Training: as [`Network::evaluate`] with dropout, recorded for the backward pass. What dropout drops follows from `key`.
    ///
    /// # Errors
    /// As [`Network::evaluate`].
    fn train(
        &self,
        inputs: Images<D>,
        gradients: Gradients<f32, D>,
        key: StepKey,
    ) -> Result<Logits<D, OwnedTape<f32, D>>, ModelError> {
        self.train_from(inputs, gradients, key, Frozen::default())
    }

    /// Like [`Network::train`], where the backward pass goes no further than to the first layer that learns.
    ///
    /// # Errors
    /// As [`Network::evaluate`].
    fn train_from(
        &self,
        inputs: Images<D>,
        gradients: Gradients<f32, D>,
        key: StepKey,
        frozen: Frozen,
    ) -> Result<Logits<D, OwnedTape<f32, D>>, ModelError>;

    /// The output of the first `layers` convolutions and of all that stands before the next layer with weights, of the sizes that
    /// [`frozen_sizes`] tells; that of all convolutions where there are fewer.
    ///
    /// # Errors
    /// As [`Network::evaluate`].
    fn frozen_maps(&self, inputs: Images<D>, layers: usize) -> Result<Images<D>, ModelError>;

    /// Like [`Network::evaluate`], for inputs in the host's memory.
    ///
    /// # Errors
    /// As [`Network::evaluate`].
    fn logits(&self, images: impl AsRef<[f32]>, batch: usize) -> Result<Logits<D>, ModelError> {
        self.evaluate(upload::<D, Self>(self.device(), images.as_ref(), batch)?)
    }

    /// Like [`Network::train`], for inputs in the host's memory.
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
        self.train(upload::<D, Self>(self.device(), images.as_ref(), batch)?, gradients, key)
    }

    /// Turns one image into a network's input, channel by channel [`Self::SIDE`]² values from 0 to 1. Of a gray image, all channels
    /// are the same; one in colour becomes its luma for a network of one channel.
    ///
    /// # Errors
    /// Sizes that do not fit the slices, or an image that cannot be resized.
    fn preprocess(frame: &Frame<'_>, resize: Resize, output: &mut [f32]) -> Result<(), ModelError>;
}

/// Why a network cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A batch of no images.
    #[error("a batch needs at least one image")]
    EmptyBatch,
    /// A number of classes that no network tells apart.
    #[error("expected {} to {} classes, found {found}", CLASSES.start(), CLASSES.end())]
    Classes {
        /// The number.
        found: usize,
    },
    /// Images for a network that takes others.
    #[error("the network takes images of {expected} channels, these have {found}")]
    Channels {
        /// Channels of the network's input.
        expected: usize,
        /// Channels of the images.
        found: usize,
    },
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
    Preprocess(#[source] PreprocessError),
    /// The device failed, as it does when it runs out of memory.
    #[error("the device failed: {0}")]
    Device(#[from] DeviceError),
}

impl ModelError {
    /// Wraps an error of any dfdx device.
    pub fn device(error: impl Into<DeviceError>) -> Self {
        Self::Device(error.into())
    }

    pub(crate) fn length(what: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if expected == found { Ok(()) } else { Err(Self::Length { what, expected, found }) }
    }
}

/// Copies a batch of images to the device.
fn upload<D: ConvDevice, N: Network<D>>(device: &D, images: &[f32], batch: usize) -> Result<Images<D>, ModelError> {
    let input = N::DESCRIPTION.input();
    ModelError::length("a batch of images", batch.saturating_mul(input.values()), images.len())?;
    let sizes = (batch, input.channels, input.side, input.side);
    let mut tensor = device.try_zeros_like(&sizes).map_err(ModelError::device)?;
    tensor.copy_from(images);
    Ok(tensor)
}

/// Position among the layers of `network` of the first one that learns where so many layers with weights are frozen.
pub fn first_learning(network: &Description, frozen: usize) -> usize {
    let mut weighted = network.layers.iter().enumerate().filter(|(_, layer)| layer.tensors.is_some());
    weighted.nth(frozen).filter(|_| frozen > 0).map_or(0, |(position, _)| position)
}

/// Sizes of what so many frozen layers of `network` give, as far as they are convolutions: see [`Network::frozen_maps`].
pub fn frozen_sizes(network: &Description, frozen: usize) -> Maps {
    let mut behind = network.layers.iter().skip(first_learning(network, frozen));
    let linear = || network.layers.iter().find(|layer| matches!(layer.kind, Kind::Linear { .. }));
    let next = behind.next().filter(|layer| matches!(layer.kind, Kind::Conv { .. })).or_else(linear);
    next.map_or(network.input(), |layer| layer.input)
}

/// Inputs of `network` in their sizes, or what its frozen convolutions give.
#[doc(hidden)]
pub fn checked<D: ConvDevice>(
    inputs: Images<D>,
    network: &Description,
    frozen: Frozen,
) -> Result<Images<D>, ModelError> {
    let batch = inputs.shape().0;
    if batch == 0 {
        return Err(ModelError::EmptyBatch);
    }
    let sizes = if frozen.computed { frozen_sizes(network, frozen.layers) } else { network.input() };
    ModelError::length("a batch of images", batch.saturating_mul(sizes.values()), inputs.shape().num_elements())?;
    inputs.try_reshape_like(&(batch, sizes.channels, sizes.side, sizes.side)).map_err(ModelError::device)
}

/// [`Network::preprocess`] for a network that takes `C`×`SIDE`×`SIDE` values.
#[doc(hidden)]
pub fn preprocess<const C: usize, const SIDE: usize>(
    frame: &Frame<'_>,
    resize: Resize,
    output: &mut [f32],
) -> Result<(), ModelError> {
    let Frame { channels, width, height, stride, pixels } = *frame;
    ModelError::length("the pixels of an image", frame.len(), pixels.len())?;
    ModelError::length("a network's input", C * SIDE * SIDE, output.len())?;
    let (rows, _) = output.as_chunks_mut::<SIDE>();
    let colour = |x: usize, y: usize| pixels.as_chunks::<3>().0[y * stride + x];
    let resized = match (channels, C, resize) {
        (1, 1, Resize::Exact) => resize_bilinear(width, height, |x, y| gray(pixels[y * stride + x]), rows),
        (3, 1, Resize::Exact) => resize_bilinear(width, height, |x, y| luma(colour(x, y)), rows),
        (1 | 3, 1 | 3, _) => {
            let mut planes = rows.as_chunks_mut::<SIDE>().0.as_chunks_mut::<C>().0.iter_mut();
            planes.try_for_each(|planes| match channels {
                1 => resize_channels(resize, width, height, |x, y| [gray(pixels[y * stride + x]); C], planes),
                _ if C == 1 => resize_channels(resize, width, height, |x, y| [luma(colour(x, y)); C], planes),
                _ => {
                    let values = |x, y| {
                        let values = rgb(colour(x, y));
                        std::array::from_fn(|channel| values[channel])
                    };
                    resize_channels(resize, width, height, values, planes)
                }
            })
        }
        (found, expected, _) => return Err(ModelError::Channels { expected, found }),
    };
    resized.map_err(ModelError::Preprocess)
}
