//! One Rust engine in a process of its own, as `inference.py` starts it; it speaks as `engine.py` does:
//!
//!     peers ENGINE FOLDER NETWORK IMAGES BATCH THREADS
//!
//! prints a JSON line with its version and the logits of all images in the file IMAGES, computed in batches; then, for each
//! number N that it reads, a JSON line with the seconds of each of N forward passes over the first batch. Or
//!
//!     peers prepare FOLDER NETWORK THREADS
//!
//! decodes and resizes the images of a folder, and prints a JSON line with the seconds of that.

mod candle;
mod ours;
mod prepare;
mod tract;

use std::{io::BufRead, path::Path, time::Instant};

use anyhow::{Context, bail};
use infer_core::{describe::Maps, packed::NETWORKS};
use serde_json::json;

/// The allocator of the programs.
#[global_allocator]
static ALLOCATOR: large_pages::LargePages = large_pages::LargePages;

/// From the images of a batch to their logits, one after the other.
type Forward<'a> = Box<dyn FnMut(&[f32]) -> anyhow::Result<Vec<f32>> + 'a>;

/// Input of an engine.
struct Task<'a> {
    folder: &'a Path,
    /// Sizes of an image.
    image: Maps,
    /// `[count][channels][side][side]`, where `count` is a multiple of `batch`.
    images: &'a [f32],
    batch: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, folder, network, threads] = &arguments[..]
        && command == "prepare"
    {
        start_threads(threads)?;
        return prepare::run(Path::new(folder), input(network)?);
    }
    let [engine, folder, network, images, batch, threads] = &arguments[..] else {
        bail!("usage: peers ENGINE FOLDER NETWORK IMAGES BATCH THREADS")
    };
    let (folder, batch) = (Path::new(folder), batch.parse::<usize>().context("BATCH")?);
    start_threads(threads)?;
    let image = input(network)?;
    let bytes = std::fs::read(images).context("IMAGES")?;
    let images: Vec<f32> = bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    if images.is_empty() || !images.len().is_multiple_of(batch * image.values()) {
        bail!("IMAGES: expected whole batches of {batch}, found {} values", images.len());
    }
    let task = Task { folder, image, images: &images, batch };
    match engine.as_str() {
        "infer-core" => ours::run(&task, ours::LinearWeights::F32),
        "infer-core-f16" => ours::run(&task, ours::LinearWeights::F16),
        "infer-core-int8" => ours::run_int8(&task),
        "tract" => serve(&task, env!("TRACT_VERSION"), tract::forward(&task)?),
        "candle" => serve(&task, env!("CANDLE_VERSION"), candle::forward(&task)?),
        other => bail!("no such engine: {other}"),
    }
}

fn start_threads(count: &str) -> anyhow::Result<()> {
    Ok(rayon::ThreadPoolBuilder::new().num_threads(count.parse().context("THREADS")?).build_global()?)
}

/// Sizes of an image of a network.
fn input(network: &str) -> anyhow::Result<Maps> {
    let plan = NETWORKS.iter().find(|plan| plan.description().name == network).context("NETWORK")?;
    Ok(plan.description().input())
}

/// Answers on the standard input until it ends.
fn serve(task: &Task, version: &str, mut forward: Forward) -> anyhow::Result<()> {
    let values = task.batch * task.image.values();
    let logits = task.images.chunks(values).map(&mut forward).collect::<anyhow::Result<Vec<_>>>()?;
    let logits: Vec<_> = logits.iter().flat_map(|batch| batch.chunks(batch.len() / task.batch)).collect();
    println!("{}", json!({"version": version, "logits": logits}));
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
