//! Prepares the build of the board's programs: the weights that are linked into `lenet5`, and the linker's scripts.
//!
//! The weights are the file that the environment variable `WEIGHTS` names; without it, they are made by a formula.

#[path = "src/formula.rs"]
mod formula;

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let weights = out.join("lenet5.safetensors");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/formula.rs");
    println!("cargo:rerun-if-env-changed=WEIGHTS");
    match env::var("WEIGHTS") {
        Ok(path) => {
            println!("cargo:rerun-if-changed={path}");
            fs::copy(&path, &weights).map_err(|e| format!("WEIGHTS={path}: {e}"))?;
        }
        Err(_) => formula::write(&infer_core::lenet5::DESCRIPTION, &weights)?,
    }

    if env::var("CARGO_CFG_TARGET_OS")? == "none" {
        let target = env::var("TARGET")?;
        let board = if target.starts_with("thumbv8m") { "mps3-an547" } else { "mps2" };
        let memories = format!("boards/{board}.x");
        println!("cargo:rerun-if-changed={memories}");
        fs::copy(memories, out.join("memory.x"))?;
        println!("cargo:rustc-link-search={}", out.display());
        // cortex-m-rt's script, which includes memory.x.
        println!("cargo:rustc-link-arg-bins=-Tlink.x");
    }
    Ok(())
}
