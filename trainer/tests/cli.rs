//! The `trainer` program as its users meet it: real files, real processes, output, messages and exit status.

use crate::common;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use safetensors::SafeTensors;
use serde_json::Value;

fn trainer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainer")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs the program and demands an exit status. Returns stdout and stderr.
fn status(expected: i32, arguments: &[&str]) -> (String, String) {
    let output = trainer(arguments);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(expected), "{arguments:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Trains LeNet-5 briefly into a folder.
fn train(out: &Path, more: &[&str]) -> (String, String) {
    let mut arguments = vec!["--network", "lenet5", "--epochs", "2", "--train-limit", "1000", "--batch-size", "32"];
    arguments.extend(["--validation", "200", "--test-limit", "500", "--learning-rate", "0.002", "--threads", "2"]);
    arguments.extend(["--out", utf8(out)]);
    arguments.extend(more);
    status(0, &arguments)
}

/// A folder with Fashion-MNIST's files, to break one of them.
fn copy_of_the_data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = common::files();
    for path in [files.train_images, files.train_labels, files.test_images, files.test_labels] {
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

#[test]
fn help_goes_to_stdout_and_names_everything() {
    let (help, errors) = status(0, &["--help"]);
    for word in ["train", "evaluate", "summary", "samples", "--epochs <N>", "[default: 256]", "--quick", "Examples:"] {
        assert!(help.contains(word), "{word}");
    }
    assert_eq!(errors, "");
    assert!(status(0, &["evaluate", "--help"]).0.contains("--weights <FILE>"));
    assert!(status(0, &["--version"]).0.starts_with("trainer "));
}

#[test]
fn impossible_arguments_are_refused_with_status_2() {
    let cases: [(&[&str], &str); 12] = [
        (&["--epochs", "0"], "0 is not in 1..="),
        (&["--batch-size", "0"], "0 is not in 1..=8192"),
        (&["--batch-size", "100000"], "100000 is not in 1..=8192"),
        (&["--learning-rate", "-1"], "expected a number greater than 0 and at most 10"),
        (&["--learning-rate=NaN"], "expected a number greater than 0 and at most 10"),
        (&["--weight-decay", "2"], "expected a number from 0 to 1"),
        (&["--threads", "0"], "0 is not in 1..="),
        (&["--train-limit", "0"], "0 is not in 1..="),
        (
            &["--network", "resnet"],
            "possible values: alexnet, alexnet-imagenet, alexnet-2012, alexnet-rank64, alexnet-rank128, alexnet-rank256, lenet5",
        ),
        (&["--device", "cuda"], "no CUDA support"),
        (&["evaluate"], "--weights"),
        (&["samples", "--out", "x", "--count", "0"], "0 is not in 1..="),
    ];
    for (arguments, message) in cases {
        let (output, errors) = status(2, arguments);
        assert_eq!(output, "");
        assert!(errors.contains(message), "{arguments:?}: {errors}");
    }
}

#[test]
fn what_is_trained_is_what_is_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("deep/run");
    let (output, errors) = train(&out, &[]);
    assert_eq!(output, "");
    assert!(errors.contains("epoch    loss accuracy"), "{errors}");
    let mut names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "checkpoints",
            "config.json",
            "curves.svg",
            "lenet5.safetensors",
            "metrics.csv",
            "metrics.jsonl",
            "report.html"
        ]
    );

    let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["options"]["train_limit"], 1000);
    assert_eq!(config["images"]["train"], 1000);
    assert_eq!(config["threads"], 2);
    assert_eq!(config["command"][0], "trainer");
    assert_eq!(config["data"].as_array().unwrap().len(), 4);
    assert_eq!(config["data"][3]["sha256"], "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34");

    // One page that needs nothing beside it.
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    for text in ["<svg", "Ankle boot", "data:image/png;base64,iVBOR", "\"train_limit\": 1000", "--network lenet5"] {
        assert!(page.replace("&quot;", "\"").contains(text), "{text}");
    }
    assert!(!page.contains("src=\"http") && !page.contains("<script src") && !page.contains("<link"));
    // Curves and images that a script shows are in it.
    assert_eq!(page.matches("<figure class=\"chart\" data-chart=").count(), 2);
    let between = |before: &str, after: &str| page.split_once(before).unwrap().1.split(after).next().unwrap();
    let behind: Value = serde_json::from_str(between("id=\"cells\">", "</script>")).unwrap();
    let cells = behind["cells"].as_object().unwrap();
    assert!(cells.len() > 20 && page.matches("<button type=\"button\" data-cell=").count() == cells.len());
    for images in cells.values() {
        let images = images.as_array().unwrap();
        assert!((1..=8).contains(&images.len()));
        assert!(
            images.iter().all(|image| behind["pictures"][image[0].to_string()].as_str().unwrap().starts_with("iVBOR"))
        );
    }
    assert!(page.contains("Expected calibration error "));
    let accuracy = page.split(" % of 500 test images").next().unwrap().rsplit('>').next().unwrap();

    // The file says what it is; a reader needs nothing else.
    let weights = out.join("lenet5.safetensors");
    let bytes = fs::read(&weights).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!((metadata["format"].as_str(), metadata["architecture"].as_str()), ("pt", "lenet5"));
    assert_eq!(
        metadata["preprocessing"],
        r#"{"color":"grayscale-bt601","range":[0,1],"resize":"bilinear-antialias","height":28,"width":28}"#
    );
    assert_eq!(accuracy, format!("{:.2}", 100.0 * metadata["test_accuracy"].parse::<f64>().unwrap()));
    let classes: Vec<String> = serde_json::from_str(&metadata["classes"]).unwrap();
    assert_eq!((classes.len(), classes[9].as_str()), (10, "Ankle boot"));
    assert_eq!((metadata["seed"].as_str(), metadata["epochs"].as_str()), ("0", "2"));
    assert!(metadata["command"].starts_with("trainer --network lenet5 --epochs 2"));
    assert!(metadata["producer"].starts_with("trainer "));

    // Evaluation finds what training measured in the epoch that the file names.
    let evaluate = ["evaluate", "--weights", utf8(&weights), "--test-limit", "500"];
    let (json, _) = status(0, &[&evaluate[..], &["--json", "--batch-size", "7"]].concat());
    let report: Value = serde_json::from_str(&json).unwrap();
    let near = |name: &str, key: &str| {
        let value = report[name].as_f64().unwrap();
        let known: f64 = metadata[key].parse().unwrap();
        assert!((value - known).abs() < 2e-6, "{name}: {value} and {known}");
    };
    near("accuracy", "test_accuracy");
    near("loss", "test_loss");
    assert_eq!((report["network"].as_str(), report["images"].as_u64()), (Some("lenet5"), Some(500)));
    let number = |value: &Value| value.as_u64().unwrap();
    let rows = report["confusion"].as_array().unwrap();
    let mut correct = 0;
    for (class, row) in rows.iter().enumerate() {
        let row: Vec<u64> = row.as_array().unwrap().iter().map(number).collect();
        let described = &report["classes"][class];
        assert_eq!(described["label"], classes[class]);
        assert_eq!(number(&described["images"]), row.iter().sum::<u64>());
        assert_eq!(number(&described["correct"]), row[class]);
        correct += row[class];
    }
    assert_eq!(correct as f64 / 500.0, report["accuracy"].as_f64().unwrap());
    assert!(correct > 250, "{correct} of 500");

    let (table, _) = status(0, &evaluate);
    for text in ["lenet5", "500 test images", "accuracy", "0 T-shirt/top", "9 Ankle boot"] {
        assert!(table.contains(text), "{text} is missing from\n{table}");
    }
}

