//! Runs: seeded, diverging, and from one device to the other.

use std::{collections::BTreeMap, fs, path::Path};

use dfdx::prelude::*;
use image_files::preprocessing::Normalisation;
use trainer::{
    data::augment::Augmentation,
    device::CudaKernels,
    export,
    model::{Initialisation, LeNet5, Network},
    optimiser::{OptimiserName, OptimiserOptions},
    training::{
        self, Outcome, Setting, TrainDevice, TrainError,
        checkpoint::Checkpoint,
        config::Options,
        infobatch::PruningRatio,
        interrupt::Interrupt,
        metrics::{EpochMetrics, Scores},
        progress::Observer,
        schedule::{Course, Schedule},
        steps::StepMetrics,
    },
};

use crate::{assert_close, common, gpu, tensors, with_all_kernels, with_kernels};

/// Losses by epoch, training and test by turns.
fn losses<N>(outcome: &Outcome<N>) -> Vec<f32> {
    outcome.epochs.iter().flat_map(|epoch| [epoch.train.loss as f32, epoch.test.loss as f32]).collect()
}

/// Measurements of each step.
fn steps(folder: &Path) -> Vec<StepMetrics> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// 18 steps in each of two epochs: more than wait for their results at a time.
fn short_run() -> Options {
    Options {
        epochs: 2,
        batch_size: 16,
        learning_rate: 0.002,
        seed: 4,
        validation: 0,
        train_limit: Some(284),
        test_limit: Some(32),
        optimiser: OptimiserOptions { clip_norm: Some(1.0), average: Some(0.9), ..OptimiserOptions::default() },
        normalisation: Some(Normalisation::Gray { mean: 0.25, std: 0.5 }),
        augmentation: Augmentation {
            flip: true,
            shift: 2,
            brightness: 0.1,
            contrast: 0.1,
            erase: 0.5,
            ..Augmentation::default()
        },
        ..Options::default()
    }
}

/// A seeded run, with its files in `folder` where there is one.
fn train<D: TrainDevice, N: Network<D>>(
    device: &D,
    options: &Options,
    folder: Option<&Path>,
) -> Result<Outcome<N>, TrainError> {
    let network = N::init(device, 10, options.initialisation, options.seed).unwrap();
    let folder = folder.map(|path| common::run_folder(path, N::ARCHITECTURE, options));
    let setting = Setting {
        device,
        dataset: &common::dataset(),
        options,
        folder: folder.as_ref(),
        observer: &mut (),
        interrupt: Interrupt::default(),
        frozen_bytes: training::MOST_BYTES,
    };
    training::train(setting, network, None)
}

#[test]
fn a_seeded_run_follows_the_processor_and_its_weights_are_exchanged() {
    let options = short_run();
    let [cpu_folder, gpu_folder] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let expected = losses(&train::<_, LeNet5<Cpu>>(&Cpu::default(), &options, Some(cpu_folder.path())).unwrap());
    assert!(expected[2] < 0.95 * expected[0], "the run learns something: {expected:?}");
    let expected_steps = steps(cpu_folder.path());
    assert_eq!(expected_steps.len(), 36);
    let mut trained = None;
    with_all_kernels(|kernels| {
        let outcome = train::<_, LeNet5<Cuda>>(&gpu(), &options, Some(gpu_folder.path())).unwrap();
        assert_close(&losses(&outcome), &expected, 1e-3, &format!("losses, {kernels} kernels"));
        // A line for every step, though the results of several are read together.
        let found = steps(gpu_folder.path());
        assert_eq!(found.len(), expected_steps.len());
        for (found, expected) in found.iter().zip(&expected_steps) {
            assert_eq!((found.epoch, found.step), (expected.epoch, expected.step));
            assert_eq!(found.learning_rate, expected.learning_rate);
            assert!((found.loss - expected.loss).abs() < 5e-3, "{found:?}, not {expected:?}");
            let (norm, expected) = (found.gradient_norm.unwrap(), expected.gradient_norm.unwrap());
            assert!((norm - expected).abs() < 0.02 * expected, "{norm}, not {expected}");
        }
        trained = Some(outcome.network);
    });
    let on_gpu = trained.unwrap();

    // Weights go from one device to the other and back without a change of one bit.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    export::save(&path, &on_gpu, &BTreeMap::new()).unwrap();
    let mut on_cpu = LeNet5::init(&Cpu::default(), 10, Initialisation::PyTorch, 0).unwrap();
    export::load(&path, &mut on_cpu).unwrap();
    assert_eq!(tensors(&on_cpu, None), tensors(&on_gpu, None));
    let mut back = LeNet5::init(&gpu(), 10, Initialisation::PyTorch, 0).unwrap();
    export::load(&path, &mut back).unwrap();
    assert_eq!(tensors(&back, None), tensors(&on_gpu, None));
}

