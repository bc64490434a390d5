//! Runs of the real program that are killed, interrupted or out of room: what is left is good, and a run that goes on ends
//! bit for bit as one that was left alone.

#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;
mod infobatch;
mod kills;
mod run;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use run::{NEW, ON, checkpoints, finish, leftovers, results, tensors, text, trainer, undisturbed, wait_for_steps};
use safetensors::SafeTensors;

/// Sends a signal to a run once it has made so many steps, and waits for its end.
fn signal(folder: &Path, arguments: &[&str], signal: &str, wanted: usize) -> Output {
    let mut child = trainer(folder, arguments).spawn().unwrap();
    wait_for_steps(&mut child, folder, wanted);
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    child.wait_with_output().unwrap()
}

#[test]
fn ctrl_c_finishes_the_step_saves_and_says_how_to_go_on() {
    let expected = undisturbed();
    let folder = tempfile::tempdir().unwrap();
    let signals = [(&NEW[..], "-INT", 3, 130), (&ON[..], "-TERM", 14, 143), (&ON[..], "-HUP", 26, 129)];
    for (arguments, name, wanted, status) in signals {
        let output = signal(folder.path(), arguments, name, wanted);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
        let message = text(&output.stderr);
        assert!(message.contains("everything is saved, go on with: trainer --resume run"), "{message}");
        assert!(!message.contains("error:"), "{message}");
        assert_eq!(message.matches("Saving the run; a second Ctrl-C ends it at once").count(), 1, "{message}");
        assert!(message.contains("the weights so far are in run/lenet5.safetensors"), "{message}");
        let weights = fs::read(folder.path().join("run/lenet5.safetensors")).unwrap();
        assert!(SafeTensors::deserialize(&weights).unwrap().tensor("linear3.bias").is_ok());
    }
    // The page shows what there is so far.
    let report = fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(report.contains("the best of 2 so far, of 3 at most; "), "{report}");
    // A run that is not finished is not replaced by mistake.
    let output = trainer(folder.path(), &NEW).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("run: the run in this folder is not finished; go on with it by --resume run")
    );
    finish(folder.path(), &ON);
    assert!(results(folder.path()) == results(expected.path()));
    // Nor is a finished one. Both are where that is said.
    let output = trainer(folder.path(), &NEW).output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("run: a finished run is in this folder, with a test accuracy of "), "{message}");
    let again = [&NEW[..], &["--overwrite"]].concat();
    fs::remove_file(folder.path().join("run/metrics.jsonl")).unwrap();
    let output = signal(folder.path(), &again, "-INT", 1);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    finish(folder.path(), &again);
    let ((_, tensors, ..), (_, expected, ..)) = (results(folder.path()), results(expected.path()));
    assert!(tensors == expected);
}

#[test]
fn a_finished_run_gets_more_epochs_where_its_rate_allows_it() {
    let constant: Vec<_> = NEW.into_iter().filter(|argument| !argument.starts_with("--schedule")).collect();
    let folder = tempfile::tempdir().unwrap();
    let short: Vec<_> = constant.iter().map(|argument| argument.replace("--epochs=3", "--epochs=2")).collect();
    finish(folder.path(), &short.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(finish(folder.path(), &ON).contains("run: this run is finished; --epochs N gives it more epochs"));
    finish(folder.path(), &["--resume", "run", "--epochs", "3"]);
    let expected = tempfile::tempdir().unwrap();
    finish(expected.path(), &constant);
    let ((_, found, ..), (_, expected, ..)) = (results(folder.path()), results(expected.path()));
    assert!(found == expected);
    let config = fs::read_to_string(folder.path().join("run/config.json")).unwrap();
    assert!(config.contains("\"epochs\": 3") && !config.contains("--epochs=2"), "{config}");

    let refused = |folder: &Path, epochs: &str, message: &str| {
        let output = trainer(folder, &["--resume", "run", "--epochs", epochs]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
    };
    refused(folder.path(), "2", "--epochs 2: this run has 3 epochs, and cannot have fewer");
    refused(undisturbed().path(), "4", "follows the schedule cosine to the end of 3 epochs");
}

#[test]
fn a_run_that_was_killed_before_its_first_checkpoint_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    finish(folder.path(), &NEW);
    fs::remove_dir_all(folder.path().join("run/checkpoints")).unwrap();
    let message = finish(folder.path(), &ON);
    assert!(message.contains("run: stopped before its first checkpoint, this run begins again"), "{message}");
    assert!(results(folder.path()) == results(undisturbed().path()));
}

#[test]
fn a_folder_is_one_runs_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = trainer(folder.path(), &NEW).spawn().unwrap();
    wait_for_steps(&mut child, folder.path(), 2);
    // Stopped, it has the folder for as long as this takes.
    let tell = |signal: &str| Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(tell("-STOP").success());
    for arguments in [&ON[..], &[&NEW[..], &["--overwrite"]].concat()] {
        let output = trainer(folder.path(), arguments).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        let holder = if cfg!(target_os = "linux") { format!("process {}", child.id()) } else { "process".to_string() };
        assert!(message.contains(&format!("run: {holder} trains in this folder")), "{message}");
    }
    assert!(tell("-CONT").success());
    assert!(child.wait_with_output().unwrap().status.success());
    assert!(results(folder.path()) == results(undisturbed().path()));
}

