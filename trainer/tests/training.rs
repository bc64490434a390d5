//! The training loop on real data: it learns, it can be made again bit for bit, it chooses by what it should,
//! and what it writes is what it measured.

use crate::common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use dfdx::tensor::Cpu;
use image_files::preprocessing::{Normalisation, Preprocessing};
use trainer::{
    data::{Dataset, augment::Augmentation},
    export,
    model::{AlexNet, Initialisation, LeNet5, Network},
    optimiser::{OptimiserName, OptimiserOptions},
    training::{
        self, Outcome, Setting, TrainError,
        checkpoint::Checkpoint,
        config::{ImageCounts, Options},
        evaluate::{ImageSet, evaluate},
        interrupt::Interrupt,
        metrics::{EpochMetrics, Scores},
        progress::{Observer, Phase},
        schedule::{Course, Schedule},
        steps::StepMetrics,
    },
};

type Net = LeNet5<Cpu>;

static DATA: LazyLock<Dataset> = LazyLock::new(common::dataset);

fn options() -> Options {
    Options {
        epochs: 3,
        batch_size: 32,
        learning_rate: 0.002,
        seed: 1,
        validation: 500,
        train_limit: Some(2000),
        test_limit: Some(1000),
        ..Options::default()
    }
}

#[test]
fn mirrored_evaluation_takes_the_mean_of_logits() {
    let network = Net::init(&Cpu::default(), 10, Initialisation::He, 3).unwrap();
    let positions: Vec<usize> = (50..257).collect();
    let normalisation = Some(Normalisation::Gray { mean: 0.25, std: 0.5 });
    let of = |mirrored| {
        let images = ImageSet {
            data: &DATA.test,
            positions: &positions,
            batch_size: 32,
            preprocessing: Preprocessing { normalisation, ..Preprocessing::PLAIN },
            mirrored,
        };
        evaluate(&network, &images, |_, _| Ok(())).unwrap().tally.scores()
    };
    // From scratch, image by image, in 64 bits.
    let (mut correct, mut loss) = (0, 0.0);
    for &position in &positions {
        let image = DATA.test.image(position);
        let mirror: Vec<u8> = image.chunks(28).flat_map(|row| row.iter().rev().copied()).collect();
        let logits = [image, &mirror].map(|pixels| {
            let input: Vec<f32> = pixels.iter().map(|pixel| (f32::from(*pixel) / 255.0 - 0.25) / 0.5).collect();
            network.logits(&input, 1).unwrap().as_vec()
        });
        let mean = |class: usize| (f64::from(logits[0][class]) + f64::from(logits[1][class])) / 2.0;
        let label = usize::from(DATA.test.labels()[position]);
        let sum: f64 = (0..10).map(|class| mean(class).exp()).sum();
        loss -= (mean(label).exp() / sum).ln();
        correct += usize::from((0..10).all(|class| class == label || mean(class) < mean(label)));
    }
    let count = positions.len() as f64;
    let (plain, mirrored) = (of(false), of(true));
    assert_eq!(mirrored.accuracy, f64::from(u32::try_from(correct).unwrap()) / count);
    assert!((mirrored.loss - loss / count).abs() < 1e-5, "{}, {}", mirrored.loss, loss / count);
    assert!((mirrored.loss - plain.loss).abs() > 1e-3, "the mirrors make a difference");
}

/// A new run, or one that goes on from the newest checkpoint in its folder.
fn run_or_resume<N: Network<Cpu>>(
    data: &Dataset,
    options: &Options,
    path: Option<&Path>,
    observer: &mut dyn Observer,
    (interrupt, resume): (Interrupt, bool),
) -> Result<Outcome<N>, TrainError> {
    let device = Cpu::default();
    let checkpoint =
        path.filter(|_| resume).map(|path| Checkpoint::newest(path, N::ARCHITECTURE, options)).transpose()?;
    // Weights that a checkpoint must replace.
    let network = N::init(&device, 10, options.initialisation, if resume { 1234 } else { options.seed }).unwrap();
    let folder = path.map(|path| common::run_folder(path, N::ARCHITECTURE, options));
    let frozen_bytes = training::MOST_BYTES;
    let folder = folder.as_ref();
    let setting = Setting { device: &device, dataset: data, options, folder, observer, interrupt, frozen_bytes };
    training::train(setting, network, checkpoint.as_ref())
}

