//! ONNX's backend test cases (`tests/golden/onnx.safetensors`, made by `tests/onnx/golden.py`) for the operators that
//! infer-core's layers are: all that the layers can compute run against the plain layers and, put as networks, against the
//! packed ones, on every backend of this CPU.
//!
//! Layers are square, and ONNX's images are not always: a smaller image lies in the corner of a larger one, filled up with what
//! its borders are filled with, and only the outputs that ONNX has are compared. Pools have no borders: they are laid around the
//! image before.
#![allow(non_snake_case, reason = "modules have the names of ONNX's cases")]

mod case;
mod networks;

use case::{Array, CASES, Case, Reason};
use infer_core::classify::softmax;
use infer_core::layers::{Conv2d, Linear, MaxPool2d, relu};
use infer_core::tensor::{FloatArray, Scratch, Tensor};
use std::collections::BTreeMap;

/// Cases by their names, and what runs them.
type Runs = &'static [(&'static str, fn(&Case))];

/// Runs each case.
fn run(cases: Runs) {
    assert!(!cases.is_empty());
    cases.iter().for_each(|(name, run)| run(Case::find(name)));
}

/// Each value as ONNX's own test runner wants it: within 1e-3 of the expected one, relatively, or 1e-7.
fn assert_close(what: &str, found: impl IntoIterator<Item = f32>, expected: &[f32]) {
    let mut count = 0;
    for (i, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        let (found, expected) = (f64::from(found), f64::from(*expected));
        assert!(
            (found - expected).abs() <= 1e-3 * expected.abs() + 1e-7,
            "{what}: value {i}: {found} is not {expected}"
        );
        count += 1;
    }
    assert_eq!(count, expected.len(), "{what}");
}

// The lists below have a line for each case, which becomes a module with the network that stands for the case, and the
// function that runs it.

macro_rules! convolutions {
    ($($folder:literal $case:ident: $channels:literal x $side:literal, $outputs:literal filters, twice $twice:literal,
        kernel $kernel:literal, stride $stride:literal, padding $padding:literal $(, every $every:literal)?;)+
    ) => {
        $(mod $case {
            infer_core::network! {
                /// The filters, their opposites, and a linear layer that gives the differences of both.
                Convolution "onnx": $channels x $side;
                conv1: conv $twice, kernel $kernel, stride $stride, padding $padding;
                $(pool1: max_pool kernel 1, stride $every;)?
                linear1: linear 2 classes;
            }

            pub fn run(case: &super::Case) {
                const OUT: usize = infer_core::layers::output_size($side, $kernel, $stride, $padding);
                super::convolution::<$channels, $outputs, $kernel, $stride, $padding, $side, OUT>(case);
                super::networks::convolution(case, &PLAN, [$($every,)? 1][0]);
            }
        })+

        static CONVOLUTIONS: Runs = &[$((concat!($folder, "/", stringify!($case)), $case::run),)+];
    };
}

convolutions! {
    "node" test_basic_conv_with_padding: 1 x 5, 1 filters, twice 2, kernel 3, stride 1, padding 1;
    "node" test_basic_conv_without_padding: 1 x 5, 1 filters, twice 2, kernel 3, stride 1, padding 0;
    "node" test_conv_with_autopad_same: 1 x 5, 1 filters, twice 2, kernel 3, stride 2, padding 1;
    "node" test_conv_with_strides_no_padding: 1 x 7, 1 filters, twice 2, kernel 3, stride 2, padding 0;
    "node" test_conv_with_strides_padding: 1 x 7, 1 filters, twice 2, kernel 3, stride 2, padding 1;
    "pytorch-converted" test_Conv2d_padding: 3 x 6, 4 filters, twice 8, kernel 3, stride 2, padding 1;
    "pytorch-converted" test_Conv2d_strided: 3 x 6, 4 filters, twice 8, kernel 3, stride 2, padding 0;
    "pytorch-operator" test_operator_conv: 16 x 50, 13 filters, twice 26, kernel 3, stride 1, padding 0, every 4;
}

macro_rules! pools {
    ($($folder:literal $case:ident: $channels:literal x $side:literal, kernel $kernel:literal, stride $stride:literal;)+) => {
        $(mod $case {
            infer_core::network! {
                /// The pool, and a linear layer that gives its outputs.
                Pool "onnx": $channels x $side;
                pool1: max_pool kernel $kernel, stride $stride;
                linear1: linear 2 classes;
            }

            pub fn run(case: &super::Case) {
                const OUT: usize = infer_core::layers::output_size($side, $kernel, $stride, 0);
                super::pool::<$channels, $kernel, $stride, $side, OUT>(case);
                super::networks::pool(case, &PLAN);
            }
        })+

        static POOLS: Runs = &[$((concat!($folder, "/", stringify!($case)), $case::run),)+];
    };
}

