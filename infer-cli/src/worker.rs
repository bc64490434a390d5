//! What a thread needs to run the network: room for a batch of images, and for the pass over them.

use std::{path::Path, thread};

use anyhow::bail;
use image_files::{decode, gray::preprocess, preprocessing::Normalisation};
use infer_core::{
    alexnet,
    classify::{Prediction, top_k_with},
    lenet5::{self, LeNet5},
    packed::{Line, PackedAlexNet, Parallel, Serial},
    preprocess::normalise,
};
use rayon::prelude::*;

use crate::{
    network::{CLASSES, Classifier, Network},
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
    pub logits: Vec<f32>,
}

impl Answer {
    /// The answer where the first `classes` outputs stand for classes.
    ///
    /// # Errors
    /// The network's sums overflowed.
    fn new(outputs: [f32; CLASSES], classes: usize) -> anyhow::Result<Self> {
        let logits = &outputs[..classes];
        if let Some(class) = logits.iter().position(|logit| !logit.is_finite()) {
            bail!("the network's output for class {class} is {}: its weights are too large", logits[class]);
        }
        // The others come last, with a probability of 0.
        let mut among_classes = [f32::NEG_INFINITY; CLASSES];
        among_classes[..classes].copy_from_slice(logits);
        let ranking = top_k_with::<CLASSES, CLASSES>(&among_classes, f32::exp).into_iter().take(classes).collect();
        Ok(Self { ranking, logits: logits.to_vec() })
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
    classes: usize,
    invert: bool,
    normalisation: Option<Normalisation>,
    decoding: decode::Options,
    threads: &'n rayon::ThreadPool,
}

enum Memory<'n> {
    AlexNet { network: Box<PackedAlexNet<'n>>, images: Vec<alexnet::Image>, workspace: Vec<Line> },
    LeNet5 { network: &'n LeNet5<'n>, images: Vec<lenet5::Image>, workspace: Box<lenet5::Workspace> },
}

impl<'n> Worker<'n> {
    /// A worker for images of which black and white may be exchanged, and how they are decoded. `threads` help it when no other
    /// worker is busy.
    ///
    /// # Errors
    /// None that was not found when the weights were opened.
    pub fn new(
        classifier: &'n Classifier<'n>,
        invert: bool,
        decoding: decode::Options,
        threads: &'n rayon::ThreadPool,
    ) -> anyhow::Result<Self> {
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
        let normalisation = classifier.normalisation;
        Ok(Self { memory, classes: classifier.labels.len(), invert, normalisation, decoding, threads })
    }
}

impl pipeline::Worker for Worker<'_> {
    fn prepare(&mut self, place: usize, path: &Path) -> anyhow::Result<()> {
        let (image, _) = decode::open(path, self.decoding)?;
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
        Ok(logits.iter().map(|logits| Answer::new(*logits, self.classes)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_without_a_class_count_for_nothing() {
        let outputs = [1.0, 3.0, 2.0, 9.0, 9.0, 9.0, 9.0, f32::INFINITY, f32::NAN, 9.0];
        let Answer { ranking, logits } = Answer::new(outputs, 3).unwrap();
        assert_eq!(logits, [1.0, 3.0, 2.0]);
        assert_eq!(ranking.iter().map(|best| best.class).collect::<Vec<_>>(), [1, 2, 0]);
        assert!((ranking.iter().map(|best| best.probability).sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((ranking[0].probability - 0.665_240_94).abs() < 1e-6);
        assert!(
            Answer::new(outputs, 9).unwrap_err().to_string().starts_with("the network's output for class 7 is inf")
        );
    }
}
