//! `pack`, `--kernel` and `bench`: AlexNet's weights in the order of its kernels.

use std::fs;

use crate::common::{self, ALEXNET, CLASSES, Folder, tensors, write};
use predicates::str::contains;
use serde_json::Value;

/// A folder with AlexNet's weights, packed both ways, and some pictures.
fn folder() -> Folder {
    let folder = Folder::new();
    write(&folder.path("alexnet.safetensors"), tensors(&ALEXNET), &[("classes", CLASSES), ("epoch", "7")]);
    folder.program(&["pack", "--output", "f32.safetensors"]).assert().success().stdout("").stderr("");
    let f16 = ["pack", "-w", "alexnet.safetensors", "-o", "f16.safetensors", "--linear-weights", "f16"];
    folder.program(&f16).assert().success();
    for seed in 0..5 {
        folder.picture(&format!("pictures/{seed}.png"), seed);
    }
    folder
}

/// An image's logits and label.
type Answer = (Vec<f64>, String);

/// The answers to all pictures.
fn classify(folder: &Folder, options: &[&str]) -> Vec<Answer> {
    let mut program = folder.program(&["classify", "pictures", "-f", "jsonl", "--logits"]);
    let output = program.args(options).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let record = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        let logits = record["logits"].as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap());
        (logits.collect(), record["label"].as_str().unwrap().to_owned())
    };
    text.lines().map(record).collect()
}

/// The largest difference of logits as a share of the image's largest.
fn difference(found: &[Answer], expected: &[Answer]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let of_image = |((found, _), (expected, _)): (&Answer, &Answer)| {
        let largest = expected.iter().fold(0.0, |largest: f64, logit| largest.max(logit.abs()));
        found.iter().zip(expected).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f64::max)
    };
    found.iter().zip(expected).map(of_image).fold(0.0, f64::max)
}

#[test]
fn packed_weights_give_the_same_answers() {
    let folder = folder();
    let expected = classify(&folder, &[]);
    assert_eq!(expected.len(), 5);
    let labels: Vec<String> = serde_json::from_str(CLASSES).unwrap();
    assert!(expected.iter().all(|(_, label)| labels.contains(label)));
    // The same arithmetic on the same numbers.
    assert_eq!(classify(&folder, &["--weights", "f32.safetensors"]), expected);
    let half = difference(&classify(&folder, &["--weights", "f16.safetensors"]), &expected);
    assert!(half > 0.0 && half < 1e-3, "{half:e}");
    // One image at a time on all threads, and all in one batch.
    assert!(difference(&classify(&folder, &["--threads", "1"]), &expected) < 1e-5);
}

#[test]
fn every_kernel_of_this_cpu_agrees_and_others_are_refused() {
    let folder = folder();
    let expected = classify(&folder, &["--kernel", "scalar"]);
    let mut refused = 0;
    for kernel in ["auto", "avx2", "avx512", "neon"] {
        let mut program = folder.program(&["classify", "pictures", "--kernel", kernel]);
        if program.output().unwrap().status.success() {
            assert!(difference(&classify(&folder, &["--kernel", kernel]), &expected) < 1e-4);
        } else {
            refused += 1;
            let message = format!("error: --kernel {kernel}: this CPU does not have the instructions, only ");
            program.assert().code(2).stdout("").stderr(contains(message));
        }
    }
    // No CPU is of two families.
    assert!(refused > 0);
}

