//! Compression of AlexNet: from trained weights to those of an [AlexNet of low rank](mod@infer_core::alexnet_low_rank).
//!
//! Each of the two large linear layers becomes two small ones, which keep the principal components of the layer's outputs for
//! calibration images ([`layer::Layer::factors`]):
//!
//! ```text
//! images ─ convolutions ─▶ features ─ linear1 ─▶ components ─▶ linear1a, linear1b ─ linear2 ─▶ components ─▶ linear2a, linear2b
//! ```
//!
//! The components of the second layer are those of its outputs behind the factors of the first one, so that it makes up for
//! some of their error.

mod components;
mod layer;

use std::{collections::BTreeMap, path::Path};

use dfdx::tensor::Cpu;
use image_files::preprocessing::Normalisation;
use infer_core::{alexnet_low_rank, describe::Description};

use self::layer::rectify;
pub use self::{components::Components, layer::Layer};
use crate::{
    data::{Dataset, LabelledImages, loader},
    export::{self, ExportError, Metadata, StoredTensor},
    inputs::InputDevice,
    model::{AlexNet, Network},
    training::{Preparation, TrainError, config::Options, metrics::Tally, split},
};

/// Networks that AlexNet can be compressed to, the smallest first.
pub static TARGETS: [&Description; 3] = [
    &alexnet_low_rank::rank64::DESCRIPTION,
    &alexnet_low_rank::rank128::DESCRIPTION,
    &alexnet_low_rank::rank256::DESCRIPTION,
];

/// The layers that become two each, and the names of those.
const FACTORED: [(&str, [&str; 2]); 2] = [("linear1", ["linear1a", "linear1b"]), ("linear2", ["linear2a", "linear2b"])];

/// Metadata that tell of the original weights' training, and become `original_` and their name.
const MEASURED: [&str; 8] = [
    "epoch",
    "train_loss",
    "validation_loss",
    "test_loss",
    "train_accuracy",
    "validation_accuracy",
    "test_accuracy",
    "command",
];

/// The rank of a target: the outputs of its first factor.
#[must_use]
pub fn rank(target: &Description) -> usize {
    let factor = target.layers.iter().find(|layer| layer.name == FACTORED[0].1[0]);
    factor.map_or(0, |layer| layer.output.channels)
}

/// Why a network cannot be compressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// There are too few images for so many components.
    #[error(
        "expected at least {least} images to calibrate by, found {found}: fewer have no {rank} principal components; raise \
         --calibration, or choose a lower --rank"
    )]
    Images {
        /// How many are needed.
        least: usize,
        /// How many there are.
        found: usize,
        /// The rank that needs so many.
        rank: usize,
    },
    /// There is nothing to calibrate by, or the device failed.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// Images that compression goes by; no test images are among them.
#[derive(Debug, Clone)]
pub struct Images {
    /// Calibration images, whose outputs the components are of: some of those that training learns from.
    pub calibration: Vec<usize>,
    /// Held-out images, which the accuracy is measured on.
    pub held_out: Vec<usize>,
}

impl Images {
    /// A choice of `calibration` images and of those held out. With the `seed` of the run that trained the weights, and as many
    /// images held out, those are the same as the run's.
    ///
    /// # Errors
    /// There are no more images than are held out.
    pub fn choose(dataset: &Dataset, calibration: usize, held_out: usize, seed: u64) -> Result<Self, TrainError> {
        let options = Options { validation: held_out, train_limit: Some(calibration), seed, ..Options::default() };
        let split = split(dataset, &options)?;
        Ok(Self { calibration: split.train, held_out: split.validation })
    }
}

/// AlexNet's weights compressed to one of the [`TARGETS`].
#[derive(Debug, Clone)]
pub struct Compressed {
    /// The network.
    pub target: &'static Description,
    /// The share of the variance of each layer's outputs that is kept, 0 to 1.
    pub kept: [f64; 2],
    /// Scores on the held-out images.
    pub held_out: Tally,
    factors: [[Layer; 2]; 2],
}

