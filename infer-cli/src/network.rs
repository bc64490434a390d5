//! The network: its weights mapped into memory, which of the two it is, the names of its classes, and what each thread
//! needs to run it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail, ensure};
use image::DynamicImage;
use infer_core::{
    alexnet::{self, AlexNet},
    classify::{Prediction, top_k_with},
    lenet5::{self, LeNet5},
    safetensors::SafeTensors,
};
use memmap2::Mmap;
use serde::Deserialize;

use crate::decode::preprocess;

/// How many classes the networks tell apart.
pub const CLASSES: usize = {
    assert!(alexnet::CLASSES == lenet5::CLASSES);
    alexnet::CLASSES
};

/// Where weights are looked for if none are named: here, and where the trainer writes them.
const DEFAULT_WEIGHTS: [&str; 2] = ["alexnet.safetensors", "runs/alexnet/alexnet.safetensors"];

/// Room for the tensors of either network and as many that should not be there, so that an error can name one.
const MOST_TENSORS: usize = 2 * alexnet::TENSORS.len();

/// The header of a weights file.
type Header<'w> = SafeTensors<'w, MOST_TENSORS>;

/// The weights file to use: the one that is named, else the first default that exists.
///
/// # Errors
/// None is named and no default exists.
pub fn weights_path(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_path_buf());
    }
    let found = DEFAULT_WEIGHTS.into_iter().map(Path::new).find(|path| path.exists());
    found.map(Path::to_path_buf).with_context(|| {
        let [here, trained] = DEFAULT_WEIGHTS;
        format!("no weights: neither {here} nor {trained} exists; name a file with --weights, or train one")
    })
}

/// Maps a file into memory.
///
/// # Errors
/// It cannot be opened, or is not a file.
pub fn map(path: &Path) -> anyhow::Result<Mmap> {
    let open = || -> anyhow::Result<Mmap> {
        let file = File::open(path)?;
        let kind = file.metadata()?.file_type();
        ensure!(!kind.is_dir(), "expected a file, found a folder");
        ensure!(kind.is_file(), "expected a file on disk, found a device or a pipe, which cannot be memory-mapped");
        // SAFETY: sound as long as nobody changes or shortens the file while it is mapped. No program can make sure of
        // that; the help asks for it, and the trainer replaces weights by renaming, which leaves a mapped file as it was.
        Ok(unsafe { Mmap::map(&file) }?)
    };
    open().with_context(|| format!("cannot read {}", path.display()))
}

/// A network, its weights borrowed from a file in memory.
#[derive(Debug)]
pub enum Network<'w> {
    /// AlexNet, for 224×224 pixels.
    AlexNet(AlexNet<'w>),
    /// LeNet-5, for 28×28 pixels.
    LeNet5(LeNet5<'w>),
}

/// A network and the names of its classes.
#[derive(Debug)]
pub struct Classifier<'w> {
    /// The network.
    pub network: Network<'w>,
    /// One a class, in order.
    pub labels: Vec<String>,
}

impl<'w> Classifier<'w> {
    /// The classifier that a weights file describes. `labels` is a file whose names replace those in the weights.
    ///
    /// # Errors
    /// The file is not one of the networks, or is made for other preprocessing, or the labels are not one a class.
    pub fn new(file: &'w [u8], labels: Option<&Path>) -> anyhow::Result<Self> {
        let header = Header::parse(file)?;
        let network = Network::new(file, &header)?;
        if let Some(text) = header.metadata("preprocessing") {
            check_preprocessing(&text.to_string(), network.side())?;
        }
        let labels = match (labels, header.metadata("classes")) {
            (Some(path), _) => {
                labels_of(path).with_context(|| format!("cannot use the labels in {}", path.display()))?
            }
            (None, Some(text)) => json_labels(&text.to_string())
                .context("cannot use the metadata `classes`, --labels FILE may replace them")?,
            (None, None) => (0..CLASSES).map(|class| class.to_string()).collect(),
        };
        Ok(Self { network, labels })
    }
}

impl<'w> Network<'w> {
    /// The network that the metadata name, else the one whose tensors the file has.
    fn new(file: &'w [u8], header: &Header<'w>) -> anyhow::Result<Self> {
        let alexnet = || AlexNet::from_safetensors(file).map(Self::AlexNet).context("these are not AlexNet's weights");
        let lenet5 = || LeNet5::from_safetensors(file).map(Self::LeNet5).context("these are not LeNet-5's weights");
        match header.metadata("architecture").map(|name| name.to_string()).as_deref() {
            Some("alexnet") => alexnet(),
            Some("lenet5") => lenet5(),
            Some(other) => bail!("expected the metadata `architecture` to be alexnet or lenet5, found {other:?}"),
            // A convolution that only AlexNet has.
            None if header.tensor("conv3.weight").is_some() => alexnet(),
            None if header.tensor("conv1.weight").is_some() => lenet5(),
            None => Err(anyhow!("expected the tensors of AlexNet or LeNet-5, found neither")),
        }
    }

    /// Height and width of its input.
    fn side(&self) -> usize {
        match self {
            Self::AlexNet(_) => alexnet::SIDE,
            Self::LeNet5(_) => lenet5::SIDE,
        }
    }