#[test]
fn runs_are_drawn_in_one_picture() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    train(&one, &[]);
    train(&other, &["--optimiser", "sgd", "--momentum", "0.5"]);
    let picture = folder.path().join("both.svg");
    status(0, &["plot", utf8(&one), utf8(&other), "--out", utf8(&picture)]);
    let svg = fs::read_to_string(&picture).unwrap();
    assert!(svg.contains(utf8(&one)) && svg.contains(utf8(&other)) && svg.contains("Accuracy"));
    let page = folder.path().join("both.html");
    status(0, &["plot", utf8(&one), utf8(&other), "--out", utf8(&page)]);
    let html = fs::read_to_string(&page).unwrap();
    for text in [
        "<title>2 runs</title>",
        "Options that differ",
        "<code>options.optimiser",
        "<th>Ankle boot</th>",
        "test accuracy",
    ] {
        assert!(html.contains(text), "{text} is missing from\n{html}");
    }
    let (_, errors) = status(2, &["plot", utf8(&one), "--out", "x.png"]);
    assert!(errors.contains("expected a name that ends in .svg (a picture) or .html (a page)"), "{errors}");
    let filters = folder.path().join("filters.png");
    status(0, &["filters", utf8(&one), "--out", utf8(&filters), "--scale", "3"]);
    // Six filters of 5×5 in three columns and two rows, with lines around them.
    let drawn = image::open(&filters).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (3 * 19, 3 * 13));
    let (_, errors) = status(2, &["plot", utf8(folder.path())]);
    let expected = format!("error: there is no run in {}, or its first epoch has not ended", utf8(folder.path()));
    assert!(errors.contains(&expected) && errors.contains("config.json, metrics.csv (a line an epoch)"), "{errors}");
    let missing = folder.path().join("missing");
    let (_, errors) = status(2, &["plot", utf8(&missing)]);
    assert!(errors.contains(&format!("there is no folder {}", utf8(&missing))), "{errors}");
    let (_, errors) = status(2, &["plot", utf8(&picture)]);
    assert!(errors.contains("both.svg is a file; name the folder of a run"), "{errors}");
    let (_, errors) = status(2, &["plot", utf8(&one), "--out", utf8(&missing.join("both.svg"))]);
    assert!(errors.contains(&format!("there is no folder {}; create it first", utf8(&missing))), "{errors}");
}

