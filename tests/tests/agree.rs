//! Trainer and infer-core give the same numbers: each layer over many shapes (the trainer's portable and its CPU path), and
//! the whole networks over random weights and images, the weights going from one to the other through a file.

use dfdx::prelude::{Const, Cpu, CpuError, NoneTape, Tensor, TensorFromVec};
use infer_core::describe::Description;
use infer_core::layers::{Conv2d, Linear, LocalResponseNorm, MaxPool2d, relu};
use infer_core::tensor::{FloatArray, Scratch};
use infer_core::{alexnet, lenet5};
use proptest::prelude::*;
use tests::{file, formula};
use trainer::model::{self, Initialisation, Network};
use trainer::ops::{self, ConvOptions, Images, Window};

/// The largest absolute value.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, value| max.max(value.abs()))
}

/// Each value within `tolerance` of the expected one.
fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "{what}: value {i}: {found} is not {expected}");
    }
}

/// `count` values from −1 to 1.
fn signed(stream: u64, count: usize) -> Vec<f32> {
    formula::values(stream, count).map(|v| v as f32).collect()
}

fn images(values: Vec<f32>, channels: usize, side: usize) -> Images<Cpu> {
    Cpu::default().tensor_from_vec(values, (1, channels, side, side))
}

/// A convolution, followed by a ReLU or not, by infer-core and by both paths of the trainer.
fn conv<
    const CI: usize,
    const CO: usize,
    const KERNEL: usize,
    const STRIDE: usize,
    const PADDING: usize,
    const IN: usize,
    const OUT: usize,
>(
    seed: u64,
) {
    let what = format!("{CI}→{CO} channels, kernel {KERNEL}, stride {STRIDE}, padding {PADDING}, {IN}→{OUT}");
    let input = signed(seed, CI * IN * IN);
    let weight = signed(seed + 1, CO * CI * KERNEL * KERNEL);
    let bias = signed(seed + 2, CO);
    let layer = Conv2d::<CI, CO, KERNEL, STRIDE, PADDING, IN, OUT> {
        weight: FloatArray::slice(&weight).first().expect("the weights fill it"),
        bias: FloatArray::slice(&bias).first().expect("the biases fill it"),
    };
    let mut scratch = Box::<Scratch<65_536>>::default();
    let mut output = Box::<Scratch<65_536>>::default();
    let x = scratch.tensor::<CI, IN, IN>();
    x.values_mut().copy_from_slice(&input);
    let x = layer.forward(x, output.tensor());
    // The CPU path is Winograd's for some shapes, whose transforms cost about a digit.
    let largest = largest(x.values_mut());
    for rectified in [false, true] {
        let found = if rectified { relu(x).values_mut() } else { x.values_mut() };
        type Path = fn(ops::Conv2d<Cpu, NoneTape>) -> Result<Images<Cpu>, <Cpu as dfdx::tensor::HasErr>::Err>;
        let paths = [("portable", ops::portable::conv2d as Path, 1e-5), ("CPU", ops::cpu::conv2d as Path, 5e-5)];
        for (path, convolve, tolerance) in paths {
            let device = Cpu::default();
            let call = ops::Conv2d::new(
                images(input.clone(), CI, IN),
                device.tensor_from_vec(weight.clone(), (CO, CI, KERNEL, KERNEL)),
                device.tensor_from_vec(bias.clone(), (CO,)),
                Window { kernel: KERNEL, stride: STRIDE, padding: PADDING },
                ConvOptions { relu: rectified, input_gradient: true },
            );
            let expected = convolve(call.expect("the shapes fit")).expect("the CPU convolves").as_vec();
            assert_close(&format!("{what}, {path}"), found, &expected, tolerance * largest);
        }
    }
}

