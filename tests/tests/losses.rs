//! The training loop against PyTorch's: loss, gradients, Adam and L2 regularisation together, step by step.

use std::{fs, path::Path};

use dfdx::tensor::Cpu;
use infer_core::lenet5::DESCRIPTION;
use tests::file::{tensors, with_values};
use trainer::{
    data::{Dataset, LabelledImages, Origin, idx::Idx},
    export,
    model::{Initialisation, LeNet5, Network},
    optimiser::OptimiserOptions,
    training::{self, Setting, config::Options, interrupt::Interrupt},
};

/// Values from −0.5 to 0.5, as `wave` in `pytorch/losses.py`.
fn wave(count: usize, seed: u64) -> impl Iterator<Item = f32> {
    (0..count as u64).map(move |i| ((i * 7919 + i * i * 104_729 + seed * 15_485_863) % 1009) as f32 / 1009.0 - 0.5)
}

/// The network that `pytorch/losses.py` makes.
fn network_by_formula() -> LeNet5<Cpu> {
    let file = with_values(&tensors(&DESCRIPTION, 10), |index, shape| {
        let fan_in: usize = if shape.len() > 1 { shape[1..].iter().product() } else { 64 };
        let scale = (4.0 / (fan_in as f64).sqrt()) as f32;
        wave(shape.iter().product(), index as u64).map(|value| value * scale).collect()
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("formula.safetensors");
    fs::write(&path, file.bytes()).unwrap();
    let mut network = LeNet5::init(&Cpu::default(), 10, Initialisation::PyTorch, 0).unwrap();
    export::load(&path, &mut network).unwrap();
    network
}

#[test]
fn ten_steps_give_the_losses_that_pytorch_gives() {
    // From pytorch/losses.py with PyTorch 2.9.1.
    const LOSSES: [f64; 10] =
        [2.316980, 2.273398, 2.248321, 2.225475, 2.202707, 2.180207, 2.155857, 2.129176, 2.101231, 2.073827];
    const IMAGES: u32 = 48;
    let pixels = (0..u64::from(IMAGES) * 28 * 28).map(|i| ((i * 31 + i * i / 97) % 256) as u8).collect();
    let labels = (0..IMAGES).map(|i| (i * 7 % 10) as u8).collect();
    let images = LabelledImages::new(
        Idx::new([IMAGES, 28, 28], pixels).unwrap(),
        Idx::new([IMAGES], labels).unwrap(),
        10,
        [Path::new("images"), Path::new("labels")],
    )
    .unwrap();
    let data = Dataset {
        train: images.clone(),
        validation: None,
        test: images,
        classes: Vec::new(),
        files: Vec::new(),
        origin: Origin::Idx,
        test_paths: Vec::new(),
        left_out: Vec::new(),
    };
    // One batch holds everything, so that an epoch is a step and no order matters.
    let options = Options {
        epochs: 10,
        batch_size: 64,
        optimiser: OptimiserOptions { weight_decay: 0.01, ..OptimiserOptions::default() },
        validation: 0,
        ..Options::default()
    };
    let network = network_by_formula();
    let device = Cpu::default();
    let setting = Setting {
        device: &device,
        dataset: &data,
        options: &options,
        folder: None,
        observer: &mut (),
        interrupt: Interrupt::default(),
        frozen_bytes: training::MOST_BYTES,
    };
    let outcome = training::train(setting, network, None).unwrap();
    for (epoch, expected) in outcome.epochs.iter().zip(LOSSES) {
        assert!((epoch.train.loss - expected).abs() < 2e-5, "{epoch:?}, expected {expected}");
    }
    // The test images are the same ones, seen after the step: as the next epoch sees them.
    for pair in outcome.epochs.windows(2) {
        assert!((pair[0].test.loss - pair[1].train.loss).abs() < 1e-6);
    }
}
