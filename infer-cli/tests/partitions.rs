//! `infer-cli classify --partition`: several runs that share the images, and files of their results.
#![cfg(unix)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use crate::common::{Folder, paths};
use predicates::{prelude::PredicateBooleanExt as _, str::contains};

/// Twelve pictures and one file that is none.
fn folder() -> Folder {
    let folder = Folder::new();
    for number in 10..22 {
        folder.picture(&format!("set/{number}.png"), number);
    }
    folder.file("set/15.jpg", b"bad");
    folder
}

#[test]
fn parts_hold_every_image_once_and_are_passed_over_when_complete() {
    let folder = folder();
    let (all, _) = folder.records(&["set"]);
    for method in ["slice", "hash"] {
        let mut found = Vec::new();
        for part in 0..4 {
            let partition = format!("{method}:{part}/4");
            let arguments = ["set", "-f", "jsonl", "-o", method, "--partition", &partition];
            let status = folder.classify(&arguments).output().unwrap().status.code();
            let file = folder.path(&format!("{method}/part-0000{part}-of-00004.jsonl"));
            let text = fs::read_to_string(&file).unwrap();
            let records: Vec<serde_json::Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(status, Some(i32::from(records.iter().any(|record| record.get("error").is_some()))));
            found.extend(records);
            let written = fs::metadata(&file).unwrap().modified().unwrap();
            let complete = format!("part-0000{part}-of-00004 is complete already");
            folder.classify(&arguments).assert().success().stderr(contains(complete));
            assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written);
        }
        found.sort_by_key(|record| record["path"].to_string());
        let mut all = all.clone();
        all.sort_by_key(|record| record["path"].to_string());
        assert_eq!(found, all, "{method}");
    }
    let (records, _) = folder.records(&["set", "--partition", "slice:1/4"]);
    assert_eq!(paths(&records), ["set/11.png", "set/15.jpg", "set/18.png"]);
    // Files that are added stay out of others' way.
    let hashed = |folder: &Folder| folder.records(&["set", "--partition", "hash:0/3"]).0;
    let before = hashed(&folder);
    folder.picture("set/00.png", 1);
    let after = hashed(&folder);
    assert_eq!(
        after.iter().filter(|record| record["path"] != "set/00.png").collect::<Vec<_>>(),
        before.iter().collect::<Vec<_>>()
    );
}

#[test]
fn a_part_that_was_interrupted_is_gone_on_from_by_the_same_command() {
    let folder = folder();
    let arguments = ["set", "-f", "csv", "-o", "out", "--partition", "slice:0/2"];
    folder.classify(&arguments).assert().success();
    let file = folder.path("out/part-00000-of-00002.csv");
    let whole = fs::read(&file).unwrap();
    for length in [0, 20, whole.len() / 2, whole.len()] {
        fs::remove_file(&file).unwrap();
        folder.file("out/part-00000-of-00002.csv.partial", &whole[..length]);
        folder.classify(&arguments).assert().success();
        assert_eq!(fs::read(&file).unwrap(), whole, "from {length} bytes");
        assert_eq!(fs::read_dir(folder.path("out")).unwrap().count(), 1);
    }
    fs::remove_file(&file).unwrap();
    folder.file("out/part-00000-of-00002.csv.partial", &whole[..whole.len() / 2]);
    let other = ["set", "-f", "csv", "-o", "out", "--partition", "slice:0/2", "-k", "2"];
    folder.classify(&other).assert().code(2).stderr(contains("was written with other options"));
}

#[test]
fn a_part_is_written_by_one_run_at_a_time() {
    let folder = folder();
    let arguments = ["-f", "jsonl", "-o", "out", "--partition", "slice:0/1", "--files-from", "-"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_infer-cli"))
        .current_dir(folder.path(""))
        .args(["classify", "-w", "lenet5.safetensors"])
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let partial = folder.path("out/part-00000-of-00001.jsonl.partial");
    let mut paths = child.stdin.take().unwrap();
    writeln!(paths, "set/10.png").unwrap();
    while fs::read(&partial).unwrap_or_default().is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "the run has ended");
    }
    let second = folder.classify(&arguments).write_stdin("set/11.png").assert().code(2);
    second.stderr(contains("part-00000-of-00001.jsonl is being written by another run"));
    drop(paths);
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_to_string(folder.path("out/part-00000-of-00001.jsonl")).unwrap().lines().count(), 1);
}