fn pool<const C: usize, const KERNEL: usize, const STRIDE: usize, const IN: usize, const OUT: usize>(seed: u64) {
    let what = format!("{C} channels, kernel {KERNEL}, stride {STRIDE}, {IN}→{OUT}");
    let input = signed(seed, C * IN * IN);
    let mut scratch = Box::<Scratch<65_536>>::default();
    let mut output = Box::<Scratch<65_536>>::default();
    let x = scratch.tensor::<C, IN, IN>();
    x.values_mut().copy_from_slice(&input);
    let found = MaxPool2d::<KERNEL, STRIDE, IN, OUT>.forward(x, output.tensor()).values_mut();
    let call = || {
        let window = Window { kernel: KERNEL, stride: STRIDE, padding: 0 };
        ops::MaxPool2d::new(images(input.clone(), C, IN), window).expect("the shapes fit")
    };
    assert_close(&what, found, &ops::portable::max_pool2d(call()).expect("the CPU pools").as_vec(), 0.0);
    assert_close(&what, found, &ops::cpu::max_pool2d(call()).expect("the CPU pools").as_vec(), 0.0);
}

fn norm<const C: usize, const SIDE: usize>(seed: u64) {
    // So bright that normalisation matters.
    let input: Vec<f32> = signed(seed, C * SIDE * SIDE).iter().map(|value| 150.0 * value).collect();
    let mut scratch = Box::<Scratch<65_536>>::default();
    let mut output = Box::<Scratch<65_536>>::default();
    let x = scratch.tensor::<C, SIDE, SIDE>();
    x.values_mut().copy_from_slice(&input);
    let found = LocalResponseNorm.forward(x, output.tensor()).values_mut();
    let call = || images(input.clone(), C, SIDE);
    let (what, tolerance) = (format!("{C}×{SIDE}×{SIDE}"), 2e-6 * largest(found));
    assert_close(&what, found, &ops::portable::local_response_norm(call()).expect("memory").as_vec(), tolerance);
    assert_close(&what, found, &ops::cpu::local_response_norm(call()).expect("memory").as_vec(), tolerance);
}

/// A linear layer of the trainer.
type LinearOperation<const IN: usize, const OUT: usize> = fn(
    Tensor<(usize, Const<IN>), f32, Cpu>,
    Tensor<(Const<OUT>, Const<IN>), f32, Cpu>,
    Tensor<(Const<OUT>,), f32, Cpu>,
    bool,
)
    -> Result<Tensor<(usize, Const<OUT>), f32, Cpu>, CpuError>;

fn linear<const IN: usize, const OUT: usize>(seed: u64) {
    let input = signed(seed, IN);
    let weight = signed(seed + 1, IN * OUT);
    let bias = signed(seed + 2, OUT);
    let layer = Linear::<IN, OUT> {
        weight: FloatArray::slice(&weight).first().expect("the weights fill it"),
        bias: FloatArray::slice(&bias).first().expect("the biases fill it"),
    };
    let mut found = [0.0; OUT];
    layer.forward(FloatArray::slice(&input).first().expect("an input"), &mut found);

    let device = Cpu::default();
    let call = |linear: LinearOperation<IN, OUT>| {
        let input = device.tensor_from_vec(input.clone(), (1, Const));
        let weight = device.tensor_from_vec(weight.clone(), (Const, Const));
        linear(input, weight, device.tensor_from_vec(bias.clone(), (Const,)), true).expect("memory").as_vec()
    };
    let (what, tolerance) = (format!("{IN}→{OUT}"), 1e-5 * largest(&found));
    assert_close(&what, &found, &call(ops::portable::linear), tolerance);
    assert_close(&what, &found, &call(ops::cpu::linear), tolerance);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn convolutions_agree(seed in 0_u64..1 << 30) {
        conv::<1, 1, 1, 1, 0, 1, 1>(seed);
        conv::<1, 6, 5, 1, 2, 29, 29>(seed);
        conv::<6, 17, 5, 1, 0, 15, 11>(seed);
        conv::<1, 8, 11, 4, 1, 60, 13>(seed);
        conv::<1, 8, 11, 4, 1, 62, 14>(seed);
        conv::<3, 7, 3, 2, 1, 17, 9>(seed);
        conv::<5, 3, 2, 3, 0, 11, 4>(seed);
        conv::<2, 33, 3, 1, 1, 11, 11>(seed);
        conv::<16, 4, 1, 1, 0, 9, 9>(seed);
        conv::<4, 5, 7, 2, 3, 8, 4>(seed);
        conv::<2, 3, 4, 5, 4, 6, 3>(seed);
        conv::<40, 24, 5, 1, 2, 25, 25>(seed);
        conv::<64, 48, 3, 1, 1, 11, 11>(seed);
    }

    #[test]
    fn poolings_agree(seed in 0_u64..1 << 30) {
        pool::<1, 1, 1, 1, 1>(seed);
        pool::<96, 3, 2, 24, 11>(seed);
        pool::<8, 3, 2, 52, 25>(seed);
        pool::<256, 3, 2, 11, 5>(seed);
        pool::<6, 2, 2, 30, 15>(seed);
        pool::<3, 2, 3, 9, 3>(seed);
        pool::<2, 5, 1, 7, 3>(seed);
    }

    #[test]
    fn normalisations_agree(seed in 0_u64..1 << 30) {
        norm::<1, 1>(seed);
        norm::<4, 3>(seed);
        norm::<96, 11>(seed);
        norm::<17, 5>(seed);
    }

    #[test]
    fn linear_layers_agree(seed in 0_u64..1 << 30) {
        linear::<1, 1>(seed);
        linear::<401, 120>(seed);
        linear::<85, 10>(seed);
        linear::<1001, 17>(seed);
    }
}

