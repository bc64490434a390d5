//! Tells the crate whether the target has Arm's DSP instructions, which stable Rust does not say (`target_feature = "dsp"`), and
//! whether it has WebAssembly's vectors.

use std::env;

/// CPUs that `-C target-cpu` may name, beside the target `thumbv7em`, all of whose CPUs have the instructions.
const CPUS: &[&str] = &["cortex-m4", "cortex-m7", "cortex-m33", "cortex-m35p", "cortex-m55", "cortex-m85"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(arm_dsp)");
    println!("cargo::rustc-check-cfg=cfg(simd128)");
    println!("cargo::rerun-if-changed=build.rs");
    let target = env::var("TARGET").unwrap_or_default();
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let cpu = flags.split(['\x1f', ' ']).filter_map(|flag| flag.split_once("target-cpu=")).next_back();
    if target.starts_with("thumbv7em") || target.starts_with("thumb") && cpu.is_some_and(|(_, cpu)| CPUS.contains(&cpu))
    {
        println!("cargo::rustc-cfg=arm_dsp");
    }
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if target.starts_with("wasm32") && features.split(',').any(|feature| feature == "simd128") {
        println!("cargo::rustc-cfg=simd128");
    }
}