// Sides are those of images with their borders.
pools! {
    "node" test_maxpool_2d_ceil: 1 x 5, kernel 3, stride 2;
    "node" test_maxpool_2d_ceil_output_size_reduce_by_one: 1 x 1, kernel 1, stride 2;
    "node" test_maxpool_2d_default: 3 x 32, kernel 2, stride 1;
    "node" test_maxpool_2d_pads: 3 x 32, kernel 3, stride 1;
    "node" test_maxpool_2d_precomputed_pads: 1 x 9, kernel 5, stride 1;
    "node" test_maxpool_2d_precomputed_same_upper: 1 x 7, kernel 3, stride 2;
    "node" test_maxpool_2d_precomputed_strides: 1 x 4, kernel 2, stride 2;
    "node" test_maxpool_2d_strides: 3 x 32, kernel 5, stride 3;
    "node" test_maxpool_with_argmax_2d_precomputed_pads: 1 x 9, kernel 5, stride 1;
    "node" test_maxpool_with_argmax_2d_precomputed_strides: 1 x 4, kernel 2, stride 2;
    "pytorch-converted" test_MaxPool2d: 3 x 9, kernel 3, stride 2;
}

macro_rules! products {
    ($($folder:literal $case:ident: $inputs:literal to $outputs:literal;)+) => {
        $(mod $case {
            infer_core::network! {
                /// The linear layer.
                Product "onnx": $inputs x 1;
                linear1: linear 2 classes;
            }

            pub fn run(case: &super::Case) {
                super::product::<$inputs, $outputs>(case);
                super::networks::product(case, &PLAN);
            }
        })+

        static PRODUCTS: Runs = &[$((concat!($folder, "/", stringify!($case)), $case::run),)+];
    };
}

products! {
    "node" test_gemm_all_attributes: 4 to 5;
    "node" test_gemm_alpha: 5 to 4;
    "node" test_gemm_beta: 7 to 4;
    "node" test_gemm_default_matrix_bias: 6 to 4;
    "node" test_gemm_default_no_bias: 10 to 3;
    "node" test_gemm_default_scalar_bias: 3 to 4;
    "node" test_gemm_default_single_elem_vector_bias: 7 to 3;
    "node" test_gemm_default_vector_bias: 7 to 4;
    "node" test_gemm_default_zero_bias: 5 to 4;
    "node" test_gemm_transposeA: 6 to 4;
    "node" test_gemm_transposeB: 6 to 4;
    "pytorch-converted" test_Linear: 10 to 8;
}

macro_rules! rectifiers {
    ($($folder:literal $case:ident: $values:literal;)+) => {
        $(mod $case {
            infer_core::network! {
                /// A linear layer that gives its inputs, its ReLU, and another one that gives them again.
                Rectifier "onnx": $values x 1;
                linear1: linear $values;
                linear2: linear 2 classes;
            }

            pub fn run(case: &super::Case) {
                super::rectifier::<$values>(case);
                super::networks::rectifier(case, &PLAN);
            }
        })+

        static RECTIFIERS: Runs = &[$((concat!($folder, "/", stringify!($case)), $case::run),)+];
    };
}

rectifiers! {
    "node" test_relu: 60;
    "pytorch-converted" test_ReLU: 120;
    "simple" test_single_relu_model: 2;

}

macro_rules! softmaxes {
    ($($folder:literal $case:ident: $classes:literal;)+) => {
        static SOFTMAXES: Runs = &[$((concat!($folder, "/", stringify!($case)), probabilities::<$classes>),)+];
    };
}

softmaxes! {
    "node" test_softmax_axis_0: 3;
    "node" test_softmax_axis_1: 4;
    "node" test_softmax_axis_2: 5;
    "node" test_softmax_default_axis: 5;
    "node" test_softmax_example: 3;
    "node" test_softmax_large_number: 4;
    "node" test_softmax_negative_axis: 5;
    "pytorch-converted" test_Softmax: 20;
    "pytorch-converted" test_softmax_functional_dim3: 5;
    "pytorch-converted" test_softmax_lastdim: 128;
}

/// Values of each image in the corner of a square; `fill` around it, `before` rows and columns of it above and to the left.
fn squares(images: &Array, side: usize, before: usize, fill: f32) -> Vec<f32> {
    let &[count, channels, height, width] = &images.shape[..] else { panic!("images have four dimensions") };
    let mut squares = vec![fill; count * channels * side * side];
    for (square, plane) in squares.chunks_exact_mut(side * side).zip(images.values.chunks_exact(height * width)) {
        // What no window reads may lie beyond the square.
        for (row, values) in square.chunks_exact_mut(side).skip(before).zip(plane.chunks_exact(width)) {
            row.iter_mut().skip(before).zip(values).for_each(|(place, value)| *place = *value);
        }
    }
    squares
}

