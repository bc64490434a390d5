//! The precision of matrix products on CUDA: each device has its own.
//!
//! It needs a GPU, as the tests in `cuda` do.

use dfdx::prelude::*;
use trainer::{
    cuda,
    device::Precision,
    ops::{ConvDevice, Stage, Tower, Window},
};

fn open(precision: Precision) -> Cuda {
    let opened = cuda::open(0, 0, precision, |_| ());
    opened.unwrap_or_else(|error| panic!("this needs a GPU, or scripts/cuda-emulate: {error}")).0
}

const SIDE: usize = 64;

/// Two matrices of values within ±1, and their exact product.
fn matrices() -> ([Vec<f32>; 2], Vec<f64>) {
    let value = |i: usize| ((i * 7919 + 13) % 10007) as f32 / 5003.5 - 1.0;
    let [a, b] = [0, 77_777].map(|start| (0..SIDE * SIDE).map(|i| value(i + start)).collect::<Vec<_>>());
    let exact = |at: usize| -> f64 {
        let (row, column) = (at / SIDE, at % SIDE);
        (0..SIDE).map(|l| f64::from(a[row * SIDE + l]) * f64::from(b[l * SIDE + column])).sum()
    };
    let product = (0..SIDE * SIDE).map(exact).collect();
    ([a, b], product)
}

fn largest_error(found: &[f32], exact: &[f64]) -> f64 {
    assert_eq!(found.len(), exact.len());
    found.iter().zip(exact).map(|(found, exact)| (f64::from(*found) - exact.max(0.0)).abs()).fold(0.0, f64::max)
}

/// The error of a linear layer's product, with ReLU.
fn linear_error(device: &Cuda) -> f64 {
    let ([a, b], exact) = matrices();
    let matrix = |values: Vec<f32>| device.tensor_from_vec(values, (Const::<SIDE>, Const::<SIDE>));
    largest_error(&matrix(a).matmul(matrix(b)).relu().as_vec(), &exact)
}

/// The error of the same product, with ReLU, as a convolution of one image of 64 channels and 8 × 8 positions.
fn convolution_error(device: &Cuda) -> f64 {
    let ([a, b], exact) = matrices();
    let window = Window { kernel: 1, stride: 1, padding: 0 };
    let weight = device.tensor_from_vec(a, (SIDE, SIDE, 1, 1));
    let stage = Stage { weight, bias: device.zeros_like(&(SIDE,)), window, pool: Some(window) };
    let tower = Tower::new(device.tensor_from_vec(b, (1, SIDE, 8, 8)), false).stage(stage).unwrap();
    largest_error(&Cuda::tower(tower).unwrap().as_vec(), &exact)
}

/// Whether errors of sums of 64 products are those of factors with so many bits: roundings of 2⁻²⁴, 2⁻¹¹ or 2⁻⁸, up to 64 times.
fn has_bits(error: f64, bits: i32) -> bool {
    let rounding = 2.0_f64.powi(-bits);
    (rounding / 4.0..64.0 * 2.0 * rounding).contains(&error)
}

#[test]
fn products_are_as_precise_as_they_say_by_layer_and_device() {
    let cases =
        [(Precision::F32, 24, 24), (Precision::Auto, 11, 24), (Precision::Tf32, 11, 11), (Precision::Bf16, 8, 8)];
    // All are open at the same time, and used after the others were opened.
    let devices = cases.map(|(precision, ..)| open(precision));
    for (device, (precision, convolutions, linear)) in devices.iter().zip(cases) {
        let (found, expected) = (convolution_error(device), linear_error(device));
        assert!(has_bits(found, convolutions), "{precision}, convolutions: {found}");
        assert!(has_bits(expected, linear), "{precision}, linear layers: {expected}");
    }
}
