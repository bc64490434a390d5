//! Weights files made in memory with the safetensors crate.

use crate::formula;
use safetensors::{Dtype, tensor::TensorView};
use std::collections::HashMap;

/// Name and shape of each tensor of AlexNet, in the order of its layers.
pub const ALEXNET: [(&str, &[usize]); 16] = [
    ("conv1.weight", &[96, 1, 11, 11]),
    ("conv1.bias", &[96]),
    ("conv2.weight", &[256, 96, 5, 5]),
    ("conv2.bias", &[256]),
    ("conv3.weight", &[384, 256, 3, 3]),
    ("conv3.bias", &[384]),
    ("conv4.weight", &[384, 384, 3, 3]),
    ("conv4.bias", &[384]),
    ("conv5.weight", &[256, 384, 3, 3]),
    ("conv5.bias", &[256]),
    ("linear1.weight", &[4096, 6400]),
    ("linear1.bias", &[4096]),
    ("linear2.weight", &[4096, 4096]),
    ("linear2.bias", &[4096]),
    ("linear3.weight", &[10, 4096]),
    ("linear3.bias", &[10]),
];

/// Name and shape of each tensor of LeNet-5, in the order of its layers.
pub const LENET5: [(&str, &[usize]); 10] = [
    ("conv1.weight", &[6, 1, 5, 5]),
    ("conv1.bias", &[6]),
    ("conv2.weight", &[16, 6, 5, 5]),
    ("conv2.bias", &[16]),
    ("linear1.weight", &[120, 400]),
    ("linear1.bias", &[120]),
    ("linear2.weight", &[84, 120]),
    ("linear2.bias", &[84]),
    ("linear3.weight", &[10, 84]),
    ("linear3.bias", &[10]),
];

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

/// A weights file of `tensors` with the values of [`formula::parameter`].
#[must_use]
pub fn by_formula(tensors: &[(&str, &[usize])]) -> Aligned {
    with_values(tensors, formula::parameter)
}

/// A weights file of `tensors`, the values of number `index` as `values(index, shape)` gives them.
#[must_use]
pub fn with_values(tensors: &[(&str, &[usize])], values: impl Fn(usize, &[usize]) -> Vec<f32>) -> Aligned {
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .enumerate()
        .map(|(index, (_, shape))| values(index, shape).into_iter().flat_map(f32::to_le_bytes).collect())
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), data).expect("the values fill the shape"))
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Aligned::new(&safetensors::serialize(views, Some(metadata)).expect("the tensors make a file"))
}
