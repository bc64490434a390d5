//! Our side of the comparison of training steps, as `benches/peers/training.py` starts it:
//!
//!     training FOLDER NETWORK BATCH THREADS STEPS
//!
//! FOLDER holds alexnet.safetensors, and batches of images and labels, images.f32 and labels.u8, which are taken by turns. It
//! prints a JSON line with the losses of the first STEPS steps; then, for each number N that it reads, one with the seconds
//! of each of N further steps and the peak of its memory so far. Dropout is off. `benches/peers/training_engine.py` speaks
//! the same.

use std::{fs, io::BufRead, mem, path::Path, time::Instant};

use anyhow::{Context, bail};
use dfdx::{
    nn::ZeroGrads,
    shapes::{Axis, Const, HasShape, Rank0},
    tensor::{AsArray, Cpu, Gradients, OwnedTape, Tensor, TensorFromVec, Trace},
    tensor_ops::{Backward, ReshapeTo, SumTo, TryMul},
};
use serde_json::json;
use trainer::{
    export,
    model::{AlexNet, AlexNet2012, AlexNetImageNet, Initialisation, Network},
    nn::Logits,
    ops::Images,
    optimiser::{Optimiser, OptimiserOptions},
};

/// The allocator of the programs.
#[global_allocator]
static ALLOCATOR: large_pages::LargePages = large_pages::LargePages;

/// Adam's step size; `training_engine.py` has the same.
const LEARNING_RATE: f64 = 1e-5;

/// A forward pass that is recorded, without dropout.
type Forward<N> = fn(&N, Images<Cpu>, Gradients<f32, Cpu>) -> anyhow::Result<Logits<Cpu, OwnedTape<f32, Cpu>>>;

/// A network in training.
struct Training<N> {
    device: Cpu,
    network: N,
    forward: Forward<N>,
    adam: Optimiser<Cpu>,
    gradients: Gradients<f32, Cpu>,
    /// Batches of images, and of one-hot labels.
    batches: Vec<(Vec<f32>, Vec<f32>)>,
    batch: usize,
    steps: usize,
}

impl<N: Network<Cpu>> Training<N> {
    fn new(folder: &Path, batch: usize, forward: Forward<N>) -> anyhow::Result<Self> {
        let device = Cpu::default();
        let mut network = N::init(&device, N::DESCRIPTION.classes(), Initialisation::PyTorch, 0)?;
        export::load(&folder.join("alexnet.safetensors"), &mut network)?;
        let images = fs::read(folder.join("images.f32")).context("images.f32")?;
        let images: Vec<f32> = images.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        let labels = fs::read(folder.join("labels.u8")).context("labels.u8")?;
        let classes = network.classes();
        let batches = images.chunks_exact(batch * N::DESCRIPTION.input().values()).zip(labels.chunks_exact(batch));
        let batches = batches.map(|(images, labels)| {
            let mut one_hot = vec![0.0; labels.len() * classes];
            for (row, label) in one_hot.chunks_exact_mut(classes).zip(labels) {
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
            forward,
            batch,
            steps: 0,
        })
    }

    /// A step: forward, backward, update. Returns the loss before it.
    fn step(&mut self) -> anyhow::Result<f32> {
        let (images, labels) = &self.batches[self.steps % self.batches.len()];
        self.steps += 1;
        let input = N::DESCRIPTION.input();
        let sizes = (self.batch, input.channels, input.side, input.side);
        let inputs: Images<Cpu> = self.device.try_tensor_from_vec(images.clone(), sizes)?;
        let classes = self.network.classes();
        let labels: Logits<Cpu> = self.device.try_tensor_from_vec(labels.clone(), (self.batch, classes.into()))?;
        let gradients = mem::replace(&mut self.gradients, Gradients::leaky());
        let logits = (self.forward)(&self.network, inputs, gradients)?;
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

/// Trains and times a network.
fn run<N: Network<Cpu>>(folder: &Path, batch: usize, steps: usize, forward: Forward<N>) -> anyhow::Result<()> {
    let mut training = Training::new(folder, batch, forward)?;
    let losses = (0..steps).map(|_| training.step()).collect::<anyhow::Result<Vec<_>>>()?;
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

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, network, batch, threads, steps] = &arguments[..] else {
        bail!("usage: training FOLDER NETWORK BATCH THREADS STEPS")
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse().context("THREADS")?).build_global()?;
    let (folder, batch, steps) = (Path::new(folder), batch.parse().context("BATCH")?, steps.parse().context("STEPS")?);
    macro_rules! run {
        ($($network:ident),*) => {
            match network.as_str() {
                $(<$network<Cpu> as Network<Cpu>>::ARCHITECTURE => run::<$network<Cpu>>(folder, batch, steps, |network, images, gradients| {
                    let batch = images.shape().0;
                    let images = images.try_reshape_like(&(batch, Const, Const, Const))?;
                    Ok(network.try_forward(images.traced(gradients), None)?)
                }),)*
                other => bail!("{other}: not a network of this comparison"),
            }
        };
    }
    run!(AlexNet, AlexNetImageNet, AlexNet2012)
}
