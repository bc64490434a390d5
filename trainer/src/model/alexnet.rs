//! AlexNet for one-channel images of 224×224, as in *Dive into Deep Learning* (section 8.1).

use dfdx::{
    nn::{
        Module, ModuleVisitor, TensorCollection,
        modules::{Linear, ReLU},
    },
    shapes::Dtype,
    tensor::{Gradients, OwnedTape, Storage, Tape, Trace},
    tensor_ops::Device,
};
use image::DynamicImage;
use image_files::gray::{self, Gray};

use super::{CLASSES, Initialisation, Logits, ModelError, Network, Summary, initialise, preprocess, typed};
use crate::{
    nn::{Conv2d, DropHalf, FeatureMaps, Flatten, MaxPool2d, Tower, Vectors},
    ops::{ConvDevice, Images},
    random::StepKey,
};

const SIDE: usize = 224;

type Conv1<D, E = f32> = Conv2d<1, 96, 11, 4, 1, SIDE, 54, D, E>;
type Pool1 = MaxPool2d<96, 3, 2, 54, 26>;
type Conv2<D, E = f32> = Conv2d<96, 256, 5, 1, 2, 26, 26, D, E>;
type Pool2 = MaxPool2d<256, 3, 2, 26, 12>;
type Conv3<D, E = f32> = Conv2d<256, 384, 3, 1, 1, 12, 12, D, E>;
type Conv4<D, E = f32> = Conv2d<384, 384, 3, 1, 1, 12, 12, D, E>;
type Conv5<D, E = f32> = Conv2d<384, 256, 3, 1, 1, 12, 12, D, E>;
type Pool5 = MaxPool2d<256, 3, 2, 12, 5>;
type Flat = Flatten<256, 5, 6400>;
type Linear1<D, E = f32> = Linear<6400, 4096, E, D>;
type Linear2<D, E = f32> = Linear<4096, 4096, E, D>;
type Linear3<D, E = f32> = Linear<4096, CLASSES, E, D>;
type Drop1 = DropHalf<1>;
type Drop2 = DropHalf<2>;

/// AlexNet: five convolutions with ReLU, three of them followed by max-pooling, then three linear layers with ReLU and
/// dropout between them. 1×224×224 in, [`CLASSES`] logits out.
///
/// The fields are the layers with weights, by their names in weight files.
#[derive(Debug, Clone)]
pub struct AlexNet<D: Storage<E>, E: Dtype = f32> {
    /// 1×224×224 to 96×54×54.
    pub conv1: Conv1<D, E>,
    /// 96×26×26 to 256×26×26.
    pub conv2: Conv2<D, E>,
    /// 256×12×12 to 384×12×12.
    pub conv3: Conv3<D, E>,
    /// 384×12×12 to 384×12×12.
    pub conv4: Conv4<D, E>,
    /// 384×12×12 to 256×12×12.
    pub conv5: Conv5<D, E>,
    /// 6400 to 4096.
    pub linear1: Linear1<D, E>,
    /// 4096 to 4096.
    pub linear2: Linear2<D, E>,
    /// 4096 to the classes.
    pub linear3: Linear3<D, E>,
}

impl<D: ConvDevice> AlexNet<D> {
    /// The convolutions and poolings, flattened.
    fn features<T: Tape<f32, D>>(&self, images: FeatureMaps<1, SIDE, D, T>) -> Result<Vectors<6400, D, T>, D::Err> {
        let x = Tower::new(images)?
            .conv_pool(&self.conv1, Pool1::default())?
            .conv_pool(&self.conv2, Pool2::default())?
            .conv(&self.conv3)?
            .conv(&self.conv4)?
            .conv_pool(&self.conv5, Pool5::default())?
            .try_forward()?;
        Flat::default().try_forward(x)
    }