#[test]
fn a_packed_file_is_a_safetensors_file_that_says_what_it_is() {
    let folder = folder();
    let bytes = fs::read(folder.path("f16.safetensors")).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = metadata.metadata().clone().unwrap();
    assert_eq!((&metadata["classes"][..], &metadata["epoch"][..]), (CLASSES, "7"));
    assert_eq!((&metadata["architecture"][..], &metadata["linear_weights"][..]), ("alexnet", "f16"));
    safetensors::SafeTensors::deserialize(&bytes).unwrap().tensor("alexnet.packed").unwrap();

    let output = folder.program(&["inspect", "--json", "f16.safetensors"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["networks"]["alexnet_packed"]["fits"], true);
    assert_eq!(found["networks"]["alexnet"]["fits"], false);
}

#[test]
fn what_cannot_be_packed_or_is_damaged_is_refused() {
    let folder = folder();
    let refused = |args: &[&str], message: &str| {
        folder.program(args).assert().code(2).stdout("").stderr(contains(message));
    };
    refused(
        &["pack", "-w", "f32.safetensors", "-o", "again"],
        "expected AlexNet's weights as they were trained, found packed",
    );
    refused(
        &["pack", "-w", "alexnet.safetensors", "-o", "none/again"],
        "error: cannot write none/again: there is no folder none; create it first",
    );
    assert!(!folder.path("again").exists());

    let bytes = fs::read(folder.path("f16.safetensors")).unwrap();
    let classify = ["classify", "pictures", "--weights", "bad.safetensors"];
    fs::write(folder.path("bad.safetensors"), &bytes[..bytes.len() - 1]).unwrap();
    refused(&classify, "cannot use the weights in bad.safetensors: tensor alexnet.packed: truncated");
    // The version of the layout, behind the eight letters that the packed weights begin with.
    let start = bytes.windows(8).position(|window| window == b"InferPak").unwrap();
    let mut other = bytes.clone();
    other[start + 8] = 99;
    fs::write(folder.path("bad.safetensors"), &other).unwrap();
    refused(&classify, "packed in version 99 of the layout");
    other[start] = b'B';
    fs::write(folder.path("bad.safetensors"), &other).unwrap();
    refused(&classify, "these are not packed weights");
}

#[test]
fn bench_measures_every_layer() {
    let folder = folder();
    let bench = |options: &[&str]| {
        let mut program = folder.program(&["bench", "--time", "0", "--threads", "2"]);
        let named = options.contains(&"--weights");
        let output = program
            .args(if named { &[][..] } else { &["--weights", "f16.safetensors"] })
            .args(options)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let found: Value = serde_json::from_str(&bench(&["--json"])).unwrap();
    assert_eq!(found["linear_weights"], "f16");
    for (measured, threads) in found["measured"].as_array().unwrap().iter().zip([1, 2]) {
        assert_eq!(measured["threads"], threads);
        let layers = measured["latency"]["layers"].as_array().unwrap();
        let seconds: f64 = layers.iter().map(|layer| layer["seconds"].as_f64().unwrap()).sum();
        assert_eq!(layers.len(), 11);
        assert!(seconds > 0.0 && measured["images_per_second"].as_f64().unwrap() > 0.0);
    }
    let text = bench(&[]);
    assert!(text.contains("16 images at a time on 2 threads:") && text.contains("linear3"), "{text}");
    // Every network alike.
    let lenet5 = bench(&["--weights", "lenet5.safetensors"]);
    assert!(lenet5.starts_with("LeNet5, kernel ") && lenet5.contains("pool2"), "{lenet5}");
    // Plain Rust, of a network that it computes in no time.
    let plain: Value =
        serde_json::from_str(&bench(&["--weights", "lenet5.safetensors", "--json", "--kernel", "scalar"])).unwrap();
    assert_eq!(plain["kernel"], "scalar");
}

#[test]
fn lenet5_is_packed_and_classifies_alike() {
    let folder = folder();
    let classify = |weights: &str| {
        let args = ["classify", "pictures", "--format", "jsonl", "--logits", "--weights", weights];
        let output = folder.program(&args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let pack = ["pack", "-w", "lenet5.safetensors", "-o", "packed5.safetensors", "--linear-weights", "f32"];
    folder.program(&pack).assert().success();
    let expected = classify("lenet5.safetensors");
    assert!(expected.lines().count() > 1, "{expected}");
    assert_eq!(classify("packed5.safetensors"), expected);
}

#[test]
fn weights_tell_any_number_of_classes_apart() {
    let folder = folder();
    for classes in [2, 37, 1000, 10_000] {
        write(&folder.path("many.safetensors"), common::tensors_for(&common::LENET5, classes), &[]);
        let pack = ["pack", "-w", "many.safetensors", "-o", "packed-many.safetensors", "--force"];
        folder.program(&[&pack[..], &["--linear-weights", "f32"]].concat()).assert().success();
        let records = |weights: &str| {
            let args = ["classify", "pictures", "--format", "jsonl", "--logits", "-k", "2", "--weights", weights];
            let output = folder.program(&args).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let found = records("many.safetensors");
        assert_eq!(records("packed-many.safetensors"), found);
        for record in found.lines() {
            let record: Value = serde_json::from_str(record).unwrap();
            let logits: Vec<f64> =
                record["logits"].as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap()).collect();
            assert_eq!(logits.len(), classes);
            let best = record["class"].as_u64().unwrap() as usize;
            assert!(logits.iter().all(|logit| *logit <= logits[best]), "{record}");
        }
    }
    write(&folder.path("one.safetensors"), common::tensors_for(&common::LENET5, 1), &[]);
    let refused = folder.program(&["classify", "pictures", "--weights", "one.safetensors"]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("linear3"), "{said}");
}
