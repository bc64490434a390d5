//! Training on CUDA agrees with training on the processor: every operation with all of its gradients, whole networks, a
//! seeded run, and files.
//!
//! These tests need a GPU (`scripts/cuda-verify`), or the emulated one (`scripts/cuda-emulate`), and fail where there is none.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use dfdx::prelude::*;
use trainer::{
    cuda,
    data::augment::Augmentation,
    device::CudaKernels,
    export,
    inputs::{InputDevice, Picture},
    model::{AlexNet, CLASSES, LeNet5, ModelError, Network, initialise},
    ops::{Conv2d, ConvDevice, ConvOptions, MaxPool2d, Stage, Tower, Window},
    optimiser::{GradientNorm, Optimiser, OptimiserName, OptimiserOptions, Part},
    random::StepKey,
    training::{
        self, Outcome, Setting, TrainDevice, TrainError,
        checkpoint::Checkpoint,
        config::Options,
        interrupt::Interrupt,
        metrics::Scores,
        prepare::Normalisation,
        progress::Observer,
        schedule::{Course, Schedule},
        steps::StepMetrics,
    },
};

const KEY: StepKey = StepKey { seed: 11, epoch: 1, step: 1 };

/// The GPU under test, opened once for each test, as its kernels are compiled then.
fn gpu() -> Cuda {
    thread_local! {
        static GPU: Cuda = cuda::open(0, 11)
            .unwrap_or_else(|error| panic!("these tests need a GPU, or scripts/cuda-emulate: {error}")).0;
    }
    GPU.with(Cuda::clone)
}

/// Deterministic values within ±1; with `steps`, few enough of them that ties are common.
fn values(count: usize, seed: u64, steps: Option<u64>) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 16
    };
    let steps = steps.unwrap_or(1 << 20);
    (0..count).map(|_| (next() % (2 * steps + 1)) as f32 / steps as f32 - 1.0).collect()
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    assert!(largest > 0.0, "{what} is all zero");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= tolerance * largest, "{what}[{index}]: {found}, not {expected}, of {largest}");
    }
}

/// Output, and gradients of the input, the weight and the bias.
type Results = [Vec<f32>; 4];

const NAMES: [&str; 4] = ["output", "gradient of the input", "gradient of the weight", "gradient of the bias"];

type Sizes = (usize, usize, usize, usize);

fn filled<D: ConvDevice>(device: &D, shape: Sizes, seed: u64, steps: Option<u64>) -> Tensor<Sizes, f32, D> {
    device.tensor_from_vec(values(shape.0 * shape.1 * shape.2 * shape.3, seed, steps), shape)
}

fn convolve<D: ConvDevice>(device: &D, input: Sizes, filters: usize, window: Window, options: ConvOptions) -> Results {
    let weight = filled(device, (filters, input.1, window.kernel, window.kernel), 2, None);
    let bias = device.tensor_from_vec(values(filters, 3, None), (filters,));
    let input = filled(device, input, 1, None);
    let call = Conv2d::new(input.leaky_trace(), weight.clone(), bias.clone(), window, options).unwrap();
    let output = D::conv2d(call).unwrap();
    let scale = filled(device, *output.shape(), 4, None);
    let result = output.as_vec();
    let gradients = (output * scale).sum().backward();
    let input_gradient = if options.input_gradient { gradients.get(&input).as_vec() } else { Vec::new() };
    [result, input_gradient, gradients.get(&weight).as_vec(), gradients.get(&bias).as_vec()]
}

