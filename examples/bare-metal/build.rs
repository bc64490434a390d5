//! Prepares the build of the board's programs: the weights that are linked into them, and the linker's scripts.
//!
//! LeNet-5's weights are those in `model/`, or the files that the environment variables `WEIGHTS`, in f32, and `INT8_WEIGHTS`, in 8-bit
//! integers, name.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed=build.rs");
    for (variable, name) in [("WEIGHTS", "lenet5.safetensors"), ("INT8_WEIGHTS", "lenet5-int8.safetensors")] {
        println!("cargo:rerun-if-env-changed={variable}");
        let path = env::var(variable).unwrap_or_else(|_| format!("model/{name}"));
        println!("cargo:rerun-if-changed={path}");
        fs::copy(&path, out.join(name)).map_err(|e| format!("{variable}={path}: {e}"))?;
    }

    println!("cargo:rustc-check-cfg=cfg(board_mps3)");
    if env::var("CARGO_CFG_TARGET_OS")? == "none" {
        println!("cargo:rerun-if-changed=boards");
        println!("cargo:rustc-link-search={}", out.display());
        let target = env::var("TARGET")?;
        match (env::var("CARGO_CFG_TARGET_ARCH")?.as_str(), target.starts_with("thumbv8m")) {
            ("arm", mps3) => {
                let board = if mps3 { "mps3-an547" } else { "mps2" };
                if mps3 {
                    println!("cargo:rustc-cfg=board_mps3");
                }
                fs::copy(format!("boards/{board}.x"), out.join("memory.x"))?;
                // cortex-m-rt's script, which includes memory.x.
                println!("cargo:rustc-link-arg-bins=-Tlink.x");
            }
            (architecture, _) => {
                let memory = if architecture == "aarch64" { "0x40080000" } else { "0x80000000" };
                let script = fs::read_to_string("boards/virt.x")?.replace(" MEMORY;", &format!(" {memory};"));
                fs::write(out.join("virt.x"), script)?;
                println!("cargo:rustc-link-arg-bins=-Tvirt.x");
            }
        }
    }
    Ok(())
}
