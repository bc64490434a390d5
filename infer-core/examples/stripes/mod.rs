//! A network of 114 weights that tells horizontal from vertical stripes, and images for it. The weights in
//! `stripes.safetensors` were made by `examples/training` of the repository.

infer_core::network! {
    /// Tells horizontal (0) from vertical (1) stripes in gray images of 8×8 pixels.
    Stripes "stripes": 1 x 8;
    conv1: conv 4, kernel 3;
    pool1: max_pool kernel 2, stride 2;
    linear1: linear 2 classes;
}

/// Names of the classes.
pub const NAMES: [&str; 2] = ["horizontal", "vertical"];

/// Stripes of two pixels, as a camera would give them.
pub fn camera(vertical: bool) -> [u8; SIDE * SIDE] {
    core::array::from_fn(|i| {
        let place = if vertical { i % SIDE } else { i / SIDE };
        if place % 4 < 2 { 250 } else { 10 }
    })
}