/// Of square images, the corners that have the sizes of `expected`.
fn corners<'a>(squares: &'a [f32], side: usize, expected: &'a Array) -> impl Iterator<Item = f32> + 'a {
    let (height, width) = (expected.shape[2], expected.shape[3]);
    let planes = squares.chunks_exact(side * side);
    planes
        .flat_map(move |plane| plane.chunks_exact(side).take(height).flat_map(move |row| row[..width].iter().copied()))
}

fn convolution<
    const CI: usize,
    const CO: usize,
    const KERNEL: usize,
    const STRIDE: usize,
    const PADDING: usize,
    const IN: usize,
    const OUT: usize,
>(
    case: &Case,
) {
    let (inputs, expected) = case.tensors();
    let window = case.window().expect("square windows");
    assert_eq!((window.kernel, window.stride, window.padding), (KERNEL, STRIDE, PADDING), "{}", case.name);
    let bias = inputs.get(2).map_or_else(|| vec![0.0; CO], |bias| bias.values.clone());
    let layer = Conv2d::<CI, CO, KERNEL, STRIDE, PADDING, IN, OUT> {
        weight: FloatArray::slice(&inputs[1].values).first().expect("the weights fill it"),
        bias: FloatArray::slice(&bias).first().expect("the biases fill it"),
    };
    let mut scratch = Box::<Scratch<65_536>>::default();
    let images = squares(&inputs[0], IN, 0, 0.0);
    let images = <Tensor<CI, IN, IN>>::slice(&images);
    let found: Vec<f32> =
        images.iter().flat_map(|image| layer.forward(image, scratch.tensor()).values().to_vec()).collect();
    assert_close(&case.name, corners(&found, OUT, expected), &expected.values);
}

/// Less than any value of an image, and still a number of which 0 times is 0.
const LOWEST: f32 = f32::MIN;

fn pool<const C: usize, const KERNEL: usize, const STRIDE: usize, const IN: usize, const OUT: usize>(case: &Case) {
    let (inputs, expected) = case.tensors();
    let window = case.window().expect("square windows");
    let side = window.padded_side(expected);
    assert_eq!((window.kernel, window.stride, side), (KERNEL, STRIDE, IN), "{}", case.name);
    let mut scratch = Box::<Scratch<65_536>>::default();
    let images = squares(&inputs[0], IN, window.padding, LOWEST);
    let images = <Tensor<C, IN, IN>>::slice(&images);
    let layer = MaxPool2d::<KERNEL, STRIDE, IN, OUT>;
    let found: Vec<f32> =
        images.iter().flat_map(|image| layer.forward(image, scratch.tensor()).values().to_vec()).collect();
    assert!(corners(&found, OUT, expected).eq(expected.values.iter().copied()), "{}", case.name);
}

/// A general matrix product as linear layers: each row of its first factor is an input. Weights `[outputs, inputs]` are the
/// second factor times alpha, biases, a row for each input, the summand times beta.
struct Product {
    inputs: Vec<Vec<f32>>,
    weight: Vec<f32>,
    bias: Vec<Vec<f32>>,
}

impl Product {
    fn new(case: &Case) -> Self {
        let (arrays, expected) = case.tensors();
        let transposed = |array: &Array| {
            let (rows, columns) = (array.shape[0], array.shape[1]);
            let values = (0..columns).flat_map(|c| (0..rows).map(move |r| array.values[r * columns + c])).collect();
            Array { shape: vec![columns, rows], values }
        };
        let flag = |name| case.number(name, 0.0) != 0.0;
        let (alpha, beta) = (case.number("alpha", 1.0) as f32, case.number("beta", 1.0) as f32);
        let a = if flag("transA") { transposed(&arrays[0]) } else { arrays[0].clone() };
        let b = if flag("transB") { arrays[1].clone() } else { transposed(&arrays[1]) };
        let (rows, outputs) = (expected.shape[0], expected.shape[1]);
        assert_eq!((a.shape[0], b.shape[0]), (rows, outputs), "{}", case.name);
        let bias = |row: usize, output: usize| {
            let Some(summand) = arrays.get(2) else { return 0.0 };
            // Of a dimension that is 1, the one value stands for all.
            let columns = summand.shape.last().copied().unwrap_or(1);
            let (row, output) = (row % (summand.values.len() / columns), output % columns);
            beta * summand.values[row * columns + output]
        };
        Self {
            inputs: a.values.chunks_exact(a.shape[1]).map(<[f32]>::to_vec).collect(),
            weight: b.values.iter().map(|value| alpha * value).collect(),
            bias: (0..rows).map(|row| (0..outputs).map(|output| bias(row, output)).collect()).collect(),
        }
    }
}

