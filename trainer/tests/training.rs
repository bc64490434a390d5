//! The training loop on real data: it learns, it can be made again bit for bit, it chooses by what it should,
//! and what it writes is what it measured.

mod common;

use std::{collections::BTreeMap, fs, path::Path, sync::LazyLock};

use dfdx::tensor::Cpu;
use safetensors::{Dtype, tensor::TensorView};
use trainer::{
    data::{Dataset, LabelledImages, idx::Idx},
    export,
    model::{LeNet5, Network},
    training::{
        self, Outcome, TrainError,
        config::{ImageCounts, Options},
        evaluate::evaluate,
        metrics::{EpochMetrics, Scores},
        output::RunFolder,
        progress::{Observer, Phase},
    },
};

type Net = LeNet5<Cpu>;

static DATA: LazyLock<Dataset> = LazyLock::new(common::dataset);

fn options() -> Options {
    Options {
        epochs: 3,
        batch_size: 32,
        learning_rate: 0.002,
        weight_decay: 0.0,
        seed: 1,
        validation: 500,
        train_limit: Some(2000),
        test_limit: Some(1000),
    }
}

fn run(options: &Options, folder: Option<&Path>, observer: &mut dyn Observer) -> Result<Outcome<Net>, TrainError> {
    let device = Cpu::seed_from_u64(options.seed);
    let network = Net::init(&device, options.seed).unwrap();
    let metadata = BTreeMap::from([("architecture".to_string(), "lenet5".to_string())]);
    let folder = folder.map(|path| RunFolder::create(path, metadata).unwrap());
    training::train(&device, network, &DATA, options, folder.as_ref(), observer)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn it_learns_and_the_best_epoch_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(&options(), Some(folder.path()), &mut ()).unwrap();
    let [first, .., last] = &outcome.epochs[..] else { panic!("three epochs expected") };
    assert!(last.train.loss < first.train.loss);
    assert!(last.test.accuracy > 0.6, "{}", last.test.accuracy);

    // The best epoch has the highest validation accuracy, and its weights and measurements are in the file.
    let accuracy = |epoch: &EpochMetrics| epoch.validation.unwrap().accuracy;
    let best = &outcome.epochs[outcome.best];
    assert!(outcome.epochs.iter().all(|epoch| accuracy(epoch) <= accuracy(best)));
    let weights = outcome.weights.unwrap();
    assert_eq!(weights, folder.path().join("lenet5.safetensors"));
    let mut network = Net::init(&Cpu::default(), 99).unwrap();
    let metadata = export::load(&weights, &mut network).unwrap();
    assert_eq!(metadata["architecture"], "lenet5");
    assert_eq!(metadata["epoch"], best.epoch.to_string());
    assert_eq!(metadata["test_accuracy"], format!("{:.6}", best.test.accuracy));
    let test = training::test_positions(&DATA, Some(1000));
    let scores = evaluate(&network, &DATA.test, &test, 1000, &mut ()).unwrap().scores();
    assert_eq!(scores.accuracy, best.test.accuracy);
    assert!((scores.loss - best.test.loss).abs() < 1e-6);

    // One line an epoch, with the values that were measured.
    let csv = text(&folder.path().join("metrics.csv"));
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[0],
        "epoch,train_loss,validation_loss,test_loss,train_accuracy,validation_accuracy,test_accuracy,images_per_second,seconds"
    );
    for (line, epoch) in lines[1..].iter().zip(&outcome.epochs) {
        let values: Vec<f64> = line.split(',').map(|value| value.parse().unwrap()).collect();
        let validation = epoch.validation.unwrap();
        let expected = [
            epoch.epoch as f64,
            epoch.train.loss,
            validation.loss,
            epoch.test.loss,
            epoch.train.accuracy,
            validation.accuracy,
            epoch.test.accuracy,
        ];
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{line}");
        }
        assert!(values[7] > 0.0 && values[8] > 0.0);
    }
    assert!(text(&folder.path().join("curves.svg")).contains("lenet5 on Fashion-MNIST"));
}

#[test]
fn the_seed_decides_everything() {
    let options = Options { epochs: 2, train_limit: Some(500), test_limit: Some(100), ..options() };
    let weights = |options: &Options| {
        let folder = tempfile::tempdir().unwrap();
        let outcome = run(options, Some(folder.path()), &mut ()).unwrap();
        let scores: Vec<_> = outcome.epochs.iter().map(|epoch| (epoch.train, epoch.validation, epoch.test)).collect();
        (fs::read(outcome.weights.unwrap()).unwrap(), scores)
    };
    let (first, scores) = weights(&options);
    let (again, scores_again) = weights(&options);
    assert!(first == again, "the same seed gave other weights");
    assert_eq!(scores, scores_again);
    let (other, _) = weights(&Options { seed: 2, ..options });
    assert!(first != other, "another seed gave the same weights");
}

#[test]
fn without_held_out_images_the_training_loss_chooses() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { epochs: 2, validation: 0, train_limit: Some(300), test_limit: Some(50), ..options() };
    let outcome = run(&options, Some(folder.path()), &mut ()).unwrap();
    let best = &outcome.epochs[outcome.best];
    assert!(outcome.epochs.iter().all(|epoch| epoch.validation.is_none() && epoch.train.loss >= best.train.loss));
    let csv = text(&folder.path().join("metrics.csv"));
    let columns: Vec<&str> = csv.lines().nth(1).unwrap().split(',').collect();
    assert_eq!((columns.len(), columns[2], columns[5]), (9, "", ""));
}