#[test]
fn convolutions_agree_with_the_processor() {
    let (gpu, cpu) = (gpu(), Cpu::default());
    for (input, filters, kernel, stride, padding) in [
        ((1, 1, 1, 1), 5, 1, 1, 0),
        ((3, 2, 9, 7), 5, 3, 1, 1),
        ((2, 3, 12, 12), 4, 5, 1, 2),
        ((2, 1, 40, 40), 6, 11, 4, 1),
        ((1, 4, 8, 11), 3, 4, 3, 5),
        ((5, 7, 6, 6), 33, 3, 2, 0),
    ] {
        let window = Window { kernel, stride, padding };
        for options in [
            ConvOptions { relu: false, input_gradient: true },
            ConvOptions { relu: true, input_gradient: true },
            ConvOptions { relu: true, input_gradient: false },
        ] {
            let found = convolve(&gpu, input, filters, window, options);
            let expected = convolve(&cpu, input, filters, window, options);
            for ((name, found), expected) in NAMES.iter().zip(&found).zip(&expected) {
                if options.input_gradient || !expected.is_empty() {
                    assert_close(found, expected, 2e-5, &format!("{name}, {input:?}, {window:?}, {options:?}"));
                }
            }
        }
    }
}

fn pool<D: ConvDevice>(device: &D, input: Sizes, window: Window) -> [Vec<f32>; 2] {
    let input = filled(device, input, 7, Some(3));
    let output = D::max_pool2d(MaxPool2d::new(input.leaky_trace(), window).unwrap()).unwrap();
    let scale = filled(device, *output.shape(), 8, None);
    let result = output.as_vec();
    [result, (output * scale).sum().backward().get(&input).as_vec()]
}

#[test]
fn poolings_agree_with_the_processor() {
    let (gpu, cpu) = (gpu(), Cpu::default());
    for (input, kernel, stride, padding) in [
        ((1, 1, 2, 2), 2, 2, 0),
        ((3, 5, 12, 13), 3, 2, 0),
        ((2, 4, 7, 7), 3, 1, 1),
        ((2, 3, 10, 8), 4, 3, 2),
        ((1, 2, 9, 9), 2, 3, 0),
    ] {
        let window = Window { kernel, stride, padding };
        let (found, expected) = (pool(&gpu, input, window), pool(&cpu, input, window));
        // Values are few, so that windows have several largest ones: the gradient goes to the first of them.
        assert_eq!(found[0], expected[0], "output, {input:?}, {window:?}");
        assert_close(&found[1], &expected[1], 1e-6, &format!("gradient, {input:?}, {window:?}"));
    }
}

/// Filters, window and pooling of a stage.
type Outline = (usize, Window, Option<Window>);

/// Output of a tower of two stages, and the gradients of all weights. All values are multiples of 1/8, so that sums are exact
/// in whatever order, and ties are common.
fn tower<D: ConvDevice>(device: &D, input: Sizes, stages: &[Outline]) -> Vec<Vec<f32>> {
    let images = filled(device, input, 31, Some(8));
    let mut tower = Tower::new(images.leaky_trace(), false);
    let (mut channels, mut weights) = (input.1, Vec::new());
    for (seed, (filters, window, pool)) in (40..).step_by(2).zip(stages) {
        let weight = filled(device, (*filters, channels, window.kernel, window.kernel), seed, Some(8));
        let bias = device.tensor_from_vec(values(*filters, seed + 1, Some(8)), (*filters,));
        weights.push((weight.clone(), bias.clone()));
        tower = tower.stage(Stage { weight, bias, window: *window, pool: *pool }).unwrap();
        channels = *filters;
    }
    let output = D::tower(tower).unwrap();
    let scale = filled(device, *output.shape(), 50, Some(8));
    let mut results = vec![output.as_vec()];
    let gradients = (output * scale).sum().backward();
    for (weight, bias) in weights {
        results.extend([gradients.get(&weight).as_vec(), gradients.get(&bias).as_vec()]);
    }
    results
}

