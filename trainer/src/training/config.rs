//! Everything a run depends on: the resolved options, and `config.json`, which records them with the data,
//! the command and the circumstances, so that the run can be made again.

use serde::Serialize;

use crate::data::DataFile;

/// The program and version that made a file.
pub const PRODUCER: &str = concat!("trainer ", env!("CARGO_PKG_VERSION"));

/// What the training loop is told, all defaults and presets resolved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Options {
    /// Passes over the training images, at least 1.
    pub epochs: usize,
    /// Images a step, at least 1; the last step of an epoch takes what is left.
    pub batch_size: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Factor of the weights added to the gradients (L2 regularisation, as PyTorch's Adam has it).
    pub weight_decay: f64,
    /// What initial weights, division, order and dropout follow from.
    pub seed: u64,
    /// Training images held out to choose the best epoch by.
    pub validation: usize,
    /// The most training images to learn from; all where absent.
    pub train_limit: Option<usize>,
    /// The most test images to measure by, from the first one on; all where absent.
    pub test_limit: Option<usize>,
}

/// The content of `config.json`.
#[derive(Debug, Clone, Serialize)]
pub struct RunConfig {
    /// Program and version.
    pub producer: &'static str,
    /// The arguments as they were given.
    pub command: Vec<String>,
    /// Name of the network's architecture.
    pub network: &'static str,
    /// What it runs on: "cpu", or the number and name of a GPU.
    pub device: String,
    /// Threads used; on the CPU, results are the same again only with the same number.
    pub threads: usize,
    /// Operating system and processor family.
    pub platform: String,
    /// The resolved options.
    pub options: Options,
    /// Images an epoch learns from, and is measured by.
    pub images: ImageCounts,
    /// The data's files.
    pub data: Vec<DataFile>,
    /// The weights it started from, where not from random ones.
    pub init: Option<DataFile>,
}

/// Numbers of images in each role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ImageCounts {
    /// Learnt from in each epoch.
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
    fn a_command_line_can_be_pasted_back() {
        let arguments = ["trainer", "--out", "my runs/a", "--seed=1", "", "it's"].map(String::from);
        assert_eq!(shell_line(&arguments), r"trainer --out 'my runs/a' --seed=1 '' 'it'\''s'");
    }
}