fn run(options: &Options, folder: Option<&Path>, observer: &mut dyn Observer) -> Result<Outcome<Net>, TrainError> {
    run_or_resume(&DATA, options, folder, observer, (Interrupt::default(), false))
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
    let mut network = Net::init(&Cpu::default(), 10, Initialisation::PyTorch, 99).unwrap();
    let metadata = export::load(&weights, &mut network).unwrap();
    assert_eq!(metadata["architecture"], "lenet5");
    assert_eq!(metadata["epoch"], best.epoch.to_string());
    assert_eq!(metadata["test_accuracy"], format!("{:.6}", best.test.accuracy));
    let test = training::test_positions(&DATA, Some(1000));
    let images = ImageSet {
        data: &DATA.test,
        positions: &test,
        batch_size: 1000,
        preprocessing: Preprocessing::PLAIN,
        mirrored: false,
    };
    let scores = evaluate(&network, &images, |_, _| Ok(())).unwrap().tally.scores();
    assert_eq!(scores.accuracy, best.test.accuracy);
    assert!((scores.loss - best.test.loss).abs() < 1e-6);

    // One line an epoch, with the values that were measured.
    let csv = text(&folder.path().join("metrics.csv"));
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[0],
        "epoch,train_loss,validation_loss,test_loss,train_accuracy,validation_accuracy,test_accuracy,images_per_second,seconds,skipped"
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
        assert!(values[7] > 0.0 && values[8] > 0.0 && values[9] == 0.0);
    }
    assert!(text(&folder.path().join("curves.svg")).contains("LeNet-5 on Fashion-MNIST"));
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
    assert_eq!((columns.len(), columns[2], columns[5]), (10, "", ""));
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

    // A step that makes the weights infinite is no checkpoint; the one before stays.
    let checkpoints = || fs::read_dir(folder.path().join("checkpoints")).unwrap().count();
    assert_eq!(checkpoints(), 1);
    let huge = Options { optimiser: sgd(), learning_rate: 1e39, batch_size: 200, ..good };
    let interrupt = Interrupt::default();
    interrupt.request();
    let error =
        run_or_resume::<Net>(&DATA, &huge, Some(folder.path()), &mut (), (interrupt, false)).unwrap_err().to_string();
    assert!(error.contains("expected finite values, found"), "{error}");
    assert_eq!(checkpoints(), 1);
}

