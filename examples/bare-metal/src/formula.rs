//! Weights made by a formula, so that the programs can be tried before anything is trained. Runs on the workstation: in
//! `build.rs` for LeNet-5, in `examples/weights.rs` for AlexNet.
//!
//! He initialisation (He et al. 2015, section 2.2): uniform within ±√(6 / inputs of a unit), which keeps the size of
//! activations from layer to layer, so that the logits are of order 1 and depend on every layer.

use safetensors::{Dtype, serialize_to_file, tensor::TensorView};
use std::{collections::HashMap, error::Error, path::Path};

/// A layer: its name and the shape of its weight, the units first.
pub type Layer = (&'static str, &'static [usize]);

/// The layers of LeNet-5.
#[allow(dead_code, reason = "each program that includes this file writes one network")]
pub const LENET5: [Layer; 5] = [
    ("conv1", &[6, 1, 5, 5]),
    ("conv2", &[16, 6, 5, 5]),
    ("linear1", &[120, 400]),
    ("linear2", &[84, 120]),
    ("linear3", &[10, 84]),
];

/// The layers of AlexNet.
#[allow(dead_code, reason = "each program that includes this file writes one network")]
pub const ALEXNET: [Layer; 8] = [
    ("conv1", &[96, 1, 11, 11]),
    ("conv2", &[256, 96, 5, 5]),
    ("conv3", &[384, 256, 3, 3]),
    ("conv4", &[384, 384, 3, 3]),
    ("conv5", &[256, 384, 3, 3]),
    ("linear1", &[4096, 6400]),
    ("linear2", &[4096, 4096]),
    ("linear3", &[10, 4096]),
];

/// Writes a weights file for a network of `layers`.
///
/// # Errors
/// The file cannot be written.
pub fn write(architecture: &str, layers: &[Layer], file: &Path) -> Result<(), Box<dyn Error>> {
    let mut random = Random(1);
    let mut tensors = Vec::new();
    for (name, shape) in layers {
        let inputs: usize = shape[1..].iter().product();
        let bound = (6.0 / inputs as f32).sqrt();
        tensors.push((format!("{name}.weight"), shape.to_vec(), random.bytes(shape[0] * inputs, bound)));
        tensors.push((format!("{name}.bias"), vec![shape[0]], random.bytes(shape[0], 0.1)));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let metadata = HashMap::from([("architecture".to_owned(), architecture.to_owned())]);
    serialize_to_file(views, Some(metadata), file).map_err(|e| format!("{}: {e}", file.display()).into())
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