    /// The logits without dropout: for evaluation, or with a tape for gradients that are to be compared.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    pub fn try_forward<T: Tape<f32, D>>(&self, images: FeatureMaps<1, SIDE, D, T>) -> Result<Logits<D, T>, D::Err> {
        let x = self.features(images)?;
        let x = self.linear1.try_forward(x)?.try_relu()?;
        let x = self.linear2.try_forward(x)?.try_relu()?;
        self.linear3.try_forward(x)
    }

    /// The logits with dropout.
    fn with_dropout(
        &self,
        images: FeatureMaps<1, SIDE, D, OwnedTape<f32, D>>,
        key: StepKey,
    ) -> Result<Logits<D, OwnedTape<f32, D>>, D::Err> {
        let x = self.features(images)?;
        let x = self.linear1.try_forward(x)?.try_relu()?;
        let x = Drop1::default().try_forward(x, key)?;
        let x = self.linear2.try_forward(x)?.try_relu()?;
        let x = Drop2::default().try_forward(x, key)?;
        self.linear3.try_forward(x)
    }
}

impl<D: ConvDevice> Network<D> for AlexNet<D> {
    const ARCHITECTURE: &'static str = "alexnet";
    const SIDE: usize = SIDE;

    fn init(device: &D, initialisation: Initialisation, seed: u64) -> Result<Self, ModelError> {
        initialise(device, initialisation, seed)
    }

    fn device(&self) -> &D {
        self.conv1.weight.device()
    }

    fn evaluate(&self, inputs: Images<D>) -> Result<Logits<D>, ModelError> {
        self.try_forward(typed(inputs)?).map_err(ModelError::device)
    }

    fn train(
        &self,
        inputs: Images<D>,
        gradients: Gradients<f32, D>,
        key: StepKey,
    ) -> Result<Logits<D, OwnedTape<f32, D>>, ModelError> {
        self.with_dropout(typed(inputs)?.traced(gradients), key).map_err(ModelError::device)
    }

    fn preprocess(width: usize, height: usize, pixels: &[u8], output: &mut [f32]) -> Result<(), ModelError> {
        preprocess::<SIDE>(width, height, pixels, output)
    }

    fn shrink(image: &DynamicImage) -> anyhow::Result<Gray> {
        gray::shrink::<SIDE>(image)
    }

    fn summary() -> Summary {
        let mut summary = Summary::new("AlexNet", &[1, SIDE, SIDE]);
        summary.add::<Conv1<D>>("conv1").add::<ReLU>("").add::<Pool1>("");
        summary.add::<Conv2<D>>("conv2").add::<ReLU>("").add::<Pool2>("");
        summary.add::<Conv3<D>>("conv3").add::<ReLU>("");
        summary.add::<Conv4<D>>("conv4").add::<ReLU>("");
        summary.add::<Conv5<D>>("conv5").add::<ReLU>("").add::<Pool5>("").add::<Flat>("");
        summary.add::<Linear1<D>>("linear1").add::<ReLU>("").add::<Drop1>("");
        summary.add::<Linear2<D>>("linear2").add::<ReLU>("").add::<Drop2>("");
        summary.add::<Linear3<D>>("linear3");
        summary
    }
}

impl<D: Device<f32>> TensorCollection<f32, D> for AlexNet<D> {
    type To<E2: Dtype, D2: Device<E2>> = AlexNet<D2, E2>;

    fn iter_tensors<V: ModuleVisitor<Self, f32, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                (
                    Self::module("conv1", |net| &net.conv1, |net| &mut net.conv1),
                    Self::module("conv2", |net| &net.conv2, |net| &mut net.conv2),
                    Self::module("conv3", |net| &net.conv3, |net| &mut net.conv3),
                    Self::module("conv4", |net| &net.conv4, |net| &mut net.conv4),
                    Self::module("conv5", |net| &net.conv5, |net| &mut net.conv5),
                ),
                (
                    Self::module("linear1", |net| &net.linear1, |net| &mut net.linear1),
                    Self::module("linear2", |net| &net.linear2, |net| &mut net.linear2),
                    Self::module("linear3", |net| &net.linear3, |net| &mut net.linear3),
                ),
            ),
            |((conv1, conv2, conv3, conv4, conv5), (linear1, linear2, linear3))| AlexNet {
                conv1,
                conv2,
                conv3,
                conv4,
                conv5,
                linear1,
                linear2,
                linear3,
            },
        )
    }
}