#[test]
fn towers_agree_with_the_processor() {
    let window = |kernel, stride, padding| Window { kernel, stride, padding };
    let cases: [(Sizes, Vec<Outline>); 6] = [
        ((1, 1, 3, 3), vec![(1, window(3, 1, 0), Some(window(1, 1, 0)))]),
        // Not square, poolings that overlap and that leave out the last rows and columns.
        (
            (3, 1, 17, 12),
            vec![(5, window(3, 1, 1), Some(window(3, 2, 0))), (4, window(2, 1, 0), Some(window(2, 2, 0)))],
        ),
        // Steps longer than windows, so that some values are used by none.
        ((2, 1, 20, 23), vec![(3, window(2, 3, 0), None), (6, window(3, 2, 2), Some(window(1, 2, 0)))]),
        (
            (2, 1, 14, 14),
            vec![(3, window(3, 1, 1), Some(window(2, 3, 0))), (2, window(3, 1, 1), Some(window(3, 1, 0)))],
        ),
        // As much padding as window.
        ((4, 1, 6, 5), vec![(2, window(3, 2, 3), None), (7, window(1, 1, 0), Some(window(2, 1, 0)))]),
        ((1, 1, 31, 31), vec![(4, window(11, 4, 1), Some(window(3, 2, 0)))]),
    ];
    let cpu = Cpu::default();
    with_all_kernels(|kernels| {
        let gpu = gpu();
        for (input, stages) in &cases {
            let (found, expected) = (tower(&gpu, *input, stages), tower(&cpu, *input, stages));
            assert_eq!(found[0], expected[0], "output, {kernels} kernels, {input:?}, {stages:?}");
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate().skip(1) {
                let what = format!("gradient {index}, {kernels} kernels, {input:?}, {stages:?}");
                assert_eq!(found.len(), expected.len(), "{what}");
                let close =
                    |(found, expected): (&f32, &f32)| (found - expected).abs() <= 1e-5 * expected.abs().max(1.0);
                assert!(found.iter().zip(expected).all(close), "{what}: {found:?}, not {expected:?}");
            }
        }
    });
}

/// The values of every tensor of a network, or of its gradient, by name.
struct Tensors<'a, D: ConvDevice> {
    gradients: Option<&'a Gradients<f32, D>>,
    values: BTreeMap<String, Vec<f32>>,
}

impl<D: ConvDevice> TensorVisitor<f32, D> for Tensors<'_, D> {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = D::Err;
    type E2 = f32;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, f32, D>,
        (tensor, name): (&Tensor<S, f32, D>, String),
    ) -> Result<Option<Tensor<S, f32, D>>, D::Err> {
        let values = self.gradients.map_or_else(|| tensor.as_vec(), |gradients| gradients.get(tensor).as_vec());
        self.values.insert(name, values);
        Ok(None)
    }
}

fn tensors<D: ConvDevice, N: Network<D>>(
    network: &N,
    gradients: Option<&Gradients<f32, D>>,
) -> BTreeMap<String, Vec<f32>> {
    let mut tensors = Tensors { gradients, values: BTreeMap::new() };
    N::iter_tensors(&mut RecursiveWalker { m: (network, String::new()), f: &mut tensors }).unwrap();
    tensors.values
}

