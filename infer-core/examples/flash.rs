//! Weights in flash: compiled into the program, aligned, and used where they lie. So a microcontroller's program would begin.
//!
//! ```sh
//! cargo run -p alexnet-infer-core --example flash
//! ```

mod stripes;

use infer_core::{include_aligned, preprocess::gray_frame};
use stripes::{Image, NAMES, Stripes, Workspace, camera};

/// 1 kB of flash.
static WEIGHTS: &[u8] = include_aligned!("stripes/stripes.safetensors");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A test of the program has looked through the values once; at each start, only the structure is checked.
    let network: Stripes = Stripes::from_safetensors_unscanned(WEIGHTS)?;
    let mut image: Image = [[[0.0; 8]; 8]];
    gray_frame(&camera(true), &mut image[0])?;
    let [horizontal, vertical] = network.forward(&image, &mut Workspace::new());
    println!("{} {horizontal:.3}, {} {vertical:.3}", NAMES[0], NAMES[1]);
    assert!(vertical > horizontal);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn runs() {
        super::main().unwrap();
    }

    #[test]
    fn the_weights_are_finite() {
        assert!(super::Stripes::<2>::from_safetensors(super::WEIGHTS).is_ok());
    }
}
