//! LeNet-5 for one-channel images of 28×28, with ReLU and max-pooling: a network for a truly small device.
//!
//! LeCun et al., "Gradient-based learning applied to document recognition", 1998, section II.B.

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
    nn::{Conv2d, FeatureMaps, Flatten, MaxPool2d, Tower},
    ops::{ConvDevice, Images},
    random::StepKey,
};

const SIDE: usize = 28;

type Conv1<D, E = f32> = Conv2d<1, 6, 5, 1, 2, SIDE, 28, D, E>;
type Pool1 = MaxPool2d<6, 2, 2, 28, 14>;
type Conv2<D, E = f32> = Conv2d<6, 16, 5, 1, 0, 14, 10, D, E>;
type Pool2 = MaxPool2d<16, 2, 2, 10, 5>;
type Flat = Flatten<16, 5, 400>;
type Linear1<D, E = f32> = Linear<400, 120, E, D>;
type Linear2<D, E = f32> = Linear<120, 84, E, D>;
type Linear3<D, E = f32> = Linear<84, CLASSES, E, D>;

/// LeNet-5: two convolutions with ReLU and max-pooling, then three linear layers with ReLU between them. 1×28×28 in,
/// [`CLASSES`] logits out.
///
/// The fields are the layers with weights, by their names in weight files.
#[derive(Debug, Clone)]
pub struct LeNet5<D: Storage<E>, E: Dtype = f32> {
    /// 1×28×28 to 6×28×28.
    pub conv1: Conv1<D, E>,
    /// 6×14×14 to 16×10×10.
    pub conv2: Conv2<D, E>,
    /// 400 to 120.
    pub linear1: Linear1<D, E>,
    /// 120 to 84.
    pub linear2: Linear2<D, E>,
    /// 84 to the classes.
    pub linear3: Linear3<D, E>,
}

impl<D: ConvDevice> LeNet5<D> {
    fn forward<T: Tape<f32, D>>(&self, images: FeatureMaps<1, SIDE, D, T>) -> Result<Logits<D, T>, D::Err> {
        let x = Tower::new(images)?
            .conv_pool(&self.conv1, Pool1::default())?
            .conv_pool(&self.conv2, Pool2::default())?
            .try_forward()?;
        let x = Flat::default().try_forward(x)?;
        let x = self.linear1.try_forward(x)?.try_relu()?;
        let x = self.linear2.try_forward(x)?.try_relu()?;
        self.linear3.try_forward(x)
    }
}

impl<D: ConvDevice> Network<D> for LeNet5<D> {
    const ARCHITECTURE: &'static str = "lenet5";
    const SIDE: usize = SIDE;

    fn init(device: &D, initialisation: Initialisation, seed: u64) -> Result<Self, ModelError> {
        initialise(device, initialisation, seed)
    }

    fn device(&self) -> &D {
        self.conv1.weight.device()
    }

    fn evaluate(&self, inputs: Images<D>) -> Result<Logits<D>, ModelError> {
        self.forward(typed(inputs)?).map_err(ModelError::device)
    }

    fn train(
        &self,
        inputs: Images<D>,
        gradients: Gradients<f32, D>,
        _: StepKey,
    ) -> Result<Logits<D, OwnedTape<f32, D>>, ModelError> {
        self.forward(typed(inputs)?.traced(gradients)).map_err(ModelError::device)
    }

    fn preprocess(width: usize, height: usize, pixels: &[u8], output: &mut [f32]) -> Result<(), ModelError> {
        preprocess::<SIDE>(width, height, pixels, output)
    }

    fn shrink(image: &DynamicImage) -> anyhow::Result<Gray> {
        gray::shrink::<SIDE>(image)
    }

    fn summary() -> Summary {
        let mut summary = Summary::new("LeNet5", &[1, SIDE, SIDE]);
        summary.add::<Conv1<D>>("conv1").add::<ReLU>("").add::<Pool1>("");
        summary.add::<Conv2<D>>("conv2").add::<ReLU>("").add::<Pool2>("").add::<Flat>("");
        summary.add::<Linear1<D>>("linear1").add::<ReLU>("");
        summary.add::<Linear2<D>>("linear2").add::<ReLU>("");
        summary.add::<Linear3<D>>("linear3");
        summary
    }
}

impl<D: Device<f32>> TensorCollection<f32, D> for LeNet5<D> {
    type To<E2: Dtype, D2: Device<E2>> = LeNet5<D2, E2>;

    fn iter_tensors<V: ModuleVisitor<Self, f32, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("conv1", |net| &net.conv1, |net| &mut net.conv1),
                Self::module("conv2", |net| &net.conv2, |net| &mut net.conv2),
                Self::module("linear1", |net| &net.linear1, |net| &mut net.linear1),
                Self::module("linear2", |net| &net.linear2, |net| &mut net.linear2),
                Self::module("linear3", |net| &net.linear3, |net| &mut net.linear3),
            ),
            |(conv1, conv2, linear1, linear2, linear3)| LeNet5 { conv1, conv2, linear1, linear2, linear3 },
        )
    }
}
