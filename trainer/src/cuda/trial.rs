//! The first work on a GPU, where everything that an installation may lack shows.

use std::panic::{self, AssertUnwindSafe};

use dfdx::{
    shapes::{Axes2, Rank2},
    tensor::{AsArray, Cuda, TensorFrom},
    tensor_ops::{PermuteTo, ReshapeTo, TryMatMul},
};

use super::{engine::Engine, libraries::cublas};
use crate::device::LayerProducts;

/// Opens the device, whose products are as `products` says, and computes `relu(a · b)`, transposed, of two small matrices.
///
/// # Errors
/// What the device reports, or a result that is wrong.
pub fn run(ordinal: usize, seed: u64, products: LayerProducts) -> Result<Cuda, String> {
    let build = || Cuda::try_build(ordinal, seed).map_err(|error| error.to_string());
    let device = cublas::with_products(products.linear, build)?;
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
    Engine::open(&device, products.convolutions).map_err(|error| error.to_string())?;
    Ok(device)
}

/// The result of `work`, or what it reported, be it by an error or by a panic: dfdx and cudarc panic at errors in the
/// places that have no way to return one.
///
/// # Errors
/// The message.
pub fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(hook);
    result.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        Err(text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("unknown failure").to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_message() {
        assert_eq!(caught(|| Ok(1)), Ok(1));
        assert_eq!(caught::<()>(|| Err("no".to_string())), Err("no".to_string()));
        assert_eq!(caught::<()>(|| panic!("out of {}", "memory")), Err("out of memory".to_string()));
    }
}