#[test]
fn training_goes_on_from_a_file_and_its_network_is_known_without_metadata() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), &[]);
    let bytes = fs::read(folder.path().join("lenet5.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let bare = folder.path().join("bare.safetensors");
    safetensors::serialize_to_file(tensors.tensors(), None::<HashMap<String, String>>, &bare).unwrap();
    let (table, _) = status(0, &["evaluate", "--weights", utf8(&bare), "--test-limit", "100"]);
    assert!(table.contains("(lenet5)"), "{table}");

    let first_loss = |out: &Path| -> f64 {
        let csv = fs::read_to_string(out.join("metrics.csv")).unwrap();
        csv.lines().nth(1).unwrap().split(',').nth(1).unwrap().parse().unwrap()
    };
    let out = folder.path().join("more");
    train(&out, &["--init", utf8(&bare)]);
    assert!(first_loss(&out) < first_loss(folder.path()));
    let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["init"]["path"], utf8(&bare));
    assert_eq!(config["init"]["sha256"].as_str().unwrap().len(), 64);

    // Weights that know how their inputs were normalised go on with that, unless something else is said.
    let normalisation = |out: &Path| -> Value {
        let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
        config["options"]["normalisation"].clone()
    };
    let normalised = folder.path().join("normalised");
    train(&normalised, &["--normalise"]);
    let weights = normalised.join("lenet5.safetensors");
    train(&out, &["--init", utf8(&weights), "--seed", "5", "--overwrite"]);
    assert!(normalisation(&normalised)["mean"].is_f64());
    assert_eq!(normalisation(&out), normalisation(&normalised));
    train(&out, &["--init", utf8(&weights), "--normalise", "false", "--overwrite"]);
    assert!(normalisation(&out).is_null());

    let (_, errors) =
        status(2, &["--network", "alexnet", "--init", utf8(&bare), "--out", utf8(&folder.path().join("x"))]);
    assert!(errors.contains("bare.safetensors"), "{errors}");
    let (_, errors) =
        status(2, &["--network", "alexnet", "--init", utf8(&weights), "--out", utf8(&folder.path().join("x"))]);
    assert!(errors.contains("these are weights of \"lenet5\", and the run trains \"alexnet\""), "{errors}");
}

