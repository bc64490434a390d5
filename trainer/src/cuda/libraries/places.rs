//! Where NVIDIA's libraries may be.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// A place to look for a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Where the system finds a library by its name: `LD_LIBRARY_PATH`, the folders of `ldconfig`.
    System,
    /// A folder.
    Folder(PathBuf),
}

/// All places, in the order in which they are looked at. The driver is where the system has it, or where WSL, containers
/// and NixOS put it; the other libraries are part of a CUDA toolkit or of PyPI's packages.
pub(super) fn all(of_driver: bool) -> Vec<Place> {
    let folders = if of_driver {
        ["/usr/lib/wsl/lib", "/usr/local/nvidia/lib64", "/run/opengl-driver/lib"].map(PathBuf::from).to_vec()
    } else {
        toolkit(&|name| env::var_os(name))
    };
    std::iter::once(Place::System).chain(folders.into_iter().map(Place::Folder)).collect()
}

/// Folders of the CUDA toolkit's libraries, by the environment first.
fn toolkit(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut folders: Vec<_> =
        ["CUDA_PATH", "CUDA_HOME"].into_iter().filter_map(path).flat_map(|root| of_root(&root)).collect();
    for environment in ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(path) {
        folders.extend(of_python(&environment.join("lib")));
        folders.push(environment.join("lib"));
    }
    folders.extend(["/usr/local/cuda", "/opt/cuda"].map(Path::new).into_iter().flat_map(of_root));
    folders.extend(path("HOME").into_iter().flat_map(|home| of_python(&home.join(".local/lib"))));
    folders.extend(["/usr/local/lib", "/usr/lib"].map(Path::new).into_iter().flat_map(of_python));
    folders
}

/// Folders of the libraries of a toolkit that is installed in one folder.
fn of_root(root: &Path) -> Vec<PathBuf> {
    let target = format!("targets/{}-linux/lib", if cfg!(target_arch = "aarch64") { "sbsa" } else { "x86_64" });
    ["lib64", "lib", &target].map(|folder| root.join(folder)).to_vec()
}

/// Folders of PyPI's packages, `pythonX.Y/site-packages/nvidia/*/lib`, in order.
fn of_python(lib: &Path) -> Vec<PathBuf> {
    let is_python = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"));
    let packages = entries(lib).into_iter().filter(is_python);
    let packages =
        packages.flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name).join("nvidia")));
    packages.flat_map(|nvidia| entries(&nvidia)).map(|package| package.join("lib")).filter(|lib| lib.is_dir()).collect()
}

/// Files of a folder, in order; none where it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_active_virtual_environment_is_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        for package in ["cu13", "cublas", "empty"] {
            let lib = folder.path().join("lib/python3.12/site-packages/nvidia").join(package);
            fs::create_dir_all(if package == "empty" { lib } else { lib.join("lib") }).unwrap();
        }
        let environment = folder.path().as_os_str().to_owned();
        let found = toolkit(&|name| match name {
            "CUDA_PATH" => Some("/opt/toolkit".into()),
            "CUDA_HOME" => Some("".into()),
            "VIRTUAL_ENV" => Some(environment.clone()),
            _ => None,
        });
        let nvidia = folder.path().join("lib/python3.12/site-packages/nvidia");
        assert_eq!(found[0], Path::new("/opt/toolkit/lib64"));
        assert_eq!(found[3..5], [nvidia.join("cu13/lib"), nvidia.join("cublas/lib")]);
        assert_eq!(found[5], folder.path().join("lib"));
        assert!(found.contains(&PathBuf::from("/usr/local/cuda/lib64")));
    }

    #[test]
    fn the_driver_is_found_where_wsl_has_it() {
        assert_eq!(all(true)[..2], [Place::System, Place::Folder("/usr/lib/wsl/lib".into())]);
    }
}
