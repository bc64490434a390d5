//! A network of your own: described as a list of layers, its weights read from a file, run without a heap.
//!
//! ```sh
//! cargo run -p alexnet-infer-core --example own_network
//! ```

mod stripes;

use infer_core::{classify::top_k, preprocess::gray_frame};
use stripes::{DESCRIPTION, Image, LAYERS, NAMES, Stripes, Workspace, camera};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{}: {} parameters, {} bytes of workspace", DESCRIPTION.name, DESCRIPTION.parameters(2), Workspace::SIZE);
    for layer in LAYERS {
        println!("  {}: {}×{}×{}", layer.name, layer.output.channels, layer.output.side, layer.output.side);
    }
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/stripes/stripes.safetensors"))?;
    let network: Stripes = Stripes::from_safetensors(&file)?;
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
