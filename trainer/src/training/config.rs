//! Everything a run depends on: the resolved options, and `config.json`, which records them with the data,
//! the command and the circumstances, so that the run can be made again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use image_files::preprocessing::{Normalisation, Preprocessing};
use infer_core::preprocess::Resize;
use serde::{Deserialize, Serialize};

use super::{
    infobatch::PruningRatio,
    schedule::{Course, Schedule},
    transfer::{ClassWeights, Freeze},
};
use crate::{
    data::{
        DataFile,
        augment::Augmentation,
        folder::{KEPT_SIDE, TestShare},
    },
    model::Initialisation,
    optimiser::OptimiserOptions,
};

/// The program and version that made a file.
pub const PRODUCER: &str = concat!("trainer ", env!("CARGO_PKG_VERSION"));

/// Options of the training loop, all defaults and presets resolved.
///
/// Files of earlier versions, which lack options, are read as what those versions did. Options that this version does not
/// know make a file unreadable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Passes over the training images, at least 1.
    pub epochs: usize,
    /// Initialisation of the weights.
    #[serde(default = "Initialisation::of_earlier_versions")]
    pub initialisation: Initialisation,
    /// Images a step, at least 1; the last step of an epoch takes what is left.
    pub batch_size: usize,
    /// The optimiser's step size.
    pub learning_rate: f64,
    /// Step size of the last layer, where it has one of its own.
    pub head_learning_rate: Option<f64>,
    /// Layers that keep their weights; none where absent.
    pub freeze: Option<Freeze>,
    /// Weights of the classes in the loss.
    pub class_weights: ClassWeights,
    /// Probability by which InfoBatch skips images with a low loss; no image is skipped where absent.
    pub infobatch: Option<PruningRatio>,
    /// Learning rate schedule.
    pub schedule: Schedule,
    /// Optimiser.
    pub optimiser: OptimiserOptions,
    /// Share of the target that is spread over all classes, 0 to 1.
    pub label_smoothing: f64,
    /// Normalisation of the inputs, by mean and standard deviation; none where absent.
    pub normalisation: Option<Normalisation>,
    /// Length that the shorter side of images is resized to, of which the centre becomes the input; where absent, both sides become the
    /// input's.
    pub shorter_side: Option<usize>,
    /// Whether images are turned as their Exif orientation says.
    pub orient: bool,
    /// The most pixels that the shorter side of an image keeps in memory, where inputs are cut out of images or have colours.
    pub kept_side: usize,
    /// Dropout of half of the features, the inputs of the first linear layer, beside that of the network's description.
    pub drop_features: bool,
    /// Augmentation of training images.
    pub augmentation: Augmentation,
    /// Last epochs in which images are at most mirrored.
    pub plain_epochs: usize,
    /// Epochs without a better one after which the run ends; all epochs are made where absent.
    pub patience: Option<usize>,
    /// Seed of initial weights, division, order, dropout and augmentation.
    pub seed: u64,
    /// Training images held out to choose the best epoch by.
    pub validation: usize,
    /// Whether the same share of each class is held out.
    pub stratify: bool,
    /// The most training images to learn from; all where absent.
    pub train_limit: Option<usize>,
    /// The most test images to measure by, from the first one on; all where absent.
    pub test_limit: Option<usize>,
}

impl Default for Options {
    /// The reference recipe: that of *Dive into Deep Learning*, section 8.1, with Adam.
    fn default() -> Self {
        Self {
            epochs: 10,
            initialisation: Initialisation::default(),
            batch_size: 256,
            learning_rate: 0.001,
            head_learning_rate: None,
            freeze: None,
            class_weights: ClassWeights::Equal,
            infobatch: None,
            schedule: Schedule::default(),
            optimiser: OptimiserOptions::default(),
            label_smoothing: 0.0,
            normalisation: None,
            shorter_side: None,
            orient: false,
            kept_side: KEPT_SIDE,
            drop_features: false,
            augmentation: Augmentation::default(),
            plain_epochs: 0,
            patience: None,
            seed: 0,
            validation: 6000,
            stratify: false,
            train_limit: None,
            test_limit: None,
        }
    }
}