fn product<const IN: usize, const OUT: usize>(case: &Case) {
    let product = Product::new(case);
    let found = product.inputs.iter().zip(&product.bias).flat_map(|(input, bias)| {
        let layer = Linear::<IN, OUT> {
            weight: FloatArray::slice(&product.weight).first().expect("the weights fill it"),
            bias: FloatArray::slice(bias).first().expect("the biases fill it"),
        };
        *layer.forward(FloatArray::slice(input).first().expect("an input"), &mut [0.0; OUT])
    });
    assert_close(&case.name, found, &case.tensors().1.values);
}

fn rectifier<const N: usize>(case: &Case) {
    let (inputs, expected) = case.tensors();
    let mut values: [f32; N] = inputs[0].values.clone().try_into().expect("all values");
    assert_eq!(relu(&mut values)[..], expected.values, "{}", case.name);
}

fn probabilities<const N: usize>(case: &Case) {
    let (inputs, expected) = case.tensors();
    let shape = &inputs[0].shape;
    let axis = match case.number("axis", -1.0) {
        axis if axis < 0.0 => shape.len() - 1,
        axis => axis as usize,
    };
    assert_eq!(shape[axis], N, "{}", case.name);
    let step: usize = shape[axis + 1..].iter().product();
    for first in (0..inputs[0].values.len()).filter(|place| (place / step).is_multiple_of(N)) {
        let along = |array: &Array| -> [f32; N] { std::array::from_fn(|i| array.values[first + i * step]) };
        let (logits, expected) = (along(&inputs[0]), along(expected));
        assert_close(&case.name, softmax(&logits), &expected);
        // The exponential function that needs no libm is less exact, as documented.
        for (found, expected) in softmax(&logits).into_iter().zip(expected) {
            assert!((found - expected).abs() < 0.002, "{}: {found} is not {expected}", case.name);
        }
    }
}

#[test]
fn convolutions() {
    run(CONVOLUTIONS);
}

#[test]
fn pools() {
    run(POOLS);
}

#[test]
fn products() {
    run(PRODUCTS);
}

#[test]
fn rectifiers() {
    run(RECTIFIERS);
}

#[test]
fn softmaxes() {
    run(SOFTMAXES);
}

/// Every case of the file runs, or is passed over by the rule.
#[test]
fn all_cases_are_counted() {
    let mut counts = BTreeMap::<(&str, Option<Reason>), usize>::new();
    for case in CASES.iter() {
        let runs = match &*case.operator {
            "Conv" => CONVOLUTIONS,
            "MaxPool" => POOLS,
            "Gemm" => PRODUCTS,
            "Relu" => RECTIFIERS,
            "Softmax" => SOFTMAXES,
            other => panic!("{}: operator {other}", case.name),
        };
        let (runs, rule) = (runs.iter().filter(|(name, _)| *name == case.name).count(), case.rule());
        assert_eq!(runs, usize::from(rule.is_ok()), "{}: {rule:?}", case.name);
        assert_eq!(case.tensors.is_some(), rule.is_ok(), "{}: {rule:?}", case.name);
        *counts.entry((&case.operator, rule.err())).or_default() += 1;
    }
    for ((operator, reason), count) in &counts {
        match reason {
            None => println!("{operator}: {count} run"),
            Some(reason) => println!("{operator}: {count} passed over: {reason}"),
        }
    }
    let passed_over = [
        ("Conv", Reason::OneDimension, 8),
        ("Conv", Reason::ThreeDimensions, 7),
        ("Conv", Reason::Grouped, 6),
        ("Conv", Reason::Dilated, 1),
        ("Conv", Reason::KernelNotSquare, 2),
        ("Conv", Reason::PadsDiffer, 1),
        ("MaxPool", Reason::NotFloats, 1),
        ("MaxPool", Reason::OneDimension, 5),
        ("MaxPool", Reason::ThreeDimensions, 7),
        ("MaxPool", Reason::Dilated, 2),
        ("MaxPool", Reason::PadsDiffer, 2),
    ];
    let run = [("Conv", 8), ("Gemm", 12), ("MaxPool", 11), ("Relu", 3), ("Softmax", 10)];
    let expected = passed_over.into_iter().map(|(operator, reason, count)| ((operator, Some(reason)), count));
    let expected = expected.chain(run.into_iter().map(|(operator, count)| ((operator, None), count)));
    assert_eq!(counts, expected.collect());
}
