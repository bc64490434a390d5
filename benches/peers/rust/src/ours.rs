//! infer-core's packed network.

use anyhow::Context;
pub use infer_core::packed::LinearWeights;
use infer_core::{
    alexnet::PLAN,
    packed::{Backend, Line, Network, Parallel, Serial},
    weights::Weights,
};
use rayon::prelude::*;

use crate::{Task, serve};

/// rayon's threads.
struct Rayon;

impl Parallel for Rayon {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).into_par_iter().for_each(task);
    }
}

pub fn run(task: &Task, linear: LinearWeights) -> anyhow::Result<()> {
    let backend = match std::env::var("PEERS_KERNEL") {
        Ok(name) => Backend::ALL.iter().copied().find(|backend| backend.to_string() == name).context("PEERS_KERNEL")?,
        Err(_) => Backend::best(),
    };
    let file = std::fs::read(task.folder.join("alexnet.safetensors"))?;
    let weights = Weights::from_safetensors(PLAN.description(), &file)?;
    let mut packed = vec![Line::ZERO; PLAN.packed_len(weights.classes(), linear)];
    Network::pack(&PLAN, &weights, linear, &mut packed)?;
    let network = Network::from_packed(&PLAN, &packed, backend)?;

    let mut logits = vec![0.0; task.batch * network.classes()];
    let mut workspace = vec![Line::ZERO; network.workspace_len(task.batch)];
    let forward = || {
        if rayon::current_num_threads() == 1 {
            network.forward(&task.images, &mut logits, &mut workspace, &Serial)?;
        } else {
            network.forward(&task.images, &mut logits, &mut workspace, &Rayon)?;
        }
        Ok(logits.clone())
    };
    serve(&format!("{} ({backend})", env!("CARGO_PKG_VERSION")), Box::new(forward))
}
