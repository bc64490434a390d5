//! Our side of the comparison of training steps, as `benches/peers/training.py` starts it:
//!
//!     training FOLDER BATCH THREADS STEPS
//!
//! FOLDER holds alexnet.safetensors, and batches of images and labels, images.f32 and labels.u8, which are taken by turns. It
//! prints a JSON line with the losses of the first STEPS steps; then, for each number N that it reads, one with the seconds
//! of each of N further steps and the peak of its memory so far. Dropout is off. `benches/peers/training_engine.py` speaks
//! the same.

use std::{fs, io::BufRead, mem, path::Path, time::Instant};

use anyhow::{Context, bail};
use dfdx::{
    nn::ZeroGrads,
    shapes::{Axis, Const, Rank0},
    tensor::{AsArray, Cpu, Gradients, Tensor, TensorFromVec, Trace},
    tensor_ops::{Backward, SumTo, TryMul},
};
use infer_core::alexnet::SIDE;
use serde_json::json;
use trainer::{
    export,
    model::{AlexNet, CLASSES, Initialisation, Network},
    nn::{FeatureMaps, Vectors},
    optimiser::{Optimiser, OptimiserOptions},
};

/// Values in an image.
const IMAGE: usize = SIDE * SIDE;
/// Adam's step size; `training_engine.py` has the same.
const LEARNING_RATE: f64 = 1e-5;

/// A network in training.
struct Training {
    device: Cpu,
    network: AlexNet<Cpu>,
    adam: Optimiser<Cpu>,
    gradients: Gradients<f32, Cpu>,
    /// Batches of images, and of one-hot labels.
    batches: Vec<(Vec<f32>, Vec<f32>)>,
    batch: usize,
    steps: usize,
}

impl Training {
    fn new(folder: &Path, batch: usize) -> anyhow::Result<Self> {
        let device = Cpu::default();
        let mut network = AlexNet::init(&device, Initialisation::PyTorch, 0)?;
        export::load(&folder.join("alexnet.safetensors"), &mut network)?;
        let images = fs::read(folder.join("images.f32")).context("images.f32")?;
        let images: Vec<f32> = images.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        let labels = fs::read(folder.join("labels.u8")).context("labels.u8")?;
        let batches = images.chunks_exact(batch * IMAGE).zip(labels.chunks_exact(batch));
        let batches = batches.map(|(images, labels)| {
            let mut one_hot = vec![0.0; labels.len() * CLASSES];
            for (row, label) in one_hot.chunks_exact_mut(CLASSES).zip(labels) {
                row[usize::from(*label)] = 1.0;
            }
            (images.to_vec(), one_hot)
        });
        Ok(Self {
            adam: Optimiser::new(&mut network, OptimiserOptions::default())?,
            gradients: network.try_alloc_grads()?,
            batches: batches.collect(),
            device,
            network,
            batch,
            steps: 0,
        })
    }

    /// A step: forward, backward, update. Returns the loss before it.
    fn step(&mut self) -> anyhow::Result<f32> {
        let (images, labels) = &self.batches[self.steps % self.batches.len()];
        self.steps += 1;
        let images: FeatureMaps<1, SIDE, Cpu> =
            self.device.try_tensor_from_vec(images.clone(), (self.batch, Const, Const, Const))?;
        let labels: Vectors<CLASSES, Cpu> = self.device.try_tensor_from_vec(labels.clone(), (self.batch, Const))?;
        let gradients = mem::replace(&mut self.gradients, Gradients::leaky());
        let logits = self.network.try_forward(images.traced(gradients))?;
        let log_likelihoods = logits.try_log_softmax::<Axis<1>>()?.try_mul(labels)?;
        let loss: Tensor<Rank0, _, _, _> = log_likelihoods.try_sum()?;
        let loss = loss.try_mul(-1.0 / self.batch as f32)?;
        let value = loss.array();
        self.gradients = loss.try_backward()?;
        self.adam.step(&mut self.network, &mut self.gradients, LEARNING_RATE)?;
        Ok(value)
    }
}

/// The most memory that the process has had, in MB (Linux).
fn peak() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0 / 1e6)
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, batch, threads, steps] = &arguments[..] else { bail!("usage: training FOLDER BATCH THREADS STEPS") };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse().context("THREADS")?).build_global()?;
    let mut training = Training::new(Path::new(folder), batch.parse().context("BATCH")?)?;
    let mut losses = Vec::new();
    for _ in 0..steps.parse::<usize>().context("STEPS")? {
        losses.push(training.step()?);
    }
    println!("{}", json!({"version": env!("CARGO_PKG_VERSION"), "losses": losses}));
    for line in std::io::stdin().lock().lines() {
        let mut seconds = Vec::new();
        for _ in 0..line?.trim().parse::<usize>().context("how many steps")? {
            let start = Instant::now();
            training.step()?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        println!("{}", json!({"seconds": seconds, "peak": peak()}));
    }
    Ok(())
}
