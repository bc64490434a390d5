//! The first work on a GPU, where everything that an installation may lack shows.

use dfdx::{
    shapes::{Axes2, Rank2},
    tensor::{AsArray, Cuda, TensorFrom},
    tensor_ops::{PermuteTo, ReshapeTo, TryMatMul},
};

use super::engine::Engine;
use crate::device::Products;

/// Computes `relu(a · b)`, transposed, of two small matrices, and loads the project's own kernels; convolutions are multiplied
/// as `convolutions` says.
///
/// # Errors
/// What the device reports, or a result that is wrong.
pub fn run(device: &Cuda, convolutions: Products) -> Result<(), String> {
    let result = (|| {
        let a = device.try_tensor([[1.0_f32, 2.0], [-3.0, 4.0]])?;
        let b = device.try_tensor([[0.5_f32, -1.0, 2.0], [1.0, 0.25, 0.0]])?;
        let product = a.try_matmul(b)?.try_relu()?;
        product.try_permute::<Rank2<3, 2>, Axes2<1, 0>>()?.try_reshape::<Rank2<2, 3>>()
    })()
    .map_err(|error: dfdx::tensor::CudaError| error.to_string())?;
    let (found, expected) = (result.array(), [[2.5, 2.5, 0.0], [4.0, 2.0, 0.0]]);
    if found != expected {
        return Err(format!("a trial gave {found:?}, not {expected:?}"));
    }
    Engine::open(device, convolutions).map_err(|error| error.to_string())?;
    Ok(())
}
