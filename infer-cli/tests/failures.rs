//! `infer-cli classify` where nothing can be done: usage, weights, output.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

use crate::common::{Folder, LENET5, Tensor, tensors, write};
use predicates::str::contains;

/// The one line on the standard error of a run that ends with status 2 and prints nothing else.
fn error(mut command: assert_cmd::Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty());
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().strip_prefix("error: ").expect(&text).to_owned()
}

#[test]
fn usage_errors_say_how_to_go_on() {
    let folder = Folder::new();
    folder.program(&["classify"]).assert().code(2).stderr(contains("<PATH>..."));
    folder.classify(&["a.png", "--top-k", "0"]).assert().code(2).stderr(contains("--top-k"));
    folder.classify(&["a.png", "--format", "xml"]).assert().code(2).stderr(contains("jsonl"));
    folder.classify(&["a.png", "--threads", "0"]).assert().code(2);
    folder.program(&["--version"]).assert().success().stdout(contains(env!("CARGO_PKG_VERSION")));
    folder.program(&["classify", "--help"]).assert().success().stdout(contains("Examples:"));
}

#[test]
fn weights_are_looked_for_where_the_trainer_writes_them() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    // With none, the model in the program is taken, which says what it knows.
    let knows =
        contains("the model in the program tells ten kinds of clothing apart, light on black: T-shirt/top, Trouser");
    folder.program(&["classify", "a.png"]).assert().success().stderr(knows);
    let text = error(folder.program(&["pack", "-o", "packed.safetensors"]));
    assert!(text.starts_with("no weights to pack: name a file with --weights"), "{text}");
    write(&folder.path("runs/alexnet/alexnet.safetensors"), tensors(&LENET5), &[]);
    folder.program(&["classify", "a.png"]).assert().success();
    // The one here comes first.
    folder.file("alexnet.safetensors", b"nothing");
    assert!(
        error(folder.program(&["classify", "a.png"])).starts_with("cannot use the weights in alexnet.safetensors: ")
    );
}

#[test]
fn weights_that_are_not_right_are_refused_with_the_reason() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    let path = folder.path("w.safetensors");
    let refused = || error(folder.program(&["classify", "-w", "w.safetensors", "a.png"]));
    let expect = |reason: &str| assert_eq!(refused(), format!("cannot use the weights in w.safetensors: {reason}"));

    assert_eq!(refused(), "cannot read w.safetensors: No such file or directory (os error 2)");
    fs::create_dir(&path).unwrap();
    assert_eq!(refused(), "w.safetensors: expected a weights file, found a folder without one (*.safetensors)");
    fs::remove_dir(&path).unwrap();
    folder.file("w.safetensors", b"");
    let empty = "expected a safetensors file, found an empty file; download or copy it again";
    assert_eq!(refused(), format!("cannot read w.safetensors: {empty}"));
    folder.file("w.safetensors", b"few");
    expect("not a safetensors file: 3 bytes, expected at least 8 for the header's length");

    let good = fs::read(folder.path("lenet5.safetensors")).unwrap();
    folder.file("w.safetensors", &good[..good.len() - 4]);
    assert!(refused().contains("truncated"), "{}", refused());

    let mut few = tensors(&LENET5);
    few.retain(|(name, _)| *name != "linear2.bias");
    write(&path, few, &[]);
    expect("these are not LeNet5's weights: tensor linear2.bias is missing");
    write(&path, tensors(&LENET5), &[("architecture", "alexnet")]);
    expect("these are not AlexNet's weights: tensor conv1.weight: expected shape[0] to be 96, found 6");
    write(&path, tensors(&LENET5), &[("architecture", "vgg")]);
    expect(
        "expected the metadata `architecture` to be alexnet, alexnet-imagenet, alexnet-2012, alexnet-rank64, alexnet-rank128, \
         alexnet-rank256 or lenet5, found \"vgg\"",
    );
    write(&path, vec![("x", Tensor(vec![1], vec![1.0]))], &[]);
    expect(
        "expected the tensors of alexnet, alexnet-imagenet, alexnet-2012, alexnet-rank64, alexnet-rank128, alexnet-rank256 or \
         lenet5: tensor conv1.weight is missing, the file's first tensor is x",
    );
    let mut not_finite = tensors(&LENET5);
    not_finite[0].1.1[7] = f32::NAN;
    write(&path, not_finite, &[]);
    expect("these are not LeNet5's weights: tensor conv1.weight: value 7 is NaN or infinite");
    write(&path, tensors(&LENET5), &[("classes", "[\"one\"]")]);
    expect(
        "cannot use the metadata `classes`, --labels FILE may replace them: expected 2 to 10 names, one a class, found 1",
    );
    write(&path, tensors(&LENET5), &[("preprocessing", "{\"color\":\"rgb\"}")]);
    assert!(refused().ends_with("found {\"color\":\"rgb\"}"));
}