impl Options {
    /// Way of an image to the network's input, but for augmentation.
    pub fn preprocessing(&self) -> Preprocessing {
        let resize = self.shorter_side.map_or(Resize::Exact, Resize::ShorterSide);
        Preprocessing { resize, normalisation: self.normalisation, orient: self.orient }
    }

    /// Augmentation in an epoch, counted from 1; none where images stay as they are.
    pub fn augmentation_of(&self, epoch: usize) -> Option<Augmentation> {
        let plain = epoch.saturating_add(self.plain_epochs) > self.epochs;
        let mirrored = Augmentation { flip: self.augmentation.flip, ..Augmentation::default() };
        Some(if plain { mirrored } else { self.augmentation }).filter(|augmentation| !augmentation.is_none())
    }

    /// Whether a run by these options goes on as one by `other`: where all are the same, but for the number of epochs where
    /// neither the learning rate nor augmentation nor InfoBatch depends on it.
    pub fn go_on_as(&self, other: &Self) -> bool {
        let fixed = self.schedule.depends_on_epochs() || self.plain_epochs > 0 || self.infobatch.is_some();
        let epochs = if fixed { self.epochs } else { other.epochs };
        *other == Self { epochs, ..self.clone() }
    }

    /// The options in which this run differs from another, by their flags on the command line, with this run's value and the
    /// other's.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let values = |options: &Self| {
            let mut values = Vec::new();
            // Options are numbers, texts and structs of them: all of that is JSON.
            flat(serde_json::to_value(options).unwrap_or_default(), "", &mut values);
            values
        };
        let pairs = values(self).into_iter().zip(values(other));
        let different = pairs.filter(|((_, this), (_, that))| this != that);
        different.map(|((name, this), (_, that))| Difference { flag: flag(&name), this, other: that }).collect()
    }
}

/// An option in which two runs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The option's flag on the command line.
    pub flag: String,
    /// Its value in one run.
    pub this: String,
    /// Its value in the other.
    pub other: String,
}

/// The values of an object and of those within it, by name.
fn flat(value: serde_json::Value, name: &str, values: &mut Vec<(String, String)>) {
    match value {
        // Whether inputs are normalised is an option; by what follows from the data.
        serde_json::Value::Object(_) if name == NORMALISATION => values.push((name.to_string(), true.to_string())),
        serde_json::Value::Object(fields) => fields.into_iter().for_each(|(name, value)| flat(value, &name, values)),
        serde_json::Value::Null if name == NORMALISATION => values.push((name.to_string(), false.to_string())),
        serde_json::Value::Null => values.push((name.to_string(), "off".to_string())),
        serde_json::Value::String(text) => values.push((name.to_string(), text)),
        value => values.push((name.to_string(), value.to_string())),
    }
}

/// The field of [`Options::normalisation`].
const NORMALISATION: &str = "normalisation";

/// The flag of an option's field.
fn flag(name: &str) -> String {
    let name = match name {
        "course" => "schedule",
        "name" => "optimiser",
        "average" => "ema",
        NORMALISATION => "normalise",
        name => name,
    };
    format!("--{}", name.replace('_', "-"))
}

/// When checkpoints are written, and how many are kept. There is always one after each epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CheckpointOptions {
    /// Minutes from one checkpoint within an epoch to the next; 0: after every step.
    pub minutes: f64,
    /// The last ones to keep, at least 1.
    pub keep: usize,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self { minutes: 10.0, keep: 2 }
    }
}