#[test]
fn inputs_are_the_processors_to_the_last_bit() {
    let augmentation = Augmentation { flip: true, shift: 3, brightness: 0.3, contrast: 0.4, erase: 0.7 };
    let sizes = [(28, 28), (1, 1), (7, 31), (90, 13), (56, 56), (29, 27), (3, 200), (28, 28), (400, 2)];
    let images = sizes.map(|(width, height)| -> Vec<u8> {
        values(width * height, (width + height) as u64, Some(127))
            .iter()
            .map(|value| (value * 127.0 + 128.0) as u8)
            .collect()
    });
    // As data sets have them; then with all that augmentation does, in several epochs.
    for epoch in 0..4 {
        let pictures: Vec<_> = images
            .iter()
            .zip(sizes)
            .enumerate()
            .map(|(position, (pixels, (width, height)))| {
                let changes = (epoch > 0).then(|| augmentation.draw(5, epoch, position, (width, height)));
                Picture { width, height, pixels, changes }
            })
            .collect();
        for normalisation in [None, Some(Normalisation { mean: 0.286, std: 0.353 })] {
            let cpu = Cpu::default();
            let prepared = <Cpu as InputDevice>::prepare::<LeNet5<Cpu>>(&pictures, normalisation).unwrap();
            let expected = cpu.inputs(prepared, pictures.len(), 28).unwrap().as_vec();
            with_all_kernels(|kernels| {
                let prepared = <Cuda as InputDevice>::prepare::<LeNet5<Cuda>>(&pictures, normalisation).unwrap();
                let found = gpu().inputs(prepared, pictures.len(), 28).unwrap().as_vec();
                assert!(found == expected, "{kernels} kernels, epoch {epoch}, {normalisation:?}");
            });
        }
    }
    let large = [Picture { width: 28, height: 28, pixels: &images[0], changes: None }];
    let expected = <Cpu as InputDevice>::prepare::<AlexNet<Cpu>>(&large, None).unwrap();
    let prepared = <Cuda as InputDevice>::prepare::<AlexNet<Cuda>>(&large, None).unwrap();
    assert!(gpu().inputs(prepared, 1, 224).unwrap().as_vec() == expected);
    // What cannot be resized is refused before anything reaches the GPU.
    with_all_kernels(|_| {
        for (width, height, pixels) in [(0, 4, &[][..]), (3, 2, &images[2][..5])] {
            let wrong = [Picture { width, height, pixels, changes: None }];
            let refusal = |error: ModelError| error.to_string();
            assert_eq!(
                <Cuda as InputDevice>::prepare::<LeNet5<Cuda>>(&wrong, None).map(|_| ()).map_err(refusal),
                <Cpu as InputDevice>::prepare::<LeNet5<Cpu>>(&wrong, None).map(|_| ()).map_err(refusal)
            );
            assert!(<Cuda as InputDevice>::prepare::<LeNet5<Cuda>>(&wrong, None).is_err());
        }
    });
}

#[test]
fn dropout_drops_what_the_processor_drops() {
    let words: Vec<u64> = (1..=15_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i as u32)).collect();
    for (rows, columns) in [(15_usize, 64_usize), (5, 130), (5, 192), (1, 1), (15, 33)] {
        let words = &words[..rows * columns.div_ceil(64)];
        let expected = Cpu::default().mask(words, (rows, columns)).unwrap().as_vec();
        assert!(expected.contains(&2.0));
        with_all_kernels(|_| assert!(gpu().mask(words, (rows, columns)).unwrap().as_vec() == expected));
    }
}

type Module<D> = (modules::Linear<130, 70, f32, D>, modules::Linear<70, 3, f32, D>);

/// Four steps by the same gradients on every device: the norms, the weights, and what is remembered by part.
fn optimised<D: TrainDevice>(device: &D, options: &OptimiserOptions) -> (Vec<f64>, Vec<f32>, Vec<Vec<f32>>) {
    let mut module: Module<D> = initialise(device, 3).unwrap();
    let mut optimiser = Optimiser::<D>::new(&mut module, options.clone()).unwrap();
    let mut norms = Vec::new();
    for step in 0..4_u64 {
        let scale = 1.0 + step as f32;
        let mut gradients = module.alloc_grads();
        let noise = |count, seed| device.tensor_from_vec(values(count, seed + step, None), (count,));
        // Gradients of Σ noise · weight.
        let loss = |gradients| {
            let sum = |tensor: Tensor<(usize,), f32, D, OwnedTape<f32, D>>, noise| (tensor * noise).sum::<Rank0, _>();
            let weight = module.0.weight.trace(gradients).reshape_like(&(130 * 70,));
            let first = sum(weight, noise(130 * 70, 60));
            let second = sum(module.0.bias.retaped().reshape_like(&(70,)), noise(70, 70));
            let third = sum(module.1.weight.retaped().reshape_like(&(210,)), noise(210, 80));
            (first + second + third) * scale
        };
        gradients = loss(gradients).backward();
        let norm = optimiser.step(&mut module, &mut gradients, 0.01 / f64::from(scale)).unwrap();
        norms.extend(norm.map(|norm| norm.read()));
        assert!(gradients.get(&module.0.weight).as_vec().iter().all(|value| *value == 0.0));
    }
    let parts = Part::ALL.map(|part| optimiser.part(part).flat_map(|(_, values)| values.into_owned()).collect());
    let weights = [module.0.weight.as_vec(), module.0.bias.as_vec(), module.1.weight.as_vec(), module.1.bias.as_vec()];
    // What was remembered can be set, and is the same then.
    let mut again = Optimiser::<D>::new(&mut module, options.clone()).unwrap();
    let name_and_part = |part, name: &str| {
        let mut all = optimiser.part(part);
        all.find(|(other, _)| *other == name).map(|(_, values)| values.into_owned()).unwrap()
    };
    again.restore::<D::Err>(4, |part, name| Ok(name_and_part(part, name))).unwrap();
    for part in Part::ALL {
        assert!(again.part(part).eq(optimiser.part(part)), "{part:?}");
    }
    (norms, weights.concat(), parts.into())
}

