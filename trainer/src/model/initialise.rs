//! Random weights to begin with, drawn on the host so that a seed means the same network on every device.

use dfdx::{
    nn::{BuildModule, RecursiveWalker, TensorOptions, TensorVisitor},
    shapes::Shape,
    tensor::Tensor,
    tensor_ops::Device,
};
use infer_core::describe::CLASSES;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use super::ModelError;
use crate::ops::ConvDevice;

/// Rule of the size of random weights. All are uniform around zero; biases are uniform within ±1/√`fan_in`, as PyTorch's.
///
/// `fan_in` is the number of products that one output value sums, `fan_out` the number of products that one input value is
/// part of, borders and strides aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Initialisation {
    /// Within ±√(6/(`fan_in` + `fan_out`)): Glorot and Bengio, "Understanding the difficulty of training deep feedforward
    /// neural networks", 2010, equation 16; that of *Dive into Deep Learning* for its AlexNet.
    #[default]
    Xavier,
    /// Within ±√(6/`fan_in`), by which values keep their mean square from one ReLU to the next: He et al., "Delving deep into
    /// rectifiers", 2015, equation 10.
    He,
    /// PyTorch's default for `nn.Conv2d` and `nn.Linear`, within ±1/√`fan_in`. With each layer and its ReLU, values become
    /// smaller: their mean square is a sixth of that of the layer before.
    PyTorch,
}

impl Initialisation {
    /// All of them, by their names on the command line.
    pub const NAMES: [(&'static str, Self); 3] =
        [("xavier", Self::Xavier), ("he", Self::He), ("pytorch", Self::PyTorch)];

    /// The rule of versions that had no other.
    pub(crate) fn of_earlier_versions() -> Self {
        Self::PyTorch
    }

    /// The largest absolute value of a weight.
    fn bound(self, fan_in: usize, fan_out: usize) -> f32 {
        match self {
            Self::Xavier => (6.0 / (fan_in + fan_out) as f32).sqrt(),
            Self::He => (6.0 / fan_in as f32).sqrt(),
            Self::PyTorch => (1.0 / fan_in as f32).sqrt(),
        }
    }
}

/// A module with random weights, which follow from `seed`. Dimensions of the size [`Classes`](crate::nn::Classes) become
/// `classes`.
///
/// A tensor of more than one dimension is a weight, outputs first; a vector is the bias of the weight before it. Each tensor has
/// random numbers of its own, so that one does not depend on the sizes of those before it.
///
/// # Errors
/// A number of classes that is not among [`CLASSES`]; the device's own.
pub fn initialise<D: ConvDevice, M: BuildModule<D, f32>>(
    device: &D,
    classes: usize,
    initialisation: Initialisation,
    seed: u64,
) -> Result<M, ModelError> {
    if !CLASSES.contains(&classes) {
        return Err(ModelError::Classes { found: classes });
    }
    let mut visitor = Initialise { device, classes, initialisation, seed, tensors: 0, fan_in: 1 };
    let module = M::iter_tensors(&mut RecursiveWalker { m: (), f: &mut visitor }).map_err(ModelError::device)?;
    Ok(module.unwrap_or_else(|| unreachable!("the visitor makes every tensor, so that there is a module")))
}

struct Initialise<'a, D> {
    device: &'a D,
    classes: usize,
    initialisation: Initialisation,
    seed: u64,
    /// Tensors made so far.
    tensors: u64,
    /// Of the last weight.
    fan_in: usize,
}

impl<D: Device<f32>> TensorVisitor<f32, D> for Initialise<'_, D> {
    type Viewer = ();
    type Err = D::Err;
    type E2 = f32;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, f32, D>,
        (): (),
    ) -> Result<Option<Tensor<S, f32, D>>, D::Err> {
        // The only dimension without a constant size is that of the classes.
        let mut sizes = options.shape.concrete();
        for dimension in 0..S::NUM_DIMS {
            if sizes[dimension] == 0 {
                sizes[dimension] = self.classes;
            }
        }
        let shape = S::from_concrete(&sizes).unwrap_or(options.shape);
        self.device.try_tensor_from_vec(self.values(sizes.as_ref()), shape).map(Some)
    }
}

impl<D> Initialise<'_, D> {
    /// The values of the next tensor, of these sizes.
    fn values(&mut self, sizes: &[usize]) -> Vec<f32> {
        let bound = if let [outputs, inputs, kernel @ ..] = sizes {
            let kernel: usize = kernel.iter().product();
            self.fan_in = (inputs * kernel).max(1);
            self.initialisation.bound(self.fan_in, outputs * kernel)
        } else {
            // A bias: PyTorch's, whatever the weights' rule.
            Initialisation::PyTorch.bound(self.fan_in, 1)
        };
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.tensors.to_le_bytes());
        self.tensors += 1;

        let mut random = StdRng::from_seed(key);
        (0..sizes.iter().product()).map(|_| random.gen_range(-bound..bound)).collect()
    }
}
