//! Weights files: which one is meant, and what is taken for one by mistake.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Why a path names no weights.
#[derive(Debug)]
pub enum NoWeights {
    /// It is a folder without weights.
    None(PathBuf),
    /// It is a folder with several.
    Several(PathBuf, Vec<String>),
    /// It is a folder that cannot be read.
    Folder(PathBuf, io::Error),
}

impl fmt::Display for NoWeights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None(folder) => {
                write!(
                    formatter,
                    "{}: expected a weights file, found a folder without one (*.safetensors)",
                    folder.display()
                )
            }
            Self::Several(folder, names) => write!(
                formatter,
                "{}: expected a weights file, found a folder with {} of them ({}); name one",
                folder.display(),
                names.len(),
                names.join(", ")
            ),
            Self::Folder(folder, error) => write!(formatter, "{}: {error}", folder.display()),
        }
    }
}

impl std::error::Error for NoWeights {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Folder(_, error) => Some(error),
            Self::None(_) | Self::Several(..) => None,
        }
    }
}

/// The weights file that a path means: the path itself, or the only one that lies in it if it is a folder, such as a run's.
///
/// # Errors
/// [`NoWeights`]: a folder with none, or with several.
pub fn named(path: &Path) -> Result<PathBuf, NoWeights> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let failed = |error| NoWeights::Folder(path.to_path_buf(), error);
    let files = fs::read_dir(path).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files: Vec<_> = files.collect::<io::Result<_>>().map_err(failed)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "safetensors") && file.is_file());
    files.sort();
    match &files[..] {
        [] => Err(NoWeights::None(path.to_path_buf())),
        [file] => Ok(file.clone()),
        files => {
            let names = files.iter().filter_map(|file| file.file_name());
            let names = names.map(|name| name.to_string_lossy().into_owned()).collect();
            Err(NoWeights::Several(path.to_path_buf(), names))
        }
    }
}

/// The key of the metadata that a training run's checkpoint has.
pub const CHECKPOINT: &str = "checkpoint";

/// Description of a safetensors file with that key, and what to do with it.
pub const IS_CHECKPOINT: &str = "a checkpoint of a training run, which `trainer --resume` goes on from; its weights are the file \
                                 *.safetensors in the folder of the run";

/// Description of an ONNX model, and what to do with it.
pub const ONNX: &str = "an ONNX model; `trainer import x.onnx -o x.safetensors` makes weights of it";

/// Names the kind of a file that people take for weights, and says what to do; none if the file may be safetensors.
pub fn other_kind(file: &[u8]) -> Option<&'static str> {
    const PYTORCH: &str = "a PyTorch checkpoint; make safetensors of it in Python: \
                           safetensors.torch.save_file(torch.load(\"x.pth\", weights_only=True), \"x.safetensors\")";
    const LFS: &str = "a Git LFS pointer, not the file itself; fetch that with `git lfs pull`";
    const COMPRESSED: &str = "compressed; unpack it first";
    const NUMPY: &str = "NumPy arrays; save the tensors with safetensors.numpy.save_file";
    const IMAGE: &str = "an image";
    const KINDS: [(usize, &[u8], &str); 21] = [
        (0, b"version https://git-lfs", LFS),
        (0, b"\x80\x02", PYTORCH),
        (0, b"\x80\x03", PYTORCH),
        (0, b"\x80\x04", PYTORCH),
        (0, b"\x80\x05", PYTORCH),
        (0, b"\x89HDF\r\n", "an HDF5 (Keras) file; convert it to safetensors"),
        (0, b"GGUF", "a GGUF file; convert it to safetensors"),
        (0, b"\x93NUMPY", NUMPY),
        (0, b"\x1f\x8b", "gzipped; unpack it first"),
        (0, b"\xfd7zXZ\0", COMPRESSED),
        (0, b"\x28\xb5\x2f\xfd", COMPRESSED),
        (0, b"{", "JSON, such as the index of a file in parts; give the safetensors file itself"),
        (0, b"\x89PNG\r\n", IMAGE),
        (0, b"\xFF\xD8\xFF", IMAGE),
        (0, b"GIF8", IMAGE),
        (0, b"BM", IMAGE),
        (8, b"WEBP", IMAGE),
        (0, b"II*\0", IMAGE),
        (0, b"MM\0*", IMAGE),
        (0, b"%PDF", "a PDF document"),
        (4, b"TFL3", "a TensorFlow Lite model; convert it to safetensors"),
    ];
    // The first eight bytes of safetensors are a length, of which the highest are always zeros, before an object of JSON.
    if matches!(file, [_, _, _, _, 0, 0, 0, 0, b'{', ..]) {
        return None;
    }
    if file.is_empty() {
        return Some("an empty file; download or copy it again");
    }
    if file.starts_with(b"PK\x03\x04") {
        // The name of the first file in the archive.
        let name = file.get(30..).unwrap_or_default();
        let name = &name[..name.len().min(MOST_NAME)];
        let holds = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
        return Some(match (holds(b"data.pkl"), holds(b".npy")) {
            (true, _) => PYTORCH,
            (_, true) => NUMPY,
            _ => "a zip archive; unpack it, or where it is a model, save its tensors as safetensors",
        });
    }
    let text = file.trim_ascii_start().strip_prefix(b"\xef\xbb\xbf").unwrap_or(file).trim_ascii_start();
    let page = |tag: &&[u8]| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    if [&b"<!doctype"[..], b"<html", b"<?xml"].iter().any(page) {
        return Some("a web page; download the file itself");
    }
    // A protocol buffer whose first field, the version of the format, is small, and whose second is the producer's name or the graph.
    if matches!(file, [0x08, 1..=20, 0x12 | 0x3A, ..]) {
        return Some(ONNX);
    }
    let kind = KINDS.iter().find(|(at, magic, _)| file.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    kind.map(|(_, _, name)| *name)
}