/// Weights for which logits are of order 1 to 20, from a seed.
fn weights(network: &Description, seed: u64) -> file::Aligned {
    file::with_values(&file::tensors(network, network.classes()), |index, shape| {
        formula::parameter((seed as usize) * 32 + index, shape)
    })
}

/// The trainer's logits for a file and an image.
fn trained<N: Network<Cpu>>(weights: &file::Aligned, image: &[f32]) -> Vec<f32> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("weights.safetensors");
    std::fs::write(&path, weights.bytes()).expect("a file");
    let mut network = N::init(&Cpu::default(), 10, Initialisation::PyTorch, 0).expect("a network");
    trainer::export::load(&path, &mut network).expect("the weights fit");
    network.logits(image, 1).expect("logits").as_vec()
}

/// By contract: within 1e-4 of the largest logit, and the same class unless the two best are closer than that.
fn assert_same_answer(found: &[f32], expected: &[f32]) {
    let largest = largest(expected);
    assert!((0.1..50.0).contains(&largest), "logits of that size would prove nothing: {largest}");
    assert_close("logits", found, expected, 1e-4 * largest);
    let best = |logits: &[f32]| (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("classes");
    let (class, other) = (best(found), best(expected));
    assert!(class == other || (expected[class] - expected[other]).abs() <= 1e-4 * largest, "{class} is not {other}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn lenet5_agrees(seed in 0_u64..1 << 20) {
        let weights = weights(&lenet5::DESCRIPTION, seed);
        let image = formula::unit(seed, lenet5::SIDE * lenet5::SIDE);
        let network = lenet5::LeNet5::<10>::from_safetensors(weights.bytes()).unwrap();
        let found = network.forward(lenet5::Image::slice(&image).first().unwrap(), &mut lenet5::Workspace::new());
        assert_same_answer(&found, &trained::<model::LeNet5<Cpu>>(&weights, &image));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]
    #[test]
    fn alexnet_agrees(seed in 0_u64..1 << 20) {
        let weights = weights(&alexnet::DESCRIPTION, seed);
        let image = formula::unit(seed, alexnet::SIDE * alexnet::SIDE);
        let network = alexnet::AlexNet::<10>::from_safetensors(weights.bytes()).unwrap();
        let mut workspace = Box::<alexnet::Workspace>::default();
        let found = network.forward(alexnet::Image::slice(&image).first().unwrap(), &mut workspace);
        assert_same_answer(&found, &trained::<model::AlexNet<Cpu>>(&weights, &image));
    }
}
