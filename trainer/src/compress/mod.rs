//! Smaller networks: what is made of trained weights.

pub mod compare;
pub mod int8;
pub mod low_rank;
pub mod stored;

use std::path::Path;

use image_files::preprocessing::Preprocessing;
use infer_core::{
    describe::Description,
    int8::Int8Error,
    packed::{self, Backend, Line, LinearWeights, PackedError, Parallel, Plan},
    weights::Weights,
};
use rayon::prelude::*;

use crate::{
    data::LabelledImages,
    export::{ExportError, StoredFile},
    model::{ModelError, Network},
    ops::ConvDevice,
    training::TrainError,
};

/// Images that are computed at once.
const BATCH: usize = 32;

/// Why smaller weights could not be made or tried.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// There is no image to calibrate on.
    #[error("calibration needs at least one image")]
    NoImages,
    /// There is no such network in infer-core.
    #[error("there is no network {0} of this kind")]
    Network(String),
    /// Weights of 4 bits are asked for, which no layer of the network may have.
    #[error("--int4: {0} has no linear layer for weights of 4 bits; leave it out")]
    Int4(String),
    /// An image cannot become an input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The weights cannot be packed or run as floats.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// The weights cannot be quantised, or run as integers.
    #[error(transparent)]
    Int8(#[from] Int8Error),
    /// Images cannot be classified.
    #[error(transparent)]
    Evaluation(#[from] TrainError),
}

/// Trained weights in memory: weight and bias of each layer that has some, in order.
#[derive(Debug, Clone)]
pub struct Trained {
    description: &'static Description,
    classes: usize,
    layers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Trained {
    /// Reads the weights of a network from a file that is open.
    ///
    /// # Errors
    /// Its tensors are not exactly the network's, with finite values.
    pub fn read(file: &StoredFile, description: &'static Description) -> Result<Self, ExportError> {
        let classes = file.classes(description, "")?;
        let layers = description.layers(classes).filter_map(|layer| Some((layer, layer.tensors?)));
        let layers = layers.map(|(layer, [weight, bias])| {
            let sizes = layer.weight_sizes();
            let weight = file.values(weight, &sizes[..layer.weight_rank()])?;
            Ok((weight, file.values(bias, &[layer.output.channels])?))
        });
        let layers = layers.collect::<Result<_, ExportError>>()?;
        file.refuse_others(|name| description.tensors.contains(&name))?;
        Ok(Self { description, classes, layers })
    }

    /// The network as a table.
    pub fn description(&self) -> &'static Description {
        self.description
    }

    /// The weights, borrowed.
    pub fn weights(&self) -> Weights<'_> {
        let layers: Vec<_> = self.layers.iter().map(|(weight, bias)| (&weight[..], &bias[..])).collect();
        Weights::new(self.description, self.classes, &layers)
    }

    /// Bytes of the values.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|(weight, bias)| size_of_val(&weight[..]) + size_of_val(&bias[..])).sum()
    }

    /// Writes the weights and metadata. An existing file is replaced only when the new one is complete.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path, metadata: &crate::export::Metadata) -> Result<(), ExportError> {
        let layers = self.description.layers(self.classes).filter_map(|layer| Some((layer, layer.tensors?)));
        let tensors = layers.zip(&self.layers).flat_map(|((layer, [weight, bias]), (weights, biases))| {
            let shape = layer.weight_sizes()[..layer.weight_rank()].to_vec();
            let stored =
                |name: &str, shape, values| crate::export::StoredTensor { name: name.to_string(), shape, values };
            [stored(weight, shape, weights.into()), stored(bias, vec![biases.len()], biases.into())]
        });
        crate::export::save_tensors(path, &tensors.collect::<Vec<_>>(), metadata)
    }
}

/// Inputs of a network, for the images at `positions`, one behind the other.
///
/// # Errors
/// The network's preprocessing.
pub fn inputs<D: ConvDevice, N: Network<D>>(
    data: &LabelledImages,
    positions: &[usize],
    preprocessing: &Preprocessing,
) -> Result<Vec<f32>, ModelError> {
    let length = N::DESCRIPTION.input().values();
    let mut inputs = vec![0.0; positions.len() * length];
    inputs.par_chunks_mut(length).zip(positions).try_for_each(|(input, &position)| {
        N::preprocess(&data.frame(position), preprocessing.resize, input)?;
        if let Some(normalisation) = preprocessing.normalisation {
            normalisation.apply(input);
        }
        Ok::<(), ModelError>(())
    })?;
    Ok(inputs)
}

/// The threads of rayon's pool.
struct Threads;

impl Parallel for Threads {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).into_par_iter().for_each(task);
    }
}

/// A network of floats, packed.
struct Floats {
    plan: &'static Plan,
    lines: Vec<Line>,
}

impl Floats {
    fn new(weights: &Weights<'_>) -> Result<Self, CompressError> {
        let name = weights.description().name;
        let plan = packed::NETWORKS.iter().find(|plan| plan.description().name == name);
        let plan = *plan.ok_or_else(|| CompressError::Network(name.to_string()))?;
        let mut lines = vec![Line::ZERO; plan.packed_len(weights.classes(), LinearWeights::F32)];
        packed::Network::pack(plan, weights, LinearWeights::F32, &mut lines)?;
        Ok(Self { plan, lines })
    }

    fn network(&self) -> Result<packed::Network<'_>, PackedError> {
        packed::Network::from_packed(self.plan, &self.lines, Backend::best())
    }

    /// Passes the outputs of each layer on, for all inputs, in the layout of [`packed::Network::forward_with_outputs`].
    fn observe(&self, inputs: &[f32], mut observer: impl FnMut(usize, &[f32])) -> Result<(), CompressError> {
        let network = self.network()?;
        let image = network.description().input().values();
        if inputs.len() < image {
            return Err(CompressError::NoImages);
        }
        let mut workspace = vec![Line::ZERO; network.workspace_len(BATCH)];
        let mut logits = vec![0.0; BATCH * network.classes()];
        for inputs in inputs.chunks(BATCH * image) {
            let logits = &mut logits[..inputs.len() / image * network.classes()];
            network.forward_with_outputs(inputs, logits, &mut workspace, &Threads, &mut observer)?;
        }
        Ok(())
    }
}
