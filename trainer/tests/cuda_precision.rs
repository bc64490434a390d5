//! The precision of matrix products on CUDA. It is set for a whole process, so this is a test program of its own.
//!
//! It needs a GPU, as the tests in `cuda` do.

use dfdx::prelude::*;
use trainer::{
    cuda::{self, libraries::cublas::set_precision},
    device::Precision,
};

/// The largest difference between a product of two matrices of values within ±1, computed on the GPU, and the same in f64.
fn error(device: &Cuda, precision: Precision) -> f64 {
    const SIDE: usize = 64;
    let value = |i: usize| ((i * 7919 + 13) % 10007) as f32 / 5003.5 - 1.0;
    let a: Vec<f32> = (0..SIDE * SIDE).map(value).collect();
    let b: Vec<f32> = (0..SIDE * SIDE).map(|i| value(i + 77_777)).collect();
    set_precision(precision);
    let matrix = |values: &[f32]| device.tensor_from_vec(values.to_vec(), (Const::<SIDE>, Const::<SIDE>));
    let product = matrix(&a).matmul(matrix(&b)).as_vec();
    let exact = |at: usize| -> f64 {
        let (row, column) = (at / SIDE, at % SIDE);
        (0..SIDE).map(|l| f64::from(a[row * SIDE + l]) * f64::from(b[l * SIDE + column])).sum()
    };
    product.iter().enumerate().map(|(at, value)| (f64::from(*value) - exact(at)).abs()).fold(0.0, f64::max)
}

#[test]
fn products_are_as_precise_as_they_say() {
    let (device, _) =
        cuda::open(0, 0, |_| ()).unwrap_or_else(|error| panic!("this needs a GPU, or scripts/cuda-emulate: {error}"));
    let [f32, tf32, bf16] =
        [Precision::F32, Precision::Tf32, Precision::Bf16].map(|precision| error(&device, precision));
    // Sums of 64 products: roundings of 2⁻²⁴, 2⁻¹¹ and 2⁻⁸, up to 64 times.
    assert!(f32 < 64.0 * 2.0_f64.powi(-24) * 4.0, "{f32}");
    assert!((1e-4..64.0 * 2.0_f64.powi(-10)).contains(&tf32), "{tf32}");
    assert!((1e-3..64.0 * 2.0_f64.powi(-7)).contains(&bf16), "{bf16}");
    assert!(f32 < tf32 && tf32 < bf16, "{f32}, {tf32}, {bf16}");
}
