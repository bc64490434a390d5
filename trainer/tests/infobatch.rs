//! InfoBatch on real data: what a run skips is what the paper's definition says by losses computed from scratch, and it learns.

use crate::common;

use std::{fs, path::Path, sync::LazyLock};

use dfdx::tensor::Cpu;
use trainer::{
    data::{Dataset, loader::Split},
    model::{LeNet5, Network},
    optimiser::{OptimiserName, OptimiserOptions},
    training::{
        self, Outcome, Setting,
        config::Options,
        infobatch::PruningRatio,
        interrupt::Interrupt,
        schedule::{Course, Schedule},
        steps::StepMetrics,
        transfer::ClassWeights,
    },
};

static DATA: LazyLock<Dataset> = LazyLock::new(common::dataset);

fn options(ratio: f64) -> Options {
    Options {
        epochs: 8,
        batch_size: 32,
        learning_rate: 0.002,
        seed: 1,
        validation: 500,
        train_limit: Some(2000),
        test_limit: Some(1000),
        infobatch: Some(ratio.try_into().unwrap()),
        ..Options::default()
    }
}

fn network(options: &Options) -> LeNet5<Cpu> {
    LeNet5::init(&Cpu::default(), 10, options.initialisation, options.seed).unwrap()
}

fn run(network: LeNet5<Cpu>, options: &Options, folder: Option<&Path>) -> Outcome<LeNet5<Cpu>> {
    let device = Cpu::default();
    let folder = folder.map(|path| common::run_folder(path, "lenet5", options));
    let setting = Setting {
        device: &device,
        dataset: &DATA,
        options,
        folder: folder.as_ref(),
        observer: &mut (),
        interrupt: Interrupt::default(),
        frozen_bytes: training::MOST_BYTES,
    };
    training::train(setting, network, None).unwrap()
}

#[test]
fn a_run_that_skips_images_learns_and_its_cycle_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { schedule: Schedule { course: Course::OneCycle, ..Schedule::default() }, ..options(0.5) };
    let outcome = run(network(&options), &options, Some(folder.path()));
    let last = outcome.epochs.last().unwrap();
    assert!(last.test.accuracy > 0.7, "{}", last.test.accuracy);
    let skipped: Vec<_> = outcome.epochs.iter().map(|epoch| epoch.skipped).collect();
    // In all epochs but the first and the last eighth.
    assert_eq!((skipped[0], skipped[7]), (0, 0));
    assert!(skipped[1..7].iter().all(|skipped| (200..1000).contains(skipped)), "{skipped:?}");
    assert!(outcome.epochs.iter().all(|epoch| epoch.images_per_second > 0.0 && epoch.train.accuracy <= 1.0));

    let text = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let steps: Vec<StepMetrics> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (epoch, skipped) in outcome.epochs.iter().zip(&skipped) {
        let of_epoch: Vec<_> = steps.iter().filter(|step| step.epoch == epoch.epoch).collect();
        assert_eq!(of_epoch.len(), (2000 - skipped).div_ceil(32));
        // Each epoch goes the same part of the way, whatever the number of its steps.
        let begins = options.schedule.factor(63.0 * (epoch.epoch - 1) as f64, 63, 8);
        assert_eq!(of_epoch[0].learning_rate, options.learning_rate * begins);
    }
    let rates: Vec<_> = steps.iter().map(|step| step.learning_rate).collect();
    let top = rates.iter().position(|rate| *rate == rates.iter().copied().fold(0.0, f64::max)).unwrap();
    assert!(rates[..=top].is_sorted() && rates[top..].is_sorted_by(|a, b| a >= b));
    assert!((rates[0] / (options.learning_rate / 25.0) - 1.0).abs() < 1e-9);
    assert!((rates.last().unwrap() / (options.learning_rate / 25.0 / 1e4) - 1.0).abs() < 1e-9);
}

#[test]
fn the_images_below_the_mean_loss_are_skipped() {
    // Steps so small that no weight of a trained network changes: the losses are its own, and a ratio so near 1 that of the images
    // below the mean none is left.
    let optimiser = OptimiserOptions { name: OptimiserName::Sgd, momentum: 0.0, ..OptimiserOptions::default() };
    let still = |label_smoothing, class_weights| Options {
        epochs: 3,
        learning_rate: 1e-30,
        optimiser: optimiser.clone(),
        label_smoothing,
        class_weights,
        train_limit: Some(700),
        test_limit: Some(20),
        ..options(1.0 - 1e-9)
    };
    let first = options(0.5);
    let network = run(network(&first), &Options { epochs: 1, ..first }, None).network;
    let mut counts = Vec::new();
    for smoothing in [0.0, 0.5] {
        let options = still(smoothing, ClassWeights::Equal);
        let split = Split::new(DATA.train.len(), 500, options.train_limit, options.seed).unwrap();
        let losses: Vec<f64> = split
            .train
            .iter()
            .map(|position| {
                let input: Vec<f32> =
                    DATA.train.image(*position).iter().map(|pixel| f32::from(*pixel) / 255.0).collect();
                let logits: Vec<f64> = network.logits(&input, 1).unwrap().as_vec().into_iter().map(f64::from).collect();
                let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
                let label = usize::from(DATA.train.labels()[*position]);
                let target = |class: usize| smoothing / 10.0 + if class == label { 1.0 - smoothing } else { 0.0 };
                -logits.iter().enumerate().map(|(class, logit)| target(class) * (logit.exp() / sum).ln()).sum::<f64>()
            })
            .collect();
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        assert!(
            losses.iter().all(|loss| (loss - mean).abs() > 1e-6),
            "no loss is so near the mean that rounding decides"
        );
        let expected = losses.iter().filter(|loss| **loss < mean).count();
        let outcome = run(network.clone(), &options, None);
        let skipped: Vec<_> = outcome.epochs.iter().map(|epoch| epoch.skipped).collect();
        assert_eq!(skipped, [0, expected, 0], "{smoothing}");
        // Weights of classes do not enter the losses.
        let weighted = run(network.clone(), &still(smoothing, ClassWeights::Balanced), None);
        assert_eq!(weighted.epochs[1].skipped, expected);
        counts.push(expected);
    }
    assert_ne!(counts[0], counts[1], "label smoothing enters the losses");
}

#[test]
fn scores_of_training_are_those_of_all_images() {
    // Without a change of weights, every epoch has the same scores, but for the chance of what is skipped.
    let optimiser = OptimiserOptions { name: OptimiserName::Sgd, momentum: 0.0, ..OptimiserOptions::default() };
    let options = Options { epochs: 10, learning_rate: 1e-30, optimiser, ..options(0.5) };
    let outcome = run(network(&options), &options, None);
    let first = &outcome.epochs[0].train;
    let (mut loss, mut accuracy) = (0.0, 0.0);
    for epoch in &outcome.epochs[1..8] {
        assert!((700..1300).contains(&(2 * epoch.skipped)), "{}", epoch.skipped);
        loss += (epoch.train.loss - first.loss) / 7.0;
        accuracy += (epoch.train.accuracy - first.accuracy) / 7.0;
    }
    assert!(loss.abs() < 0.01 && accuracy.abs() < 0.02, "{loss}, {accuracy}");
    let last = &outcome.epochs[9].train;
    assert!((last.loss - first.loss).abs() < 1e-8 && last.accuracy == first.accuracy);
    assert_eq!(options.infobatch.map(PruningRatio::factor), Some(2.0));
}
