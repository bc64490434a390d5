//! Kinds of files that are taken for safetensors weights by mistake.

/// Names the kind of a file that people take for weights, and says what to do; none if the file may be safetensors.
pub fn other_kind(file: &[u8]) -> Option<&'static str> {
    const PYTORCH: &str = "a PyTorch checkpoint; save its tensors with safetensors.torch.save_file";
    const LFS: &str = "a Git LFS pointer, not the file itself; fetch that with `git lfs pull`";
    const KINDS: [(usize, &[u8], &str); 14] = [
        (0, b"version https://git-lfs", LFS),
        (
            0,
            b"PK\x03\x04",
            "a zip archive, such as a PyTorch checkpoint; save its tensors with safetensors.torch.save_file",
        ),
        (0, b"\x80\x02", PYTORCH),
        (0, b"\x80\x03", PYTORCH),
        (0, b"\x80\x04", PYTORCH),
        (0, b"\x80\x05", PYTORCH),
        (0, b"\x89HDF\r\n", "an HDF5 (Keras) file; convert it to safetensors"),
        (0, b"GGUF", "a GGUF file; convert it to safetensors"),
        (0, b"\x93NUMPY", "a NumPy array; save the tensors with safetensors.numpy.save_file"),
        (0, b"\x1f\x8b", "gzipped; unpack it first"),
        (0, b"<!DOCTYPE", "a web page; download the file itself"),
        (0, b"<html", "a web page; download the file itself"),
        (0, b"{", "JSON, such as the index of a file in parts; give the safetensors file itself"),
        (4, b"TFL3", "a TensorFlow Lite model; convert it to safetensors"),
    ];
    let kind = KINDS.iter().find(|(at, magic, _)| file.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    // A protocol buffer whose first field, the version of the format, is small, and whose second is the producer's name.
    let onnx = matches!(file, [0x08, 1..=20, 0x12, ..]).then_some("an ONNX model; save the weights with safetensors");
    // The first eight bytes of safetensors are a length, of which the highest are always zeros.
    let plausible = file.get(4..8).is_some_and(|high| high == [0; 4]);
    kind.map(|(_, _, name)| *name).or(onnx).filter(|_| !plausible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_people_take_for_weights_are_known() {
        for (file, expected) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid"[..], Some("a Git LFS pointer")),
            (b"PK\x03\x04\0\0\x08\x08\0\0", Some("a zip archive")),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9", Some("a PyTorch checkpoint")),
            (b"\x08\x08\x12\x07pytorch\x1a", Some("an ONNX model")),
            (b"{\"weight_map\":{}}", Some("JSON")),
            (b"\x1c\0\0\0TFL3\x14\0", Some("a TensorFlow Lite model")),
            (b"{\0\0\0\0\0\0\0{\"conv1.weight\":{", None),
            (b"", None),
        ] {
            let kind = other_kind(file);
            assert_eq!(kind.is_some(), expected.is_some(), "{kind:?}");
            assert!(kind.unwrap_or_default().starts_with(expected.unwrap_or_default()), "{kind:?}");
        }
    }
}
