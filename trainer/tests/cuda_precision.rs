//! The precision of matrix products on CUDA: each device has its own.
//!
//! It needs a GPU, as the tests in `cuda` do.

use dfdx::prelude::*;
use trainer::{
    cuda,
    device::{LayerProducts, Precision, Products},
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

/// Filters, groups, window and pooling of a stage.
type Outline = (usize, usize, Window, Option<Window>);

fn window(kernel: usize, stride: usize, padding: usize) -> Window {
    Window { kernel, stride, padding }
}

/// The output of a tower on two images of two channels of 11 × 13, and the gradients of its weights and biases by a loss
/// `Σ scale · output`, and of the images where one stage gives sums of few bits. Images and weights are multiples of 1/`steps` within ±1, and so is `scale`, times `size`; the last
/// channel of the last image is `last` times larger.
fn tower<D: ConvDevice>(device: &D, stages: &[Outline], steps: usize, (size, last): (f32, f32)) -> Vec<Vec<f32>> {
    let values = |count: usize, start: usize| -> Vec<f32> {
        let numbers = (start..start + count).map(|i| (i * 7919 + i * i * 31 + 13) % 10007 % (2 * steps + 1));
        numbers.map(|number| number as f32 / steps as f32 - 1.0).collect()
    };
    let input = device.tensor_from_vec(values(2 * 2 * 11 * 13, 1), (2, 2, 11, 13));
    let (mut parameters, mut channels) = (Vec::new(), 2);
    let of_images = stages.len() == 1 && last == 1.0;
    let mut call = Tower::new(input.leaky_trace(), of_images);
    for (index, (filters, groups, window, pool)) in stages.iter().enumerate() {
        let shape = (*filters, channels / groups, window.kernel, window.kernel);
        let weight = device.tensor_from_vec(values(shape.0 * shape.1 * shape.2 * shape.3, 100 * index + 7), shape);
        let bias = device.tensor_from_vec(values(*filters, 70 * index + 5), (*filters,));
        parameters.push((weight.clone(), bias.clone()));
        call = call.stage(Stage { weight, bias, window: *window, pool: *pool }).unwrap();
        channels = *filters;
    }
    let output = D::tower(call).unwrap();
    let (shape, mut results) = (*output.shape(), vec![output.as_vec()]);
    let mut scale = values(shape.0 * shape.1 * shape.2 * shape.3, 5);
    let others = scale.len() - shape.2 * shape.3;
    for (index, value) in scale.iter_mut().enumerate() {
        *value *= if index < others { size } else { size * last };
    }
    let gradients = (output * device.tensor_from_vec(scale, shape)).sum().backward();
    if of_images {
        results.push(gradients.get(&input).as_vec());
    }
    for (weight, bias) in &parameters {
        results.extend([gradients.get(weight).as_vec(), gradients.get(bias).as_vec()]);
    }
    results
}

const PRODUCTS: [Products; 4] = [Products::F32, Products::Tf32, Products::Bf16, Products::F16];

fn convolving(convolutions: Products) -> Cuda {
    let products = LayerProducts { convolutions, linear: Products::F32 };
    cuda::open_with(0, 0, |_| products, |_| ()).unwrap().0
}

/// With factors of so few bits that none is lost, each kind of factors gives the processor's values.
#[test]
fn towers_of_rounded_factors_lose_only_what_they_round() {
    // What the first stage gives, and its gradient, are sums of few products: they have 8 bits at most.
    let cases: [Vec<Outline>; 5] = [
        vec![(5, 1, window(3, 2, 1), Some(window(3, 2, 0)))],
        vec![(6, 2, window(2, 2, 1), Some(window(2, 2, 0)))],
        vec![(3, 1, window(1, 1, 0), None), (3, 1, window(2, 1, 1), Some(window(2, 2, 0)))],
        vec![(3, 1, window(1, 2, 0), None), (3, 1, window(2, 1, 0), Some(window(3, 1, 0)))],
        vec![(3, 1, window(1, 1, 0), Some(window(2, 2, 0))), (3, 1, window(3, 3, 1), Some(window(1, 1, 0)))],
    ];
    for products in PRODUCTS {
        let device = convolving(products);
        // Half precision has no numbers for gradients so small, and none for sums of gradients so large.
        for size in [(1.0, 1.0), (2.0_f32.powi(-40), 1.0), (2.0_f32.powi(20), 1.0), (1.0, 2.0_f32.powi(14))] {
            // Behind a second stage, sums of so different numbers have more bits.
            for stages in if size.1 == 1.0 { &cases[..] } else { &cases[..2] } {
                let (found, expected) = (tower(&device, stages, 4, size), tower(&Cpu::default(), stages, 4, size));
                for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                    assert!(largest > 0.0 && found.len() == expected.len());
                    for (found, expected) in found.iter().zip(expected) {
                        let what = format!("{products}, {size:?}, {stages:?}, result {index}: {found}, not {expected}");
                        assert!((found - expected).abs() <= 1e-5 * largest, "{what}");
                    }
                }
            }
        }
    }
}

/// Images that are no numbers of few bits: the output differs as much as factors are rounded.
#[test]
fn towers_round_their_factors() {
    let stages = [(8, 1, window(5, 1, 1), None), (6, 1, window(3, 1, 1), Some(window(3, 2, 0)))];
    let output = |values: Vec<Vec<f32>>| values.into_iter().next().unwrap();
    let expected = output(tower(&Cpu::default(), &stages, 5000, (1.0, 1.0)));
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let differences = PRODUCTS.map(|products| {
        let found = output(tower(&convolving(products), &stages, 5000, (1.0, 1.0)));
        let difference = norm(&mut found.iter().zip(&expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
        difference / norm(&mut expected.iter().copied().map(f64::from))
    });
    let [f32, tf32, bf16, f16] = differences;
    assert!(f32 < 1e-6, "{f32}");
    // Roundings of 2⁻¹¹ and 2⁻⁸, of which many even out.
    for ten_bits in [tf32, f16] {
        assert!((2e-5..1e-3).contains(&ten_bits), "{tf32}, {f16}");
    }
    assert!((2e-4..1e-2).contains(&bf16), "{bf16}");
}