#[test]
fn optimisers_agree_with_the_processor() {
    use OptimiserName::{Adam, AdamW, Sgd};
    let plain = |name| OptimiserOptions { name, momentum: 0.0, ..OptimiserOptions::default() };
    for options in [
        plain(Adam),
        OptimiserOptions { weight_decay: 0.1, clip_norm: Some(0.5), average: Some(0.9), ..plain(Adam) },
        OptimiserOptions { weight_decay: 0.1, average: Some(0.5), ..plain(AdamW) },
        OptimiserOptions { clip_norm: Some(1e9), ..plain(AdamW) },
        OptimiserOptions { weight_decay: 0.1, average: Some(0.9), ..plain(Sgd) },
        OptimiserOptions { momentum: 0.9, weight_decay: 0.1, clip_norm: Some(0.5), ..plain(Sgd) },
    ] {
        let expected = optimised(&Cpu::default(), &options);
        with_all_kernels(|kernels| {
            let found = optimised(&gpu(), &options);
            let what = format!("{kernels} kernels, {options:?}");
            assert_eq!(found.0.len(), expected.0.len(), "{what}");
            let close = |(found, expected): (&f64, &f64)| (found - expected).abs() <= 1e-5 * expected;
            assert!(found.0.iter().zip(&expected.0).all(close), "norms, {what}: {:?}, not {:?}", found.0, expected.0);
            assert_close(&found.1, &expected.1, 2e-5, &format!("weights, {what}"));
            for ((part, found), expected) in Part::ALL.iter().zip(&found.2).zip(&expected.2) {
                assert_eq!(found.is_empty(), !part.is_kept(&options), "{part:?}, {what}");
                if part.is_kept(&options) {
                    assert_close(found, expected, 2e-5, &format!("{part:?}, {what}"));
                }
            }
        });
    }
}

/// Images whose neighbouring values differ clearly. With noise, some windows of a pooling have two largest values so close
/// that the order of a sum decides between them, and their gradients go different ways on different devices.
fn images(batch: usize, side: usize) -> Vec<f32> {
    (0..batch * side * side)
        .map(|index| {
            let (image, y, x) = (index / (side * side), index / side % side, index % side);
            (((x * (3 + image) + y * y) % 97) as f32 / 96.0 + ((x ^ y) & 15) as f32 / 15.0) / 2.0
        })
        .collect()
}

/// Logits of a training pass with dropout, and the gradients of all weights from a loss `Σ scale · logits`.
fn training_pass<D: ConvDevice, N: Network<D>>(device: &D, batch: usize) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
    let network = N::init(device, 5).unwrap();
    let logits = network.logits_traced(images(batch, N::SIDE), batch, network.alloc_grads(), KEY).unwrap();
    let found = logits.as_vec();
    let scale = device.tensor_from_vec(values(batch * CLASSES, 10, None), (batch, Const::<CLASSES>));
    let gradients = (logits * scale).sum().backward();
    (found, tensors(&network, Some(&gradients)))
}

