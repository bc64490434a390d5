//! The network that a weights file is for, and the form of its weights.

use anyhow::{Context, anyhow};
use image_files::weights::{CHECKPOINT, IS_CHECKPOINT};
use infer_core::{
    describe::{Description, MAX_LAYERS, network_of},
    packed::{self, Line, LinearWeights, NETWORKS, Plan},
    safetensors::SafeTensors,
    weights::Weights,
};
use reporting::words::alternatives;

/// Room for the tensors of any network.
const MOST_TENSORS: usize = 2 * MAX_LAYERS;

/// The header of a weights file.
pub type Header<'w> = SafeTensors<'w, MOST_TENSORS>;

/// Form of a network's weights in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Its weights as they were trained.
    Trained,
    /// Packed by `infer-cli pack`.
    Packed,
    /// In 8-bit integers.
    Int8,
}

impl Form {
    /// The form of a network's weights in a file.
    fn of(header: &Header<'_>, network: &Description) -> Self {
        if header.tensor(network.packed_tensor).is_some() {
            Self::Packed
        } else if header.tensor(network.int8_tensor).is_some() {
            Self::Int8
        } else {
            Self::Trained
        }
    }
}

/// Weights, packed.
///
/// # Errors
/// A weight is too large.
pub fn pack(plan: &'static Plan, weights: &Weights<'_>, linear: LinearWeights) -> anyhow::Result<Vec<Line>> {
    let mut lines = vec![Line::ZERO; plan.packed_len(weights.classes(), linear)];
    packed::Network::pack(plan, weights, linear, &mut lines)?;
    Ok(lines)
}

/// The network that a file is for (see [`network_of`]), and the form of its weights.
///
/// # Errors
/// There is no such network.
pub fn plan_of(header: &Header<'_>) -> anyhow::Result<(&'static Plan, Form)> {
    let length = |name: &str| Some(header.tensor(name)?.shape.sizes().iter().map(|size| *size as usize).product());
    let architecture = header.metadata("architecture").map(|name| name.to_string());
    let networks = || NETWORKS.iter().copied().map(Plan::description);
    let found = network_of(networks(), architecture.as_deref(), length);
    let plan = found.and_then(|found| NETWORKS.iter().copied().find(|plan| plan.description() == found));
    let plan = plan.ok_or_else(|| match &architecture {
        Some(name) => {
            anyhow!("expected the metadata `architecture` to be {}, found {name:?}", known())
        }
        None => none_of_its_tensors(header),
    })?;
    Ok((plan, Form::of(header, plan.description())))
}

/// The weights of a file that are not packed.
///
/// # Errors
/// They are not this network's.
pub fn weights<'w>(plan: &'static Plan, file: &'w [u8]) -> anyhow::Result<Weights<'w>> {
    let title = plan.description().title;
    Weights::from_safetensors(plan.description(), file).with_context(|| format!("these are not {title}'s weights"))
}

/// Names of the networks, in words.
fn known() -> String {
    alternatives(&NETWORKS.iter().map(|plan| plan.description().name).collect::<Vec<_>>())
}

/// Why a file is none of the networks: by its first tensor's name, and what is before that if it is more.
fn none_of_its_tensors(header: &Header<'_>) -> anyhow::Error {
    if header.metadata(CHECKPOINT).is_some() {
        return anyhow!("expected weights, found {IS_CHECKPOINT}");
    }
    let expected = |tensor: &str| format!("expected the tensors of {}: tensor {tensor} is missing", known());
    let names = || header.tensors().iter().map(|tensor| tensor.name.to_string());
    let firsts = || NETWORKS.iter().filter_map(|plan| plan.description().tensors.first());
    let prefix =
        names().find_map(|name| firsts().find_map(|first| Some((name.strip_suffix(first)?.to_owned(), *first))));
    let conv1 = expected("conv1.weight");
    match (prefix, names().next()) {
        (Some((prefix, first)), _) => {
            anyhow!("{}, the file has {prefix}{first}; take {prefix} off all names", expected(first))
        }
        (None, Some(first)) => anyhow!("{conv1}, the file's first tensor is {first}"),
        (None, None) => anyhow!("{conv1}, the file has no tensors"),
    }
}
