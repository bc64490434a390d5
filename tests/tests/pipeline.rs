//! The programs one after the other on real data: train, evaluate, write samples, classify them. The accuracy that infer-cli
//! finds on the images that trainer wrote is the accuracy that trainer finds on the data set.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tests::program;

fn run(program: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().expect("the program starts");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {}\n{message}", program.display(), output.status);
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Trains `network` on `train` images and classifies the first `test` test images in both programs.
fn train_and_classify(network: &str, train: usize, test: usize, batch: usize, more: &[&str]) -> f64 {
    let (trainer, infer_cli) = (program("trainer"), program("infer-cli"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (out, samples) = (path("run"), path("samples"));
    let weights = format!("{out}/{network}.safetensors");
    let (train, test_limit, batch) = (train.to_string(), test.to_string(), batch.to_string());

    let options = ["train", "--network", network, "--epochs", "1", "--validation", "32", "--batch-size", &batch];
    run(
        &trainer,
        &[&options[..], &["--train-limit", &train, "--test-limit", &test_limit, "--out", &out], more].concat(),
    );
    let evaluated = json(&run(&trainer, &["evaluate", "--json", "--weights", &weights, "--test-limit", &test_limit]));
    run(&trainer, &["samples", "--out", &samples, "--count", &test_limit]);
    let inspected = json(&run(&infer_cli, &["inspect", "--json", &weights]));
    assert_eq!(inspected["metadata"]["architecture"], network);

    let classified = run(&infer_cli, &["classify", "--weights", &weights, "--format", "jsonl", &samples]);
    let records: Vec<Value> = String::from_utf8(classified.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object"))
        .collect();
    assert_eq!(records.len(), test);
    let right = records.iter().filter(|record| {
        let label: String = record["label"].as_str().expect("a label").replace(['/', ' '], "_");
        Path::new(record["path"].as_str().expect("a path")).parent().expect("a folder").ends_with(label)
    });
    let accuracy = right.count() as f64 / test as f64;
    assert_eq!(evaluated["accuracy"].as_f64().expect("an accuracy"), accuracy);
    accuracy
}

#[test]
fn lenet5_from_data_to_classified_images() {
    let accuracy = train_and_classify("lenet5", 8000, 500, 64, &[]);
    assert!(accuracy > 0.6, "one pass over 8000 images must teach it more than {accuracy}");
}

#[test]
fn alexnet_from_data_to_classified_images() {
    train_and_classify("alexnet", 64, 24, 32, &[]);
}

#[test]
fn normalised_inputs_are_the_same_in_both_programs() {
    let accuracy = train_and_classify("lenet5", 2000, 300, 32, &["--normalise", "--flip", "--shift", "1"]);
    assert!(accuracy > 0.5, "{accuracy}");
}

/// A light figure on black: upright bars, a disc, or level bars, of a place that depends on `seed`.
fn figure(class: usize, side: u32, seed: u32) -> image::GrayImage {
    image::GrayImage::from_fn(side, side, |x, y| {
        let noise = (x * 31 + y * 17 + seed).wrapping_mul(2_654_435_761) >> 27;
        let (left, top) = (i64::from(2 * x + seed % 5) - i64::from(side), i64::from(2 * y) - i64::from(side));
        let light = match class {
            0 => (8 * x / side + seed).is_multiple_of(2),
            1 => 3 * (left * left + top * top) < 2 * i64::from(side * side),
            _ => (8 * y / side + seed).is_multiple_of(2),
        };
        image::Luma([if light { 200 + noise as u8 } else { noise as u8 }])
    })
}

#[test]
fn images_of_ones_own_in_three_classes_are_the_same_to_both_programs() {
    const CLASSES: [&str; 3] = ["a disc", "level", "upright"];
    let (trainer, infer_cli) = (program("trainer"), program("infer-cli"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let data = path("figures");
    for (class, name) in CLASSES.iter().enumerate() {
        for number in 0..60 {
            let part = if number < 48 { "train" } else { "test" };
            let extension = ["png", "jpg"][number as usize % 2];
            let file = Path::new(&data).join(part).join(name).join(format!("{number}.{extension}"));
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("it can be written");
            figure([1, 2, 0][class], [28, 24, 20][number as usize % 3], number).save(file).expect("it can be written");
        }
    }
    let (run_folder, test) = (path("run"), format!("{data}/test"));
    let weights = format!("{run_folder}/lenet5.safetensors");
    let options =
        ["--network", "lenet5", "--epochs", "8", "--batch-size", "8", "--learning-rate", "0.003", "--normalise"];
    run(&trainer, &[&options[..], &["--data", &data, "--out", &run_folder]].concat());
    let evaluated = json(&run(&trainer, &["evaluate", "--json", "--weights", &weights, "--data", &data]));
    let accuracy = evaluated["accuracy"].as_f64().expect("an accuracy");
    assert!(accuracy > 0.6, "{accuracy}");

    let classified =
        run(&infer_cli, &["classify", "--weights", &weights, "--format", "jsonl", "-k", "10", "--evaluate", &test]);
    let mut confusion = [[0_u64; 3]; 3];
    for line in String::from_utf8(classified.stdout).expect("UTF-8").lines() {
        let record: Value = serde_json::from_str(line).expect("a JSON object");
        let top = record["top"].as_array().expect("classes");
        let mut labels: Vec<_> = top.iter().map(|class| class["label"].as_str().expect("a label")).collect();
        labels.sort_unstable();
        assert_eq!(labels, CLASSES);
        let sum: f64 = top.iter().map(|class| class["probability"].as_f64().expect("a probability")).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        let folder = Path::new(record["path"].as_str().expect("a path")).parent().expect("a folder");
        let class = CLASSES.iter().position(|name| folder.ends_with(name)).expect("a class's folder");
        confusion[class][record["class"].as_u64().expect("a class") as usize] += 1;
    }
    assert_eq!(evaluated["confusion"], serde_json::json!(confusion));
    let report = String::from_utf8(classified.stderr).expect("UTF-8");
    let right: u64 = (0..3).map(|class| confusion[class][class]).sum();
    assert!(report.contains(&format!("{:.2} %  ({right} of 36 images)", 100.0 * accuracy)), "{report}");
}