fn assert_same_pass(
    (found, gradients): &(Vec<f32>, BTreeMap<String, Vec<f32>>),
    expected: &(Vec<f32>, BTreeMap<String, Vec<f32>>),
) {
    assert_close(found, &expected.0, 1e-4, "logits");
    assert!(gradients.keys().eq(expected.1.keys()));
    for (name, expected) in &expected.1 {
        assert_close(&gradients[name], expected, 5e-4, &format!("gradient of {name}"));
    }
}

/// Which kernels are used is set for the whole process: one test at a time.
static KERNELS: Mutex<()> = Mutex::new(());

/// Does the work once with each kind of kernels.
fn with_all_kernels(mut work: impl FnMut(CudaKernels)) {
    let _turn = KERNELS.lock().unwrap_or_else(PoisonError::into_inner);
    for kernels in [CudaKernels::Fused, CudaKernels::Portable] {
        cuda::set_kernels(kernels);
        work(kernels);
    }
}

#[test]
fn lenet5_agrees_with_the_processor() {
    let expected = training_pass::<_, LeNet5<Cpu>>(&Cpu::default(), 6);
    with_all_kernels(|_| assert_same_pass(&training_pass::<_, LeNet5<Cuda>>(&gpu(), 6), &expected));
}

#[test]
fn alexnet_agrees_with_the_processor() {
    let expected = training_pass::<_, AlexNet<Cpu>>(&Cpu::default(), 2);
    with_all_kernels(|_| assert_same_pass(&training_pass::<_, AlexNet<Cuda>>(&gpu(), 2), &expected));
}

#[test]
fn evaluation_agrees_with_the_processor() {
    let images = values(3 * 28 * 28, 21, None);
    let expected = LeNet5::init(&Cpu::default(), 8).unwrap().logits(&images, 3).unwrap().as_vec();
    with_all_kernels(|_| {
        let found = LeNet5::init(&gpu(), 8).unwrap().logits(&images, 3).unwrap().as_vec();
        assert_close(&found, &expected, 1e-4, "logits");
    });
}