/// The content of `config.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunConfig {
    /// Program and version.
    pub producer: String,
    /// The arguments as they were given.
    pub command: Vec<String>,
    /// Name of the network's architecture.
    pub network: String,
    /// Device: "cpu", or the number and name of a GPU.
    pub device: String,
    /// Threads used; on the CPU, results are the same again only with the same number.
    pub threads: usize,
    /// Operating system and processor family.
    pub platform: String,
    /// The resolved options.
    pub options: Options,
    /// When checkpoints are written.
    pub checkpoints: CheckpointOptions,
    /// Images an epoch learns from, and is measured by.
    pub images: ImageCounts,
    /// The data's files, or their folder.
    pub data: Vec<DataFile>,
    /// Choice of the test images, where none were given.
    pub test_share: Option<TestShare>,
    /// The weights it started from, where not from random ones.
    pub init: Option<DataFile>,
}

impl RunConfig {
    /// Reads the `config.json` of a run's folder.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file.
    pub fn read(folder: &Path) -> Result<Self, ConfigError> {
        match Self::read_file(&folder.join("config.json")) {
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(ConfigError::NoRun { folder: folder.to_path_buf() })
            }
            read => read,
        }
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file.
    pub fn read_file(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        serde_json::from_str(&text).map_err(|source| ConfigError::Format { path: path.to_path_buf(), source })
    }

    /// The same run with more epochs.
    ///
    /// # Errors
    /// [`ExtensionError`].
    pub fn extended(mut self, epochs: usize) -> Result<Self, ExtensionError> {
        let before = self.options.epochs;
        if epochs < before {
            return Err(ExtensionError::Fewer { before, epochs });
        }
        if epochs > before && self.options.schedule.depends_on_epochs() {
            return Err(ExtensionError::Schedule { before, course: self.options.schedule.course });
        }
        if epochs > before && self.options.plain_epochs > 0 {
            return Err(ExtensionError::PlainEpochs { before });
        }
        if epochs > before && self.options.infobatch.is_some() {
            return Err(ExtensionError::InfoBatch { before });
        }
        self.options.epochs = epochs;
        // The command that makes such a run at once.
        let mut follows = false;
        self.command.retain(|argument| {
            let value = std::mem::replace(&mut follows, argument == "--epochs");
            !(value || follows || argument.starts_with("--epochs="))
        });
        self.command.extend(["--epochs".to_string(), epochs.to_string()]);
        Ok(self)
    }
}

/// Why a run cannot have another number of epochs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// It would have fewer.
    #[error("--epochs {epochs}: this run has {before} epochs, and cannot have fewer")]
    Fewer {
        /// Epochs of the run.
        before: usize,
        /// Epochs that were asked for.
        epochs: usize,
    },
    /// The learning rate of each step depends on the number of epochs.
    #[error(
        "--epochs: the learning rate of this run follows the schedule {course} to the end of {before} epochs; start a new run from its \
         weights by --init"
    )]
    Schedule {
        /// Epochs of the run.
        before: usize,
        /// The schedule.
        course: Course,
    },
    /// Augmentation depends on the number of epochs.
    #[error(
        "--epochs: augmentation of this run ended before its {before} epochs did; start a new run from its weights by --init"
    )]
    PlainEpochs {
        /// Epochs of the run.
        before: usize,
    },
    /// The epochs in which InfoBatch skips images depend on the number of epochs.
    #[error(
        "--epochs: with --infobatch, the last of the {before} epochs of this run learn from all images; start a new run from its weights \
         by --init"
    )]
    InfoBatch {
        /// Epochs of the run.
        before: usize,
    },
}

/// Why a run's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no configuration in the folder.
    #[error("{}: there is no run in this folder, it has no config.json", .folder.display())]
    NoRun {
        /// The folder.
        folder: PathBuf,
    },
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is not a configuration of this version.
    #[error("{path}: not a run's configuration: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: serde_json::Error,
    },
}

/// Numbers of images in each role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCounts {
    /// Learnt from in each epoch, with those that InfoBatch skips.
    pub train: usize,
    /// Held out.
    pub validation: usize,
    /// Tested on.
    pub test: usize,
}

