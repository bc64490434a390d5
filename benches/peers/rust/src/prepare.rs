//! Photographs' way to a network's input, as infer-cli goes it, without the network.

use std::{path::Path, time::Instant};

use image_files::{decode, pixels::preprocess, preprocessing::Preprocessing};
use infer_core::describe::Maps;
use rayon::prelude::*;
use serde_json::json;

/// Prepares all images of a folder, and prints how many and the seconds.
pub fn run(folder: &Path, input: Maps) -> anyhow::Result<()> {
    let start = Instant::now();
    let paths = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    let Preprocessing { resize, normalisation, .. } = Preprocessing::usual(input);
    paths.par_iter().try_for_each_init(
        || vec![0.0; input.values()],
        |values, path| -> anyhow::Result<()> {
            let (image, _) = decode::open(path, decode::Options::default())?;
            preprocess(&image, resize, input.side, false, values)?;
            if let Some(normalisation) = normalisation {
                normalisation.apply(values);
            }
            Ok(())
        },
    )?;
    println!("{}", json!({"images": paths.len(), "seconds": start.elapsed().as_secs_f64()}));
    Ok(())
}
