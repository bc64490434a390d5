//! Weights files made in memory with the safetensors crate.

use crate::formula;
use infer_core::describe::Description;
use safetensors::{Dtype, tensor::TensorView};
use std::collections::HashMap;

/// Name and shape of each tensor of a network for so many classes, in the order of its layers.
#[must_use]
pub fn tensors(network: &Description, classes: usize) -> Vec<(&'static str, Vec<usize>)> {
    let layers = network.layers(classes).filter_map(|layer| Some((layer, layer.tensors?)));
    layers
        .flat_map(|(layer, [weight, bias])| {
            let sizes = layer.weight_sizes()[..layer.weight_rank()].to_vec();
            [(weight, sizes), (bias, vec![layer.output.channels])]
        })
        .collect()
}

/// Bytes whose first one lies at an address that is a multiple of eight, as in a memory-mapped file.
pub struct Aligned {
    words: Vec<u64>,
    length: usize,
}

impl Aligned {
    /// A copy of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let (chunks, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let words = chunks.iter().chain([&last]).map(|chunk| u64::from_ne_bytes(*chunk)).collect();
        Self { words, length: bytes.len() }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the words hold at least `length` bytes, and any byte is a valid u8.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.length) }
    }
}

/// A weights file of a network with the values of [`formula::parameter`].
#[must_use]
pub fn by_formula(network: &Description) -> Aligned {
    with_values(&tensors(network, network.classes()), formula::parameter)
}

/// A weights file of `tensors`, the values of number `index` as `values(index, shape)` gives them.
#[must_use]
pub fn with_values(tensors: &[(&str, Vec<usize>)], values: impl Fn(usize, &[usize]) -> Vec<f32>) -> Aligned {
    with_metadata(tensors, values, [])
}

/// Like [`with_values`], with metadata beside the format.
#[must_use]
pub fn with_metadata<const N: usize>(
    tensors: &[(&str, Vec<usize>)],
    values: impl Fn(usize, &[usize]) -> Vec<f32>,
    metadata: [(&str, String); N],
) -> Aligned {
    let data: Vec<Vec<u8>> =
        tensors.iter().enumerate().map(|(index, (_, shape))| bytes(&values(index, shape))).collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
        (*name, TensorView::new(Dtype::F32, shape.clone(), data).expect("the values fill the shape"))
    });
    let format = [("format", "pt".to_owned())];
    let metadata: HashMap<_, _> =
        format.into_iter().chain(metadata).map(|(key, value)| (key.to_owned(), value)).collect();
    Aligned::new(&safetensors::serialize(views, Some(metadata)).expect("the tensors make a file"))
}

/// The bytes of floats. (Collecting them by `flat_map` takes seconds for a large network.)
fn bytes(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 * values.len());
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    bytes
}
