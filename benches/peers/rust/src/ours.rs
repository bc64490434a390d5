//! infer-core's packed network.

use anyhow::Context;
pub use infer_core::packed::LinearWeights;
use infer_core::{
    alexnet::{AlexNet, Image},
    packed::{Backend, Line, PackedAlexNet, Parallel, Serial},
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
        Ok(name) => Backend::ALL.into_iter().find(|backend| backend.to_string() == name).context("PEERS_KERNEL")?,
        Err(_) => Backend::best(),
    };
    let file = std::fs::read(task.folder.join("alexnet.safetensors"))?;
    let network = AlexNet::from_safetensors(&file)?;
    let mut packed = vec![Line::ZERO; PackedAlexNet::packed_len(linear)];
    PackedAlexNet::pack(&network, linear, &mut packed)?;
    let network = PackedAlexNet::from_packed(&packed, backend)?;

    let rows = task.images.as_chunks().0;
    let images: Vec<Image> = rows.as_chunks().0.iter().map(|image| [*image]).collect();
    let mut logits = vec![[0.0; 10]; task.batch];
    let mut workspace = vec![Line::ZERO; PackedAlexNet::workspace_len(task.batch)];
    let forward = || {
        if rayon::current_num_threads() == 1 {
            network.forward(&images, &mut logits, &mut workspace, &Serial)?;
        } else {
            network.forward(&images, &mut logits, &mut workspace, &Rayon)?;
        }
        Ok(logits.as_flattened().to_vec())
    };
    serve(&format!("{} ({backend})", env!("CARGO_PKG_VERSION")), Box::new(forward))
}
