//! Whole networks: logits and all gradients.

use std::collections::BTreeMap;

use dfdx::prelude::*;
use trainer::{
    model::{AlexNet, AlexNet2012, AlexNetImageNet, Initialisation, LeNet5, Network},
    ops::ConvDevice,
    random::StepKey,
};

use crate::{assert_close, gpu, tensors, values, with_all_kernels};

const KEY: StepKey = StepKey { seed: 11, epoch: 1, step: 1, drop_features: false };

/// Images whose neighbouring values differ clearly, so that few windows of a pooling have two largest values between which
/// rounding decides. Each plane is an image of its own.
fn images(planes: usize, side: usize) -> Vec<f32> {
    (0..planes * side * side)
        .map(|index| {
            let (image, y, x) = (index / (side * side), index / side % side, index % side);
            (((x * (3 + image) + y * y) % 97) as f32 / 96.0 + ((x ^ y) & 15) as f32 / 15.0) / 2.0
        })
        .collect()
}

/// Logits of a training pass with dropout, and the gradients of all weights from a loss `Σ scale · logits`.
fn training_pass<D: ConvDevice, N: Network<D>>(device: &D, batch: usize) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
    let network = N::init(device, 10, Initialisation::PyTorch, 5).unwrap();
    let logits = network
        .logits_traced(images(batch * N::DESCRIPTION.input().channels, N::SIDE), batch, network.alloc_grads(), KEY)
        .unwrap();
    let found = logits.as_vec();
    let scale = device.tensor_from_vec(values(batch * 10, 10, None), (batch, 10.into()));
    let gradients = (logits * scale).sum().backward();
    (found, tensors(&network, Some(&gradients)))
}

/// The L2 norm of the difference, as a share of that of what is expected.
fn relative_difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(&mut expected.iter().copied().map(f64::from))
}

/// Logits agree within rounding. So do gradients, but where it decides between the two largest values of a pooling's window, or
/// the sign before a ReLU: there the whole gradient of one value goes another way. The weight gradient of a convolution sums
/// those of N values, of random signs: one of them is about 1/√N of its norm. N is 12,800 at least (the last pooling of
/// AlexNet, two images) and such values are about one in a million, so that a bound of 2 % leaves room for several, and none
/// for a term that is missing or wrong; towers are compared exactly, value by value, in a test of their own.
fn assert_same_pass(
    (found, gradients): &(Vec<f32>, BTreeMap<String, Vec<f32>>),
    expected: &(Vec<f32>, BTreeMap<String, Vec<f32>>),
) {
    assert_close(found, &expected.0, 1e-4, "logits");
    assert!(gradients.keys().eq(expected.1.keys()));
    for (name, expected) in &expected.1 {
        let difference = relative_difference(&gradients[name], expected);
        assert!(difference < 0.02, "gradient of {name}: {difference} of its norm");
    }
}

#[test]
fn lenet5_agrees_with_the_processor() {
    let expected = training_pass::<_, LeNet5<Cpu>>(&Cpu::default(), 6);
    with_all_kernels(|_| assert_same_pass(&training_pass::<_, LeNet5<Cuda>>(&gpu(), 6), &expected));
}

/// Images of a batch of AlexNet's: 2, or what `ALEXNET_TEST_BATCH` says.
fn alexnet_batch() -> usize {
    std::env::var("ALEXNET_TEST_BATCH").map_or(2, |text| text.parse().expect("ALEXNET_TEST_BATCH is no number"))
}

#[test]
fn alexnet_agrees_with_the_processor() {
    let batch = alexnet_batch();
    let expected = training_pass::<_, AlexNet<Cpu>>(&Cpu::default(), batch);
    with_all_kernels(|_| assert_same_pass(&training_pass::<_, AlexNet<Cuda>>(&gpu(), batch), &expected));
}

/// Networks in colour, whose tower of convolutions is fused, too, and those with groups and local response normalisation.
#[test]
#[ignore = "takes minutes on the emulated GPU"]
fn networks_in_colour_agree_with_the_processor() {
    fn compare<C: Network<Cpu>, G: Network<Cuda>>(batch: usize) {
        let expected = training_pass::<_, C>(&Cpu::default(), batch);
        with_all_kernels(|_| assert_same_pass(&training_pass::<_, G>(&gpu(), batch), &expected));
    }
    compare::<AlexNetImageNet<Cpu>, AlexNetImageNet<Cuda>>(alexnet_batch());
    compare::<AlexNet2012<Cpu>, AlexNet2012<Cuda>>(alexnet_batch());
}

#[test]
fn evaluation_agrees_with_the_processor() {
    let images = values(3 * 28 * 28, 21, None);
    let expected =
        LeNet5::init(&Cpu::default(), 10, Initialisation::PyTorch, 8).unwrap().logits(&images, 3).unwrap().as_vec();
    with_all_kernels(|_| {
        let found = LeNet5::init(&gpu(), 10, Initialisation::PyTorch, 8).unwrap().logits(&images, 3).unwrap().as_vec();
        assert_close(&found, &expected, 1e-4, "logits");
    });
}

#[test]
fn gradients_are_added_to_those_that_are_there() {
    with_all_kernels(|kernels| {
        let device = gpu();
        let network = LeNet5::init(&device, 10, Initialisation::PyTorch, 5).unwrap();
        let images = values(2 * 28 * 28, 9, None);
        let pass = |gradients| {
            let logits = network.logits_traced(&images, 2, gradients, KEY).unwrap();
            logits.square().sum().backward()
        };
        let once = pass(Gradients::leaky());
        let first = once.get(&network.conv1.weight).as_vec();
        let logits = network.logits_traced(&images, 2, once, KEY).unwrap();
        let twice = logits.square().sum().backward().get(&network.conv1.weight).as_vec();
        let doubled: Vec<f32> = first.iter().map(|value| 2.0 * value).collect();
        assert_close(&twice, &doubled, 1e-4, &format!("gradient of conv1.weight, {kernels} kernels"));
    });
}
