//! Values that PyTorch and torchvision made, see `tests/pytorch/golden.py` and `preprocessing.py`.

use dfdx::nn::{RecursiveWalker, TensorOptions, TensorVisitor, ViewTensorName, ViewTensorRef};
use dfdx::prelude::{
    Backward, Const, Cpu, Gradients, HasShape, Shape, Tensor, TensorFromVec, Trace, cross_entropy_with_logits_loss,
};
use infer_core::describe::Description;
use infer_core::int8::{self, Int8Backend};
use infer_core::packed::{self, Backend, Line, LinearWeights, Plan, Serial};
use infer_core::preprocess::{Resize, normalise_channels, resize_channels, rgb};
use infer_core::tensor::FloatArray;
use infer_core::weights::Weights;
use infer_core::{alexnet, alexnet_2012, alexnet_imagenet, lenet5, preprocess};
use std::collections::BTreeMap;
use std::convert::Infallible;
use tests::golden::{numbers, read as golden};
use tests::{file, formula};
use trainer::compress::int8::{Convolutions, Form, Quantised, quantise};
use trainer::model::{self, Initialisation, Network};
use trainer::nn::FeatureMaps;

/// Both within 1e-4 of the largest logit, by contract; the f64 logits within much less.
fn assert_logits(name: &str, logits: &[f32]) {
    let golden = golden(name);
    for key in ["logits_f32", "logits_f64"] {
        let expected = numbers(&golden[key]);
        let largest = expected.iter().fold(0.0_f64, |max, v| max.max(v.abs()));
        assert!((1.0..100.0).contains(&largest), "logits of that size would prove nothing: {largest}");
        assert_eq!(logits.len(), expected.len());
        for (found, expected) in logits.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5 * largest, "{name}: {found} is not {expected}");
        }
    }
}

#[test]
fn alexnet_gives_pytorchs_logits() {
    let file = file::by_formula(&alexnet::DESCRIPTION);
    let network = alexnet::AlexNet::<10>::from_safetensors(file.bytes()).unwrap();
    let image = formula::image(alexnet::SIDE);
    let image = alexnet::Image::slice(&image).first().unwrap();
    // The workspace is too large for the stack of a test's thread in a debug build.
    let workspace: &mut alexnet::Workspace = Box::leak(Box::default());
    assert_logits("alexnet.json", &network.forward(image, workspace));
}

#[test]
fn lenet5_gives_pytorchs_logits() {
    let file = file::by_formula(&lenet5::DESCRIPTION);
    let network = lenet5::LeNet5::<10>::from_safetensors(file.bytes()).unwrap();
    let image = formula::image(lenet5::SIDE);
    let image = lenet5::Image::slice(&image).first().unwrap();
    assert_logits("lenet5.json", &network.forward(image, &mut lenet5::Workspace::new()));
}

/// Images of a colour network: two of them, in values as bright as those that PyTorch had.
fn colour_images(network: &Description, brightness: f32) -> Vec<f32> {
    formula::unit(1000, 2 * network.input().values()).iter().map(|value| value * brightness).collect()
}

/// Logits of two images, one image's behind the other's, by the packed network on each backend of this CPU.
fn packed_logits(plan: &'static Plan, file: &file::Aligned, images: &[f32]) -> Vec<(Backend, Vec<f32>)> {
    let weights = Weights::from_safetensors(plan.description(), file.bytes()).unwrap();
    let mut lines = vec![Line::ZERO; plan.packed_len(weights.classes(), LinearWeights::F32)];
    packed::Network::pack(plan, &weights, LinearWeights::F32, &mut lines).unwrap();
    let backends = Backend::ALL.iter().copied().filter(|backend| backend.available());
    let logits = backends.map(|backend| {
        let network = packed::Network::from_packed(plan, &lines, backend).unwrap();
        let mut workspace = vec![Line::ZERO; network.workspace_len(2)];
        let mut logits = vec![f32::NAN; 2 * network.classes()];
        network.forward(images, &mut logits, &mut workspace, &Serial).unwrap();
        (backend, logits)
    });
    logits.collect()
}

