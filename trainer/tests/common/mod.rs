//! Shared parts of the tests that need real data.

use std::{env, fs, path::Path};

use image::{Rgb, RgbImage};
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

/// Photographs of colours in folders, as a user has them: `count` of each class.
#[allow(dead_code)] // As above.
pub fn photos(folder: &Path, count: u32) {
    for (class, name) in ["blue", "green", "red"].iter().enumerate() {
        fs::create_dir_all(folder.join(name)).unwrap();
        for number in 0..count {
            let picture = RgbImage::from_fn(40, 30 + number % 3, |x, y| {
                let noise = ((x * 31 + y * 17 + number).wrapping_mul(2_654_435_761) >> 26) as u8;
                let mut pixel = [noise; 3];
                pixel[2 - class] += 150;
                Rgb(pixel)
            });
            picture.save(folder.join(name).join(format!("{number:03}.png"))).unwrap();
        }
    }
}
