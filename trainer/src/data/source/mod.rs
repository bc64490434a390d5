//! Finds the four files of Fashion-MNIST: in a named folder, in the usual folders, or on the web.

mod download;

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

pub use self::download::Download;

/// Where Fashion-MNIST's authors publish it.
pub const OFFICIAL_URL: &str = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/";

/// Where Debian's and Ubuntu's package `dataset-fashion-mnist` puts it.
pub const SYSTEM_FOLDER: &str = "/usr/share/datasets/fashion-mnist";

/// Where it is kept in a workspace.
pub const WORKSPACE_FOLDER: &str = "data/fashion-mnist";

/// The published files: name and SHA-256 of the uncompressed content.
const PUBLISHED: [(&str, &str); 4] = [
    ("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    ("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    ("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    ("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
];

/// The four files of a data set published as MNIST is, each gzipped or plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Images to train on.
    pub train_images: PathBuf,
    /// Their labels.
    pub train_labels: PathBuf,
    /// Images to test on.
    pub test_images: PathBuf,
    /// Their labels.
    pub test_labels: PathBuf,
}

/// Where to look, in order, and whether to download what no folder has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Folders to look in.
    pub folders: Vec<PathBuf>,
    /// Download, where none of them has all files.
    pub download: Option<Download>,
}

/// Why the files could not be had: every place tried with its reason, then what to do.
#[derive(Debug, thiserror::Error)]
#[error("Fashion-MNIST was not found. Tried:\n{}{HELP}", listed(.tried))]
pub struct NotFound {
    /// Places and reasons.
    pub tried: Vec<(String, String)>,
}

const HELP: &str = "Install it with `apt install dataset-fashion-mnist` (Debian, Ubuntu), or put the four files \
train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (each with or \
without .gz) into one folder and name it with --data, or name another mirror with --data-url. For images of your own, \
name a folder with --data that has a folder of images for each class.";

fn listed(tried: &[(String, String)]) -> String {
    tried.iter().fold(String::new(), |mut list, (place, reason)| {
        // Writing to a String cannot fail.
        let _ = writeln!(list, "  {place}: {reason}");
        list
    })
}

impl Lookup {
    /// The search that the command line describes.
    ///
    /// With `data`, only that folder counts (`url` then says where to fetch what it lacks). Otherwise:
    /// `data/fashion-mnist` in the current folder and in the Cargo workspace around it, the system's folder,
    /// and a download into the workspace's (or the current folder's) `data/fashion-mnist`.
    pub fn new(data: Option<&Path>, url: Option<&str>, current: &Path) -> Self {
        if let Some(data) = data {
            return Self {
                folders: vec![data.to_path_buf()],
                download: url.map(|url| Download { url: url.to_string(), into: data.to_path_buf() }),
            };
        }
        // `Cargo.lock` lies only at the root of a workspace, `Cargo.toml` in each member too.
        let root = current.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).unwrap_or(current);
        let mut folders = vec![current.join(WORKSPACE_FOLDER)];
        if root != current {
            folders.push(root.join(WORKSPACE_FOLDER));
        }
        folders.push(SYSTEM_FOLDER.into());
        Self {
            folders,
            download: Some(Download {
                url: url.unwrap_or(OFFICIAL_URL).to_string(),
                into: root.join(WORKSPACE_FOLDER),
            }),
        }
    }

    /// Finds or fetches the files. `announce` is told of a download before it starts.
    ///
    /// # Errors
    /// [`NotFound`] with every place tried.
    pub fn locate(&self, announce: &dyn Fn(&str)) -> Result<Files, NotFound> {
        let mut tried = Vec::new();
        for folder in &self.folders {
            match in_folder(folder) {
                Ok(files) => return Ok(files),
                Err(reason) => tried.push((folder.display().to_string(), reason)),
            }
        }
        if let Some(download) = &self.download {
            announce(&format!(
                "Downloading Fashion-MNIST (30 MB) from {} to {}",
                download.url,
                download.into.display()
            ));
            match download.run().and_then(|()| in_folder(&download.into)) {
                Ok(files) => return Ok(files),
                Err(reason) => tried.push((download.url.clone(), reason)),
            }
        }
        Err(NotFound { tried })
    }
}

/// Whether a folder has any of the four files.
pub fn has_any(folder: &Path) -> bool {
    PUBLISHED.iter().any(|(name, _)| present(folder, name).is_some())
}

/// Whether a folder has files or folders, and none of the four among them: it is somebody's for other things. Hidden ones do not
/// count.
pub fn has_others(folder: &Path) -> bool {
    let visible = |name: &OsStr| !name.as_encoded_bytes().starts_with(b".");
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    !has_any(folder) && entries.any(|entry| visible(&entry.file_name()))
}

/// The four files in a folder, or what is wrong with it.
fn in_folder(folder: &Path) -> Result<Files, String> {
    if !folder.is_dir() {
        return Err(if folder.exists() { "not a folder" } else { "no such folder" }.into());
    }
    let find =
        |(name, _): (&str, &str)| present(folder, name).ok_or_else(|| format!("it has neither {name} nor {name}.gz"));
    let [train_images, train_labels, test_images, test_labels] = PUBLISHED.map(find);
    Ok(Files {
        train_images: train_images?,
        train_labels: train_labels?,
        test_images: test_images?,
        test_labels: test_labels?,
    })
}

fn present(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_folder_is_the_only_place() {
        let lookup = Lookup::new(Some(Path::new("/somewhere")), None, Path::new("/"));
        assert_eq!(lookup.folders, [Path::new("/somewhere")]);
        assert_eq!(lookup.download, None);
        let lookup = Lookup::new(Some(Path::new("/somewhere")), Some("http://mirror"), Path::new("/"));
        assert_eq!(lookup.download.unwrap().into, Path::new("/somewhere"));
    }

    #[test]
    fn the_usual_places_come_in_order() {
        let workspace = tempfile::tempdir().unwrap();
        let member = workspace.path().join("member");
        fs::create_dir(&member).unwrap();
        fs::write(workspace.path().join("Cargo.lock"), "").unwrap();
        let lookup = Lookup::new(None, None, &member);
        let expected = [member.join(WORKSPACE_FOLDER), workspace.path().join(WORKSPACE_FOLDER), SYSTEM_FOLDER.into()];
        assert_eq!(lookup.folders, expected);
        let download = lookup.download.unwrap();
        assert_eq!(download.url, OFFICIAL_URL);
        assert_eq!(download.into, workspace.path().join(WORKSPACE_FOLDER));
    }

    #[test]
    fn plain_and_gzipped_files_mix() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(
            in_folder(folder.path()).unwrap_err(),
            "it has neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte.gz"
        );
        fs::write(folder.path().join("t10k-labels-idx1-ubyte.gz"), "").unwrap();
        let files = in_folder(folder.path()).unwrap();
        assert_eq!(files.train_labels, folder.path().join("train-labels-idx1-ubyte"));
        assert_eq!(files.test_labels, folder.path().join("t10k-labels-idx1-ubyte.gz"));
    }
}