/// The logits in 8-bit integers, with ranges calibrated on the images, are near PyTorch's, by either way of convolution.
fn assert_int8_logits(name: &str, description: &'static Description, file: &file::Aligned, images: &[f32]) {
    let weights = Weights::from_safetensors(description, file.bytes()).unwrap();
    for (convolutions, int4) in
        [(Convolutions::Direct, false), (Convolutions::Winograd, false), (Convolutions::Direct, true)]
    {
        let Quantised { plan, lines } = quantise(&weights, images, Form { convolutions, int4 }).unwrap();
        let mut transformed = vec![Line::ZERO; plan.transformed_len()];
        assert_eq!(transformed.is_empty(), convolutions == Convolutions::Direct);
        let network = int8::Network::from_packed(plan, &lines, &mut transformed, Int8Backend::best()).unwrap();
        let mut workspace = vec![Line::ZERO; network.workspace_len(2)];
        let mut logits = vec![f32::NAN; 2 * network.classes()];
        network.forward(images, &mut logits, &mut workspace, &Serial).unwrap();
        let expected = numbers(&golden(name)["logits_f64"]);
        let largest = expected.iter().fold(0.0_f64, |max, v| max.max(v.abs()));
        for (found, expected) in logits.iter().zip(expected) {
            let error = (f64::from(*found) - expected).abs() / largest;
            // Random weights have the largest error that 4 bits make: a fourteenth of the greatest, in each.
            let tolerance = if int4 { 0.3 } else { 0.1 };
            assert!(error < tolerance, "{name}, {convolutions:?}, 4 bits {int4}: {found} is not {expected}");
        }
    }
}

/// The trainer's network with the weights of a file.
fn trained<N: Network<Cpu>>(file: &file::Aligned) -> N {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    std::fs::write(&path, file.bytes()).unwrap();
    let mut network = N::init(&Cpu::default(), 10, Initialisation::PyTorch, 0).unwrap();
    trainer::export::load(&path, &mut network).unwrap();
    network
}

/// A test for a network for colour images: the plain pass, the packed one on every backend and the trainer give PyTorch's logits,
/// and the trainer its gradients.
macro_rules! colour {
    ($test:ident: $name:ident of $module:ident, $golden:literal, brightness $brightness:literal) => {
        #[test]
        fn $test() {
            let file = file::with_values(&file::tensors(&$module::DESCRIPTION, 10), formula::parameter);
            let images = colour_images(&$module::DESCRIPTION, $brightness);
            let network = $module::$name::<10>::from_safetensors(file.bytes()).unwrap();
            let workspace: &mut $module::Workspace = Box::leak(Box::default());
            let images_of = $module::Image::slice(&images);
            let plain: Vec<f32> = images_of.iter().flat_map(|image| network.forward(image, workspace)).collect();
            assert_logits($golden, &plain);
            for (backend, logits) in packed_logits(&$module::PLAN, &file, &images) {
                println!("{backend}");
                assert_logits($golden, &logits);
            }

            assert_int8_logits($golden, &$module::DESCRIPTION, &file, &images);

            let device = Cpu::default();
            let network = trained::<model::$name<Cpu>>(&file);
            assert_logits($golden, &network.logits(&images, 2).unwrap().as_vec());
            let inputs: FeatureMaps<{ $module::LAYERS[0].input.channels }, { $module::SIDE }, Cpu> =
                device.tensor_from_vec(images, (2, Const, Const, Const));
            // Without dropout, whose coins PyTorch does not have.
            let logits = network.try_forward(inputs.traced(Gradients::leaky()), None).unwrap();
            assert_logits($golden, &logits.as_vec());
            let targets: Vec<f32> = (0..20).map(|place| if [3, 18].contains(&place) { 1.0 } else { 0.0 }).collect();
            let targets = device.tensor_from_vec(targets, (2, 10.into()));
            let gradients = cross_entropy_with_logits_loss(logits, targets).backward();
            assert_gradients($golden, &network, &gradients);
        }
    };
}

