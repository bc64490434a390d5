//! The texts of kernels and headers.

use std::ffi::CString;

mod dfdx {
    include!(concat!(env!("OUT_DIR"), "/dfdx.rs"));
}

/// Headers that NVRTC lacks: what the kernels use of CUDA's and C's.
const HEADERS: [(&str, &str); 4] = [
    ("cuda_fp16.h", include_str!("../../../kernels/headers/cuda_fp16.h")),
    ("math.h", include_str!("../../../kernels/headers/math.h")),
    ("stdint.h", include_str!("../../../kernels/headers/stdint.h")),
    ("cstdint", include_str!("../../../kernels/headers/stdint.h")),
];

/// The kernel files of dfdx, below its `tensor_ops`, that training takes with the project's own kernels. Others are compiled
/// when they are needed.
const OF_TRAINING: [&str; 12] = [
    "add/binary_add.cu",
    "div/scalar_div.cu",
    "exp/exp.cu",
    "ln/ln.cu",
    "max_to/max_to.cu",
    "mul/binary_mul.cu",
    "mul/scalar_mul.cu",
    "relu/relu.cu",
    "sub/binary_sub.cu",
    "sum_to/sum_to.cu",
    "axpy/axpy.cu",
    "dropout/dropout.cu",
];

/// The files of dfdx that training takes: path, text.
pub(in crate::cuda) fn of_training() -> impl Iterator<Item = (&'static str, &'static str)> {
    let is_of_training = |path: &str| path.strip_prefix("tensor_ops/").is_some_and(|path| OF_TRAINING.contains(&path));
    dfdx::KERNELS.iter().copied().filter(move |(path, _)| is_of_training(path))
}

/// Kernel files of dfdx: path below its `src`, text.
pub fn of_dfdx() -> &'static [(&'static str, &'static str)] {
    dfdx::KERNELS
}

/// All headers: name, text.
pub(super) fn headers() -> Vec<(CString, CString)> {
    let terminated = |text: &str| CString::new(text).unwrap_or_default();
    HEADERS.iter().chain(dfdx::HEADERS).map(|(name, text)| (terminated(name), terminated(text))).collect()
}

/// The kernel file of dfdx that defines a kernel of this name.
pub fn with_kernel(name: &str) -> Option<(&'static str, &'static str)> {
    dfdx::KERNELS.iter().find(|(_, text)| has_word(text, name)).copied()
}

/// Whether a text contains a word, and not as a part of another one.
fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word).any(|(start, _)| {
        let after = text[start + word.len()..].chars().next();
        let before = text[..start].chars().next_back();
        !word.is_empty() && !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_training_are_dfdxs() {
        assert_eq!(of_training().count(), OF_TRAINING.len());
    }

    #[test]
    fn kernels_are_found_in_their_files() {
        for (kernel, file) in [
            ("relu_fwd_f32", "tensor_ops/relu/relu.cu"),
            ("badd_bwd_rhs_f32", "tensor_ops/add/binary_add.cu"),
            ("sum_to_fwd_f32", "tensor_ops/sum_to/sum_to.cu"),
            ("axpy_f32", "tensor_ops/axpy/axpy.cu"),
        ] {
            assert_eq!(with_kernel(kernel).map(|(path, _)| path), Some(file), "{kernel}");
        }
        assert_eq!(with_kernel("relu_fwd_f3"), None);
        assert_eq!(with_kernel(""), None);
    }

    #[test]
    fn every_header_that_is_included_is_there() {
        let headers = headers();
        for (path, text) in of_dfdx() {
            for line in text.lines().filter_map(|line| line.trim().strip_prefix("#include ")) {
                let name = line.trim_matches(['"', '<', '>', ' ']);
                assert!(
                    headers.iter().any(|(header, _)| header.to_bytes() == name.as_bytes()),
                    "{path} includes {name}"
                );
            }
        }
    }
}