#[test]
fn without_a_name_folders_are_numbered() {
    let folder = tempfile::tempdir().unwrap();
    let nameless: Vec<_> = NEW.into_iter().filter(|argument| !argument.starts_with("--out")).collect();
    for name in ["runs/lenet5", "runs/lenet5-2"] {
        let message = finish(folder.path(), &nameless);
        assert!(message.contains(&format!("Its weights are in {name}/lenet5.safetensors")), "{message}");
    }
    assert!(folder.path().join("runs/lenet5/lenet5.safetensors").exists());
}

#[test]
fn without_room_for_a_checkpoint_the_last_good_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let output = signal(folder.path(), &NEW, "-INT", 5);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let before: Vec<_> = checkpoints(folder.path()).iter().map(|path| fs::read(path).unwrap()).collect();
    // A checkpoint has 990 KB; files of more than 200 blocks of 512 bytes fail, as on a full disk.
    let command = trainer(folder.path(), &ON);
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$@\"", "sh"]).arg(command.get_program());
    limited.args(command.get_args()).current_dir(folder.path());
    let output = limited.output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("error: cannot write run/checkpoints/epoch-00001-step-"), "{message}");
    let after: Vec<_> = checkpoints(folder.path()).iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(before == after && leftovers(folder.path()) == 0);
    finish(folder.path(), &ON);
    assert!(results(folder.path()) == results(undisturbed().path()));
}

#[test]
fn a_folder_that_takes_no_checkpoint_ends_the_run_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("run")).unwrap();
    fs::write(folder.path().join("run/checkpoints"), "in the way").unwrap();
    let output = trainer(folder.path(), &NEW).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("error: cannot write run/checkpoints: "), "{}", text(&output.stderr));
}

#[test]
fn what_cannot_go_on_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], status: i32, message: &str| {
        let output = trainer(folder.path(), arguments).output().unwrap();
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{errors}");
        assert!(errors.contains(message), "{errors}");
    };
    refused(&ON, 2, "run: there is no run in this folder, it has no config.json");
    refused(&["--resume", "run", "--out", "other"], 2, "cannot be used with '--out <DIR>'");
    finish(folder.path(), &NEW);
    // An option that the run began with may be said again; another is refused by its name alone.
    for (arguments, message) in [
        (
            &["--seed", "7", "--momentum", "0.7"][..],
            "--momentum 0.7: the run in run began with 0.8, and goes on with it",
        ),
        (&["--schedule", "step"], "--schedule step: the run in run began with cosine"),
        (&["--ema", "0.8"], "--ema 0.8: the run in run began with 0.9"),
        (&["--normalise=false"], "--normalise false: the run in run began with true"),
        (&["--network", "alexnet"], "--network alexnet: this configuration is for lenet5"),
        (
            &["--init", "run/lenet5.safetensors"],
            "--init run/lenet5.safetensors: the run in run began with random weights",
        ),
        (&["--quick"], "cannot be used with '--quick'"),
    ] {
        refused(&[&ON[..], arguments].concat(), 2, message);
    }
    finish(folder.path(), &["--resume", "run", "--seed", "7", "--network", "lenet5", "--normalise"]);
    let newest = checkpoints(folder.path()).pop().unwrap();
    let name = newest.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
    let good = fs::read(&newest).unwrap();
    fs::write(&newest, &good[..good.len() / 2]).unwrap();
    refused(&ON, 2, &format!("{name}: not a valid safetensors file"));
    fs::copy(folder.path().join("run/lenet5.safetensors"), &newest).unwrap();
    refused(&ON, 2, &format!("{name}: not a checkpoint of this run: its metadata have no `checkpoint`"));
    fs::remove_file(&newest).unwrap();
    finish(folder.path(), &ON);
    assert!(tensors(&fs::read(&newest).unwrap()) == tensors(&good));
    let config = folder.path().join("run/config.json");
    let changed = fs::read_to_string(&config).unwrap().replace("\"sha256\": \"", "\"sha256\": \"00");
    fs::write(&config, changed).unwrap();
    refused(&ON, 2, "the data have changed");
    fs::write(&config, "{}").unwrap();
    refused(&ON, 2, "run/config.json: not a run's configuration");
}

#[test]
fn a_saved_configuration_is_the_same_run_again() {
    let folder = undisturbed();
    let config = folder.path().join("run/config.json");
    finish(folder.path(), &["--config", "run/config.json", "--out", "again"]);
    let read = |name: &str| fs::read(folder.path().join(name).join("lenet5.safetensors")).unwrap();
    assert!(tensors(&read("run")) == tensors(&read("again")));
    // What is given counts more.
    finish(folder.path(), &["--config", "run", "--out", "other", "--seed", "8", "--epochs", "1"]);
    let other = fs::read_to_string(folder.path().join("other/config.json")).unwrap();
    assert!(other.contains("\"seed\": 8") && other.contains("\"epochs\": 1") && other.contains("\"momentum\": 0.8"));
    fs::write(&config, "{}").unwrap();
    let output = trainer(folder.path(), &["--config", "run/config.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("run/config.json: not a run's configuration"), "{}", text(&output.stderr));
}

#[test]
fn the_same_seed_and_threads_give_the_same_files() {
    assert!(results(undisturbed().path()) == results(undisturbed().path()));
}
