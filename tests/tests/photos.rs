//! Photographs in JPEG files to classes, as torchvision takes them there (`tests/pytorch/photos.py`): infer-cli on every kernel, the plain
//! forward passes and the trainer.

use dfdx::prelude::Cpu;
use image_files::decode::{self, Options};
use image_files::pixels::{Form, Limit, keep, preprocess};
use image_files::preprocessing::{Normalisation, Preprocessing};
use infer_core::describe::Description;
use infer_core::packed::Backend;
use infer_core::preprocess::Resize;
use infer_core::tensor::FloatArray;
use infer_core::{alexnet_2012, alexnet_imagenet};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::NamedTempFile;
use tests::{file, formula, golden, program};
use trainer::data::Frame;
use trainer::model::{self, Initialisation, Network};

const CLASSES: usize = 10;
const EXPECTED: &str = "photos.json";
/// Largest difference of a logit from torchvision's, as a share of the largest logit: the contract, but of a tensor in f64.
const TOLERANCE: f64 = 1e-5;
/// The same for Pillow's transforms, which round to bytes between.
const ROUNDED: f64 = 1e-2;

/// A network, its weights by the formula in memory and in a file, and the way of photographs into it.
struct Case {
    network: &'static Description,
    preprocessing: Preprocessing,
    weights: file::Aligned,
    file: NamedTempFile,
    /// Keys of torchvision's results, and how near they are.
    expected: &'static [(&'static str, f64)],
}

impl Case {
    /// torchvision's network: its weights file says nothing of preprocessing, so that torchvision's is taken.
    fn imagenet() -> Self {
        let network = &alexnet_imagenet::DESCRIPTION;
        let weights = file::with_values(&file::tensors(network, CLASSES), formula::parameter);
        let preprocessing = Preprocessing::usual(network.input());
        Self::new(network, preprocessing, weights, &[("tensor", TOLERANCE), ("pillow", ROUNDED)])
    }

    /// The network of 2012, with a preprocessing that its file names.
    fn original() -> Self {
        let network = &alexnet_2012::DESCRIPTION;
        let normalisation = Some(Normalisation::Rgb { mean: [0.45; 3], std: [0.25; 3] });
        let preprocessing = Preprocessing { resize: Resize::Exact, normalisation, orient: false };
        let metadata = [("preprocessing", preprocessing.describe(network.input()))];
        let weights = file::with_metadata(&file::tensors(network, CLASSES), formula::parameter, metadata);
        Self::new(network, preprocessing, weights, &[("tensor", TOLERANCE)])
    }

    fn new(
        network: &'static Description,
        preprocessing: Preprocessing,
        weights: file::Aligned,
        expected: &'static [(&'static str, f64)],
    ) -> Self {
        let file = NamedTempFile::with_suffix(".safetensors").expect("a file");
        std::fs::write(file.path(), weights.bytes()).expect("room for weights");
        Self { network, preprocessing, weights, file, expected }
    }

    /// A photograph's logits, as `way` found them, beside torchvision's.
    fn assert_logits(&self, photo: &Value, way: &str, logits: &[f64]) {
        for (key, tolerance) in self.expected {
            let expected = golden::numbers(&photo[self.network.name][key]["logits"]);
            let largest = expected.iter().fold(0.0_f64, |max, value| max.max(value.abs()));
            assert!(largest > 1.0, "logits of that size would prove nothing: {largest}");
            assert_eq!(logits.len(), expected.len());
            for (found, expected) in logits.iter().zip(&expected) {
                let error = (found - expected).abs() / largest;
                assert!(error < *tolerance, "{}, {way}, {key}: {found} is not {expected}", photo["name"]);
            }
            assert_eq!(best(logits), best(&expected), "{}, {way}, {key}", photo["name"]);
        }
    }
}

fn best(values: &[f64]) -> Option<usize> {
    (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b]))
}

fn photos() -> Vec<(PathBuf, Value)> {
    let golden = golden::read(EXPECTED);
    let photos = golden["photos"].as_array().expect("photos");
    assert_eq!(photos.len(), 4);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("photos");
    photos.iter().map(|photo| (folder.join(photo["name"].as_str().expect("a name")), photo.clone())).collect()
}