/// Operating system and processor family, as in "linux-x86_64".
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Arguments as a line that a POSIX shell splits into the same arguments again.
pub fn shell_line(arguments: &[String]) -> String {
    let quoted = arguments.iter().map(|argument| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        if !argument.is_empty() && argument.chars().all(plain) {
            argument.clone()
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_earlier_versions_are_what_those_did() {
        let earlier: Options = serde_json::from_str(r#"{"epochs": 3, "seed": 7}"#).unwrap();
        let expected = Options { epochs: 3, seed: 7, initialisation: Initialisation::PyTorch, ..Options::default() };
        assert_eq!(earlier, expected);
        let unknown = serde_json::from_str::<Options>(r#"{"epochs": 3, "sharpness": 1}"#).unwrap_err();
        assert!(unknown.to_string().contains("sharpness"), "{unknown}");
    }

    #[test]
    fn more_epochs_are_the_same_run_where_the_rate_does_not_depend_on_them() {
        let constant = Options::default();
        let more = Options { epochs: constant.epochs + 1, ..constant.clone() };
        assert!(constant.go_on_as(&more) && constant.go_on_as(&constant));
        assert!(!constant.go_on_as(&Options { seed: 1, ..more.clone() }));
        let schedule = Schedule { course: Course::Cosine, ..Schedule::default() };
        let plain = |options: &Options| Options { plain_epochs: 1, ..options.clone() };
        assert!(!plain(&constant).go_on_as(&plain(&more)));
        let infobatch = |options: &Options| Options { infobatch: PruningRatio::try_from(0.5).ok(), ..options.clone() };
        assert!(!infobatch(&constant).go_on_as(&infobatch(&more)));
        assert!(!Options { schedule, ..constant }.go_on_as(&Options { schedule, ..more }));
    }

    #[test]
    fn images_are_at_most_mirrored_in_the_last_epochs() {
        let augmentation = Augmentation { flip: true, shift: 2, erase: 0.5, ..Augmentation::default() };
        let options = Options { epochs: 5, plain_epochs: 2, augmentation, ..Options::default() };
        assert!((1..=3).all(|epoch| options.augmentation_of(epoch) == Some(augmentation)));
        let mirrored = Augmentation { flip: true, ..Augmentation::default() };
        assert!((4..=5).all(|epoch| options.augmentation_of(epoch) == Some(mirrored)));
        let options = Options { augmentation: Augmentation { shift: 2, ..Augmentation::default() }, ..options };
        assert_eq!(options.augmentation_of(4), None);
    }

    #[test]
    fn options_that_differ_are_named_by_their_flags() {
        let one = Options::default();
        assert_eq!(one.differences(&one), []);
        let mut other = one.clone();
        other.optimiser.average = Some(0.999);
        other.schedule.course = Course::OneCycle;
        other.normalisation = Some(Normalisation::Gray { mean: 0.5, std: 0.25 });
        other.seed = 7;
        let difference = |flag: &str, this: &str, other: &str| {
            let [flag, this, other] = [flag, this, other].map(String::from);
            Difference { flag, this, other }
        };
        let mut found = one.differences(&other);
        found.sort_by(|a, b| a.flag.cmp(&b.flag));
        let expected = [
            difference("--ema", "off", "0.999"),
            difference("--normalise", "false", "true"),
            difference("--schedule", "constant", "one-cycle"),
            difference("--seed", "0", "7"),
        ];
        assert_eq!(found, expected);
        let another = Options { normalisation: Some(Normalisation::Gray { mean: 0.4, std: 0.2 }), ..other.clone() };
        assert_eq!(other.differences(&another), []);
    }

    #[test]
    fn a_command_line_can_be_pasted_back() {
        let arguments = ["trainer", "--out", "my runs/a", "--seed=1", "", "it's"].map(String::from);
        assert_eq!(shell_line(&arguments), r"trainer --out 'my runs/a' --seed=1 '' 'it'\''s'");
    }
}