/// The longest name of an archive's first file that is looked at.
const MOST_NAME: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_means_the_only_weights_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        let named = || named(run).map_err(|error| error.to_string());
        assert!(named().unwrap_err().ends_with("found a folder without one (*.safetensors)"));
        fs::write(run.join("metrics.csv"), "").unwrap();
        fs::write(run.join("alexnet.safetensors"), "").unwrap();
        fs::create_dir(run.join("x.safetensors")).unwrap();
        assert_eq!(named().unwrap(), run.join("alexnet.safetensors"));
        fs::write(run.join("packed.safetensors"), "").unwrap();
        assert!(named().unwrap_err().ends_with("2 of them (alexnet.safetensors, packed.safetensors); name one"));
        assert_eq!(super::named(&run.join("missing")).unwrap(), run.join("missing"));
    }

    #[test]
    fn files_that_people_take_for_weights_are_known() {
        for (file, expected) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid"[..], Some("a Git LFS pointer")),
            (b"PK\x03\x04\0\0\x08\x08\0\0", Some("a zip archive")),
            (b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\x12\0x/data.pkl", Some("a PyTorch")),
            (b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0w.npy", Some("NumPy arrays")),
            (b"\n <!doctype HTML>", Some("a web page")),
            (b"\xef\xbb\xbf<HTML><body>", Some("a web page")),
            (b"\x1f\x8b\x08\0\0\0\0\0\x02\x03", Some("gzipped; unpack it first")),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9", Some("a PyTorch checkpoint")),
            (b"\x08\x08\x12\x07pytorch\x1a", Some("an ONNX model; `trainer import")),
            (b"\x08\x0a\x3a\xf0\x01\x0a", Some("an ONNX model")),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Some("an image")),
            (b"\xFF\xD8\xFF\xE0\0\x10JFIF", Some("an image")),
            (b"RIFF\x24\x01\0\0WEBPVP8 ", Some("an image")),
            (b"{\"weight_map\":{}}", Some("JSON")),
            (b"\x1c\0\0\0TFL3\x14\0", Some("a TensorFlow Lite model")),
            (b"{\0\0\0\0\0\0\0{\"conv1.weight\":{", None),
            (b"", Some("an empty file")),
            (b"PK", None),
        ] {
            let kind = other_kind(file);
            assert_eq!(kind.is_some(), expected.is_some(), "{kind:?}");
            assert!(kind.unwrap_or_default().starts_with(expected.unwrap_or_default()), "{kind:?}");
        }
    }
}