/// SGD that keeps no momentum.
fn sgd() -> OptimiserOptions {
    OptimiserOptions { name: OptimiserName::Sgd, momentum: 0.0, ..OptimiserOptions::default() }
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

/// Asks a run to end after some batches, of training and evaluation alike.
struct StopAfter {
    batches: usize,
    interrupt: Interrupt,
    resumed: Option<(usize, usize)>,
}

impl Observer for StopAfter {
    fn resume(&mut self, epochs: usize, images: usize) {
        self.resumed = Some((epochs, images));
    }

    fn batch(&mut self, _: usize, _: Scores) {
        self.batches = self.batches.saturating_sub(1);
        if self.batches == 0 {
            self.interrupt.request();
        }
    }
}

/// Everything of epochs but the time they took.
fn scores(epochs: &[EpochMetrics]) -> Vec<(usize, Scores, Option<Scores>, Scores)> {
    epochs.iter().map(|epoch| (epoch.epoch, epoch.train, epoch.validation, epoch.test)).collect()
}

/// The tensors of the newest checkpoint, and the weights file.
fn results(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut checkpoints: Vec<_> =
        fs::read_dir(folder.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    checkpoints.sort();
    let bytes = fs::read(checkpoints.last().unwrap()).unwrap();
    let (header, _) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let is_weights = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "safetensors");
    let weights = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find(is_weights);
    (bytes[8 + header..].to_vec(), fs::read(weights.unwrap()).unwrap())
}

#[test]
fn a_run_that_is_stopped_anywhere_ends_as_one_that_is_not() {
    // 5 + 2 + 2 batches an epoch.
    let options = Options {
        epochs: 3,
        batch_size: 40,
        validation: 60,
        train_limit: Some(190),
        test_limit: Some(50),
        schedule: Schedule { course: Course::Cosine, warmup_epochs: 0.5, ..Schedule::default() },
        optimiser: OptimiserOptions {
            weight_decay: 0.01,
            clip_norm: Some(1.0),
            average: Some(0.9),
            ..OptimiserOptions::default()
        },
        label_smoothing: 0.1,
        augmentation: Augmentation {
            flip: true,
            shift: 2,
            brightness: 0.1,
            contrast: 0.1,
            erase: 0.5,
            ..Augmentation::default()
        },
        normalisation: Some(Normalisation::Gray { mean: 0.25, std: 0.5 }),
        ..options()
    };
    let whole = tempfile::tempdir().unwrap();
    let outcome = run(&options, Some(whole.path()), &mut ()).unwrap();
    // Within an epoch, in its last step, in both evaluations. An evaluation that is stopped begins again: a session must
    // be long enough for one (five batches), or the run never ends.
    for pattern in [&[1, 9][..], &[5, 1, 3, 20], &[6], &[8, 9], &[2, 2, 5]] {
        let folder = tempfile::tempdir().unwrap();
        let mut stops = pattern.iter().copied().cycle();
        let mut resumed = false;
        let mut sessions = 0;
        let (outcome_again, parts) = loop {
            sessions += 1;
            assert!(sessions < 40, "{pattern:?}");
            let interrupt = Interrupt::default();
            let batches = stops.next().unwrap();
            let mut observer = StopAfter { batches, interrupt: interrupt.clone(), resumed: None };
            let result =
                run_or_resume::<Net>(&DATA, &options, Some(folder.path()), &mut observer, (interrupt, resumed));
            assert_eq!(observer.resumed.is_some(), resumed);
            match result {
                Err(error @ TrainError::Interrupted { .. }) => {
                    let how = format!("go on with: trainer --resume {}", folder.path().display());
                    assert!(error.to_string().contains(&how), "{error}");
                    resumed = true;
                }
                result => break (result.unwrap(), observer.resumed.unwrap()),
            }
        };
        assert!(parts.0 <= 2 && parts.1 <= 190, "{parts:?}");
        assert_eq!(scores(&outcome.epochs), scores(&outcome_again.epochs), "{pattern:?}");
        assert_eq!(outcome.best, outcome_again.best);
        assert!(results(whole.path()) == results(folder.path()), "{pattern:?}");
        let steps = |folder: &Path| -> Vec<StepMetrics> {
            let text = text(&folder.join("metrics.jsonl"));
            let lines = text.lines().map(|line| serde_json::from_str::<StepMetrics>(line).unwrap());
            lines.map(|line| StepMetrics { seconds: 0.0, ..line }).collect()
        };
        assert_eq!(steps(whole.path()), steps(folder.path()));
        assert_eq!(steps(whole.path()).len(), 15);
    }
}

#[test]
fn what_dropout_drops_does_not_depend_on_a_stop() {
    // Three steps with AlexNet, whose optimiser has no state, so that its checkpoints are no larger than they must be.
    let optimiser = OptimiserOptions { name: OptimiserName::Sgd, momentum: 0.0, ..OptimiserOptions::default() };
    let options = Options {
        epochs: 1,
        batch_size: 2,
        validation: 0,
        train_limit: Some(6),
        test_limit: Some(2),
        optimiser,
        ..options()
    };
    let whole = tempfile::tempdir().unwrap();
    let start = (Interrupt::default(), false);
    run_or_resume::<AlexNet<Cpu>>(&DATA, &options, Some(whole.path()), &mut (), start).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::default();
    let mut observer = StopAfter { batches: 2, interrupt: interrupt.clone(), resumed: None };
    let start = (interrupt, false);
    let stopped = run_or_resume::<AlexNet<Cpu>>(&DATA, &options, Some(folder.path()), &mut observer, start);
    assert!(matches!(stopped, Err(TrainError::Interrupted { .. })), "{stopped:?}");
    let again = (Interrupt::default(), true);
    run_or_resume::<AlexNet<Cpu>>(&DATA, &options, Some(folder.path()), &mut (), again).unwrap();
    assert!(results(whole.path()) == results(folder.path()));
}

#[test]
fn a_run_ends_early_where_nothing_gets_better() {
    // A rate so small that accuracy cannot change: the first epoch stays the best one.
    let options = Options {
        epochs: 9,
        learning_rate: 1e-30,
        patience: Some(2),
        train_limit: Some(60),
        validation: 40,
        test_limit: Some(10),
        ..options()
    };
    let outcome = run(&options, None, &mut ()).unwrap();
    assert_eq!((outcome.epochs.len(), outcome.best), (3, 0));
}

#[test]
fn a_checkpoint_that_is_not_right_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { epochs: 1, train_limit: Some(100), validation: 20, test_limit: Some(10), ..options() };
    let error = Checkpoint::newest(folder.path(), "lenet5", &options).unwrap_err().to_string();
    assert!(error.ends_with("no checkpoint to go on from"), "{error}");
    run(&options, Some(folder.path()), &mut ()).unwrap();
    let path = fs::read_dir(folder.path().join("checkpoints")).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&path).unwrap();
    let refusal = |bytes: &[u8], options: &Options, message: &str| {
        fs::write(&path, bytes).unwrap();
        let error = run_or_resume::<Net>(&DATA, options, Some(folder.path()), &mut (), (Interrupt::default(), true));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains(message), "{error}");
    };
    refusal(&good[..good.len() - 1], &options, "not a valid safetensors file");
    refusal(&good[..100], &options, "not a valid safetensors file");
    refusal(b"", &options, "not a valid safetensors file");
    refusal(&fs::read(folder.path().join("lenet5.safetensors")).unwrap(), &options, "metadata have no `checkpoint`");
    refusal(&good, &Options { seed: 2, ..options.clone() }, "made with other options");
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let text = latin(&good);
        assert!(text.contains(from));
        text.replacen(from, to, 1).chars().map(|c| c as u8).collect::<Vec<u8>>()
    };
    refusal(&replaced("weights.conv1.bias", "weights.conv1.bios"), &options, "the network has no such tensor");
    refusal(&replaced("\"checkpoint\":\"1\"", "\"checkpoint\":\"9\""), &options, "its checkpoint is \"9\"");
    refusal(&replaced("lenet5", "lenet6"), &options, "its architecture is \"lenet6\"");
    let mut infinite = good.clone();
    let end = infinite.len();
    infinite[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    refusal(&infinite, &options, "expected finite values");
}

/// Bytes as characters, one each, so that they can be searched and come back the same.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
