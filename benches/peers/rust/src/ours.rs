//! infer-core's networks: packed floats, and 8-bit integers.

use std::fmt::Display;

use anyhow::Context;
pub use infer_core::packed::LinearWeights;
use infer_core::{
    int8::{self, Int8Backend},
    packed::{Backend, Line, NETWORKS, Network, Parallel, Plan, Serial},
    weights::Weights,
};
use rayon::prelude::*;

use crate::{Task, serve};

/// rayon's threads; a single one is not asked.
struct Threads;

impl Parallel for Threads {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if rayon::current_num_threads() == 1 {
            Serial.for_each(tasks, task);
        } else {
            (0..tasks).into_par_iter().for_each(task);
        }
    }
}

/// The network of the f32 weights, packed.
pub fn run(task: &Task, linear: LinearWeights) -> anyhow::Result<()> {
    let backend = backend()?;
    let file = std::fs::read(task.folder.join("alexnet.safetensors"))?;
    let (plan, weights) = weights_of(&file)?;
    let mut packed = vec![Line::ZERO; plan.packed_len(weights.classes(), linear)];
    Network::pack(plan, &weights, linear, &mut packed)?;
    let network = Network::from_packed(plan, &packed, backend)?;

    let mut logits = vec![0.0; task.batch * network.classes()];
    let mut workspace = vec![Line::ZERO; network.workspace_len(task.batch)];
    let forward = |images: &[f32]| {
        network.forward(images, &mut logits, &mut workspace, &Threads)?;
        Ok(logits.clone())
    };
    serve(task, &format!("{} ({backend})", env!("CARGO_PKG_VERSION")), Box::new(forward))
}

/// The network that a file of f32 weights is of.
pub fn weights_of(file: &[u8]) -> anyhow::Result<(&'static Plan, Weights<'_>)> {
    let networks = NETWORKS.iter().map(|plan| Some((*plan, Weights::from_safetensors(plan.description(), file).ok()?)));
    networks.flatten().next().context("alexnet.safetensors: weights of no network")
}

/// The network of the int8 weights.
pub fn run_int8(task: &Task) -> anyhow::Result<()> {
    let backend = int8_backend()?;
    let bytes = std::fs::read(task.folder.join("alexnet-int8.safetensors"))?;
    // A file in lines, as the reader wants it, which is what mapping it into memory gives.
    let mut lines = vec![Line::ZERO; Line::count(bytes.len())];
    Line::bytes_mut(&mut lines)[..bytes.len()].copy_from_slice(&bytes);
    let file = &Line::bytes(&lines)[..bytes.len()];
    let plan = int8::plan_of(file)?;
    let mut transformed = vec![Line::ZERO; plan.transformed_len()];
    let network = int8::Network::from_safetensors(plan, file, &mut transformed, backend)?;

    let mut logits = vec![0.0; task.batch * network.classes()];
    let mut workspace = vec![Line::ZERO; network.workspace_len(task.batch)];
    let forward = |images: &[f32]| {
        network.forward(images, &mut logits, &mut workspace, &Threads)?;
        Ok(logits.clone())
    };
    serve(task, &format!("{} ({backend})", env!("CARGO_PKG_VERSION")), Box::new(forward))
}

/// The fastest kernels of this CPU, or those that `PEERS_KERNEL` names.
fn backend() -> anyhow::Result<Backend> {
    named(Backend::ALL).map(|named| named.unwrap_or_else(Backend::best))
}

/// The same in 8-bit integers.
fn int8_backend() -> anyhow::Result<Int8Backend> {
    named(Int8Backend::ALL).map(|named| named.unwrap_or_else(Int8Backend::best))
}

/// The kernels that `PEERS_KERNEL` names.
fn named<B: Copy + Display>(all: &[B]) -> anyhow::Result<Option<B>> {
    let Ok(name) = std::env::var("PEERS_KERNEL") else { return Ok(None) };
    all.iter().copied().find(|backend| backend.to_string() == name).map(Some).context("PEERS_KERNEL")
}