#[test]
fn missing_data_is_reported_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let out = folder.path().join("out");
    for command in ["train", "samples"] {
        let (_, errors) = status(2, &[command, "--data", utf8(&nowhere), "--out", utf8(&out)]);
        assert!(errors.contains(&format!("{}: there is no such folder", nowhere.display())), "{errors}");
        assert!(!errors.contains("Fashion-MNIST"), "{errors}");
        assert!(!out.exists());
    }
}

#[test]
fn corrupt_data_is_refused_by_name() {
    let folder = copy_of_the_data();
    let refusal = |message: &str| {
        let out = folder.path().join("out");
        let (_, errors) = status(2, &["--data", utf8(folder.path()), "--out", utf8(&out)]);
        assert!(errors.contains(utf8(folder.path())) && errors.contains(message), "{errors}");
    };
    // Plain files come before gzipped ones of the same name.
    let labels = folder.path().join("train-labels-idx1-ubyte");
    let header = [0, 0, 8, 1, 0, 0, 0xea, 0x60];
    fs::write(&labels, header).unwrap();
    refusal("train-labels-idx1-ubyte: truncated: the header declares 60000 elements, found 0");
    fs::write(&labels, [&header[..], &[10; 60_000]].concat()).unwrap();
    refusal("train-labels-idx1-ubyte: label 10 of image 0 is out of range: expected 0 to 9");
    fs::write(&labels, [0, 0, 8, 1, 0, 0, 0, 1, 5]).unwrap();
    refusal("holds 60000 images, but");
    fs::write(&labels, "labels").unwrap();
    refusal("train-labels-idx1-ubyte: bad magic number: expected 0x00000801");
    fs::remove_file(&labels).unwrap();
    let images = folder.path().join("t10k-images-idx3-ubyte.gz");
    let bytes = fs::read(&images).unwrap();
    fs::write(&images, &bytes[..bytes.len() / 2]).unwrap();
    refusal("t10k-images-idx3-ubyte.gz: ");
    fs::remove_file(&images).unwrap();
    refusal("neither t10k-images-idx3-ubyte nor t10k-images-idx3-ubyte.gz");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let out = file.join("run");
    for command in ["train", "samples"] {
        let (_, errors) = status(2, &[command, "--out", utf8(&out)]);
        assert!(errors.contains(&format!("cannot write {}", out.display())), "{errors}");
        assert!(!errors.contains("Training"), "{errors}");
        assert_eq!(errors.matches("os error").count(), 1, "{errors}");
    }
}

#[test]
fn more_held_out_than_there_is_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, errors) = status(2, &["--validation", "60000", "--out", utf8(folder.path())]);
    assert!(errors.contains("--validation 60000 leaves no image to learn from"), "{errors}");
}

