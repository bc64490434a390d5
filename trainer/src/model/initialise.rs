//! PyTorch's default initialisation, drawn on the host so that a seed means the same network on every device.

use dfdx::{
    nn::{BuildModule, RecursiveWalker, TensorOptions, TensorVisitor},
    shapes::Shape,
    tensor::Tensor,
    tensor_ops::Device,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::ModelError;

/// A module with PyTorch's default for `nn.Conv2d` and `nn.Linear`: weights and biases uniform within ±1/√fan_in, `fan_in`
/// being the number of products that one output value sums.
///
/// A tensor of more than one dimension is a weight; a vector is the bias of the weight before it. Each tensor has random
/// numbers of its own, so that one does not depend on the sizes of those before it.
///
/// # Errors
/// The device's own.
pub fn initialise<D: Device<f32>, M: BuildModule<D, f32>>(device: &D, seed: u64) -> Result<M, ModelError> {
    let mut visitor = Initialise { device, seed, tensors: 0, fan_in: 1 };
    let module = M::iter_tensors(&mut RecursiveWalker { m: (), f: &mut visitor }).map_err(ModelError::device)?;
    // The visitor makes every tensor, so there is a module; were there none, dfdx's own way would make one.
    module.map_or_else(|| M::try_build(device).map_err(ModelError::device), Ok)
}

struct Initialise<'a, D> {
    device: &'a D,
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
        let sizes = options.shape.concrete();
        if S::NUM_DIMS > 1 {
            self.fan_in = sizes.as_ref()[1..].iter().product();
        }
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.tensors.to_le_bytes());
        self.tensors += 1;

        let mut random = StdRng::from_seed(key);
        let bound = (self.fan_in.max(1) as f32).sqrt().recip();
        let values = (0..options.shape.num_elements()).map(|_| random.gen_range(-bound..bound)).collect();
        self.device.try_tensor_from_vec(values, options.shape).map(Some)
    }
}
