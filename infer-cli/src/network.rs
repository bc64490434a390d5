//! The network: its weights mapped into memory, which one it is, and the names of its classes.

use std::{
    fmt, fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail, ensure};
use image_files::{
    checks::{self, Checks},
    preprocessing::Preprocessing,
    weights::{CHECKPOINT, IS_CHECKPOINT},
};
use infer_core::{
    describe::{CLASSES, Description, MAX_LAYERS, network_of},
    int8::{self, Int8Backend},
    packed::{self, Backend, Line, LinearWeights, NETWORKS, Plan},
    safetensors::SafeTensors,
    weights::Weights,
};

use reporting::words::alternatives;

use crate::model::Model;
pub use crate::weights::map;

/// Where weights are looked for if none are named: here, and where the trainer writes them.
const DEFAULT_WEIGHTS: [&str; 2] = ["alexnet.safetensors", "runs/alexnet/alexnet.safetensors"];

/// Room for the tensors of any network.
const MOST_TENSORS: usize = 2 * MAX_LAYERS;

/// The header of a weights file.
pub type Header<'w> = SafeTensors<'w, MOST_TENSORS>;

/// Where weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The model in the program.
    BuiltIn,
}

impl Source {
    /// The file that is named, else the first default that exists, else the model in the program.
    ///
    /// # Errors
    /// A folder is named that has no weights, or several.
    pub fn find(named: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = named {
            return Ok(Self::File(image_files::weights::named(path)?));
        }
        let found = DEFAULT_WEIGHTS.into_iter().map(Path::new).find(|path| path.exists());
        Ok(found.map_or(Self::BuiltIn, |path| Self::File(path.to_path_buf())))
    }

    /// The weights in memory.
    ///
    /// # Errors
    /// As [`map`].
    pub fn open(&self) -> anyhow::Result<crate::weights::Weights> {
        match self {
            Self::File(path) => map(path),
            Self::BuiltIn => Ok(crate::weights::Weights::BuiltIn(fashion::FILE)),
        }
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::BuiltIn => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::BuiltIn => f.write_str("the model in the program"),
        }
    }
}

/// A network's packed weights: made from a file's, or that file itself.
#[derive(Debug)]
pub enum Network<'w> {
    /// Made when the program started, and for which CPU.
    Made(&'static Plan, Vec<Line>, Backend),
    /// Made by `infer-cli pack`, or in 8-bit integers by `trainer compress`.
    Mapped(Model<'w>),
}

/// Form of a network's weights in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Its weights as they were trained.
    Trained,
    /// Packed by `infer-cli pack`.
    Packed,
    /// In 8-bit integers.
    Int8,
}

impl Form {
    /// The form of a network's weights in a file.
    fn of(header: &Header<'_>, network: &Description) -> Self {
        if header.tensor(network.packed_tensor).is_some() {
            Self::Packed
        } else if header.tensor(network.int8_tensor).is_some() {
            Self::Int8
        } else {
            Self::Trained
        }
    }
}

/// Weights, packed.
///
/// # Errors
/// A weight is too large.
pub fn pack(plan: &'static Plan, weights: &Weights<'_>, linear: LinearWeights) -> anyhow::Result<Vec<Line>> {
    let mut lines = vec![Line::ZERO; plan.packed_len(weights.classes(), linear)];
    packed::Network::pack(plan, weights, linear, &mut lines)?;
    Ok(lines)
}

/// The network that a file is for (see [`network_of`]), and the form of its weights.
///
/// # Errors
/// There is no such network.
pub fn plan_of(header: &Header<'_>) -> anyhow::Result<(&'static Plan, Form)> {
    let length = |name: &str| Some(header.tensor(name)?.shape.sizes().iter().map(|size| *size as usize).product());
    let architecture = header.metadata("architecture").map(|name| name.to_string());
    let networks = || NETWORKS.iter().copied().map(Plan::description);
    let found = network_of(networks(), architecture.as_deref(), length);
    let plan = found.and_then(|found| NETWORKS.iter().copied().find(|plan| plan.description() == found));
    let plan = plan.ok_or_else(|| match &architecture {
        Some(name) => {
            anyhow!("expected the metadata `architecture` to be {}, found {name:?}", known())
        }
        None => none_of_its_tensors(header),
    })?;
    Ok((plan, Form::of(header, plan.description())))
}