#[test]
fn unusable_weights_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let refusal = |message: &str| {
        let (output, errors) = status(2, &["evaluate", "--weights", utf8(&path)]);
        assert_eq!(output, "");
        assert!(errors.contains(utf8(&path)) && errors.contains(message), "{errors}");
    };
    refusal("No such file");
    fs::write(&path, "no weights at all").unwrap();
    refusal("not a valid safetensors file");
    let save = |metadata: Option<HashMap<String, String>>| {
        let none: [(&str, safetensors::tensor::TensorView<'_>); 0] = [];
        fs::write(&path, safetensors::serialize(none, metadata).unwrap()).unwrap();
    };
    save(None);
    refusal(
        "it has no tensor of alexnet, alexnet-imagenet, alexnet-2012, alexnet-rank64, alexnet-rank128, alexnet-rank256 or lenet5",
    );
    save(Some([("architecture".to_string(), "vgg".to_string())].into()));
    refusal("unknown architecture \"vgg\"");
    save(Some([("architecture".to_string(), "lenet5".to_string())].into()));
    refusal("linear3.bias");
}

#[test]
fn samples_are_the_same_images_every_time() {
    let data = common::dataset();
    let folder = tempfile::tempdir().unwrap();
    for out in ["a", "b"] {
        let out = folder.path().join(out);
        let (output, errors) = status(0, &["samples", "--out", utf8(&out), "--count", "40"]);
        assert_eq!(output, "");
        assert!(errors.contains("Wrote 40 images"), "{errors}");
    }
    for position in 0..40 {
        let class = &data.classes[usize::from(data.test.labels()[position])];
        let name: PathBuf = [class.replace(['/', ' '], "_"), format!("{position:05}.png")].iter().collect();
        let bytes = fs::read(folder.path().join("a").join(&name)).unwrap();
        assert!(bytes == fs::read(folder.path().join("b").join(&name)).unwrap());
        let image = image::load_from_memory(&bytes).unwrap();
        assert_eq!((image.width(), image.height(), image.color()), (28, 28, image::ColorType::L8));
        assert_eq!(image.as_bytes(), data.test.image(position));
    }
    let (_, errors) = status(2, &["samples", "--out", utf8(folder.path()), "--count", "10001"]);
    assert!(errors.contains("--count 10001: there are only 10,000 test images"), "{errors}");
}

#[test]
fn runs_that_learn_nothing_are_failures() {
    let folder = tempfile::tempdir().unwrap();
    let (chance, diverged) = (folder.path().join("chance"), folder.path().join("diverged"));
    let mut arguments = vec!["--network=lenet5", "--epochs=1", "--train-limit=2000", "--batch-size=16"];
    arguments.extend(["--validation=0", "--test-limit=500", "--threads=2"]);
    // A network that is taught almost nothing.
    let slow = [&arguments[..], &["--learning-rate=1e-12", "--out", utf8(&chance)]].concat();
    let (_, errors) = status(1, &slow);
    assert!(errors.contains("That takes about ") && errors.contains("the network has learnt nothing"), "{errors}");
    assert!(chance.join("lenet5.safetensors").exists());
    let fast = [&arguments[..], &["--learning-rate=10", "--out", utf8(&diverged)]];
    let (_, errors) = status(1, &fast.concat());
    assert!(errors.contains("training diverged: the loss is "), "{errors}");
}

#[test]
fn what_is_taken_for_weights_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let quiet = train(&run, &["--quiet"]);
    assert!(quiet.0.is_empty() && quiet.1.starts_with("warning: that makes only 64 steps"), "{quiet:?}");
    assert_eq!(quiet.1.lines().count(), 1);
    // The folder of a run means its weights.
    let (inside, _) = status(0, &["evaluate", "-qw", utf8(&run), "--test-limit", "100"]);
    assert!(inside.contains("lenet5.safetensors (lenet5) on 100 test images"), "{inside}");
    let checkpoint = fs::read_dir(run.join("checkpoints")).unwrap().next().unwrap().unwrap().path();
    let (_, errors) = status(2, &["evaluate", "-w", utf8(&checkpoint)]);
    assert!(errors.contains("expected weights, found a checkpoint of a training run"), "{errors}");
    let (_, errors) =
        status(2, &["--network=lenet5", "--init", utf8(&checkpoint), "--out", utf8(&folder.path().join("x"))]);
    assert!(errors.contains("expected weights, found a checkpoint of a training run"), "{errors}");
    let image = folder.path().join("image.safetensors");
    fs::write(&image, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
    let (_, errors) = status(2, &["evaluate", "-w", utf8(&image)]);
    assert!(errors.contains("expected a safetensors file, found an image"), "{errors}");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let (_, errors) = status(2, &["evaluate", "-w", utf8(&empty)]);
    assert!(errors.contains("expected a weights file, found a folder"), "{errors}");
    let (_, errors) = status(2, &["--resume", utf8(&empty)]);
    assert!(errors.contains("empty: there is no run in this folder, it has no config.json"), "{errors}");
    let (_, errors) = status(2, &["--network=lenet5", "--out", utf8(&image)]);
    assert!(errors.contains("image.safetensors: expected a folder, found a file"), "{errors}");
    let (_, errors) = status(2, &["plot", utf8(&run), "--out", "curves.png"]);
    assert!(errors.contains("expected a name that ends in .svg"), "{errors}");
}

#[test]
fn the_short_help_fits_a_screen() {
    // Where stdout is no terminal, lines are as long as COLUMNS says, or 100 columns.
    let narrow = Command::new(env!("CARGO_BIN_EXE_trainer")).arg("-h").env("COLUMNS", "80").output().unwrap();
    let short = String::from_utf8(narrow.stdout).unwrap();
    let long = status(0, &["--help"]).0;
    assert!(short.lines().count() <= 32, "{}: {short}", short.lines().count());
    assert!(short.lines().all(|line| line.chars().count() <= 80), "{short}");
    for option in ["--data", "--network", "--quick", "--recipe", "--epochs", "--out", "--resume", "--device"] {
        assert!(long.contains(option) && short.contains(option), "{option}");
    }
    for option in ["--checkpoint-minutes", "--label-smoothing", "--test-share", "--ema"] {
        assert!(long.contains(option) && !short.contains(option), "{option}");
    }
}

#[test]
fn summary_counts_the_parameters() {
    assert!(status(0, &["summary"]).0.contains("46,764,746"));
    assert!(status(0, &["summary", "--network", "lenet5"]).0.contains("61,706"));
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    let output = command.arg("summary").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
#[cfg(target_os = "linux")]
fn a_result_that_cannot_be_written_is_a_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    let output = command.arg("summary").stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: cannot write to stdout: "));
}

/// The fields of a message of Protocol Buffers: number, and the value of a number or the bytes of all else.
fn fields(message: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (number, rest) = bytes.split_at(end);
        *bytes = rest;
        number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F))
    }
    let (mut rest, mut fields) = (message, Vec::new());
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let value = varint(&mut rest);
        let bytes = match key & 7 {
            0 => &[][..],
            2 => rest.split_off(..value as usize).unwrap(),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, value, bytes));
    }
    fields
}

