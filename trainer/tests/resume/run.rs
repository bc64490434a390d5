//! Runs of the real program, and what is compared of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use safetensors::SafeTensors;

use crate::common;

/// A run in `folder`/run: 3 epochs of 12 steps. Every option that has a state is in use. The command is the same in every
/// folder, for it is in the weights' metadata.
pub fn trainer(folder: &Path, arguments: &[&str]) -> Command {
    let data = common::files().train_images.parent().unwrap().canonicalize().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.args(arguments).arg("--data").arg(data).args(["--threads", "2", "--checkpoint-minutes", "0"]);
    command
}

/// Arguments of a new run.
pub const NEW: [&str; 24] = [
    "--network=lenet5",
    "--out=run",
    "--epochs=3",
    "--train-limit=380",
    "--batch-size=32",
    "--validation=100",
    "--test-limit=100",
    "--learning-rate=0.003",
    "--schedule=cosine",
    "--warmup-epochs=0.5",
    "--weight-decay=0.01",
    "--optimiser=adamw",
    "--clip-norm=1",
    "--ema=0.9",
    "--label-smoothing=0.1",
    "--patience=5",
    "--seed=7",
    "--step-epochs=2",
    "--step-factor=0.5",
    "--momentum=0.8",
    "--keep-checkpoints=3",
    "--flip",
    "--shift=2",
    "--normalise",
];

/// Arguments of a run that goes on.
pub const ON: [&str; 2] = ["--resume", "run"];

/// Text that a program has written.
pub fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// A run to its end, and its messages.
pub fn finish(folder: &Path, arguments: &[&str]) -> String {
    let output = trainer(folder, arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stderr)
}

/// Its checkpoints, oldest first.
pub fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("run/checkpoints")).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    paths.sort();
    paths
}

/// Files that a killed run left half-written.
pub fn leftovers(folder: &Path) -> usize {
    [folder.join("run"), folder.join("run/checkpoints")]
        .iter()
        .map(|folder| image_files::atomic::leftovers(folder).len())
        .sum()
}

/// Everything that must not depend on whether a run was stopped: the weights file, the last checkpoint's tensors, and the
/// measurements without their times, those of the report too.
pub fn results(folder: &Path) -> (Vec<u8>, Vec<u8>, Vec<String>, Vec<String>, String) {
    let run = folder.join("run");
    let checkpoint = fs::read(checkpoints(folder).last().unwrap()).unwrap();
    let csv = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let epochs = csv.lines().map(|line| line.split(',').take(7).collect::<Vec<_>>().join(",")).collect();
    let steps = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let steps = steps.lines().map(|line| line.split(",\"seconds\"").next().unwrap().to_owned()).collect();
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    // Its first part and these two tell times.
    let report = report.split("<h2>").skip(1);
    let report = report.filter(|part| !part.starts_with("Epochs") && !part.starts_with("Configuration"));
    (fs::read(weights(folder)).unwrap(), tensors(&checkpoint).to_vec(), epochs, steps, report.collect())
}

/// The weights file.
fn weights(folder: &Path) -> PathBuf {
    let paths = fs::read_dir(folder.join("run")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths = paths.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    paths.next().unwrap()
}

/// All values in a safetensors file.
pub fn tensors(file: &[u8]) -> &[u8] {
    let (header, _) = SafeTensors::read_metadata(file).unwrap();
    &file[8 + header..]
}

/// Steps that a run has made, as far as it says.
pub fn steps(folder: &Path) -> usize {
    fs::read(folder.join("run/metrics.jsonl")).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count())
}

/// Waits until a run is over, or has made so many steps.
pub fn wait_for_steps(child: &mut Child, folder: &Path, wanted: usize) {
    let patience = Instant::now() + Duration::from_secs(120);
    while steps(folder) < wanted && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < patience, "{wanted} steps are not reached");
        thread::sleep(Duration::from_micros(200));
    }
}

/// A run that nobody disturbs.
pub fn undisturbed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    finish(folder.path(), &NEW);
    assert_eq!((steps(folder.path()), checkpoints(folder.path()).len()), (36, 3));
    folder
}