/// The weights of a file that are not packed.
///
/// # Errors
/// They are not this network's.
pub fn weights<'w>(plan: &'static Plan, file: &'w [u8]) -> anyhow::Result<Weights<'w>> {
    let title = plan.description().title;
    Weights::from_safetensors(plan.description(), file).with_context(|| format!("these are not {title}'s weights"))
}

impl<'w> Network<'w> {
    /// The network of a file.
    fn new(file: &'w [u8], header: &Header<'w>, backend: Backend) -> anyhow::Result<Self> {
        let (plan, form) = plan_of(header)?;
        let mapped = match form {
            Form::Trained => {
                return Ok(Self::Made(plan, pack(plan, &weights(plan, file)?, LinearWeights::F32)?, backend));
            }
            Form::Packed => Model::Floats(Box::new(packed::Network::from_safetensors(plan, file, backend)?)),
            Form::Int8 => {
                let plan = int8::plan_of(file)?;
                // The weights of the program's one network last as long as the program.
                let transformed = vec![Line::ZERO; plan.transformed_len()].leak();
                let backend = Int8Backend::of(backend);
                Model::Int8(Box::new(int8::Network::from_safetensors(plan, file, transformed, backend)?))
            }
        };
        Ok(Self::Mapped(mapped))
    }

    /// The network of these weights.
    ///
    /// # Errors
    /// The packed weights are not valid; those that were opened by [`Network::new`] are.
    pub fn network(&self) -> anyhow::Result<Model<'_>> {
        Ok(match self {
            Self::Made(plan, lines, backend) => {
                Model::Floats(Box::new(packed::Network::from_packed(plan, lines, *backend)?))
            }
            Self::Mapped(network) => network.clone(),
        })
    }
}

/// A network and the names of its classes.
#[derive(Debug)]
pub struct Classifier<'w> {
    /// The network.
    pub network: Network<'w>,
    /// One a class, in order; where there are fewer than outputs, those behind mean nothing.
    pub labels: Vec<String>,
    /// Way of an image to the network's input.
    pub preprocessing: Preprocessing,
    /// The folder of the images that it was trained on, if the file says so.
    pub data: Option<PathBuf>,
    /// Limits that images like those it was trained on keep, if the file states some.
    pub checks: Option<Checks>,
}

impl<'w> Classifier<'w> {
    /// The classifier that a weights file describes, to run on `backend`. `labels` is a file whose names replace those in the
    /// weights.
    ///
    /// # Errors
    /// The file is not one of the networks, or is made for other preprocessing, or the labels are not one a class, or this
    /// CPU lacks the backend's instructions.
    pub fn new(file: &'w [u8], labels: Option<&Path>, backend: Backend) -> anyhow::Result<Self> {
        let header = Header::parse(file)?;
        let network = Network::new(file, &header, backend)?;
        let preprocessing = header.metadata("preprocessing");
        let (input, outputs) = {
            let network = network.network()?;
            (network.description().input(), network.classes())
        };
        let preprocessing =
            preprocessing.map(|text| Preprocessing::understand(&text.to_string(), input)).transpose()?;
        let preprocessing = preprocessing.unwrap_or_else(|| Preprocessing::usual(input));
        let named = header.metadata("classes").map(|text| json_labels(&text.to_string(), *CLASSES.start()..=outputs));
        let labels = match (labels, named) {
            (Some(path), named) => {
                let count = named.and_then(Result::ok).map_or(outputs, |names| names.len());
                labels_of(path, count).with_context(|| format!("cannot use the labels in {}", path.display()))?
            }
            (None, Some(named)) => {
                named.context("cannot use the metadata `classes`, --labels FILE may replace them")?
            }
            (None, None) => (0..outputs).map(|class| class.to_string()).collect(),
        };
        let data = header.metadata("data").map(|folder| PathBuf::from(folder.to_string()));
        let checks = header.metadata(checks::KEY).map(|text| Checks::read(&text.to_string())).transpose()?;
        Ok(Self { network, labels, preprocessing, data, checks })
    }
}

