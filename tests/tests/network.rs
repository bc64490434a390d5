//! A network of one's own: everything follows from its list of layers.

use dfdx::nn::Module as _;
use dfdx::prelude::{Const, Cpu, ReshapeTo as _, TensorFromVec as _};
use infer_core::describe::{Description, Kind};
use infer_core::packed::{self, Backend, Line, LinearWeights, PackedError, Serial};
use infer_core::tensor::FloatArray;
use infer_core::weights::Weights;
use proptest::prelude::*;
use safetensors::SafeTensors;
use tests::{file, formula};
use trainer::model::{Initialisation, Network, Summary};
use trainer::ops::{Conv2d, ConvOptions, Images, MaxPool2d, Window, portable};

macro_rules! own {
    ($then:path) => {
        $then! {
            /// Pictures in colour of 24×24.
            Own "own": 3 x 24;
            conv1: conv 12, kernel 5, stride 2, padding 2;
            conv2 "features.2": conv 20, kernel 3, padding 1, groups 2;
            norm2: local_response_norm;
            pool2: max_pool kernel 2, stride 2;
            pool3: max_pool kernel 3, stride 1;
            linear1a: linear 40, no relu;
            linear1b "hidden": linear 48, dropout;
            linear2 "classifier": linear 10 classes;
        }
    };
}

mod inference {
    own!(infer_core::network);
}

mod training {
    use super::inference::{DESCRIPTION, LAYERS};

    own!(trainer::network);
}

/// A weights file for so many classes, by which logits are of order 1.
fn weights(network: &Description, classes: usize, seed: usize) -> file::Aligned {
    file::with_values(&file::tensors(network, classes), |index, shape| formula::parameter(seed * 32 + index, shape))
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// Within 1e-4 of the largest logit, which is what all forward passes promise.
fn assert_same(what: &str, found: &[f32], expected: &[f32]) {
    let largest = largest(expected);
    assert!(largest > 0.1, "{what}: logits up to {largest} prove nothing");
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-4 * largest, "{what}: {found} is not {expected}");
    }
}