/// What became of a network.
#[derive(Debug, Clone)]
pub struct Compression {
    /// Scores of the original on the held-out images.
    pub original: Tally,
    /// The network compressed to each of the targets that were asked for, in their order.
    pub compressed: Vec<Compressed>,
}

/// Compresses `network` to each of `targets`, the smallest of which comes first. `train` are the images that `images` are
/// positions of.
///
/// # Errors
/// [`CompressError`].
pub fn compress(
    network: &AlexNet<Cpu>,
    targets: &[&'static Description],
    train: &LabelledImages,
    images: &Images,
    batch_size: usize,
    normalisation: Option<Normalisation>,
) -> Result<Compression, CompressError> {
    let most = targets.iter().map(|target| rank(target)).max().unwrap_or(0);
    let found = images.calibration.len();
    if found <= most {
        return Err(CompressError::Images { least: most + 1, found, rank: most });
    }
    let [first, second, last] = linear_layers(network);
    let calibration = features(network, train, &images.calibration, batch_size, normalisation)?;
    let held_out = features(network, train, &images.held_out, batch_size, normalisation)?;
    let labels: Vec<u16> = images.held_out.iter().map(|position| train.labels()[*position]).collect();
    let examine = |layers: [&[Layer]; 2]| examine(layers, &last, &held_out, &labels, train.classes());

    let outputs = first.outputs(&calibration);
    let components = Components::of(&outputs, first.bias.len(), most);
    drop(outputs);
    let compressed = targets.iter().map(|target| {
        let rank = rank(target);
        let factors = first.factors(&components, rank);
        let mut between = factors[1].outputs(&factors[0].outputs(&calibration));
        rectify(&mut between);
        let outputs = second.outputs(&between);
        drop(between);
        let seconds = Components::of(&outputs, second.bias.len(), rank);
        drop(outputs);
        let kept = [components.kept(rank), seconds.kept(rank)];
        let factors = [factors, second.factors(&seconds, rank)];
        Compressed { target, kept, held_out: examine([&factors[0], &factors[1]]), factors }
    });
    let compressed = compressed.collect();
    let original = examine([std::slice::from_ref(&first), std::slice::from_ref(&second)]);
    Ok(Compression { original, compressed })
}

/// The smallest of the networks that keeps at least that share of the variance in both layers.
#[must_use]
pub fn smallest(compressed: &[Compressed], keep: f64) -> Option<&Compressed> {
    compressed.iter().find(|compressed| compressed.kept.iter().all(|kept| *kept >= keep))
}

/// The linear layers of a network.
fn linear_layers(network: &AlexNet<Cpu>) -> [Layer; 3] {
    [
        Layer { weight: network.linear1.weight.as_vec(), bias: network.linear1.bias.as_vec() },
        Layer { weight: network.linear2.weight.as_vec(), bias: network.linear2.bias.as_vec() },
        Layer { weight: network.linear3.weight.as_vec(), bias: network.linear3.bias.as_vec() },
    ]
}

/// The values that the first linear layer takes, of the images at some positions.
fn features(
    network: &AlexNet<Cpu>,
    data: &LabelledImages,
    positions: &[usize],
    batch_size: usize,
    normalisation: Option<Normalisation>,
) -> Result<Vec<f32>, TrainError> {
    let device = Cpu::default();
    let preparation = Preparation::<Cpu> { way: (), data, normalisation, augmentation: None };
    let prepare = |positions: &[usize]| preparation.batch::<AlexNet<Cpu>>(positions);
    let mut features = Vec::new();
    loader::for_each_batch(data, positions, batch_size, prepare, |batch| {
        let side = <AlexNet<Cpu> as Network<Cpu>>::SIDE;
        let inputs = device.inputs(batch.images, batch.labels.len(), side).map_err(TrainError::device)?;
        features.extend(network.features(inputs).map_err(TrainError::device)?.as_vec());
        Ok(())
    })?;
    Ok(features)
}

/// Scores of a network by its features: of each of two layers, which may be factors, and the last one.
fn examine(layers: [&[Layer]; 2], last: &Layer, features: &[f32], labels: &[u16], classes: usize) -> Tally {
    let mut values = features.to_vec();
    for layer in layers {
        for factor in layer {
            values = factor.outputs(&values);
        }
        rectify(&mut values);
    }
    let mut tally = Tally::default();
    tally.add(&last.outputs(&values), labels, classes);
    tally
}

/// Writes compressed weights to `path`, which is replaced as a whole where it exists. All else, the convolutions and
/// the last layer, is as in `network`; `metadata` are the original's, and `command` what was asked for.
///
/// # Errors
/// The file cannot be written, or a weight is not finite.
pub fn save(
    path: &Path,
    network: &AlexNet<Cpu>,
    compressed: &Compressed,
    metadata: &Metadata,
    command: String,
    producer: &str,
) -> Result<(), ExportError> {
    let mut tensors: BTreeMap<String, StoredTensor<'static>> =
        export::tensors(network).into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    for ((_, names), factors) in FACTORED.iter().zip(&compressed.factors) {
        for (name, layer) in names.iter().zip(factors) {
            let (outputs, inputs) = (layer.bias.len(), layer.inputs());
            let parts = [("weight", vec![outputs, inputs], &layer.weight), ("bias", vec![outputs], &layer.bias)];
            for (part, shape, values) in parts {
                let name = format!("{name}.{part}");
                let tensor = StoredTensor { name: name.clone(), shape, values: values.clone().into() };
                tensors.insert(name, tensor);
            }
        }
    }
    // In the order of the network, and without what the factors replace.
    let tensors: Vec<_> = compressed.target.tensors.iter().filter_map(|name| tensors.remove(*name)).collect();
    export::save_tensors(path, &tensors, &renewed(metadata, compressed, command, producer))
}

/// Metadata of compressed weights: those of the original, of which nothing is claimed that was measured of it alone.
fn renewed(metadata: &Metadata, compressed: &Compressed, command: String, producer: &str) -> Metadata {
    let rename = |(key, value): (&String, &String)| {
        let key = if MEASURED.contains(&key.as_str()) { format!("original_{key}") } else { key.clone() };
        (key, value.clone())
    };
    let mut renewed: Metadata = metadata.iter().map(rename).collect();
    let kept = compressed.kept.map(|kept| format!("{kept:.6}"));
    let news = [
        ("format", "pt".to_string()),
        ("architecture", compressed.target.name.to_string()),
        ("command", command),
        ("producer", producer.to_string()),
        ("kept_variance", format!("[{}]", kept.join(","))),
        ("validation_accuracy", format!("{:.6}", compressed.held_out.scores().accuracy)),
    ];
    renewed.extend(news.map(|(key, value)| (key.to_string(), value)));
    renewed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AlexNetRank64, Initialisation};

    #[test]
    fn the_names_are_the_networks() {
        let names = |network: &Description| network.layers.iter().map(|layer| layer.name).collect::<Vec<_>>();
        let linear = |network: &Description| names(network)[8..].to_vec();
        let [(first, firsts), (second, seconds)] = FACTORED;
        assert_eq!(linear(<AlexNet<Cpu> as Network<Cpu>>::DESCRIPTION), [first, second, "linear3"]);
        for target in TARGETS {
            assert_eq!(linear(target), [&firsts[..], &seconds, &["linear3"]].concat());
        }
        assert_eq!(TARGETS.map(rank), [64, 128, 256]);
    }

    /// Images of noise, some lighter than others.
    fn noise(count: usize) -> LabelledImages {
        let mut images = LabelledImages::of_classes(2);
        for number in 0..count {
            let pixel = |i: usize| ((i * 7919 + number * 104_729) % 251 * (number % 5 + 1) / 5) as u8;
            images.push(28, &(0..28 * 28).map(pixel).collect::<Vec<_>>(), (number % 2) as u16);
        }
        images
    }

    #[test]
    fn of_few_images_nothing_is_lost_and_the_file_says_what_it_is() {
        let device = Cpu::default();
        let network = AlexNet::<Cpu>::init(&device, 2, Initialisation::He, 1).unwrap();
        // 65 images vary in 64 directions.
        let (data, target) = (noise(70), TARGETS[0]);
        let images = Images { calibration: (0..65).collect(), held_out: (0..70).collect() };
        let found = compress(&network, &[target], &data, &images, 16, None).unwrap();
        let compressed = &found.compressed[0];
        assert!(compressed.kept.iter().all(|kept| *kept > 1.0 - 1e-9), "{:?}", compressed.kept);
        assert_eq!((found.original.images(), compressed.held_out.images()), (70, 70));

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.safetensors");
        let metadata: Metadata =
            [("classes", "[\"a\",\"b\"]"), ("test_accuracy", "0.9"), ("seed", "3"), ("command", "x")]
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .into();
        save(&path, &network, compressed, &metadata, "trainer compress".to_string(), "trainer").unwrap();
        let mut small = AlexNetRank64::<Cpu>::init(&device, 2, Initialisation::He, 2).unwrap();
        let stored = export::load(&path, &mut small).unwrap();
        for (key, value) in [
            ("architecture", "alexnet-rank64"),
            ("classes", "[\"a\",\"b\"]"),
            ("original_test_accuracy", "0.9"),
            ("original_command", "x"),
            ("command", "trainer compress"),
            ("seed", "3"),
        ] {
            assert_eq!(stored[key], value, "{key}");
        }
        assert!(!stored.contains_key("test_accuracy"));

        // The network from the file gives the original's logits for the calibration images.
        let inputs: Vec<f32> = (0..8)
            .flat_map(|position| {
                let mut input = vec![0.0; AlexNet::<Cpu>::SIDE.pow(2)];
                AlexNet::<Cpu>::preprocess(28, 28, data.image(position), &mut input).unwrap();
                input
            })
            .collect();
        let (expected, found) =
            (network.logits(&inputs, 8).unwrap().as_vec(), small.logits(&inputs, 8).unwrap().as_vec());
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        assert!(largest > 0.01, "{expected:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-3 * largest, "{found} is not {expected}");
        }
    }

    #[test]
    fn the_smallest_that_keeps_enough_in_both_layers_is_chosen() {
        let layer = Layer { weight: Vec::new(), bias: Vec::new() };
        let compressed = |(target, kept)| Compressed {
            target,
            kept,
            held_out: Tally::default(),
            factors: [[layer.clone(), layer.clone()], [layer.clone(), layer.clone()]],
        };
        let kept = [[0.9, 0.99], [0.96, 0.94], [0.97, 0.95]];
        let all = TARGETS.into_iter().zip(kept).map(compressed).collect::<Vec<_>>();
        let chosen = |keep| smallest(&all, keep).map(|compressed| rank(compressed.target));
        assert_eq!([0.5, 0.9, 0.93, 0.95, 0.96].map(chosen), [Some(64), Some(64), Some(128), Some(256), None]);
    }

    #[test]
    fn too_few_images_are_refused() {
        let network = AlexNet::<Cpu>::init(&Cpu::default(), 2, Initialisation::He, 1).unwrap();
        let images = Images { calibration: (0..64).collect(), held_out: vec![0] };
        let error = compress(&network, &TARGETS[..1], &noise(64), &images, 16, None).unwrap_err();
        assert!(error.to_string().starts_with("expected at least 65 images to calibrate by, found 64"), "{error}");
    }
}