    /// What a thread needs to run the network.
    pub fn worker(&self) -> Worker<'_> {
        match self {
            Self::AlexNet(network) => Worker::AlexNet {
                network,
                input: input(),
                // SAFETY: the workspace is an array of floats, made from zeroed memory as its documentation allows.
                workspace: unsafe { Box::<alexnet::Workspace>::new_zeroed().assume_init() },
            },
            Self::LeNet5(network) => {
                Worker::LeNet5 { network, input: input(), workspace: Box::new(lenet5::Workspace::new()) }
            }
        }
    }
}

/// A zeroed image, which never lies on the stack.
fn input<const SIDE: usize>() -> Box<[[f32; SIDE]; SIDE]> {
    match vec![[0.0; SIDE]; SIDE].try_into() {
        Ok(rows) => rows,
        Err(_) => unreachable!("the vector has as many rows"),
    }
}

/// What the network says about an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// All classes, the most likely first.
    pub ranking: Vec<Prediction>,
    /// The network's outputs, one a class.
    pub logits: [f32; CLASSES],
}

/// A network with memory of its own for one image at a time.
pub enum Worker<'n> {
    /// AlexNet.
    AlexNet {
        network: &'n AlexNet<'n>,
        input: Box<[[f32; alexnet::SIDE]; alexnet::SIDE]>,
        workspace: Box<alexnet::Workspace>,
    },
    /// LeNet-5.
    LeNet5 {
        network: &'n LeNet5<'n>,
        input: Box<[[f32; lenet5::SIDE]; lenet5::SIDE]>,
        workspace: Box<lenet5::Workspace>,
    },
}

impl Worker<'_> {
    /// Classifies an image of any size.
    ///
    /// # Errors
    /// The image cannot be made the network's input, or the network's sums overflow on it.
    pub fn classify(&mut self, image: &DynamicImage, invert: bool) -> anyhow::Result<Answer> {
        let logits = match self {
            Self::AlexNet { network, input, workspace } => {
                preprocess(image, invert, input.as_mut_slice())?;
                network.forward(std::array::from_ref(input), workspace)
            }
            Self::LeNet5 { network, input, workspace } => {
                preprocess(image, invert, input.as_mut_slice())?;
                network.forward(std::array::from_ref(input), workspace)
            }
        };
        if let Some(class) = logits.iter().position(|logit| !logit.is_finite()) {
            bail!("the network's output for class {class} is {}: its weights are too large", logits[class]);
        }
        let ranking = top_k_with::<CLASSES, CLASSES>(&logits, f32::exp).into_iter().collect();
        Ok(Answer { ranking, logits })
    }
}

/// The metadata `preprocessing`.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Preprocessing {
    color: String,
    range: [f64; 2],
    resize: String,
    height: usize,
    width: usize,
}

/// Weights trained on images prepared in another way would give wrong answers without a word.
fn check_preprocessing(text: &str, side: usize) -> anyhow::Result<()> {
    let expected = Preprocessing {
        color: "grayscale-bt601".into(),
        range: [0.0, 1.0],
        resize: "bilinear-antialias".into(),
        height: side,
        width: side,
    };
    let same = serde_json::from_str::<Preprocessing>(text).is_ok_and(|found| found == expected);
    ensure!(
        same,
        "expected the metadata `preprocessing` to say grayscale-bt601, range 0 to 1, bilinear-antialias, {side}×{side}, \
         found {text}"
    );
    Ok(())
}

/// The labels in a file: a JSON array, or one a line.
fn labels_of(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(path)?;
    let text = text.trim_start_matches('\u{feff}').trim_end();
    if text.starts_with('[') {
        return json_labels(text);
    }
    as_many_as_classes(text.lines().map(str::to_owned).collect())
}

fn json_labels(text: &str) -> anyhow::Result<Vec<String>> {
    as_many_as_classes(serde_json::from_str(text).context("expected a JSON array of strings")?)
}

fn as_many_as_classes(labels: Vec<String>) -> anyhow::Result<Vec<String>> {
    ensure!(labels.len() == CLASSES, "expected {CLASSES} names, one a class, found {}", labels.len());
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preprocessing_must_be_the_one_that_is_done() {
        let good = r#"{"color":"grayscale-bt601","range":[0,1],"resize":"bilinear-antialias","height":28,"width":28}"#;
        assert!(check_preprocessing(good, 28).is_ok());
        assert!(check_preprocessing(&good.replace("[0,1]", "[0.0, 1.0]"), 28).is_ok());
        for other in [
            good.replace("[0,1]", "[-1,1]"),
            good.replace("grayscale-bt601", "rgb"),
            good.replace("}", ",\"mean\":0.5}"),
            "[]".into(),
        ] {
            let error = check_preprocessing(&other, 28).unwrap_err().to_string();
            assert!(error.ends_with(&format!("found {other}")), "{error}");
        }
        assert!(check_preprocessing(good, 224).is_err());
    }

    #[test]
    fn labels_are_lines_or_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            labels_of(&path)
        };
        let lines: Vec<_> = ["T-shirt/top", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(String::from).into();
        assert_eq!(read(&lines.join("\r\n")).unwrap(), lines);
        assert_eq!(read(&(lines.join("\n") + "\n\n")).unwrap(), lines);
        assert_eq!(read(&serde_json::to_string(&lines).unwrap()).unwrap(), lines);
        assert_eq!(read("a\nb\n").unwrap_err().to_string(), "expected 10 names, one a class, found 2");
        assert_eq!(read("[1, 2]").unwrap_err().to_string(), "expected a JSON array of strings");
    }
}
