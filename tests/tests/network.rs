//! A network of one's own: everything follows from its list of layers.

use dfdx::prelude::Cpu;
use infer_core::describe::Description;
use infer_core::packed::{self, Backend, Line, LinearWeights, Serial};
use infer_core::tensor::FloatArray;
use infer_core::weights::Weights;
use proptest::prelude::*;
use tests::{file, formula};
use trainer::model::{Initialisation, Network, Summary};

macro_rules! own {
    ($then:path) => {
        $then! {
            /// Pictures in colour of 24×24.
            Own "own": 3 x 24;
            conv1: conv 12, kernel 5, stride 2, padding 2;
            conv2: conv 20, kernel 3, padding 1;
            pool2: max_pool kernel 2, stride 2;
            pool3: max_pool kernel 3, stride 1;
            linear1: linear 48, dropout;
            linear2: linear 10 classes;
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

/// The logits of images by the plain pass, by the packed one and by the trainer.
fn logits<const CLASSES: usize>(seed: usize, batch: usize) -> [Vec<f32>; 3] {
    let file = weights(&inference::DESCRIPTION, CLASSES, seed);
    let images = formula::unit(seed as u64, batch * size_of::<inference::Image>() / size_of::<f32>());
    let plain = inference::Own::<CLASSES>::from_safetensors(file.bytes()).expect("the loader takes the file");
    let mut workspace = inference::Workspace::new();
    let images_of = inference::Image::slice(&images);
    let plain = images_of.iter().flat_map(|image| plain.forward(image, &mut workspace)).collect();

    let weights = Weights::from_safetensors(&inference::DESCRIPTION, file.bytes()).expect("weights");
    let mut lines = vec![Line::ZERO; inference::PLAN.packed_len(CLASSES, LinearWeights::F32)];
    packed::Network::pack(&inference::PLAN, &weights, LinearWeights::F32, &mut lines).expect("they can be packed");
    let network = packed::Network::from_packed(&inference::PLAN, &lines, Backend::best()).expect("a packed network");
    let mut workspace = vec![Line::ZERO; network.workspace_len(batch)];
    let mut packed = vec![0.0; batch * CLASSES];
    network.forward(&images, &mut packed, &mut workspace, &Serial).expect("the sizes fit");

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("own.safetensors");
    std::fs::write(&path, file.bytes()).expect("a file");
    let mut network = training::Own::init(&Cpu::default(), CLASSES, Initialisation::He, 0).expect("a network");
    trainer::export::load(&path, &mut network).expect("the trainer takes the file");
    let trained = network.logits(&images, batch).expect("logits").as_vec();
    [plain, packed, trained]
}

fn agree<const CLASSES: usize>(seed: usize) {
    let [plain, packed, trained] = logits::<CLASSES>(seed, 3);
    assert_eq!(plain.len(), 3 * CLASSES);
    assert_same("packed", &packed, &plain);
    assert_same("trainer", &trained, &plain);
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
    // 12 filters of 3·5², 20 of 12·3², 48 vectors of 20·4², 37 of 48, and their biases.
    let parameters = 12 * 76 + 20 * 109 + 48 * 321 + 37 * 49;
    let summary = Summary::of(&inference::DESCRIPTION, 37);
    assert_eq!(summary.parameters(), parameters);
    assert_eq!(summary.multiply_adds(), (12 * 76 + 20 * 109) * 144 + 48 * 321 + 37 * 49);
    let kinds: Vec<_> = summary.layers.iter().map(|layer| layer.kind).collect();
    let maps = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d", "MaxPool2d"];
    assert_eq!(kinds, [&maps[..], &["Flatten", "Linear", "ReLU", "Dropout", "Linear"]].concat());
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
