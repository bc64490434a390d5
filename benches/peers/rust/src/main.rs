//! One Rust engine in a process of its own, as `inference.py` starts it; it speaks as `engine.py` does:
//!
//!     peers ENGINE FOLDER BATCH THREADS
//!
//! prints a JSON line with its version and its logits; then, for each number N that it reads, a JSON line with the seconds
//! of each of N forward passes.

mod candle;
mod ours;
mod tract;

use std::{io::BufRead, path::Path, time::Instant};

use anyhow::{Context, bail};
use serde_json::json;

/// Logits of a batch, one after the other.
type Forward<'a> = Box<dyn FnMut() -> anyhow::Result<Vec<f32>> + 'a>;

/// Values in an image.
const IMAGE: usize = infer_core::alexnet::SIDE * infer_core::alexnet::SIDE;

/// What an engine is given.
struct Task<'a> {
    folder: &'a Path,
    /// `[batch][SIDE][SIDE]`
    images: &'a [f32],
    batch: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, folder, batch, threads] = &arguments[..] else { bail!("usage: peers ENGINE FOLDER BATCH THREADS") };
    let (folder, batch) = (Path::new(folder), batch.parse::<usize>().context("BATCH")?);
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse().context("THREADS")?).build_global()?;
    let bytes = std::fs::read(folder.join("images.f32")).context("images.f32")?;
    let images: Vec<f32> =
        bytes.as_chunks().0.iter().take(batch * IMAGE).map(|value| f32::from_le_bytes(*value)).collect();
    let task = Task { folder, images: &images, batch };
    match engine.as_str() {
        "infer-core" => ours::run(&task, ours::LinearWeights::F32),
        "infer-core-f16" => ours::run(&task, ours::LinearWeights::F16),
        "tract" => serve(env!("TRACT_VERSION"), tract::forward(&task)?),
        "candle" => serve(env!("CANDLE_VERSION"), candle::forward(&task)?),
        other => bail!("no such engine: {other}"),
    }
}

/// Answers on the standard input until it ends.
fn serve(version: &str, mut forward: Forward) -> anyhow::Result<()> {
    let logits = forward()?;
    println!("{}", json!({"version": version, "logits": logits.chunks(10).collect::<Vec<_>>()}));
    for line in std::io::stdin().lock().lines() {
        let mut seconds = Vec::new();
        for _ in 0..line?.trim().parse::<usize>().context("how many passes")? {
            let start = Instant::now();
            forward()?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        println!("{}", json!(seconds));
    }
    Ok(())
}
