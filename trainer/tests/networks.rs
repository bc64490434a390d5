//! The networks: their sizes, their initialisation, and the whole of AlexNet at full size on both paths of the operations.

use std::collections::BTreeMap;

use dfdx::prelude::*;
use infer_core::preprocess::Resize;
use trainer::{
    data::Frame,
    model::{AlexNet, Initialisation, LeNet5, ModelError, Network, Summary},
    nn::{DropHalf, Logits},
    ops::{Conv2d, ConvOptions, MaxPool2d, Window, portable},
    random::StepKey,
};

const KEY: StepKey = StepKey { seed: 11, epoch: 1, step: 1, drop_features: false };

type Traced = OwnedTape<f32, Cpu>;

/// Images that are anything but flat.
fn images<N: Network<Cpu>>(batch: usize) -> Vec<f32> {
    let side = N::SIDE;
    (0..batch * side * side)
        .map(|index| {
            let (image, y, x) = (index / (side * side), index / side % side, index % side);
            (((x * (3 + image) + y * y) % 97) as f32 / 96.0 + ((x ^ y) & 15) as f32 / 15.0) / 2.0
        })
        .collect()
}

/// The values of every tensor, or of its gradient, by name.
struct Tensors<'a> {
    gradients: Option<&'a Gradients<f32, Cpu>>,
    values: BTreeMap<String, Vec<f32>>,
}

impl TensorVisitor<f32, Cpu> for Tensors<'_> {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = CpuError;
    type E2 = f32;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, f32, Cpu>,
        (tensor, name): (&Tensor<S, f32, Cpu>, String),
    ) -> Result<Option<Tensor<S, f32, Cpu>>, CpuError> {
        let values = self.gradients.map_or_else(|| tensor.as_vec(), |gradients| gradients.get(tensor).as_vec());
        self.values.insert(name, values);
        Ok(None)
    }
}

fn tensors<N: Network<Cpu>>(network: &N, gradients: Option<&Gradients<f32, Cpu>>) -> BTreeMap<String, Vec<f32>> {
    let mut tensors = Tensors { gradients, values: BTreeMap::new() };
    N::iter_tensors(&mut RecursiveWalker { m: (network, String::new()), f: &mut tensors }).unwrap();
    tensors.values
}

fn assert_close(left: &[f32], right: &[f32], tolerance: f32, what: &str) {
    assert_eq!(left.len(), right.len(), "{what}");
    let largest = right.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    assert!(largest > 0.0, "{what} is all zero");
    for (index, (left, right)) in left.iter().zip(right).enumerate() {
        assert!((left - right).abs() <= tolerance * largest, "{what}[{index}]: {left} and {right} of {largest}");
    }
}

/// AlexNet's training pass by the portable operations only, from its weights.
fn portable_alexnet(
    network: &AlexNet<Cpu>,
    images: Vec<f32>,
    batch: usize,
    gradients: Gradients<f32, Cpu>,
) -> Logits<Cpu, Traced> {
    let device = network.conv1.weight.device();
    let pool = Window { kernel: 3, stride: 2, padding: 0 };
    let mut x = device.tensor_from_vec(images, (batch, 1, 224, 224)).traced(gradients);
    macro_rules! conv {
        ($layer:ident, $kernel:literal, $stride:literal, $padding:literal, $pool:literal) => {
            let window = Window { kernel: $kernel, stride: $stride, padding: $padding };
            let weight = network.$layer.weight.clone();
            let (o, i, k, l) = (weight.shape().0.size(), weight.shape().1.size(), $kernel, $kernel);
            let weight = weight.try_reshape_like(&(o, i, k, l)).unwrap();
            let bias = network.$layer.bias.clone().try_reshape_like(&(o,)).unwrap();
            let options = ConvOptions { relu: true, input_gradient: true };
            x = portable::conv2d(Conv2d::new(x, weight, bias, window, options).unwrap()).unwrap();
            if $pool {
                x = portable::max_pool2d(MaxPool2d::new(x, pool).unwrap()).unwrap();
            }
        };
    }
    conv!(conv1, 11, 4, 1, true);
    conv!(conv2, 5, 1, 2, true);
    conv!(conv3, 3, 1, 1, false);
    conv!(conv4, 3, 1, 1, false);
    conv!(conv5, 3, 1, 1, true);
    let x = x.try_reshape_like(&(batch, Const::<6400>)).unwrap();
    let x = DropHalf::<1>.try_forward(network.linear1.forward(x).relu(), Some(KEY)).unwrap();
    let x = DropHalf::<2>.try_forward(network.linear2.forward(x).relu(), Some(KEY)).unwrap();
    network.linear3.forward(x)
}

