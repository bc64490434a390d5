//! Writes AlexNet's weights, made by a formula: `cargo run --example weights -- alexnet.safetensors`.

#[path = "../src/formula.rs"]
mod formula;

use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os().nth(1).ok_or("usage: weights FILE")?;
    formula::write(&infer_core::alexnet::DESCRIPTION, &PathBuf::from(file))
}