#[test]
fn weights_whose_sums_overflow_make_error_records() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    let mut huge = tensors(&LENET5);
    for (_, tensor) in &mut huge {
        tensor.1.iter_mut().for_each(|value| *value = 1e30);
    }
    write(&folder.path("lenet5.safetensors"), huge, &[]);
    let (records, status) = folder.records(&["a.png"]);
    assert_eq!(status, 1);
    assert!(records[0]["error"].as_str().unwrap().starts_with("the network's output for class 0 is "), "{records:?}");
}

#[test]
fn labels_and_lists_that_are_not_right_are_refused() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    folder.file("labels", b"a\nb\n");
    let text = error(folder.classify(&["a.png", "--labels", "labels"]));
    assert!(text.ends_with("cannot use the labels in labels: expected 10 names, one a class, found 2"), "{text}");
    let text = error(folder.classify(&["--files-from", "nowhere"]));
    assert_eq!(text, "cannot open the list of files nowhere: No such file or directory (os error 2)");
}

#[test]
fn no_images_are_an_error_and_leave_no_file() {
    let folder = Folder::new();
    fs::create_dir(folder.path("empty")).unwrap();
    assert!(error(folder.classify(&["empty"])).starts_with("no images found"));
    assert!(error(folder.classify(&["empty", "-o", "out", "-f", "csv"])).starts_with("no images found"));
    assert_eq!(folder.names(), ["empty", "lenet5.safetensors"]);
}

#[test]
fn a_file_appears_when_it_is_complete() {
    let folder = Folder::new();
    folder.picture("set/a.png", 1);
    folder.file("out.csv", b"old");
    folder.classify(&["set", "-f", "csv", "-o", "out.csv"]).assert().success().stdout("");
    let text = fs::read_to_string(folder.path("out.csv")).unwrap();
    assert!(text.starts_with("path,class,label,probability,error\r\nset/a.png,"), "{text}");
    // One that fails leaves what was there.
    folder.file("bad.png", b"bad");
    folder.classify(&["set", "bad.png", "--strict", "-o", "out.csv"]).assert().code(1);
    assert_eq!(fs::read_to_string(folder.path("out.csv")).unwrap(), text);
    // One that has bad images is complete all the same.
    folder.classify(&["set", "bad.png", "-o", "out.csv"]).assert().code(1);
    assert_eq!(fs::read_to_string(folder.path("out.csv")).unwrap().lines().count(), 3);
    assert_eq!(folder.names(), ["bad.png", "lenet5.safetensors", "out.csv", "set"]);
    // The name says the format.
    let wrong = folder.classify(&["set", "-f", "jsonl", "-o", "out.csv"]).assert().code(2);
    wrong.stderr(contains("out.csv: the name is one of a file in the format csv, and --format is jsonl"));
    folder
        .classify(&["set", "-o", "none/out.csv"])
        .assert()
        .code(2)
        .stderr(contains("cannot write none/out.csv: there is no folder none; create it first"));
    assert_eq!(folder.names(), ["bad.png", "lenet5.safetensors", "out.csv", "set"]);
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    folder.picture("a.png", 1);
    let text = error(folder.classify(&["a.png", "-o", "nowhere/out"]));
    assert!(text.starts_with("cannot write nowhere/out: there is no folder nowhere; create it first"), "{text}");
    fs::create_dir(folder.path("dir")).unwrap();
    assert!(error(folder.classify(&["a.png", "-o", "dir"])).contains("Is a directory"));
    let text = error(folder.classify(&["a.png", "-o", "/dev/full"]));
    assert_eq!(text, "cannot write /dev/full: No space left on device (os error 28)");
    folder.classify(&["a.png", "-o", "/dev/null"]).assert().success();
    assert!(!fs::metadata("/dev/null").unwrap().is_file(), "/dev/null has been replaced");
    // A link stays one.
    symlink("target", folder.path("link")).unwrap();
    folder.file("target", b"old");
    folder.classify(&["a.png", "-o", "link"]).assert().success();
    assert!(fs::read_to_string(folder.path("target")).unwrap().contains("a.png"));
    assert!(fs::symlink_metadata(folder.path("link")).unwrap().is_symlink());

    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_infer-cli"))
        .current_dir(folder.path(""))
        .args(["classify", "-w", "lenet5.safetensors", "a.png"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, "error: cannot write the standard output: No space left on device (os error 28)\n");
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_ends_the_run_quietly() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    // Far more output than a pipe holds.
    folder.file("list", "a.png\n".repeat(20_000).as_bytes());
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_infer-cli"))
        .current_dir(folder.path(""))
        .args(["classify", "-w", "lenet5.safetensors", "-f", "jsonl", "--files-from", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"path\":\"a.png\""), "{line}");
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
    assert!(child.wait().unwrap().success());
}