#[test]
fn everything_held_out_is_refused() {
    let error = run(&Options { validation: 60_000, ..options() }, None, &mut ()).unwrap_err();
    assert_eq!(error.to_string(), "--validation 60000 leaves no image to learn from: there are 60000 training images");
}

#[test]
fn a_diverging_run_stops_and_leaves_earlier_weights_alone() {
    let folder = tempfile::tempdir().unwrap();
    let good = Options { epochs: 1, train_limit: Some(100), test_limit: Some(50), ..options() };
    let weights = run(&good, Some(folder.path()), &mut ()).unwrap().weights.unwrap();
    let bytes = fs::read(&weights).unwrap();
    let diverging = Options { learning_rate: 1e30, ..good };
    let error = run(&diverging, Some(folder.path()), &mut ()).unwrap_err();
    assert!(matches!(&error, TrainError::Diverged { epoch: 1, best: None, .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("in epoch 1, step 2: training diverged, try a lower --learning-rate"), "{message}");
    assert!(fs::read(&weights).unwrap() == bytes);
}

/// Keeps what it is told.
#[derive(Default)]
struct Record {
    started: Option<(usize, ImageCounts)>,
    phases: Vec<(usize, Phase, usize)>,
    batches: Vec<usize>,
    epochs: Vec<(usize, bool)>,
}

impl Observer for Record {
    fn start(&mut self, epochs: usize, images: ImageCounts) {
        self.started = Some((epochs, images));
    }

    fn phase(&mut self, epoch: usize, phase: Phase, images: usize) {
        self.phases.push((epoch, phase, images));
    }

    fn batch(&mut self, images: usize, scores: Scores) {
        assert!(scores.loss.is_finite() && (0.0..=1.0).contains(&scores.accuracy));
        self.batches.push(images);
    }

    fn epoch(&mut self, metrics: &EpochMetrics, best: bool) {
        self.epochs.push((metrics.epoch, best));
    }
}

#[test]
fn an_observer_hears_of_every_batch_the_last_smaller_one_too() {
    let options =
        Options { epochs: 1, batch_size: 40, validation: 50, train_limit: Some(90), test_limit: Some(30), ..options() };
    let mut record = Record::default();
    run(&options, None, &mut record).unwrap();
    assert_eq!(record.started, Some((1, ImageCounts { train: 90, validation: 50, test: 30 })));
    assert_eq!(record.phases, [(1, Phase::Train, 90), (1, Phase::Validate, 50), (1, Phase::Test, 30)]);
    assert_eq!(record.batches, [40, 40, 10, 40, 10, 30]);
    assert_eq!(record.epochs, [(1, true)]);
}

/// Values from −0.5 to 0.5, as `wave` in `pytorch/losses.py`.
fn wave(count: usize, seed: u64) -> impl Iterator<Item = f32> {
    (0..count as u64).map(move |i| ((i * 7919 + i * i * 104_729 + seed * 15_485_863) % 1009) as f32 / 1009.0 - 0.5)
}

/// The network that `pytorch/losses.py` makes.
fn network_by_formula(folder: &Path) -> Net {
    let shapes: [(&str, &[usize]); 10] = [
        ("conv1.weight", &[6, 1, 5, 5]),
        ("conv1.bias", &[6]),
        ("conv2.weight", &[16, 6, 5, 5]),
        ("conv2.bias", &[16]),
        ("linear1.weight", &[120, 400]),
        ("linear1.bias", &[120]),
        ("linear2.weight", &[84, 120]),
        ("linear2.bias", &[84]),
        ("linear3.weight", &[10, 84]),
        ("linear3.bias", &[10]),
    ];
    let values: Vec<Vec<u8>> = (0..)
        .zip(shapes)
        .map(|(seed, (_, shape))| {
            let fan_in: usize = if shape.len() > 1 { shape[1..].iter().product() } else { 64 };
            let scale = (4.0 / (fan_in as f64).sqrt()) as f32;
            wave(shape.iter().product(), seed).flat_map(|value| (value * scale).to_le_bytes()).collect()
        })
        .collect();
    let tensors = shapes
        .iter()
        .zip(&values)
        .map(|((name, shape), values)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), values).unwrap()));
    let path = folder.join("formula.safetensors");
    fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    let mut network = Net::init(&Cpu::default(), 0).unwrap();
    export::load(&path, &mut network).unwrap();
    network
}

/// Loss, gradients, Adam and L2 regularisation together, step by step.
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
    let data = Dataset { train: images.clone(), test: images, classes: Vec::new(), files: Vec::new() };
    // One batch holds everything, so that an epoch is a step and no order matters.
    let options = Options {
        epochs: 10,
        batch_size: 64,
        learning_rate: 0.001,
        weight_decay: 0.01,
        seed: 0,
        validation: 0,
        train_limit: None,
        test_limit: None,
    };
    let network = network_by_formula(tempfile::tempdir().unwrap().path());
    let outcome = training::train(&Cpu::default(), network, &data, &options, None, &mut ()).unwrap();
    for (epoch, expected) in outcome.epochs.iter().zip(LOSSES) {
        assert!((epoch.train.loss - expected).abs() < 2e-5, "{epoch:?}, expected {expected}");
    }
    // The test images are the same ones, seen after the step: as the next epoch sees them.
    for pair in outcome.epochs.windows(2) {
        assert!((pair[0].test.loss - pair[1].train.loss).abs() < 1e-6);
    }
}
