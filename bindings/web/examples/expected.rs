//! Logits of the pictures that `tests/node.mjs` draws, computed on this machine: a line for each, as the bits of its logits.

use fashion::{MEAN, STD, TRANSFORMED, network};
use infer_core::alexnet::SIDE;
use infer_core::int8::{Int8Backend, Line, Serial};
use infer_core::preprocess::{gray, luma, normalise, resize_bilinear};

/// Sizes of the pictures, and whether they are gray.
const PICTURES: [(usize, usize, bool); 4] = [(28, 28, true), (224, 224, true), (300, 200, false), (1, 5, false)];

fn main() {
    let mut transformed = vec![Line::ZERO; TRANSFORMED];
    let network = network(&mut transformed, Int8Backend::Scalar).expect("plain Rust is there");
    let mut workspace = vec![Line::ZERO; network.workspace_len(1)];
    let mut image = vec![[0.0; SIDE]; SIDE];
    for (width, height, is_gray) in PICTURES {
        let value = |x: usize, y: usize| {
            let [red, green, blue] = [1, 5, 11].map(|factor| ((3 * x + factor * y + x * y / 4) % 256) as u8);
            if is_gray { gray(red) } else { luma([red, green, blue]) }
        };
        resize_bilinear(width, height, value, &mut image).expect("pictures have pixels");
        normalise(image.as_flattened_mut(), MEAN, STD);
        let mut logits = [0.0; 10];
        network.forward(image.as_flattened(), &mut logits, &mut workspace, &Serial).expect("sizes fit");
        println!("{}", logits.map(|logit| format!("{:x}", logit.to_bits())).join(" "));
    }
}
