//! The first words of a run: what it trains, where, on how many images, or where it goes on.

use std::path::Path;

use reporting::words::{counted, grouped};

use super::{config::RunConfig, state::State};

/// Name of a network for people, by the name of its architecture.
pub fn title(architecture: &str) -> &str {
    match architecture {
        "alexnet" => "AlexNet",
        "alexnet-rank64" => "AlexNet of rank 64",
        "alexnet-rank128" => "AlexNet of rank 128",
        "alexnet-rank256" => "AlexNet of rank 256",
        "lenet5" => "LeNet-5",
        other => other,
    }
}

/// Name of a device for people, by the name in a run's configuration.
pub fn device_title(device: &str) -> &str {
    if device == "cpu" { "the CPU" } else { device }
}

/// Description of a run in `folder`: of all of it, or of what is left after `state`.
pub fn introduction(config: &RunConfig, state: Option<&State>, folder: &Path) -> String {
    let (network, device) = (title(&config.network), device_title(&config.device));
    let threads = counted(config.threads as u64, "thread");
    let [train, validation, test] =
        [config.images.train, config.images.validation, config.images.test].map(|count| grouped(count as u64));
    let validation = if config.images.validation > 0 { format!(", {validation} validation") } else { String::new() };
    let images = format!("{train} training{validation}, {test} test images");
    let folder = folder.display();
    match state {
        None => format!("Training {network} on {device}: {images}\nIn {folder}, with {threads}"),
        Some(state) => {
            let (epoch, epochs) = (state.epoch, config.options.epochs);
            let step = if state.step > 0 { format!(", step {}", grouped(state.step as u64)) } else { String::new() };
            format!(
                "Resuming at epoch {epoch}/{epochs}{step}: {network} on {device}, {images}\nIn {folder}, with {threads}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::config::{CheckpointOptions, ImageCounts, Options};

    fn config(validation: usize) -> RunConfig {
        RunConfig {
            producer: String::new(),
            command: Vec::new(),
            network: "lenet5".to_string(),
            device: "cpu".to_string(),
            threads: 1,
            platform: String::new(),
            options: Options { epochs: 3, ..Options::default() },
            checkpoints: CheckpointOptions::default(),
            images: ImageCounts { train: 20_000, validation, test: 10_000 },
            data: Vec::new(),
            test_share: None,
            init: None,
        }
    }

    #[test]
    fn a_run_is_introduced_in_plain_sentences() {
        assert_eq!(
            introduction(&config(6_000), None, Path::new("runs/a")),
            "Training LeNet-5 on the CPU: 20,000 training, 6,000 validation, 10,000 test images\nIn runs/a, with 1 thread"
        );
        assert_eq!(
            introduction(&RunConfig { device: "GPU 0".into(), threads: 2, ..config(0) }, None, Path::new("b")),
            "Training LeNet-5 on GPU 0: 20,000 training, 10,000 test images\nIn b, with 2 threads"
        );
        let state = State { epoch: 1, step: 47, ..State::default() };
        let resumed = introduction(&config(6_000), Some(&state), Path::new("a"));
        assert!(
            resumed.starts_with("Resuming at epoch 1/3, step 47: LeNet-5 on the CPU, 20,000 training, "),
            "{resumed}"
        );
        let state = State { epoch: 2, ..State::default() };
        assert!(introduction(&config(0), Some(&state), Path::new("a")).starts_with("Resuming at epoch 2/3: LeNet-5"));
    }
}
