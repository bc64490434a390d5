//! One Rust engine in a process of its own, as `inference.py` starts it; it speaks as `engine.py` does:
//!
//!     peers ENGINE FOLDER IMAGES BATCH THREADS
//!
//! prints a JSON line with its version and the logits of all images in the file IMAGES, computed in batches; then, for each
//! number N that it reads, a JSON line with the seconds of each of N forward passes over the first batch.

mod candle;
mod ours;
mod tract;

use std::{io::BufRead, path::Path, time::Instant};

use anyhow::{Context, bail};
use serde_json::json;

/// From the images of a batch to their logits, one after the other.
type Forward<'a> = Box<dyn FnMut(&[f32]) -> anyhow::Result<Vec<f32>> + 'a>;

/// Values in an image.
const IMAGE: usize = infer_core::alexnet::SIDE * infer_core::alexnet::SIDE;

/// Input of an engine.
struct Task<'a> {
    folder: &'a Path,
    /// `[count][SIDE][SIDE]`, where `count` is a multiple of `batch`.
    images: &'a [f32],
    batch: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, folder, images, batch, threads] = &arguments[..] else {
        bail!("usage: peers ENGINE FOLDER IMAGES BATCH THREADS")
    };
    let (folder, batch) = (Path::new(folder), batch.parse::<usize>().context("BATCH")?);
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse().context("THREADS")?).build_global()?;
    let bytes = std::fs::read(images).context("IMAGES")?;
    let images: Vec<f32> = bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    if images.is_empty() || !images.len().is_multiple_of(batch * IMAGE) {
        bail!("IMAGES: expected whole batches of {batch}, found {} values", images.len());
    }
    let task = Task { folder, images: &images, batch };
    match engine.as_str() {
        "infer-core" => ours::run(&task, ours::LinearWeights::F32),
        "infer-core-f16" => ours::run(&task, ours::LinearWeights::F16),
        "infer-core-int8" => ours::run_int8(&task),
        "tract" => serve(&task, env!("TRACT_VERSION"), tract::forward(&task)?),
        "candle" => serve(&task, env!("CANDLE_VERSION"), candle::forward(&task)?),
        other => bail!("no such engine: {other}"),
    }
}

/// Answers on the standard input until it ends.
fn serve(task: &Task, version: &str, mut forward: Forward) -> anyhow::Result<()> {
    let values = task.batch * IMAGE;
    let logits = task.images.chunks(values).map(&mut forward).collect::<anyhow::Result<Vec<_>>>()?.concat();
    println!("{}", json!({"version": version, "logits": logits.chunks(10).collect::<Vec<_>>()}));
    let images = &task.images[..values];
    for line in std::io::stdin().lock().lines() {
        let mut seconds = Vec::new();
        for _ in 0..line?.trim().parse::<usize>().context("how many passes")? {
            let start = Instant::now();
            forward(images)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        println!("{}", json!(seconds));
    }
    Ok(())
}
