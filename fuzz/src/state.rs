//! The state of a training run, as `config.json` and as a checkpoint: whatever they hold, a run that can go on or an error.

use std::{fs, path::PathBuf, sync::LazyLock};

use infer_core::lenet5::DESCRIPTION;
use safetensors::SafeTensors;
use trainer::dfdx::tensor::Cpu;
use trainer::{
    export::{self, Metadata},
    model::{Initialisation, LeNet5, Network},
    optimiser::{OptimiserName, OptimiserOptions},
    training::{
        checkpoint::Checkpoint,
        config::{CheckpointOptions, ImageCounts, Options, RunConfig},
        state::State,
    },
};

use crate::{Input, edited, planted_fault};

/// Runs the target: the first byte says whether the rest is `config.json` or edits of a checkpoint, or of a configuration.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 2 {
        0 => config(&edited(&mut input, VALID.config.as_bytes())),
        _ => checkpoint(&edited(&mut input, &VALID.checkpoint)),
    }
}

/// A folder for the files, and what they hold where they are right.
struct Valid {
    folder: PathBuf,
    config: String,
    checkpoint: Vec<u8>,
}

static VALID: LazyLock<Valid> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("alexnet-fuzz-{}", std::process::id()));
    fs::create_dir_all(folder.join("checkpoints")).expect("a folder for temporary files");
    let config = RunConfig {
        producer: "fuzz".to_string(),
        command: vec!["trainer".to_string(), "--epochs=2".to_string()],
        network: "lenet5".to_string(),
        device: "cpu".to_string(),
        threads: 1,
        platform: "any".to_string(),
        options: options(),
        checkpoints: CheckpointOptions::default(),
        images: ImageCounts { train: 2, validation: 1, test: 1 },
        data: Vec::new(),
        test_share: None,
        init: None,
    };
    let config = serde_json::to_string(&config).expect("a configuration is JSON");
    let network = LeNet5::<Cpu>::init(&Cpu::default(), 10, Initialisation::He, 1).expect("ten classes");
    let json = |key: &str, value: serde_json::Result<String>| (key.to_string(), value.expect("it is JSON"));
    let metadata = Metadata::from([
        ("architecture".to_string(), "lenet5".to_string()),
        ("checkpoint".to_string(), "1".to_string()),
        json("options", serde_json::to_string(&options())),
        json("state", serde_json::to_string(&State { step: 1, total_steps: 1, ..State::default() })),
    ]);
    let plain = folder.join("plain");
    export::save(&plain, &network, &metadata).expect("the folder can be written to");
    let bytes = fs::read(&plain).expect("the file was written");
    // A checkpoint's tensors have names of their own.
    let file = SafeTensors::deserialize(&bytes).expect("the file is valid");
    let tensors = file.tensors().into_iter().map(|(name, tensor)| (format!("weights.{name}"), tensor));
    let checkpoint = safetensors::serialize(tensors, Some(metadata.into_iter().collect())).expect("the file is valid");
    Valid { folder, config, checkpoint }
});

/// SGD without momentum has no state, so that a checkpoint is small.
fn options() -> Options {
    let optimiser = OptimiserOptions { name: OptimiserName::Sgd, ..OptimiserOptions::default() };
    Options { epochs: 2, optimiser, ..Options::default() }
}

fn config(text: &[u8]) {
    let path = VALID.folder.join("config.json");
    fs::write(&path, text).expect("the folder can be written to");
    let config = match RunConfig::read(&VALID.folder) {
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let text = serde_json::to_string(&config).expect("a configuration is JSON");
    let again: RunConfig = serde_json::from_str(&text).expect("what was written is read");
    assert_eq!(again.options, config.options);
    assert!(again.options.differences(&config.options).is_empty() && config.options.go_on_as(&again.options));
    let options = &config.options;
    for epoch in [1, 2, options.epochs] {
        let _ = options.augmentation_of(epoch);
        let _ = options.schedule.factor(epoch as f64, 3, options.epochs);
    }
    // The valid configuration's optimiser, and not all of its options.
    planted_fault(|| options.optimiser == self::options().optimiser && *options != self::options());
    let longer = options.epochs.saturating_add(1);
    if let Ok(extended) = config.extended(longer) {
        assert_eq!(extended.options.epochs, longer);
    }
}

fn checkpoint(file: &[u8]) {
    let path = VALID.folder.join("checkpoints/epoch-00001-step-0000001.safetensors");
    fs::write(&path, file).expect("the folder can be written to");
    let checkpoint = match Checkpoint::newest(&VALID.folder, "lenet5", &options()) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let state = &checkpoint.state;
    assert_eq!(state.epoch, state.epochs.len() + 1);
    let (_, _) = (state.is_finished(&options()), state.tally.scores());
    let Ok(classes) = checkpoint.classes(&DESCRIPTION) else { return };
    if classes > 20 {
        return;
    }
    let mut network = LeNet5::<Cpu>::init(&Cpu::default(), classes, Initialisation::PyTorch, 2).expect("a few classes");
    if let Err(error) = checkpoint.restore(&mut network, &options()) {
        return assert!(!error.to_string().is_empty());
    }
    // The safetensors crate finds the same weights in it.
    let expected = SafeTensors::deserialize(file).expect("only the trainer accepts the file");
    let weights = network.conv1.weight.as_vec();
    planted_fault(|| weights.iter().any(|weight| weight.abs() > 1e6));
    let bytes = expected.tensor("weights.conv1.weight").expect("the file was accepted").data();
    assert!(bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).eq(weights));
}
