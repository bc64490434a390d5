//! `infer-cli classify --format parquet`: a folder of files with the records of JSON lines, whole or gone on from.
#![cfg(unix)]

use std::{
    fs::{self, File},
    io::Write,
    process::{Command, Stdio},
};

use crate::common::Folder;
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Field, Row},
};
use predicates::str::contains;
use serde_json::{Value, json};

/// Ten pictures and one file that is none.
fn folder() -> Folder {
    let folder = Folder::new();
    for number in 0..10 {
        folder.picture(&format!("set/{number}.png"), number);
    }
    folder.file("set/4.jpg", b"bad");
    folder
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Int(number) => json!(number),
        // The number as JSON lines have it, with as many digits as a f32 needs.
        Field::Float(number) => serde_json::from_str(&serde_json::to_string(number).unwrap()).unwrap(),
        Field::Str(text) => json!(text),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::Group(group) => object(group),
        other => panic!("{other:?}"),
    }
}

/// A row as the JSON record that it stands for: without the columns that are null.
fn object(row: &Row) -> Value {
    let columns = row.get_column_iter().map(|(name, field)| (name.clone(), value(field)));
    columns.filter(|(_, value)| !value.is_null()).collect::<serde_json::Map<_, _>>().into()
}

/// The rows of all files of a folder, in order, and the number of files.
fn rows(folder: &Folder, name: &str) -> (Vec<Value>, usize) {
    let mut files: Vec<_> = fs::read_dir(folder.path(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path| {
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        reader.get_row_iter(None).unwrap().map(|row| object(&row.unwrap())).collect::<Vec<_>>()
    };
    (files.iter().flat_map(read).collect(), files.len())
}

#[test]
fn rows_are_the_records_of_json_lines() {
    let folder = folder();
    for options in [&[][..], &["--logits", "-k", "3"]] {
        let (expected, _) = folder.records(&[&["set"], options].concat());
        folder.classify(&[&["set", "-o", "out.parquet", "--rows", "4"], options].concat()).assert().code(1);
        let (found, files) = rows(&folder, "out.parquet");
        assert_eq!((found, files), (expected, 3));
        fs::remove_dir_all(folder.path("out.parquet")).unwrap();
    }
    // More rows than a row group has.
    let list: String = (0..9_000).map(|number| format!("set/{}.png\n", number % 10)).collect();
    folder.file("list", list.as_bytes());
    folder.classify(&["--files-from", "list", "-f", "parquet", "-o", "many"]).assert().success();
    let (found, files) = rows(&folder, "many");
    assert_eq!((found.len(), files), (9_000, 1));
    assert!(found.iter().enumerate().all(|(number, row)| row["path"] == format!("set/{}.png", number % 10)));
    let reader = SerializedFileReader::new(File::open(folder.path("many/part-00000.parquet")).unwrap()).unwrap();
    assert_eq!(reader.num_row_groups(), 2);
    // The trained model marks what it doubts.
    let mut built_in = folder.program(&["classify", "set", "-f", "parquet", "-o", "doubts"]);
    built_in.assert().code(1);
    let (found, _) = rows(&folder, "doubts");
    let jsonl = folder.program(&["classify", "set", "-f", "jsonl"]).output().unwrap().stdout;
    let expected: Vec<Value> = jsonl
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert!(found == expected && found.iter().any(|row| row.get("doubt").is_some()));
}

#[test]
fn a_run_goes_on_by_files() {
    let folder = folder();
    let arguments = ["set", "-f", "parquet", "-o", "out", "--rows", "3"];
    folder.classify(&arguments).assert().code(1);
    let (whole, files) = rows(&folder, "out");
    assert_eq!((whole.len(), files), (11, 4));
    folder.classify(&arguments).assert().code(2).stderr(contains("the results of a complete run are there"));
    let refused = |arguments: &[&str], expected: &str| {
        folder.classify(arguments).assert().code(2).stderr(contains(expected));
    };
    for kept in [0, 1, 3] {
        for number in kept..files {
            fs::remove_file(folder.path(&format!("out/part-0000{number}.parquet"))).unwrap();
        }
        folder.file(&format!("out/.part-0000{kept}.parquet.partial"), b"what a kill leaves");
        if kept > 0 {
            refused(&arguments, "out holds the results of an interrupted run: --resume goes on from it");
            refused(&["set", "-f", "parquet", "-o", "out", "--resume", "-k", "2"], "was written with other options");
            refused(
                &["set/5.png", "set", "-f", "parquet", "-o", "out", "--resume"],
                "set/5.png is number 1, where the earlier",
            );
            folder.classify(&[&arguments[..], &["--resume"]].concat()).assert().code(1);
        } else {
            refused(&[&arguments[..], &["--resume"]].concat(), "there is nothing in out to go on from");
            folder.classify(&arguments).assert().code(1);
        }
        assert_eq!(rows(&folder, "out"), (whole.clone(), files), "from {kept} files");
    }
    fs::remove_file(folder.path("out/part-00001.parquet")).unwrap();
    refused(&[&arguments[..], &["--resume"]].concat(), "part-00001.parquet is missing, and later ones are there");
    refused(&["set", "-f", "parquet"], "--format parquet needs --output FOLDER");
    refused(&["set", "-f", "parquet", "-o", "lenet5.safetensors"], "this is what is read");
}

#[test]
fn a_signal_keeps_what_was_classified() {
    let folder = folder();
    let mut child = Command::new(env!("CARGO_BIN_EXE_infer-cli"))
        .current_dir(folder.path(""))
        .args([
            "classify",
            "-w",
            "lenet5.safetensors",
            "--files-from",
            "-",
            "-f",
            "parquet",
            "-o",
            "out",
            "--progress",
            "json",
        ])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut paths = child.stdin.take().unwrap();
    paths.write_all(b"set/0.png\nset/1.png\nset/2.png\n").unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().starts_with("{\"done\":3,")));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(lines.any(|line| line.unwrap().contains("interrupted after 3 images, which are in ")));
    let (found, files) = rows(&folder, "out");
    assert_eq!((found.len(), files), (3, 1));
    let list = (0..10).map(|number| format!("set/{number}.png\n")).collect::<String>();
    let mut command = folder.classify(&["--files-from", "-", "-f", "parquet", "-o", "out", "--resume"]);
    command.write_stdin(list).assert().success();
    let (found, files) = rows(&folder, "out");
    assert_eq!((found.len(), files), (10, 2));
}

