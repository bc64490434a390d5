//! `infer-cli inspect` on weights, on other files and on broken ones.

use std::{collections::BTreeMap, fs};

use crate::common::{Folder, Tensor, write};
use predicates::str::contains;

#[test]
fn shows_tensors_totals_metadata_and_the_network() {
    let folder = Folder::new();
    let output = folder.program(&["inspect", "lenet5.safetensors"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec!["conv2.weight", "F32", "[16,", "6,", "5,", "5]", "2,400", "9,600"]), "{text}");
    assert!(rows.contains(&vec!["10", "tensors", "61,706", "246,824"]), "{text}");
    assert!(text.contains("  classes: [\"T-shirt/top\","), "{text}");
    assert!(text.contains("  LeNet5: fits\n"), "{text}");
    assert!(
        text.contains("  AlexNet: does not fit: tensor conv1.weight: expected shape[0] to be 96, found 6"),
        "{text}"
    );
}

#[test]
fn prints_json() {
    let folder = Folder::new();
    let output = folder.program(&["inspect", "--json", "lenet5.safetensors"]).output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["file"], "lenet5.safetensors");
    assert_eq!(value["size"], fs::metadata(folder.path("lenet5.safetensors")).unwrap().len());
    assert_eq!((&value["values"], &value["bytes"]), (&61_706.into(), &246_824.into()));
    let tensors = value["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 10);
    let named: BTreeMap<_, _> = tensors.iter().map(|t| (t["name"].as_str().unwrap(), &t["shape"])).collect();
    assert_eq!(named["linear3.weight"], &serde_json::json!([10, 84]));
    assert_eq!(value["metadata"]["architecture"], "lenet5");
    assert_eq!(value["networks"]["lenet5"], serde_json::json!({"fits": true, "reason": null}));
    assert_eq!(value["networks"]["alexnet"]["fits"], false);
}

/// Names live as long as the program: the tests end soon.
fn many(count: usize) -> Vec<(&'static str, Tensor)> {
    (0..count).map(|i| (&*format!("layer.{i}").leak(), Tensor(vec![2], vec![1.0, 2.0]))).collect()
}

#[test]
fn shows_any_safetensors_file_of_up_to_4096_tensors() {
    let folder = Folder::new();
    write(&folder.path("many"), many(4096), &[("note", "\u{1b}[31mred\n")]);
    let output = folder.program(&["inspect", "many"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("4,096 tensors") && text.contains("layer.4095"));
    assert!(text.contains("note: \\u{1b}[31mred\\n"), "an escape reaches the terminal");
    write(&folder.path("more"), many(4097), &[]);
    folder.program(&["inspect", "more"]).assert().code(2).stderr(contains("cannot use more: more than 4096 tensors"));
}

#[test]
fn refuses_what_is_no_safetensors_file() {
    let folder = Folder::new();
    folder.file("text", b"this is a text and not a safetensors file");
    let error = "error: cannot use text: not a safetensors file: ";
    folder.program(&["inspect", "text"]).assert().code(2).stdout("").stderr(contains(error));
    let good = fs::read(folder.path("lenet5.safetensors")).unwrap();
    folder.file("cut", &good[..1000]);
    folder.program(&["inspect", "cut", "--json"]).assert().code(2).stdout("").stderr(contains("truncated"));
    folder.program(&["inspect", "nowhere"]).assert().code(2).stderr(contains("cannot read nowhere: No such file"));
    folder.program(&["inspect", "."]).assert().success().stdout(contains("conv1.bias"));
    folder.file("other.safetensors", b"");
    let several = "found a folder with 2 of them (lenet5.safetensors, other.safetensors); name one";
    folder.program(&["inspect", "."]).assert().code(2).stderr(contains(several));
}
