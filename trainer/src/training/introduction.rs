//! The first words of a run: what it trains, where, on how many images, or where it goes on.

use std::path::Path;

use reporting::words::{counted, grouped, wrapped};

use super::{config::RunConfig, state::State};

/// Name of a network for people, by the name of its architecture.
pub fn title(architecture: &str) -> &str {
    match architecture {
        "alexnet" => "AlexNet",
        "alexnet-imagenet" => "AlexNet for ImageNet",
        "alexnet-2012" => "AlexNet of 2012",
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

/// Columns of the narrowest terminal that most people have.
const COLUMNS: usize = 80;

/// Description of a run in `folder`: of all of it, or of what is left after `state`.
pub fn introduction(config: &RunConfig, state: Option<&State>, folder: &Path) -> String {
    let (network, device) = (title(&config.network), device_title(&config.device));
    let threads = counted(config.threads as u64, "thread");
    let [train, validation, test] =
        [config.images.train, config.images.validation, config.images.test].map(|count| grouped(count as u64));
    let validation = if config.images.validation > 0 { format!(", {validation} validation") } else { String::new() };
    let begin = match state {
        None => format!("Training {network}"),
        Some(state) => {
            let (epoch, epochs) = (state.epoch, config.options.epochs);
            let step = if state.step > 0 { format!(", step {}", grouped(state.step as u64)) } else { String::new() };
            format!("Resuming at epoch {epoch}/{epochs}{step}: {network}")
        }
    };
    format!(
        "{}\nImages: {train} training{validation}, {test} test\nFolder: {}",
        wrapped(&format!("{begin} on {device}, with {threads}"), COLUMNS),
        folder.display()
    )
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
            "Training LeNet-5 on the CPU, with 1 thread\nImages: 20,000 training, 6,000 validation, 10,000 test\nFolder: runs/a"
        );
        assert_eq!(
            introduction(&RunConfig { device: "GPU 0".into(), threads: 2, ..config(0) }, None, Path::new("b")),
            "Training LeNet-5 on GPU 0, with 2 threads\nImages: 20,000 training, 10,000 test\nFolder: b"
        );
        let state = State { epoch: 1, step: 47, ..State::default() };
        let resumed = introduction(&config(6_000), Some(&state), Path::new("a"));
        assert!(
            resumed.starts_with(
                "Resuming at epoch 1/3, step 47: LeNet-5 on the CPU, with 1 thread\nImages: 20,000 training, "
            ),
            "{resumed}"
        );
        let state = State { epoch: 2, ..State::default() };
        assert!(introduction(&config(0), Some(&state), Path::new("a")).starts_with("Resuming at epoch 2/3: LeNet-5"));
    }

    #[test]
    fn no_line_is_longer_than_80_columns_but_for_a_path() {
        let device = "cuda:0 (NVIDIA H100 80GB HBM3, sm_90, PCI 0000:00:04.0), precision auto (tf32 for convolutions, f32 for \
                      linear layers), fused kernels";
        let images = ImageCounts { train: 1_234_567, validation: 123_456, test: 123_456 };
        let state = State { epoch: 99_999, step: 99_999, ..State::default() };
        for device in ["cpu", device] {
            let config = RunConfig { device: device.to_string(), threads: 1024, images, ..config(0) };
            let config = RunConfig { options: Options { epochs: 99_999, ..Options::default() }, ..config };
            for state in [None, Some(&state)] {
                let text = introduction(&config, state, Path::new("runs/alexnet"));
                assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
            }
        }
    }
}
