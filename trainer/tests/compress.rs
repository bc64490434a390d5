//! `compress`: from AlexNet's weights to those of an AlexNet of low rank, which can be evaluated and trained on.

mod common;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use dfdx::prelude::Cpu;
use trainer::{
    export::{self, Metadata},
    model::{AlexNet, AlexNetRank64, Initialisation, LeNet5, Network},
};

/// Runs the program in a folder and demands an exit status. Returns stdout and stderr.
fn status(folder: &Path, expected: i32, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    let output = command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(expected), "{arguments:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

/// Random weights in a file.
fn weights<N: Network<Cpu>>(path: &Path) -> N {
    let network = N::init(&Cpu::default(), 10, Initialisation::He, 5).unwrap();
    let metadata = [("architecture", N::ARCHITECTURE), ("seed", "7"), ("test_accuracy", "0.75")];
    let metadata: Metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string())).into();
    export::save(path, &network, &metadata).unwrap();
    network
}

#[test]
fn compressed_weights_are_evaluated_and_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let dataset = common::dataset();
    let data = dataset.files[0].path.parent().and_then(Path::to_str).unwrap();
    let original: AlexNet<Cpu> = weights(&root.join("alexnet.safetensors"));
    let arguments = ["compress", "alexnet.safetensors", "--out=small.safetensors", "--data", data, "--calibration=65"];
    let rest = ["--validation=16", "--threads=2"];
    // Of 65 images, 64 components keep everything, and the smallest network does.
    let (output, notes) = status(root, 0, &[&arguments[..], &rest, &["--rank=64"]].concat());
    assert!(output.contains("alexnet.safetensors: 187,0") && output.contains("of 16 held-out images"), "{output}");
    let row = output.lines().find(|line| line.starts_with("alexnet-rank64")).unwrap();
    assert_eq!(row.matches("100.00 %").count(), 2, "{output}");
    assert!(output.contains("small.safetensors: alexnet-rank64, 19,8"), "{output}");
    assert!(notes.contains("trainer --init small.safetensors --recipe best"), "{notes}");

    let mut small = AlexNetRank64::<Cpu>::init(&Cpu::default(), 10, Initialisation::He, 0).unwrap();
    let metadata = export::load(&root.join("small.safetensors"), &mut small).unwrap();
    assert_eq!(small.conv5.weight.as_vec(), original.conv5.weight.as_vec());
    assert_eq!(small.linear3.weight.as_vec(), original.linear3.weight.as_vec());
    assert_eq!((&*metadata["original_test_accuracy"], &*metadata["seed"]), ("0.75", "7"));
    assert!(
        metadata["command"].starts_with("trainer compress alexnet.safetensors")
            && !metadata.contains_key("test_accuracy")
    );

    let (table, _) =
        status(root, 0, &["evaluate", "--weights=small.safetensors", "--data", data, "--test-limit=8", "--threads=2"]);
    assert!(table.contains("(alexnet-rank64) on 8 test images"), "{table}");
    let few = ["--epochs=1", "--batch-size=8", "--train-limit=16", "--validation=8", "--test-limit=8", "--threads=2"];
    status(root, 0, &[&["--init=small.safetensors", "--out=run", "--data", data, "-q"][..], &few].concat());
    let config = fs::read_to_string(root.join("run/config.json")).unwrap();
    assert!(config.contains("\"network\": \"alexnet-rank64\""), "{config}");
    assert!(root.join("run/alexnet-rank64.safetensors").is_file());
}

#[test]
fn what_cannot_be_compressed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let refused = |arguments: &[&str], message: &str| {
        let (output, errors) = status(root, 2, &[&["compress"], arguments].concat());
        assert!(output.is_empty() && errors.contains(message), "{errors}");
    };
    weights::<LeNet5<Cpu>>(&root.join("lenet5.safetensors"));
    let lenet5 = "lenet5.safetensors: these are weights of lenet5; only alexnet's can be compressed";
    refused(&["lenet5.safetensors", "--rank=64", "--out=small.safetensors"], lenet5);
    refused(&["lenet5.safetensors", "--rank=64", "--out=lenet5.safetensors"], "these are the weights to compress");
    refused(&["lenet5.safetensors", "--rank=64", "--out=absent/small.safetensors"], "cannot write to absent");
    refused(&["lenet5.safetensors", "--rank=100", "--out=x"], "expected 64, 128, 256 or auto");
    refused(&["absent.safetensors", "--rank=auto", "--out=x"], "absent.safetensors: cannot be read");
    assert!(!root.join("small.safetensors").exists());
}
