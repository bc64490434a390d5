//! What a thread needs to run the network: room for a batch of images, and for the pass over them.

use std::{path::Path, thread};

use anyhow::bail;
use infer_core::{
    alexnet,
    classify::{Prediction, top_k_with},
    lenet5::{self, LeNet5},
    packed::{Line, PackedAlexNet, Parallel, Serial},
    preprocess::normalise,
};
use rayon::prelude::*;

use crate::{
    decode::{self, preprocess},
    network::{CLASSES, Classifier, Network, Normalisation},
    pipeline,
};

/// Images that a thread classifies together: enough for each weight read from memory to serve many images, few enough that
/// results keep coming.
pub const BATCH: usize = 16;

/// What the network says about an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// All classes, the most likely first.
    pub ranking: Vec<Prediction>,
    /// The network's outputs, one a class.
    pub logits: [f32; CLASSES],
}

impl Answer {
    /// # Errors
    /// The network's sums overflowed.
    fn new(logits: [f32; CLASSES]) -> anyhow::Result<Self> {
        if let Some(class) = logits.iter().position(|logit| !logit.is_finite()) {
            bail!("the network's output for class {class} is {}: its weights are too large", logits[class]);
        }
        let ranking = top_k_with::<CLASSES, CLASSES>(&logits, f32::exp).into_iter().collect();
        Ok(Self { ranking, logits })
    }
}

/// As many threads as were asked for, else one a CPU.
pub fn threads(asked: Option<u16>) -> usize {
    asked.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// The threads of a pool, for one image on several cores.
pub struct Threads<'p>(pub &'p rayon::ThreadPool);

impl Parallel for Threads<'_> {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.0.install(|| (0..tasks).into_par_iter().for_each(task));
    }
}

/// A network with memory of its own for a batch.
pub struct Worker<'n> {
    memory: Memory<'n>,
    invert: bool,
    normalisation: Option<Normalisation>,
    threads: &'n rayon::ThreadPool,
}

enum Memory<'n> {
    AlexNet { network: Box<PackedAlexNet<'n>>, images: Vec<alexnet::Image>, workspace: Vec<Line> },
    LeNet5 { network: &'n LeNet5<'n>, images: Vec<lenet5::Image>, workspace: Box<lenet5::Workspace> },
}

impl<'n> Worker<'n> {
    /// A worker for images of which black and white may be exchanged. `threads` help it when no other worker is busy.
    ///
    /// # Errors
    /// None that was not found when the weights were opened.
    pub fn new(classifier: &'n Classifier<'n>, invert: bool, threads: &'n rayon::ThreadPool) -> anyhow::Result<Self> {
        let memory = match &classifier.network {
            Network::AlexNet(packed) => Memory::AlexNet {
                network: Box::new(packed.network()?),
                images: vec![[[[0.0; alexnet::SIDE]; alexnet::SIDE]]; BATCH],
                workspace: vec![Line::ZERO; PackedAlexNet::workspace_len(BATCH)],
            },
            Network::LeNet5(network) => Memory::LeNet5 {
                network,
                images: vec![[[[0.0; lenet5::SIDE]; lenet5::SIDE]]; BATCH],
                workspace: Box::new(lenet5::Workspace::new()),
            },
        };
        Ok(Self { memory, invert, normalisation: classifier.normalisation, threads })
    }
}

impl pipeline::Worker for Worker<'_> {
    fn prepare(&mut self, place: usize, path: &Path) -> anyhow::Result<()> {
        let image = decode::decode(&decode::read(path)?)?;
        let input = match &mut self.memory {
            Memory::AlexNet { images, .. } => {
                let [input] = &mut images[place];
                preprocess(&image, self.invert, input)?;
                input.as_flattened_mut()
            }
            Memory::LeNet5 { images, .. } => {
                let [input] = &mut images[place];
                preprocess(&image, self.invert, input)?;
                input.as_flattened_mut()
            }
        };
        if let Some(Normalisation { mean, std }) = self.normalisation {
            normalise(input, mean, std);
        }
        Ok(())
    }

    fn answer(&mut self, count: usize, alone: bool) -> anyhow::Result<Vec<anyhow::Result<Answer>>> {
        let mut logits = [[0.0; CLASSES]; BATCH];
        let logits = &mut logits[..count];
        match &mut self.memory {
            Memory::AlexNet { network, images, workspace } if alone => {
                network.forward(&images[..count], logits, workspace, &Threads(self.threads))?;
            }
            Memory::AlexNet { network, images, workspace } => {
                network.forward(&images[..count], logits, workspace, &Serial)?;
            }
            Memory::LeNet5 { network, images, workspace } => {
                for (logits, image) in logits.iter_mut().zip(images) {
                    *logits = network.forward(image, workspace);
                }
            }
        }
        Ok(logits.iter().map(|logits| Answer::new(*logits)).collect())
    }
}
