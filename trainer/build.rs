//! With the feature `cuda`: finds the CUDA sources of dfdx, as cargo has them, and builds them into the program, which compiles
//! them when a GPU first needs them. Nothing of CUDA is needed for that.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

type Error = Box<dyn std::error::Error>;

/// Version of dfdx, as the manifest names it.
const DFDX: &str = "0.13.0";

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

/// Folder of dfdx's sources, of the version that the manifest names.
///
/// Cargo says where it is when this crate is part of a workspace. As a dependency, this crate lies where cargo keeps what it has
/// downloaded, and cargo, asked there, would look for versions and packages that the build has nothing of. dfdx lies beside it then,
/// or where cargo keeps downloads, in a folder named after its version.
fn dfdx() -> Result<PathBuf, Error> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let refused = match ask_cargo(&here) {
        Ok(folder) => return Ok(folder),
        Err(refused) => refused,
    };
    let beside = here.parent().map(Path::to_path_buf);
    let mut stores = Vec::from_iter(beside);
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    if let Some(registries) = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok()) {
        stores.extend(registries.flatten().map(|registry| registry.path()));
    }
    let folders = stores.iter().flat_map(|store| [store.join(format!("dfdx-{DFDX}")), store.join("dfdx")]);
    let is_dfdx = |folder: &PathBuf| {
        fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|manifest| {
            let mut lines = manifest.lines().map(str::trim);
            lines.any(|line| line == "name = \"dfdx\"") && lines.any(|line| line == format!("version = \"{DFDX}\""))
        })
    };
    let found = folders.into_iter().find(is_dfdx);
    found.ok_or_else(|| {
        let beside = here.display();
        format!(
            "the sources of dfdx {DFDX} were found neither beside {beside} nor where cargo keeps downloads; {refused}"
        )
        .into()
    })
}

/// The folder of dfdx by the word of cargo, in the workspace of this crate.
fn ask_cargo(here: &Path) -> Result<PathBuf, Error> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &env::var("TARGET")?])
        .args(["--features", "cuda"])
        .current_dir(here)
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