/// Names of the networks, in words.
fn known() -> String {
    alternatives(&NETWORKS.iter().map(|plan| plan.description().name).collect::<Vec<_>>())
}

/// Why a file is none of the networks: by its first tensor's name, and what is before that if it is more.
fn none_of_its_tensors(header: &Header<'_>) -> anyhow::Error {
    if header.metadata(CHECKPOINT).is_some() {
        return anyhow!("expected weights, found {IS_CHECKPOINT}");
    }
    let expected = |tensor: &str| format!("expected the tensors of {}: tensor {tensor} is missing", known());
    let names = || header.tensors().iter().map(|tensor| tensor.name.to_string());
    let firsts = || NETWORKS.iter().filter_map(|plan| plan.description().tensors.first());
    let prefix =
        names().find_map(|name| firsts().find_map(|first| Some((name.strip_suffix(first)?.to_owned(), *first))));
    let conv1 = expected("conv1.weight");
    match (prefix, names().next()) {
        (Some((prefix, first)), _) => {
            anyhow!("{}, the file has {prefix}{first}; take {prefix} off all names", expected(first))
        }
        (None, Some(first)) => anyhow!("{conv1}, the file's first tensor is {first}"),
        (None, None) => anyhow!("{conv1}, the file has no tensors"),
    }
}

/// The labels in a file, `count` of them: a JSON array, or one a line.
fn labels_of(path: &Path, count: usize) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(path)?;
    let text = text.trim_start_matches('\u{feff}').trim_end();
    if text.starts_with('[') {
        return json_labels(text, count..=count);
    }
    one_a_class(text.lines().map(str::to_owned).collect(), count..=count)
}

fn json_labels(text: &str, counts: RangeInclusive<usize>) -> anyhow::Result<Vec<String>> {
    one_a_class(serde_json::from_str(text).context("expected a JSON array of strings")?, counts)
}

fn one_a_class(labels: Vec<String>, counts: RangeInclusive<usize>) -> anyhow::Result<Vec<String>> {
    let (least, most) = (counts.start(), counts.end());
    let expected = if least == most { most.to_string() } else { format!("{least} to {most}") };
    ensure!(counts.contains(&labels.len()), "expected {expected} names, one a class, found {}", labels.len());
    for (class, name) in labels.iter().enumerate() {
        ensure!(!name.trim().is_empty(), "expected a name for each class, found a blank one for class {class}");
        if let Some(other) = labels[..class].iter().position(|other| other == name) {
            bail!("expected different names, found {name:?} for class {other} and for class {class}");
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_lines_or_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            labels_of(&path, 10)
        };
        let lines: Vec<_> = ["T-shirt/top", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(String::from).into();
        assert_eq!(read(&lines.join("\r\n")).unwrap(), lines);
        assert_eq!(read(&(lines.join("\n") + "\n\n")).unwrap(), lines);
        assert_eq!(read(&serde_json::to_string(&lines).unwrap()).unwrap(), lines);
        let blank = lines.join("\n").replace("\nc\n", "\n \n");
        assert!(read(&blank).unwrap_err().to_string().ends_with("found a blank one for class 2"));
        let twice = lines.join("\n").replace("\nj", "\nd");
        assert!(read(&twice).unwrap_err().to_string().ends_with(r#"found "d" for class 3 and for class 9"#));
        assert_eq!(read("a\nb\n").unwrap_err().to_string(), "expected 10 names, one a class, found 2");
        assert_eq!(read("[1, 2]").unwrap_err().to_string(), "expected a JSON array of strings");
    }
}