colour! { alexnet_imagenet_gives_torchvisions_values: AlexNetImageNet of alexnet_imagenet, "alexnet-imagenet.json", brightness 1.0 }
colour! { alexnet_2012_gives_pytorchs_values: AlexNet2012 of alexnet_2012, "alexnet-2012.json", brightness 64.0 }

/// The gradients of a network's tensors by name.
struct Collect<'g>(&'g Gradients<f32, Cpu>, BTreeMap<String, Vec<f32>>);

impl TensorVisitor<f32, Cpu> for Collect<'_> {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = Infallible;
    type E2 = f32;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, f32, Cpu>,
        (tensor, name): (&Tensor<S, f32, Cpu>, String),
    ) -> Result<Option<Tensor<S, f32, Cpu>>, Infallible> {
        assert_eq!(self.0.get(tensor).shape().num_elements(), tensor.shape().num_elements());
        self.1.insert(name, self.0.get(tensor).as_vec());
        Ok(None)
    }
}

/// Each gradient near PyTorch's, which are in f64. Where rounding decides a ReLU or a maximum, that value's gradient goes
/// elsewhere, and those of convolutions differ by up to a hundredth.
fn assert_gradients<N: Network<Cpu>>(name: &str, network: &N, gradients: &Gradients<f32, Cpu>) {
    let golden = golden(name);
    let mut collect = Collect(gradients, BTreeMap::new());
    let Ok(_) = N::iter_tensors(&mut RecursiveWalker { m: (network, String::new()), f: &mut collect });
    assert_eq!(collect.1.len(), golden["gradients"].as_object().unwrap().len());
    for (tensor, found) in &collect.1 {
        let golden = &golden["gradients"][tensor];
        let number = |key: &str| golden[key].as_f64().expect(tensor);
        let norm = found.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        assert!((norm / number("norm") - 1.0).abs() < 1e-3, "{tensor}: {norm} is not {}", number("norm"));
        let step = golden["step"].as_u64().expect(tensor) as usize;
        let expected = numbers(&golden["values"]);
        assert!(expected.iter().any(|value| *value != 0.0), "{tensor}: these prove nothing");
        for (found, expected) in found.iter().step_by(step).zip(expected) {
            let error = (f64::from(*found) - expected).abs();
            assert!(error < 1e-2 * number("largest"), "{tensor}: {found} is not {expected}");
        }
    }
}

#[test]
fn names_and_shapes_are_those_of_pytorchs_state_dict() {
    for (name, network) in
        [("alexnet-imagenet.json", &alexnet_imagenet::DESCRIPTION), ("alexnet-2012.json", &alexnet_2012::DESCRIPTION)]
    {
        let golden = golden(name);
        let expected = golden["state_dict"].as_object().unwrap();
        let found = file::tensors(network, network.classes());
        assert_eq!(found.len(), expected.len());
        for (tensor, shape) in found {
            let expected: Vec<f64> = numbers(&expected[tensor]);
            assert!(shape.iter().map(|size| *size as f64).eq(expected), "{tensor}");
        }
    }
}

#[test]
fn the_file_tables_are_complete() {
    let networks = [
        ("alexnet.json", &alexnet::DESCRIPTION),
        ("alexnet-imagenet.json", &alexnet_imagenet::DESCRIPTION),
        ("alexnet-2012.json", &alexnet_2012::DESCRIPTION),
        ("lenet5.json", &lenet5::DESCRIPTION),
    ];
    for (name, network) in networks {
        let tensors = file::tensors(network, network.classes());
        let count: usize = tensors.iter().map(|(_, sizes)| sizes.iter().product::<usize>()).sum();
        assert_eq!(golden(name)["parameters"], count);
        assert!(tensors.iter().map(|(name, _)| *name).eq(network.tensors.iter().copied()));
    }
}