#[test]
fn an_onnx_model_has_the_weights_and_metadata_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&run, &[]);
    let path = folder.path().join("lenet5.onnx");
    status(0, &["export", utf8(&run), "--onnx", utf8(&path)]);
    let (_, errors) = status(2, &["export", utf8(&run), "--onnx", utf8(&path)]);
    assert!(errors.contains("exists; replace it with --force"), "{errors}");
    let model = fs::read(&path).unwrap();
    let all = |message, field| fields(message).into_iter().filter(move |one| one.0 == field).map(|one| one.2);
    let text = |message, field| String::from_utf8(all(message, field).next().unwrap().to_vec()).unwrap();
    let graph = all(&model, 7).next().unwrap();
    let operators: Vec<_> = all(graph, 1).map(|node| text(node, 4)).collect();
    let block = ["Conv", "Relu", "MaxPool"];
    assert_eq!(operators, [&block[..], &block, &["Flatten", "Gemm", "Relu", "Gemm", "Relu", "Gemm"]].concat());
    // Each operator takes the output of the one before.
    let mut last = "image".to_string();
    for node in all(graph, 1) {
        assert_eq!(text(node, 1), last);
        last = text(node, 2);
    }
    assert_eq!((last.as_str(), text(all(graph, 12).next().unwrap(), 1).as_str()), ("logits", "logits"));
    let bytes = fs::read(run.join("lenet5.safetensors")).unwrap();
    let weights = SafeTensors::deserialize(&bytes).unwrap();
    let tensors: HashMap<_, _> = all(graph, 5).map(|tensor| (text(tensor, 8), tensor)).collect();
    assert_eq!(tensors.len(), weights.len());
    for (name, expected) in weights.tensors() {
        let shape: Vec<usize> =
            fields(tensors[&name]).iter().filter(|field| field.0 == 1).map(|field| field.1 as usize).collect();
        assert_eq!(
            (shape, all(tensors[&name], 9).next().unwrap()),
            (expected.shape().to_vec(), expected.data()),
            "{name}"
        );
    }
    let metadata: HashMap<_, _> = all(&model, 14).map(|entry| (text(entry, 1), text(entry, 2))).collect();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(Some(metadata), *header.metadata());
    let (_, errors) = status(2, &["export", utf8(&path), "--onnx", utf8(&folder.path().join("x"))]);
    assert!(errors.contains("expected a safetensors file, found an ONNX model"), "{errors}");
}
