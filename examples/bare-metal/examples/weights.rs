//! Writes AlexNet's weights, made by a formula, so that `alexnet` can be tried before anything is trained:
//! `cargo run --example weights -- alexnet.safetensors`.
//!
//! He initialisation (He et al. 2015, section 2.2): uniform within ±√(6 / inputs of a unit), which keeps the size of
//! activations from layer to layer, so that the logits are of order 1 and depend on every layer.

use infer_core::alexnet::DESCRIPTION;
use safetensors::{Dtype, serialize_to_file, tensor::TensorView};
use std::{collections::HashMap, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let file = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: weights FILE")?);
    let mut random = Random(1);
    let mut tensors = Vec::new();
    for layer in DESCRIPTION.layers {
        let Some([weight, bias]) = layer.tensors else { continue };
        let (units, inputs) = (layer.output.channels, layer.fan_in());
        let bound = (6.0 / inputs as f32).sqrt();
        let shape = layer.weight_sizes()[..layer.weight_rank()].to_vec();
        tensors.push((weight, shape, random.bytes(units * inputs, bound)));
        tensors.push((bias, vec![units], random.bytes(units, 0.1)));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let metadata = HashMap::from([("architecture".to_owned(), DESCRIPTION.name.to_owned())]);
    serialize_to_file(views, Some(metadata), &file).map_err(|e| format!("{}: {e}", file.display()).into())
}

/// A linear congruential generator with the constants of *Numerical Recipes*.
struct Random(u32);

impl Random {
    /// `count` values within ±`bound`, as a weights file holds them.
    fn bytes(&mut self, count: usize, bound: f32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 * count);
        for _ in 0..count {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // The upper 24 bits, the better ones, to -1 to 1.
            let value = (self.0 >> 8) as f32 / (1 << 23) as f32 - 1.0;
            bytes.extend((bound * value).to_le_bytes());
        }
        bytes
    }
}