#[test]
fn slurms_tasks_write_the_parts_of_their_array() {
    let folder = folder();
    let task = |id: &str| {
        let mut command = folder.classify(&["set", "-f", "csv", "-o", "out", "--partition", "hash:slurm"]);
        for (name, value) in [("ID", id), ("MIN", "1"), ("STEP", "2"), ("COUNT", "3"), ("MAX", "5")] {
            command.env(format!("SLURM_ARRAY_TASK_{name}"), value);
        }
        command.output().unwrap()
    };
    for id in ["1", "3", "5"] {
        assert!(task(id).status.code().unwrap() < 2);
    }
    let mut lines = 0;
    for part in 0..3 {
        lines +=
            fs::read_to_string(folder.path(&format!("out/part-0000{part}-of-00003.csv"))).unwrap().lines().count() - 1;
    }
    assert_eq!(lines, 13);
    let refused = task("2");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("only arrays without gaps"));
    let mut command = folder.classify(&["set", "--partition", "slice:slurm"]);
    command.env_remove("SLURM_ARRAY_TASK_ID").assert().code(2).stderr(contains("SLURM_ARRAY_TASK_ID is not set"));
}

#[test]
fn a_part_may_be_empty_and_folders_are_not_mixed_up() {
    let folder = folder();
    folder.classify(&["set/10.png", "-f", "csv", "-o", "out", "--partition", "slice:1/2"]).assert().success();
    let text = fs::read_to_string(folder.path("out/part-00001-of-00002.csv")).unwrap();
    assert_eq!(text, "path,class,label,probability,error\r\n");
    let refused = |arguments: &[&str], expected: &str| {
        folder.classify(arguments).assert().code(2).stderr(contains(expected));
    };
    let divided = "part-00001-of-00002.csv is of a run that was divided otherwise; name another folder";
    refused(&["set", "-f", "csv", "-o", "out", "--partition", "slice:0/3"], divided);
    refused(&["set", "-f", "parquet", "-o", "out"], divided);
    refused(
        &["set", "-o", "out2", "--partition", "slice:0/3"],
        "--partition with --output needs --format jsonl, csv or parquet",
    );
    refused(&["set", "-f", "csv", "-o", "set/10.png", "--partition", "slice:0/3"], "set/10.png");
    refused(
        &["set", "-f", "csv", "-o", "lists", "--partition", "slice:3/3"],
        "parts are counted from 0: of 3, the last is 2",
    );
    refused(
        &["set", "-f", "csv", "-o", "none/out", "--partition", "slice:0/3"],
        "there is no folder none; create it first",
    );
    folder.file("file", b"x");
    refused(&["set", "-f", "csv", "-o", "file", "--partition", "slice:0/3"], "this is a file, expected a folder");
    assert!(!folder.path("out2").exists() && !folder.path("lists").exists());
}

/// The use that Spark makes of it, by `rdd.pipe`: a path in, its record out, while the input stays open.
#[test]
fn a_record_comes_while_the_list_goes_on() {
    let folder = folder();
    for format in ["jsonl", "csv", "table"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_infer-cli"))
            .current_dir(folder.path(""))
            .args(["classify", "-w", "lenet5.safetensors", "--files-from", "-", "-f", format])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut paths = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        if format != "jsonl" {
            writeln!(paths, "set/10.png").unwrap();
            assert!(lines.next().unwrap().unwrap().to_lowercase().contains("path"));
            assert!(lines.next().unwrap().unwrap().contains("set/10.png"));
        }
        for number in [11, 12, 13] {
            writeln!(paths, "set/{number}.png").unwrap();
            assert!(lines.next().unwrap().unwrap().contains(&format!("set/{number}.png")));
        }
        drop(paths);
        assert!(child.wait().unwrap().success() && lines.next().is_none());
    }
}

#[test]
fn progress_can_be_read_by_programs() {
    let folder = folder();
    let output = folder.classify(&["set", "-f", "csv", "--progress", "json"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let last = lines.next_back().expect("a line");
    assert_eq!((&last["done"], &last["failed"], &last["finished"]), (&13.into(), &1.into(), &true.into()));
    assert!(
        last["images_per_second"].as_f64() > Some(0.0) && (last["total"] == 13 || last["total"].is_null()),
        "{text}"
    );
    let mut command = folder.classify(&["set", "-f", "csv", "--progress", "none"]);
    command.assert().code(1).stderr(contains("\"done\"").not());
}
