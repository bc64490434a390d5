//! A trained model, compiled into the program: AlexNet with linear layers of rank 128, in 8-bit integers, 6.2 MB. It tells the ten
//! kinds of clothing of Fashion-MNIST apart, light on black, on gray images of 224×224.
//!
//! ```
//! use fashion::{CLASSES, MEAN, STD, TRANSFORMED, network};
//! use infer_core::int8::{Int8Backend, Int8Error, Line, Serial};
//! use infer_core::preprocess::{gray, normalise, resize_bilinear};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A camera's picture: a pair of trousers, drawn by hand.
//! let camera = |x: usize, y: usize| gray(if (8..20).contains(&x) && !(y > 8 && (13..15).contains(&x)) { 200 } else { 0 });
//! let mut image = vec![[0.0; 224]; 224];
//! resize_bilinear(28, 28, camera, &mut image)?;
//! normalise(image.as_flattened_mut(), MEAN, STD);
//!
//! let mut transformed = vec![Line::ZERO; TRANSFORMED];
//! let network = network(&mut transformed, Int8Backend::best())?;
//! let mut workspace = vec![Line::ZERO; network.workspace_len(1)];
//! let mut logits = [0.0; 10];
//! network.forward(image.as_flattened(), &mut logits, &mut workspace, &Serial)?;
//! let best = (0..10).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or_default();
//! assert_eq!(CLASSES[best], "Trouser");
//! # Ok(())
//! # }
//! ```
//!
//! The README says how it was made and how accurate it is.
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

/// The code of the README is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

use infer_core::alexnet_low_rank::rank128::INT8_WINOGRAD_PLAN;
use infer_core::include_aligned;
use infer_core::int8::{Int8Backend, Int8Error, Line, Network};

/// The model as a weights file (safetensors), which describes itself in its metadata; it begins at a multiple of 64 bytes.
pub static FILE: &[u8] = include_aligned!("../fashion-mnist.safetensors");

/// Names of the classes, in order.
pub const CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// Mean that is taken from pixels, which are 0 to 1.
pub const MEAN: f32 = 0.286_040_6;

/// Standard deviation that pixels are then divided by.
pub const STD: f32 = 0.353_024_24;

/// Lines of memory for the transformed weights of its convolutions: 6.6 MB.
pub const TRANSFORMED: usize = INT8_WINOGRAD_PLAN.transformed_len();

/// The network. The weights of its convolutions are transformed into `transformed`, of [`TRANSFORMED`] lines; all others are read
/// where they are.
///
/// # Errors
/// [`Int8Error::Transformed`] where that memory has another length, [`Int8Error::Unavailable`] where the CPU lacks the backend's
/// instructions, [`Int8Error::NoVectors`] on a target without vectors.
pub fn network(transformed: &mut [Line], backend: Int8Backend) -> Result<Network<'_>, Int8Error> {
    Network::from_safetensors_unscanned(&INT8_WINOGRAD_PLAN, FILE, transformed, backend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use infer_core::safetensors::SafeTensors;
    use std::format;
    use std::string::ToString;
    use std::vec;

    #[test]
    fn the_weights_are_in_range_and_the_file_is_small() {
        let mut transformed = vec![Line::ZERO; TRANSFORMED];
        let network = network(&mut transformed, Int8Backend::Scalar).unwrap();
        assert_eq!(network.check_weights(), Ok(()));
        assert!(FILE.len() <= 7_000_000, "{}", FILE.len());
    }

    #[test]
    fn the_metadata_say_the_same() {
        let file = SafeTensors::<4>::parse(FILE).unwrap();
        let names = CLASSES.map(|name| format!("\"{name}\"")).join(",");
        assert_eq!(file.metadata("classes").unwrap().to_string(), format!("[{names}]"));
        let preprocessing = file.metadata("preprocessing").unwrap().to_string();
        assert!(preprocessing.contains(&format!("\"mean\":{MEAN},\"std\":{STD}")), "{preprocessing}");
        assert!(file.metadata("checks").is_some());
    }
}
