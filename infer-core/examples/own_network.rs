//! A network of your own: described as a list of layers, its weights read from a file, run without a heap.
//!
//! ```sh
//! cargo run -p alexnet-infer-core --example own_network
//! ```

mod stripes;

use infer_core::{classify::top_k, packed::Line, preprocess::gray_frame};
use stripes::{DESCRIPTION, Image, LAYERS, NAMES, Stripes, Workspace, camera};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{}: {} parameters, {} bytes of workspace", DESCRIPTION.name, DESCRIPTION.parameters(2), Workspace::SIZE);
    for layer in LAYERS {
        println!("  {}: {}×{}×{}", layer.name, layer.output.channels, layer.output.side, layer.output.side);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/stripes/stripes.safetensors");
    let file = std::fs::read(path)?;
    // Weights are read in place, so that they must be aligned: lines of memory are, a vector of bytes need not be.
    let mut lines = vec![Line::ZERO; Line::count(file.len())];
    let bytes = &mut Line::bytes_mut(&mut lines)[..file.len()];
    bytes.copy_from_slice(&file);
    let network: Stripes = Stripes::from_safetensors(bytes)?;
    let mut workspace = Workspace::new();
    for vertical in [false, true] {
        let mut image: Image = [[[0.0; 8]; 8]];
        gray_frame(&camera(vertical), &mut image[0])?;
        let best = top_k::<1, 2>(&network.forward(&image, &mut workspace))[0];
        println!("{} stripes: {} ({:.1} %)", NAMES[usize::from(vertical)], NAMES[best.class], 100.0 * best.probability);
        assert_eq!(best.class, usize::from(vertical));
    }
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
