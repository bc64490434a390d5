//! With the feature `cuda`: finds the CUDA sources of dfdx, as cargo has them, and builds them into the program, which compiles
//! them when a GPU first needs them. Nothing of CUDA is needed for that.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    let sources = dfdx()?.join("src");
    println!("cargo::rerun-if-changed={}", sources.display());
    let mut files = Vec::new();
    collect(&sources, &mut files)?;
    files.sort();
    let text = format!(
        "/// Kernel files of dfdx: path below its `src`, text.\npub(super) const KERNELS: &[(&str, &str)] = &[{}];\n\
         /// Headers of dfdx: name, text.\npub(super) const HEADERS: &[(&str, &str)] = &[{}];\n",
        list(&files, "cu", |path| path.strip_prefix(&sources).unwrap_or(path)),
        list(&files, "cuh", |path| path.file_name().map_or(path, Path::new)),
    );
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("dfdx.rs"), text)?;
    Ok(())
}

/// The folder of dfdx that this build uses, by the word of cargo.
fn dfdx() -> Result<PathBuf, Error> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &env::var("TARGET")?])
        .args(["--features", "cuda"])
        .current_dir(&here)
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    if let Some(root) = metadata["workspace_root"].as_str() {
        println!("cargo::rerun-if-changed={}", Path::new(root).join("Cargo.lock").display());
    }
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let manifest =
        packages.iter().find(|package| package["name"] == "dfdx").and_then(|dfdx| dfdx["manifest_path"].as_str());
    let folder = manifest.and_then(|path| Path::new(path).parent()).ok_or("cargo metadata does not name dfdx")?;
    Ok(folder.to_path_buf())
}

/// Adds all files below a folder.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The files with this extension as elements of a Rust array: a name, and the text.
fn list(files: &[PathBuf], extension: &str, name: impl Fn(&Path) -> &Path) -> String {
    let with_extension = files.iter().filter(|path| path.extension().is_some_and(|found| found == extension));
    with_extension.map(|path| format!("({:?}, include_str!({path:?})),\n", name(path))).collect()
}