#[test]
fn alexnet_is_the_same_on_both_paths() {
    let batch = 2;
    let targets = |device: &Cpu| {
        let mut targets = vec![0.0; batch * 10];
        targets[3] = 1.0;
        targets[10 + 8] = 1.0;
        device.tensor_from_vec(targets, (batch, 10.into()))
    };
    // Where rounding decides a ReLU or a maximum, that value's gradient goes elsewhere, and those of convolutions differ by up to
    // a hundredth. In about every second network it decides one of 400,000; in this one it decides none.
    let init = |device: &Cpu| AlexNet::init(device, 10, Initialisation::Xavier, 5).unwrap();
    let device = Cpu::default();
    let network = init(&device);
    let logits = network.logits_traced(images::<AlexNet<Cpu>>(batch), batch, network.alloc_grads(), KEY).unwrap();
    let fast = logits.as_vec();
    let gradients = cross_entropy_with_logits_loss(logits, targets(&device)).backward();
    let fast_gradients = tensors(&network, Some(&gradients));

    let device = Cpu::default();
    let network = init(&device);
    let logits = portable_alexnet(&network, images::<AlexNet<Cpu>>(batch), batch, network.alloc_grads());
    assert_close(&fast, &logits.as_vec(), 1e-4, "logits");
    let gradients = cross_entropy_with_logits_loss(logits, targets(&device)).backward();
    let portable_gradients = tensors(&network, Some(&gradients));

    assert_eq!(fast_gradients.len(), 16);
    for (name, fast) in &fast_gradients {
        assert_close(fast, &portable_gradients[name], 1e-4, name);
    }
}

#[test]
fn dropout_is_for_training_only() {
    let device = Cpu::default();
    let network = LeNet5::init(&device, 10, Initialisation::PyTorch, 3).unwrap();
    let evaluated = network.logits(images::<LeNet5<Cpu>>(3), 3).unwrap().as_vec();
    let gradients = network.alloc_grads();
    let trained = network.logits_traced(images::<LeNet5<Cpu>>(3), 3, gradients, KEY).unwrap().as_vec();
    assert_eq!(evaluated, trained);

    let network = AlexNet::init(&device, 10, Initialisation::PyTorch, 3).unwrap();
    let images = images::<AlexNet<Cpu>>(1);
    let traced = |key| network.logits_traced(&images, 1, network.alloc_grads(), key).unwrap().as_vec();
    let first = traced(KEY);
    assert_eq!(first, traced(KEY));
    assert_ne!(first, traced(StepKey { step: 2, ..KEY }));
    assert_ne!(first, traced(StepKey { drop_features: true, ..KEY }));
    assert_ne!(first, network.logits(&images, 1).unwrap().as_vec());
}

#[test]
fn initial_weights_are_uniform_as_wide_as_said() {
    is_initialised(Initialisation::PyTorch, |fan_in, _| 1.0 / fan_in);
    is_initialised(Initialisation::Xavier, |fan_in, fan_out| 6.0 / (fan_in + fan_out));
    is_initialised(Initialisation::He, |fan_in, _| 6.0 / fan_in);
}

/// Compares AlexNet's initial weights with a uniform distribution whose bound has this square, given `fan_in` and `fan_out`.
fn is_initialised(initialisation: Initialisation, square: fn(f64, f64) -> f64) {
    let values = tensors(&AlexNet::init(&Cpu::default(), 10, initialisation, 42).unwrap(), None);
    assert_eq!(values.len(), 16);
    let fans = |layer: &str| match layer {
        "conv1" => (121.0, 96.0 * 121.0),
        "conv2" => (96.0 * 25.0, 256.0 * 25.0),
        "conv3" => (256.0 * 9.0, 384.0 * 9.0),
        "conv4" => (384.0 * 9.0, 384.0 * 9.0),
        "conv5" => (384.0 * 9.0, 256.0 * 9.0),
        "linear1" => (6400.0, 4096.0),
        "linear2" => (4096.0, 4096.0),
        layer => {
            assert_eq!(layer, "linear3");
            (4096.0, 10.0)
        }
    };
    for (name, values) in &values {
        let (layer, kind) = name.split_once('.').unwrap();
        let (fan_in, fan_out) = fans(layer);
        let bound = if kind == "bias" { 1.0 / fan_in } else { square(fan_in, fan_out) }.sqrt();
        let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(f64::from(*value).abs()));
        assert!(largest <= bound * 1.000_001, "{initialisation:?} {name}: {largest} is beyond {bound}");
        let count = values.len() as f64;
        if count < 50.0 {
            continue;
        }
        assert!(largest >= bound * (1.0 - 5.0 / count), "{initialisation:?} {name}: {largest} is well within {bound}");
        // Mean 0 and variance bound²/3, both within five standard errors.
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        let variance = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() <= 5.0 * bound / (3.0 * count).sqrt(), "{initialisation:?} {name}: mean {mean}");
        let expected = bound * bound / 3.0;
        assert!(
            (variance / expected - 1.0).abs() <= 5.0 * (0.8 / count).sqrt(),
            "{initialisation:?} {name}: variance {variance}"
        );
    }
}