#[test]
fn photographs_have_pillows_pixels() {
    for (path, photo) in photos() {
        let (image, _) = decode::open(&path, Options::default()).expect("it decodes");
        assert_eq!(
            (u64::from(image.height()), u64::from(image.width())),
            (number(&photo, "height"), number(&photo, "width"))
        );
        let mut sum = flate2::Crc::new();
        sum.update(image.to_rgb8().as_raw());
        assert_eq!(u64::from(sum.sum()), number(&photo, "crc32"), "{}", path.display());
    }
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().expect(key)
}

/// The whole program, on every kernel of this CPU: logits, classes in order, probabilities.
fn classify(case: &Case) {
    let photos = photos();
    for backend in Backend::ALL.iter().filter(|backend| backend.available()) {
        let kernel = backend.to_string();
        let mut command = Command::new(program("infer-cli"));
        command.args(["classify", "--format", "jsonl", "--logits", "--top-k", "10", "--kernel", &kernel, "--weights"]);
        let output =
            command.arg(case.file.path()).args(photos.iter().map(|(path, _)| path)).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(text.lines().count(), photos.len());
        for ((_, photo), line) in photos.iter().zip(text.lines()) {
            let record: Value = serde_json::from_str(line).expect("a JSON object");
            case.assert_logits(photo, &kernel, &golden::numbers(&record["logits"]));
            let expected = golden::numbers(&photo[case.network.name]["tensor"]["probabilities"]);
            let top = record["top"].as_array().expect("the best classes");
            assert_eq!(top.len(), CLASSES);
            let mut before = f64::INFINITY;
            for class in top {
                let expected = expected[number(class, "class") as usize];
                let found = class["probability"].as_f64().expect("a probability");
                assert!((found - expected).abs() < 1e-4, "{kernel}: {found} is not {expected}");
                assert!(found <= before);
                before = found;
            }
        }
    }
}

/// The network's input of a photograph.
fn input(case: &Case, path: &Path) -> Vec<f32> {
    let input = case.network.input();
    let (image, _) = decode::open(path, Options::default()).expect("it decodes");
    let mut values = vec![0.0; input.values()];
    preprocess(&image, case.preprocessing.resize, input.side, false, &mut values).expect("it fits");
    case.preprocessing.normalisation.expect("one").apply(&mut values);
    values
}

/// The trainer's pass, from the bytes that it keeps of a photograph: all of it, or as much as the resize needs.
fn train<N: Network<Cpu>>(case: &Case) {
    let mut network = N::init(&Cpu::default(), CLASSES, Initialisation::PyTorch, 0).expect("memory");
    trainer::export::load(case.file.path(), &mut network).expect("its weights");
    for (path, photo) in photos() {
        let (image, _) = decode::open(&path, Options::default()).expect("it decodes");
        let form = Form { channels: 3, limit: Limit::ShorterSide(usize::MAX) };
        let pixels = keep(&image, form).expect("pixels");
        let height = pixels.values.len() / pixels.width / pixels.channels;
        let frame = Frame::new(pixels.channels, pixels.width, height, &pixels.values);
        let mut values = vec![0.0; case.network.input().values()];
        N::preprocess(&frame, case.preprocessing.resize, &mut values).expect("it fits");
        case.preprocessing.normalisation.expect("one").apply(&mut values);
        let logits = network.logits(&values, 1).expect("memory").as_vec();
        case.assert_logits(&photo, "trainer", &logits.into_iter().map(f64::from).collect::<Vec<_>>());
    }
}

macro_rules! photographs {
    ($($test:ident: $case:ident, $name:ident of $module:ident;)*) => {
        $(
            #[test]
            fn $test() {
                let case = Case::$case();
                classify(&case);
                train::<model::$name<Cpu>>(&case);
                let network = $module::$name::<CLASSES>::from_safetensors(case.weights.bytes()).expect("its weights");
                let workspace: &mut $module::Workspace = Box::leak(Box::default());
                for (path, photo) in photos() {
                    let values = input(&case, &path);
                    let logits = network.forward($module::Image::slice(&values).first().expect("an image"), workspace);
                    case.assert_logits(&photo, "plain", &logits.map(f64::from));
                }
            }
        )*
    };
}

photographs! {
    torchvisions_network_classifies_photographs_as_in_torchvision: imagenet, AlexNetImageNet of alexnet_imagenet;
    the_network_of_2012_classifies_photographs_as_in_pytorch: original, AlexNet2012 of alexnet_2012;
}