#[test]
fn parts_of_several_runs_share_a_folder() {
    let folder = folder();
    let (mut expected, _) = folder.records(&["set"]);
    for part in 0..3 {
        let partition = format!("slice:{part}/3");
        let arguments = ["set", "-f", "parquet", "-o", "out", "--rows", "2", "--partition", &partition];
        assert!(folder.classify(&arguments).output().unwrap().status.code() < Some(2));
        let complete = format!("part-0000{part}-of-00003 is complete already");
        folder.classify(&arguments).assert().success().stderr(contains(complete));
        // The same command goes on.
        let last = folder.path(&format!("out/part-0000{part}-of-00003-00001.parquet"));
        fs::remove_file(last).unwrap();
        assert!(folder.classify(&arguments).output().unwrap().status.code() < Some(2));
    }
    let (mut found, files) = rows(&folder, "out");
    assert_eq!(files, 6);
    for records in [&mut found, &mut expected] {
        records.sort_by_key(|record| record["path"].to_string());
    }
    assert_eq!(found, expected);
    folder.classify(&["set/1.png", "-f", "parquet", "-o", "few", "--partition", "slice:1/2"]).assert().success();
    assert_eq!(rows(&folder, "few"), (Vec::new(), 1));
    folder.classify(&["set", "-f", "parquet", "-o", "strict", "--rows", "2", "--strict"]).assert().code(1);
    assert!(!folder.path("strict").exists());
}
