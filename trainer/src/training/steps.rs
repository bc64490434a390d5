//! `metrics.jsonl`: a line a step.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::error::OutputError;
use image_files::atomic;

/// Measurements of one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The step of the epoch, from 1.
    pub step: usize,
    /// Mean cross-entropy of the step's images before the step, in nats.
    pub loss: f64,
    /// Their accuracy, 0 to 1.
    pub accuracy: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// L2 norm of all gradients before clipping; absent in files of earlier versions, which measured it only to clip by it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gradient_norm: Option<f64>,
    /// Seconds that the step took, waiting for its images included; the mean of those whose results were read together.
    pub seconds: f64,
}

/// The file, open for more lines.
#[derive(Debug)]
pub struct StepLog {
    path: PathBuf,
    file: File,
}

impl StepLog {
    /// Opens the file for what follows `step` steps of `epoch`; later lines, which a run that was stopped wrote after its
    /// last checkpoint, are taken out, and so is a line that is not whole.
    ///
    /// # Errors
    /// [`OutputError::Write`] where the file cannot be read or written.
    pub fn open(path: PathBuf, epoch: usize, step: usize) -> Result<Self, OutputError> {
        match Self::try_open(&path, epoch, step) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(OutputError::Write { path, source }),
        }
    }

    fn try_open(path: &Path, epoch: usize, step: usize) -> io::Result<File> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let earlier = |line: &&str| {
            serde_json::from_str::<StepMetrics>(line).is_ok_and(|line| (line.epoch, line.step) <= (epoch, step))
        };
        let kept: String = text.lines().filter(earlier).flat_map(|line| [line, "\n"]).collect();
        atomic::write(path, |file| file.write_all(kept.as_bytes()))?;
        OpenOptions::new().append(true).open(path)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`OutputError::Write`] where the file cannot be written.
    pub fn add(&mut self, metrics: &StepMetrics) -> Result<(), OutputError> {
        let line = serde_json::to_string(metrics).map_err(io::Error::from);
        line.and_then(|line| self.file.write_all(format!("{line}\n").as_bytes()))
            .map_err(|source| OutputError::Write { path: self.path.clone(), source })
    }
}

/// The steps in such a file, as far as they can be read: for a picture.
pub fn read(path: &Path) -> Vec<StepMetrics> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(epoch: usize, step: usize) -> StepMetrics {
        let gradient_norm = (step == 2).then_some(0.1 + 0.2);
        StepMetrics { epoch, step, loss: 0.5, accuracy: 0.25, learning_rate: 1e-3, gradient_norm, seconds: 0.125 }
    }

    #[test]
    fn it_goes_on_after_the_last_step_that_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = StepLog::open(path.clone(), 1, 0).unwrap();
        for (epoch, step) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            log.add(&line(epoch, step)).unwrap();
        }
        fs::write(&path, fs::read_to_string(&path).unwrap() + "{\"epoch\":2,\"st").unwrap();
        StepLog::open(path.clone(), 2, 1).unwrap().add(&line(2, 2)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<StepMetrics> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, [line(1, 1), line(1, 2), line(2, 1), line(2, 2)]);
        assert!(
            text.starts_with(
                r#"{"epoch":1,"step":1,"loss":0.5,"accuracy":0.25,"learning_rate":0.001,"seconds":0.125}"#
            )
        );
    }
}