/// Values of a weights file by name.
fn values(file: &file::Aligned, tensor: &str) -> Vec<f32> {
    let file = SafeTensors::deserialize(file.bytes()).expect("a file");
    let (values, _) = file.tensor(tensor).expect("a tensor").data().as_chunks::<4>();
    values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The logits of an image in f64, by the formulas and by the table of layers alone.
fn by_formulas(file: &file::Aligned, classes: usize, image: &[f32]) -> Vec<f32> {
    let layers: Vec<_> = inference::DESCRIPTION.layers(classes).collect();
    let mut x: Vec<f64> = image.iter().copied().map(f64::from).collect();
    for layer in &layers {
        let (input, output) = (layer.input, layer.output);
        let [weight, bias] = layer.tensors.map_or_else(Default::default, |names| names.map(|name| values(file, name)));
        // A linear layer is a convolution whose window is all of its input.
        let (kernel, stride, padding) = match layer.kind {
            Kind::Linear { .. } => (input.side, 1, 0),
            _ => (layer.kernel(), layer.stride(), layer.padding()),
        };
        let pixel = |channel: usize, y: usize, x_: usize| {
            let inside = |place: usize| place.checked_sub(padding).filter(|place| *place < input.side);
            inside(y).zip(inside(x_)).map(|(y, column)| x[(channel * input.side + y) * input.side + column])
        };
        let window = || (0..kernel * kernel).map(|tap| (tap / kernel, tap % kernel));
        // The channels of an output's group.
        let first = |channel: usize| channel / (output.channels / layer.groups()) * layer.group_channels();
        let mut next = Vec::new();
        for channel in 0..output.channels {
            for (top, left) in (0..output.side * output.side).map(|place| (place / output.side, place % output.side)) {
                let tap = |channel, (y, x): (usize, usize)| pixel(channel, top * stride + y, left * stride + x);
                next.push(if layer.kind == Kind::LocalResponseNorm {
                    let value = |channel| pixel(channel, top, left).expect("there is no padding");
                    let around = channel.saturating_sub(2)..output.channels.min(channel + 3);
                    let sum: f64 = around.map(|channel| value(channel) * value(channel)).sum();
                    value(channel) / (2.0 + 1e-4 * sum).powf(0.75)
                } else if layer.tensors.is_none() {
                    window().filter_map(|place| tap(channel, place)).fold(f64::NEG_INFINITY, f64::max)
                } else {
                    let inputs = first(channel)..first(channel) + layer.group_channels();
                    let inputs = inputs.flat_map(|i| window().map(move |place| (i, place)));
                    let (weight, bias) = (&weight[channel * layer.fan_in()..], f64::from(bias[channel..][0]));
                    let products =
                        inputs.zip(weight).map(|((i, place), w)| tap(i, place).unwrap_or(0.0) * f64::from(*w));
                    bias + products.sum::<f64>()
                });
            }
        }
        let last = std::ptr::eq(layer, &layers[layers.len() - 1]);
        let rectified = layer.tensors.is_some() && !last && layer.name != "linear1a";
        x = if rectified { next.iter().map(|value| value.max(0.0)).collect() } else { next };
    }
    x.iter().map(|value| *value as f32).collect()
}

/// The logits of images by the packed network on a backend; none where this CPU lacks it.
fn packed(
    weights: &Weights<'_>,
    linear: LinearWeights,
    images: &[f32],
    batch: usize,
    backend: Backend,
) -> Option<Vec<f32>> {
    let mut lines = vec![Line::ZERO; inference::PLAN.packed_len(weights.classes(), linear)];
    packed::Network::pack(&inference::PLAN, weights, linear, &mut lines).expect("they can be packed");
    let network = match packed::Network::from_packed(&inference::PLAN, &lines, backend) {
        Err(PackedError::Unavailable { .. }) => return None,
        network => network.expect("a packed network"),
    };
    let mut workspace = vec![Line::ZERO; network.workspace_len(batch)];
    let mut logits = vec![0.0; batch * weights.classes()];
    network.forward(images, &mut logits, &mut workspace, &Serial).expect("the sizes fit");
    Some(logits)
}

/// The logits of images by the trainer's portable operations.
fn portable(network: &training::Own<Cpu>, images: &[f32], batch: usize) -> Vec<f32> {
    let device = Cpu::default();
    let input = inference::DESCRIPTION.input();
    let mut x: Images<Cpu> = device.tensor_from_vec(images.to_vec(), (batch, input.channels, input.side, input.side));
    let pool = |x, kernel, stride| {
        let window = Window { kernel, stride, padding: 0 };
        portable::max_pool2d(MaxPool2d::new(x, window).expect("the shapes fit")).expect("the CPU pools")
    };
    macro_rules! conv {
        ($layer:ident, $number:literal) => {
            let layer = &inference::LAYERS[$number];
            let [o, i, k, l] = layer.weight_sizes();
            let window = Window { kernel: layer.kernel(), stride: layer.stride(), padding: layer.padding() };
            let weight = device.tensor_from_vec(network.$layer.weight.as_vec(), (o, i, k, l));
            let bias = device.tensor_from_vec(network.$layer.bias.as_vec(), (o,));
            let call = Conv2d::new(x, weight, bias, window, ConvOptions { relu: true, input_gradient: false });
            x = portable::conv2d(call.expect("the shapes fit")).expect("the CPU convolves");
        };
    }
    conv!(conv1, 0);
    conv!(conv2, 1);
    let x = portable::local_response_norm(x).expect("the CPU normalises");
    let x = pool(pool(x, 2, 2), 3, 1);
    let x = x.try_reshape_like(&(batch, Const::<{ inference::LAYERS[5].input.values() }>)).expect("vectors");
    let x = network.linear1b.forward(network.linear1a.forward(x)).relu();
    network.linear2.forward(x).as_vec()
}

/// The logits of images by the formulas, and by each forward pass.
fn logits<const CLASSES: usize>(seed: usize, batch: usize) -> (Vec<f32>, Vec<(String, Vec<f32>)>) {
    let file = weights(&inference::DESCRIPTION, CLASSES, seed);
    let length = size_of::<inference::Image>() / size_of::<f32>();
    // So bright that normalisation matters.
    let images: Vec<f32> = formula::unit(seed as u64, batch * length).iter().map(|value| 100.0 * value).collect();
    let expected = images.chunks(length).flat_map(|image| by_formulas(&file, CLASSES, image)).collect();
    let plain = inference::Own::<CLASSES>::from_safetensors(file.bytes()).expect("the loader takes the file");
    let mut workspace = inference::Workspace::new();
    let images_of = inference::Image::slice(&images);
    let plain = images_of.iter().flat_map(|image| plain.forward(image, &mut workspace)).collect();

    let weights = Weights::from_safetensors(&inference::DESCRIPTION, file.bytes()).expect("weights");
    let mut found = vec![("plain".to_owned(), plain)];
    for backend in Backend::ALL {
        let logits = packed(&weights, LinearWeights::F32, &images, batch, *backend);
        found.extend(logits.map(|logits| (format!("packed, {backend}"), logits)));
    }
    assert!(found.len() > 1, "no backend");

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("own.safetensors");
    std::fs::write(&path, file.bytes()).expect("a file");
    let mut network = training::Own::init(&Cpu::default(), CLASSES, Initialisation::He, 0).expect("a network");
    trainer::export::load(&path, &mut network).expect("the trainer takes the file");
    found.push(("trainer".to_owned(), network.logits(&images, batch).expect("logits").as_vec()));
    found.push(("trainer, portable".to_owned(), portable(&network, &images, batch)));
    (expected, found)
}

fn agree<const CLASSES: usize>(seed: usize) {
    let (expected, found) = logits::<CLASSES>(seed, 3);
    assert_eq!(expected.len(), 3 * CLASSES);
    found.iter().for_each(|(what, logits)| assert_same(what, logits, &expected));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn all_forward_passes_of_an_own_network_agree(seed in 0_usize..1 << 20) {
        agree::<2>(seed);
        agree::<10>(seed);
        agree::<37>(seed);
        agree::<1000>(seed);
    }
}

#[test]
fn its_summary_follows_from_the_list() {
    // 12 filters of 3·5², 20 of 6·3², 40 vectors of 20·4², 48 of 40, 37 of 48, and their biases.
    let linear = 40 * 321 + 48 * 41 + 37 * 49;
    let parameters = 12 * 76 + 20 * 55 + linear;
    let summary = Summary::of(&inference::DESCRIPTION, 37);
    assert_eq!(summary.parameters(), parameters);
    assert_eq!(summary.multiply_adds(), (12 * 76 + 20 * 55) * 144 + linear);
    let kinds: Vec<_> = summary.layers.iter().map(|layer| layer.kind).collect();
    let maps = ["Conv2d", "ReLU", "Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d", "MaxPool2d"];
    assert_eq!(kinds, [&maps[..], &["Flatten", "Linear", "Linear", "ReLU", "Dropout", "Linear"]].concat());
    assert_eq!(inference::DESCRIPTION.parameters(37), parameters);
}

#[test]
fn it_learns() {
    use dfdx::prelude::*;
    use trainer::optimiser::{Optimiser, OptimiserOptions};
    use trainer::{nn::Logits, random::StepKey};

    let (device, batch, classes) = (Cpu::default(), 6, 3);
    let mut network = training::Own::init(&device, classes, Initialisation::He, 1).expect("a network");
    let mut adam: Optimiser<Cpu> = Optimiser::new(&mut network, OptimiserOptions::default()).expect("an optimiser");
    let images = formula::unit(3, batch * size_of::<inference::Image>() / size_of::<f32>());
    let targets: Vec<f32> =
        (0..batch * classes).map(|i| f32::from(u8::from(i % classes == i / classes % classes))).collect();
    let mut loss = |step| {
        let key = StepKey { seed: 0, epoch: 1, step, drop_features: false };
        let logits = network.logits_traced(&images, batch, network.alloc_grads(), key).expect("logits");
        let targets: Logits<Cpu> = device.tensor_from_vec(targets.clone(), (batch, classes.into()));
        let loss = cross_entropy_with_logits_loss(logits, targets);
        let value = loss.array();
        adam.step(&mut network, &mut loss.backward(), 0.002).expect("a step");
        value
    };
    let losses: Vec<f32> = (1..=60).map(&mut loss).collect();
    assert!(losses[59] < losses[0] / 4.0, "{losses:?}");
}

macro_rules! dropping {
    ($then:path) => {
        $then! {
            /// Half of what its linear layer begins with is dropped.
            Dropping "dropping": 1 x 8;
            conv1: conv 16, kernel 3;
            pool1: max_pool kernel 2, stride 2, dropout;
            linear1: linear 3 classes;
        }
    };
}

mod dropping_inference {
    dropping!(infer_core::network);
}

mod dropping_training {
    use super::dropping_inference::{DESCRIPTION, LAYERS};

    dropping!(trainer::network);
}

#[test]
fn dropout_behind_the_last_pool_is_for_training_only() {
    use dfdx::nn::ZeroGrads;
    use trainer::random::StepKey;

    let network = dropping_training::Dropping::init(&Cpu::default(), 3, Initialisation::He, 1).expect("a network");
    let images = formula::unit(5, 2 * dropping_inference::DESCRIPTION.input().values());
    let trained = |step, drop_features| {
        let key = StepKey { seed: 0, epoch: 1, step, drop_features };
        network.logits_traced(&images, 2, network.alloc_grads(), key).expect("logits").as_vec()
    };
    let evaluated = network.logits(&images, 2).expect("logits").as_vec();
    assert_ne!(trained(1, false), evaluated);
    assert_ne!(trained(1, false), trained(2, false));
    // Whether features are dropped in networks that do not say so makes no difference here.
    assert_eq!(trained(1, false), trained(1, true));
    let kinds = Summary::of(&dropping_inference::DESCRIPTION, 3).layers;
    let kinds: Vec<_> = kinds.iter().map(|layer| layer.kind).collect();
    assert_eq!(kinds, ["Conv2d", "ReLU", "MaxPool2d", "Dropout", "Flatten", "Linear"]);
}
