//! Runs with InfoBatch that are stopped, and checkpoints whose losses are damaged.

use std::{collections::HashMap, fs, path::Path};

use safetensors::{
    Dtype, SafeTensors,
    tensor::{TensorView, serialize},
};

use crate::{
    run::{NEW, ON, checkpoints, finish, results, tensors, text, trainer},
    signal,
};

/// Arguments of a new run of five epochs, of which InfoBatch may skip images in the second, third and fourth.
fn new() -> Vec<&'static str> {
    let kept =
        NEW.into_iter().filter(|argument| !argument.starts_with("--patience") && !argument.starts_with("--epochs"));
    kept.chain(["--epochs=5", "--infobatch", "-v"]).collect()
}

/// The skipped images of each epoch, by `metrics.csv`.
fn skipped(folder: &Path) -> Vec<usize> {
    let csv = fs::read_to_string(folder.join("run/metrics.csv")).unwrap();
    csv.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_run_that_is_stopped_skips_the_same_images() {
    let whole = tempfile::tempdir().unwrap();
    let message = finish(whole.path(), &new());
    let counts = skipped(whole.path());
    assert_eq!((counts.len(), counts[0], counts[4]), (5, 0, 0), "{counts:?}");
    assert!(counts[1..4].iter().all(|count| (50..190).contains(count)), "{counts:?}");
    let all: usize = counts.iter().sum();
    assert!(
        message.contains(&format!("InfoBatch: {all} of 1,900 training images were skipped in 5 epochs, ")),
        "{message}"
    );
    for (epoch, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let line = format!("epoch {}/5: InfoBatch skips {count} of 380 training images", epoch + 1);
        assert!(message.contains(&line), "{message}");
    }
    // In the epoch that records the first losses, in those that skip images, and in the last one.
    let folder = tempfile::tempdir().unwrap();
    for (number, wanted) in [5, 13, 17, 22, 29, 36].into_iter().enumerate() {
        let arguments = if number == 0 { new() } else { ON.to_vec() };
        let output = signal(folder.path(), &arguments, "-INT", wanted);
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    }
    finish(folder.path(), &ON);
    assert!(results(folder.path()) == results(whole.path()));
    assert_eq!(skipped(folder.path()), counts);
}

/// Writes a checkpoint again with other tensors.
fn rewrite(path: &Path, change: impl FnOnce(&mut HashMap<String, (Vec<usize>, Vec<u8>)>)) {
    let bytes = fs::read(path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: HashMap<_, _> = file
        .iter()
        .map(|(name, tensor)| (name.to_string(), (tensor.shape().to_vec(), tensor.data().to_vec())))
        .collect();
    change(&mut tensors);
    let views =
        tensors.iter().map(|(name, (shape, data))| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    fs::write(path, serialize(views, metadata.metadata().clone()).unwrap()).unwrap();
}

#[test]
fn bad_losses_in_a_checkpoint_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let output = signal(folder.path(), &new(), "-INT", 15);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let newest = checkpoints(folder.path()).pop().unwrap();
    let good = fs::read(&newest).unwrap();
    let refused = |message: &str| {
        let output = trainer(folder.path(), &ON).output().unwrap();
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(message) && errors.contains("run/checkpoints/epoch-00002"), "{errors}");
        fs::write(&newest, &good).unwrap();
    };
    rewrite(&newest, |tensors| drop(tensors.remove("losses.last")));
    refused("losses.last");
    rewrite(&newest, |tensors| {
        tensors.get_mut("losses.before").unwrap().1[8..12].copy_from_slice(&(-3_f32).to_le_bytes())
    });
    refused("losses.before is -3 for image 2, expected a loss of 0 or more, or -1 where there is none yet");
    rewrite(&newest, |tensors| tensors.get_mut("losses.last").unwrap().1[..4].copy_from_slice(&f32::NAN.to_le_bytes()));
    refused("losses.last");
    rewrite(&newest, |tensors| {
        let (shape, data) = tensors.get_mut("losses.last").unwrap();
        shape[0] -= 1;
        data.truncate(data.len() - 4);
    });
    refused("losses.last");
    // What is whole again goes on.
    finish(folder.path(), &ON);
}

#[test]
fn a_run_without_infobatch_refuses_losses_and_a_run_with_it_another_ratio() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], message: &str| {
        let output = trainer(folder.path(), arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
    };
    let short: Vec<_> = NEW.into_iter().filter(|argument| !argument.starts_with("--patience")).collect();
    for ratio in ["1", "-0.5", "NaN", "all"] {
        let option = format!("--infobatch={ratio}");
        refused(&[&short[..], &[&option]].concat(), "expected a number from 0 to less than 1");
    }
    refused(&[&short[..], &["--infobatch", "--patience=3"]].concat(), "--infobatch: cannot be used with --patience");
    let two: Vec<_> = short.iter().map(|argument| argument.replace("--epochs=3", "--epochs=2")).collect();
    let two: Vec<_> = two.iter().map(String::as_str).chain(["--infobatch", "-v"]).collect();
    refused(&two, "--infobatch: expected --epochs 3 or more, found 2");

    // A ratio of 0 is no InfoBatch.
    finish(folder.path(), &[&short[..], &["--infobatch=0"]].concat());
    let without = tempfile::tempdir().unwrap();
    finish(without.path(), &short);
    let [found, expected] =
        [folder.path(), without.path()].map(|folder| fs::read(checkpoints(folder).pop().unwrap()).unwrap());
    assert!(tensors(&found) == tensors(&expected));
    fs::remove_dir_all(folder.path().join("run")).unwrap();

    let constant = short.iter().copied().filter(|argument| !argument.starts_with("--schedule"));
    finish(folder.path(), &constant.chain(["--infobatch=0.25"]).collect::<Vec<_>>());
    refused(&[&ON[..], &["--infobatch=0.5"]].concat(), "--infobatch 0.5: the run in run began with 0.25");
    refused(&[&ON[..], &["--epochs=4"]].concat(), "--epochs: with --infobatch, the last of the 3 epochs of this run");
    let config = folder.path().join("run/config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"infobatch\": 0.25", "\"infobatch\": 1.25")).unwrap();
    refused(&ON, "1.25 is no ratio of InfoBatch, expected a number from 0 to less than 1");
    // The checkpoint of a run with InfoBatch has tensors that one without it cannot have.
    fs::write(&config, text.replace("\"infobatch\": 0.25", "\"infobatch\": null")).unwrap();
    refused(&ON, "it was made with other options than those in config.json");
}
