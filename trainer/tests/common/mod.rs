//! Shared parts of the tests that need real data.

use std::{env, path::Path};

use trainer::{
    data::{
        Dataset,
        source::{Files, Lookup},
    },
    training::{
        config::{self, CheckpointOptions, ImageCounts, Options, RunConfig},
        output::RunFolder,
    },
};

/// Fashion-MNIST's files, from the usual folders; a test never downloads 30 MB.
pub fn files() -> Files {
    let mut lookup = Lookup::new(None, None, &env::current_dir().unwrap());
    lookup.download = None;
    lookup.locate(&|_| {}).unwrap_or_else(|error| panic!("these tests need real data. {error}"))
}

/// Fashion-MNIST.
#[allow(dead_code)] // Each test program compiles this file for itself, and not every one needs all of it.
pub fn dataset() -> Dataset {
    Dataset::read(&files()).unwrap()
}

/// The folder of a run of a network.
#[allow(dead_code)] // As above.
pub fn run_folder(path: &Path, network: &str, options: &Options) -> RunFolder {
    let config = RunConfig {
        producer: "a test".to_string(),
        command: vec!["trainer".to_string()],
        network: network.to_string(),
        device: "cpu".to_string(),
        threads: rayon::current_num_threads(),
        platform: config::platform(),
        options: options.clone(),
        checkpoints: CheckpointOptions::default(),
        images: ImageCounts { train: 0, validation: 0, test: 0 },
        data: Vec::new(),
        test_share: None,
        init: None,
    };
    RunFolder::create(path, config).unwrap()
}