#[test]
fn gradients_are_added_to_those_that_are_there() {
    with_all_kernels(|kernels| {
        let device = gpu();
        let network = LeNet5::init(&device, 5).unwrap();
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

/// A seeded run, with its files in `folder` where there is one.
fn train<D: TrainDevice, N: Network<D>>(
    device: &D,
    options: &Options,
    folder: Option<&Path>,
) -> Result<Outcome<N>, TrainError> {
    let network = N::init(device, options.seed).unwrap();
    let folder = folder.map(|path| common::run_folder(path, N::ARCHITECTURE, options));
    let setting = Setting {
        device,
        dataset: &common::dataset(),
        options,
        folder: folder.as_ref(),
        observer: &mut (),
        interrupt: Interrupt::default(),
    };
    training::train(setting, network, None)
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
    };
    training::train(setting, N::init(device, seed).unwrap(), checkpoint.as_ref())
}

#[test]
fn a_run_goes_from_one_device_to_the_other_and_back() {
    let options = short_run();
    let whole = tempfile::tempdir().unwrap();
    let expected = losses(&train::<_, LeNet5<Cpu>>(&Cpu::default(), &options, Some(whole.path())).unwrap());
    with_all_kernels(|kernels| {
        let folder = tempfile::tempdir().unwrap();
        // 20 batches to learn and 2 to test by in each of three epochs. The results of the GPU's steps are read together; what
        // it saves has all of them.
        let stopped = |result: Result<(), TrainError>, place| {
            assert!(matches!(result, Err(TrainError::Interrupted { epoch, .. }) if epoch == place), "{result:?}");
        };
        stopped(go_on::<_, LeNet5<Cpu>>(&Cpu::default(), &options, folder.path(), 7).map(|_| ()), 1);
        stopped(go_on::<_, LeNet5<Cuda>>(&gpu(), &options, folder.path(), 13 + 2 + 5).map(|_| ()), 2);
        stopped(go_on::<_, LeNet5<Cpu>>(&Cpu::default(), &options, folder.path(), 4 + 2 + 3).map(|_| ()), 3);
        let outcome = go_on::<_, LeNet5<Cuda>>(&gpu(), &options, folder.path(), usize::MAX).unwrap();
        assert_close(&losses(&outcome), &expected, 1e-3, &format!("losses, {kernels} kernels"));
        let places = |folder: &Path| steps(folder).iter().map(|step| (step.epoch, step.step)).collect::<Vec<_>>();
        assert_eq!(places(folder.path()), places(whole.path()));
    });
}

/// Losses by epoch, training and test by turns.
fn losses<N>(outcome: &Outcome<N>) -> Vec<f32> {
    outcome.epochs.iter().flat_map(|epoch| [epoch.train.loss as f32, epoch.test.loss as f32]).collect()
}

/// What was measured in each step.
fn steps(folder: &Path) -> Vec<StepMetrics> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// 20 steps an epoch.
fn short_run() -> Options {
    Options {
        epochs: 3,
        batch_size: 16,
        learning_rate: 0.002,
        seed: 4,
        validation: 0,
        train_limit: Some(316),
        test_limit: Some(32),
        optimiser: OptimiserOptions { clip_norm: Some(1.0), average: Some(0.9), ..OptimiserOptions::default() },
        normalisation: Some(Normalisation { mean: 0.25, std: 0.5 }),
        augmentation: Augmentation { flip: true, shift: 2, brightness: 0.1, contrast: 0.1, erase: 0.5 },
        ..Options::default()
    }
}

#[test]
fn a_seeded_run_follows_the_processor_and_its_weights_are_exchanged() {
    let options = short_run();
    let [cpu_folder, gpu_folder] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let expected = losses(&train::<_, LeNet5<Cpu>>(&Cpu::default(), &options, Some(cpu_folder.path())).unwrap());
    assert!(expected[4] < 0.9 * expected[0], "the run learns something: {expected:?}");
    let expected_steps = steps(cpu_folder.path());
    assert_eq!(expected_steps.len(), 60);
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
    let mut on_cpu = LeNet5::init(&Cpu::default(), 0).unwrap();
    export::load(&path, &mut on_cpu).unwrap();
    assert_eq!(tensors(&on_cpu, None), tensors(&on_gpu, None));
    let mut back = LeNet5::init(&gpu(), 0).unwrap();
    export::load(&path, &mut back).unwrap();
    assert_eq!(tensors(&back, None), tensors(&on_gpu, None));
}

#[test]
fn a_diverging_run_names_its_step_and_leaves_what_was_good() {
    // The first step of the second epoch spoils the weights; the next one shows it, long before its results are read.
    let schedule = Schedule { course: Course::Step, step_epochs: 1, step_factor: 1e30, ..Schedule::default() };
    let optimiser = OptimiserOptions { name: OptimiserName::Sgd, momentum: 0.0, ..OptimiserOptions::default() };
    let options = Options { epochs: 2, schedule, optimiser, ..short_run() };
    with_all_kernels(|_| {
        let folder = tempfile::tempdir().unwrap();
        let error = train::<_, LeNet5<Cuda>>(&gpu(), &options, Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("in epoch 2, step 2: training diverged"), "{error}");
        assert_eq!(steps(folder.path()).last().map(|step| (step.epoch, step.step)), Some((2, 1)));
        let checkpoint = Checkpoint::newest(folder.path(), "lenet5", &options).unwrap();
        assert_eq!((checkpoint.state.epoch, checkpoint.state.step), (2, 0));
    });
}