#[test]
fn a_diverging_run_names_its_step_and_leaves_what_was_good() {
    // The first step of the second epoch spoils the weights; the next one shows it, long before its results are read.
    let schedule = Schedule { course: Course::Step, step_epochs: 1, step_factor: 1e30, ..Schedule::default() };
    let optimiser = OptimiserOptions { name: OptimiserName::Sgd, momentum: 0.0, ..OptimiserOptions::default() };
    let options = Options { epochs: 2, schedule, optimiser, ..short_run() };
    with_kernels(CudaKernels::Fused, || {
        let folder = tempfile::tempdir().unwrap();
        let error = train::<_, LeNet5<Cuda>>(&gpu(), &options, Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("in epoch 2, step 2: training diverged"), "{error}");
        assert_eq!(steps(folder.path()).last().map(|step| (step.epoch, step.step)), Some((2, 1)));
        let checkpoint = Checkpoint::newest(folder.path(), "lenet5", &options).unwrap();
        assert_eq!((checkpoint.state.epoch, checkpoint.state.step), (2, 0));
    });
}

/// Asks a run to end after some batches.
struct StopAfter(usize, Interrupt);

impl Observer for StopAfter {
    fn batch(&mut self, _: usize, _: Scores) {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 {
            self.1.request();
        }
    }
}

/// Goes on with the run in `folder`, from a network that the checkpoint must replace, until it ends or is stopped.
fn go_on<D: TrainDevice, N: Network<D>>(
    device: &D,
    options: &Options,
    path: &Path,
    batches: usize,
) -> Result<Outcome<N>, TrainError> {
    let checkpoint = Checkpoint::newest(path, N::ARCHITECTURE, options).ok();
    let seed = if checkpoint.is_some() { 99 } else { options.seed };
    let folder = common::run_folder(path, N::ARCHITECTURE, options);
    let interrupt = Interrupt::default();
    let setting = Setting {
        device,
        dataset: &common::dataset(),
        options,
        folder: Some(&folder),
        observer: &mut StopAfter(batches, interrupt.clone()),
        interrupt,
        frozen_bytes: training::MOST_BYTES,
    };
    training::train(setting, N::init(device, 10, options.initialisation, seed).unwrap(), checkpoint.as_ref())
}

#[test]
fn a_run_goes_from_one_device_to_the_other_and_back() {
    let options = short_run();
    let whole = tempfile::tempdir().unwrap();
    let expected = losses(&train::<_, LeNet5<Cpu>>(&Cpu::default(), &options, Some(whole.path())).unwrap());
    with_kernels(CudaKernels::Fused, || {
        let folder = tempfile::tempdir().unwrap();
        let stopped = |result: Result<(), TrainError>, place| {
            assert!(matches!(result, Err(TrainError::Interrupted { epoch, .. }) if epoch == place), "{result:?}");
        };
        // 18 batches to learn from and 2 to test by in each epoch. The results of the GPU's steps are read together; what it
        // saves has all of them.
        stopped(go_on::<_, LeNet5<Cpu>>(&Cpu::default(), &options, folder.path(), 7).map(|_| ()), 1);
        stopped(go_on::<_, LeNet5<Cuda>>(&gpu(), &options, folder.path(), 3).map(|_| ()), 1);
        stopped(go_on::<_, LeNet5<Cpu>>(&Cpu::default(), &options, folder.path(), 2 + 5).map(|_| ()), 2);
        let outcome = go_on::<_, LeNet5<Cuda>>(&gpu(), &options, folder.path(), usize::MAX).unwrap();
        assert_close(&losses(&outcome), &expected, 1e-3, "losses");
        let places = |folder: &Path| steps(folder).iter().map(|step| (step.epoch, step.step)).collect::<Vec<_>>();
        assert_eq!(places(folder.path()), places(whole.path()));
    });
}

#[test]
fn infobatch_skips_the_images_that_it_skips_on_the_processor() {
    let schedule = Schedule { course: Course::OneCycle, ..Schedule::default() };
    let options = Options { epochs: 3, infobatch: PruningRatio::try_from(0.5).ok(), schedule, ..short_run() };
    let skipped = |epochs: &[EpochMetrics]| epochs.iter().map(|epoch| epoch.skipped).collect::<Vec<_>>();
    let [cpu_folder, gpu_folder] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let expected = train::<_, LeNet5<Cpu>>(&Cpu::default(), &options, Some(cpu_folder.path())).unwrap();
    let counts = skipped(&expected.epochs);
    assert!(counts[0] == 0 && (40..142).contains(&counts[1]) && counts[2] == 0, "{counts:?}");
    with_kernels(CudaKernels::Fused, || {
        // Stopped in the second epoch, whose images were chosen by losses that the checkpoint must have.
        let stopped = go_on::<_, LeNet5<Cuda>>(&gpu(), &options, gpu_folder.path(), 18 + 2 + 1).map(|_| ());
        assert!(matches!(stopped, Err(TrainError::Interrupted { epoch: 2, .. })), "{stopped:?}");
        let outcome = go_on::<_, LeNet5<Cuda>>(&gpu(), &options, gpu_folder.path(), usize::MAX).unwrap();
        assert_eq!(skipped(&outcome.epochs), counts);
        assert_close(&losses(&outcome), &losses(&expected), 1e-3, "losses");
        let rates = |folder: &Path| -> Vec<_> {
            steps(folder).iter().map(|step| (step.epoch, step.step, step.learning_rate)).collect()
        };
        assert_eq!(rates(gpu_folder.path()), rates(cpu_folder.path()));
    });
}