#[test]
fn resize_gives_torchvisions_values() {
    let golden = golden("resize.json");
    let cases = golden["cases"].as_array().expect("cases");
    assert!(cases.len() >= 7);
    for (stream, case) in cases.iter().enumerate() {
        let size = |key: &str| usize::try_from(case[key].as_u64().expect(key)).expect(key);
        let (height, width, side, step) = (size("height"), size("width"), size("side"), size("step"));
        let source = formula::unit(2000 + stream as u64, height * width);
        let pixel = |x: usize, y: usize| source[y * width + x];
        let resized = match side {
            28 => resize::<28>(width, height, pixel),
            224 => resize::<224>(width, height, pixel),
            _ => panic!("no such network"),
        };
        let found: Vec<_> = resized.iter().step_by(step).collect();
        let expected = numbers(&case["values"]);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            // A hundredth of a gray level: torchvision rounds its positions to f32.
            assert!(
                (f64::from(**found) - expected).abs() < 0.01 / 255.0,
                "{width}×{height}: {found} is not {expected}"
            );
        }
    }
}

fn resize<const SIDE: usize>(width: usize, height: usize, pixel: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let mut output = vec![[0.0; SIDE]; SIDE];
    preprocess::resize_bilinear(width, height, pixel, &mut output).unwrap();
    output.into_flattened()
}

/// Resizes bytes of three channels, and keeps some values: those of [0, 1], and what is left of them by `normalised`.
fn photograph<const SIDE: usize>(
    resize: Resize,
    (width, height): (usize, usize),
    pixels: &[u8],
    normalised: Option<&[[f32; 3]; 2]>,
) -> Vec<f32> {
    let mut planes = vec![[[0.0; SIDE]; SIDE]; 3];
    let planes: &mut [_; 3] = planes.as_mut_slice().try_into().unwrap();
    let pixel = |x: usize, y: usize| rgb(pixels.as_chunks().0[y * width + x]);
    resize_channels(resize, width, height, pixel, planes).unwrap();
    if let Some([mean, std]) = normalised {
        normalise_channels(planes, mean, std);
    }
    planes.as_flattened().as_flattened().to_vec()
}

#[test]
fn photographs_become_torchvisions_inputs() {
    let golden = golden("preprocessing.json");
    let cases = golden["cases"].as_array().expect("cases");
    assert!(cases.len() >= 14);
    let channels =
        |key: &str| <[f32; 3]>::try_from(numbers(&golden[key]).iter().map(|v| *v as f32).collect::<Vec<_>>());
    let preset = ["mean", "std"].map(|key| channels(key).expect(key));
    let mut normalised = 0;
    for (stream, case) in cases.iter().enumerate() {
        let size = |key: &str| case[key].as_u64().map(|size| size as usize);
        let (size_of, short) = (|key: &str| size(key).expect(key), size("short"));
        let (sizes, side, step) = ((size_of("width"), size_of("height")), size_of("side"), size_of("step"));
        let unit = formula::values(3000 + stream as u64, sizes.0 * sizes.1 * 3).map(|v| (v + 1.0) / 2.0);
        let pixels: Vec<u8> = unit.map(|v| (v * 256.0) as u8).collect();
        let resize = short.map_or(Resize::Exact, Resize::ShorterSide);
        let found = |preset| match side {
            28 => photograph::<28>(resize, sizes, &pixels, preset),
            224 => photograph::<224>(resize, sizes, &pixels, preset),
            _ => panic!("no such input"),
        };
        let compare = |found: &[f32], key: &str, white: f64, bound: f64| {
            let (found, expected) = (found.iter().step_by(step), numbers(&case[key]));
            assert_eq!(found.len(), expected.len());
            let errors = found.zip(expected).map(|(found, expected)| (f64::from(*found) - expected / white).abs());
            let worst = errors.fold(0.0, f64::max);
            assert!(worst <= bound, "{sizes:?}, {resize:?} to {side}: off by {worst} from {key}");
        };
        let values = found(None);
        compare(&values, "tensor_f32", 1.0, 1e-5);
        compare(&values, "tensor_f64", 1.0, 1e-6);
        compare(&values, "pillow", 255.0, 1.0 / 255.0);
        if !case["normalised"].is_null() {
            compare(&found(Some(&preset)), "normalised", 1.0, 1e-5 / 0.224);
            normalised += 1;
        }
    }
    assert!(normalised >= 5);
}