#[test]
fn initial_weights_follow_from_the_seed() {
    let lenet =
        |seed| tensors(&LeNet5::init(&Cpu::seed_from_u64(seed ^ 9), 10, Initialisation::PyTorch, seed).unwrap(), None);
    assert_eq!(lenet(7), lenet(7));
    for (name, values) in lenet(7) {
        assert_ne!(values, lenet(8)[&name], "{name}");
    }
}

#[test]
fn initialisation_does_not_depend_on_the_device() {
    let network =
        |seed| tensors(&LeNet5::init(&Cpu::seed_from_u64(seed), 10, Initialisation::PyTorch, 7).unwrap(), None);
    assert_eq!(network(1), network(2));
}

#[test]
fn summaries_add_up() {
    let summary = Summary::of(&infer_core::alexnet::DESCRIPTION, 10);
    assert_eq!(summary.parameters(), 46_764_746);
    assert_eq!(summary.multiply_adds(), 938_754_826);
    let text = summary.to_string();
    for line in
        ["Total params: 46,764,746", "Total mult-adds (M): 938.75", "Input size (MB): 0.20", "Params size (MB): 187.06"]
    {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }

    fn counted<N: Network<Cpu>>(classes: usize) -> usize {
        let network = N::init(&Cpu::default(), classes, Initialisation::PyTorch, 0).unwrap();
        let counted = network.num_trainable_params();
        assert_eq!(Summary::of(N::DESCRIPTION, classes).parameters(), counted);
        counted
    }
    assert_eq!(counted::<AlexNet<Cpu>>(10), 46_764_746);
    assert_eq!(counted::<LeNet5<Cpu>>(10), 61_706);
    for classes in [2, 37, 1000] {
        assert_eq!(counted::<LeNet5<Cpu>>(classes), 61_706 - 850 + 85 * classes);
    }
}

#[test]
fn batches_of_the_wrong_size_are_refused() {
    let network = LeNet5::init(&Cpu::default(), 10, Initialisation::PyTorch, 0).unwrap();
    assert!(matches!(network.logits([], 0), Err(ModelError::EmptyBatch)));
    let error = network.logits(vec![0.0; 28 * 28], 2).unwrap_err();
    assert_eq!(error.to_string(), "a batch of images: expected 1568 values, found 784");
}

#[test]
fn images_are_preprocessed_to_the_networks_size() {
    let (width, height) = (9, 5);
    let pixels: Vec<u8> = (0..width * height).map(|index| (index * 5) as u8).collect();
    let mut output = vec![0.0; 28 * 28];
    let preprocess = |width, height, pixels: &[u8], output: &mut [f32]| {
        let frame = Frame::new(1, width, height, pixels);
        <LeNet5<Cpu> as Network<Cpu>>::preprocess(&frame, Resize::Exact, output)
    };
    preprocess(width, height, &pixels, &mut output).unwrap();
    let mut expected = [[0.0; 28]; 28];
    let pixel = |x: usize, y: usize| f32::from(pixels[y * width + x]) / 255.0;
    infer_core::preprocess::resize_bilinear(width, height, pixel, &mut expected).unwrap();
    assert_eq!(output, expected.as_flattened());

    let refused = preprocess(width, height + 1, &pixels, &mut output).unwrap_err();
    assert_eq!(refused.to_string(), "the pixels of an image: expected 54 values, found 45");
    let refused = preprocess(width, height, &pixels, &mut output[1..]).unwrap_err();
    assert_eq!(refused.to_string(), "a network's input: expected 784 values, found 783");
    assert!(preprocess(0, 0, &[], &mut output).is_err());
}
