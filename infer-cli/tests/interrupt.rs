//! Runs that end early: what Ctrl-C and SIGTERM leave, and how another run goes on from it.
#![cfg(unix)]

use std::{
    fs,
    io::Write,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::Duration,
};

use crate::common::{self, Folder};
use predicates::str::contains;

/// Ten pictures and one file that is none.
fn folder() -> Folder {
    let folder = Folder::new();
    for number in 0..10 {
        folder.picture(&format!("set/{number}.png"), number);
    }
    folder.file("set/4.jpg", b"bad");
    folder
}

/// A run that has written the first `count` pictures of the set, and waits for more paths.
fn waiting(folder: &Folder, count: usize, arguments: &[&str]) -> (Child, ChildStdin) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_infer-cli"))
        .current_dir(folder.path(""))
        .args(["classify", "-w", "lenet5.safetensors", "--files-from", "-", "-o", "out"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut paths = child.stdin.take().unwrap();
    for number in 0..count {
        writeln!(paths, "set/{number}.png").unwrap();
    }
    paths.flush().unwrap();
    let lines = |text: String| text.lines().count();
    while lines(fs::read_to_string(folder.path("out.partial")).unwrap_or_default()) < count {
        assert!(child.try_wait().unwrap().is_none(), "the run has ended");
        thread::sleep(Duration::from_millis(10));
    }
    (child, paths)
}

/// Sends a signal to the run alone, by its id, and waits for its end.
fn signalled(child: Child, signal: &str) -> (Option<i32>, String) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_signal_leaves_what_was_written_and_nothing_else() {
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let folder = folder();
        folder.file("out", b"old");
        let (child, paths) = waiting(&folder, 3, &["-f", "jsonl"]);
        let (code, said) = signalled(child, signal);
        drop(paths);
        assert_eq!(code, Some(status), "{said}");
        assert!(
            said.contains("interrupted after 3 images, which are in ") && said.contains("out.partial; --resume"),
            "{said}"
        );
        assert_eq!(folder.names(), ["lenet5.safetensors", "out", "out.partial", "set"]);
        assert_eq!(fs::read(folder.path("out")).unwrap(), b"old");
        assert_eq!(fs::read_to_string(folder.path("out.partial")).unwrap().lines().count(), 3);
    }
}

#[test]
fn a_signal_while_weights_are_packed_leaves_nothing() {
    let folder = folder();
    common::write(&folder.path("alexnet.safetensors"), common::tensors(&common::ALEXNET), &[]);
    let before = folder.names();
    // A machine that is busy may let the program end before the signal comes.
    for attempt in 1.. {
        let mut child = Command::new(env!("CARGO_BIN_EXE_infer-cli"))
            .current_dir(folder.path(""))
            .args(["pack", "-w", "alexnet.safetensors", "-o", "packed"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while folder.names() == before && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        let (code, said) = signalled(child, "-INT");
        if code == Some(130) {
            assert_eq!(folder.names(), before);
            return;
        }
        assert_eq!(code, Some(0), "{said}");
        assert!(attempt < 20, "no signal came in time");
        fs::remove_file(folder.path("packed")).unwrap();
    }
}

#[test]
fn a_run_goes_on_to_what_one_run_would_have_written() {
    for format in ["jsonl", "csv"] {
        let folder = folder();
        folder.classify(&["set", "-f", format, "-o", "whole", "-j", "1"]).assert().code(1);
        let whole = fs::read_to_string(folder.path("whole")).unwrap();
        // Cut off within a record, as a crash leaves it.
        for length in [0, 10, whole.len() / 2, whole.len() - 3] {
            folder.file("out.partial", &whole.as_bytes()[..length]);
            let mut command = folder.classify(&["set", "-f", format, "-o", "out", "--resume"]);
            command.assert().code(1).stderr(contains("1 of 11 images could not be classified"));
            let resumed = fs::read_to_string(folder.path("out")).unwrap();
            let paths = |text: &str| -> Vec<String> {
                text.lines()
                    .map(|line| line.split(['"', ',']).find(|part| part.contains("set/")).unwrap_or("").into())
                    .collect()
            };
            assert_eq!(paths(&resumed), paths(&whole), "{format} from {length} bytes");
            assert!(!folder.path("out.partial").exists());
        }
    }
}

#[test]
fn nothing_is_resumed_that_was_another_run() {
    let folder = folder();
    let refused = |arguments: &[&str], expected: &str| {
        folder.classify(arguments).assert().code(2).stderr(contains(expected));
    };
    refused(&["set", "-f", "csv", "-o", "out", "--resume"], "--resume: there is no ");
    folder.classify(&["set", "-f", "csv", "-o", "out"]).assert().code(1);
    fs::rename(folder.path("out"), folder.path("out.partial")).unwrap();
    let written = fs::read(folder.path("out.partial")).unwrap();
    refused(
        &["set", "-f", "csv", "-o", "out"],
        "holds the results of an interrupted run: --resume goes on from it; or remove it",
    );
    refused(&["set", "-f", "csv", "-o", "out", "--resume", "-k", "2"], "was written with other options");
    refused(&["set", "-f", "jsonl", "-o", "out", "--resume"], "was written with other options");
    refused(&["set", "-o", "out", "--resume"], "--resume needs --format jsonl, csv or parquet");
    refused(
        &["set/5.png", "set", "-f", "csv", "-o", "out", "--resume"],
        "set/5.png is number 1, where the earlier run had another",
    );
    refused(
        &["set/0.png", "-f", "csv", "-o", "out", "--resume"],
        "the earlier run classified 11 images, and now there are 1",
    );
    refused(&["set", "-f", "csv", "--resume"], "--output");
    assert_eq!(fs::read(folder.path("out.partial")).unwrap(), written);
}
