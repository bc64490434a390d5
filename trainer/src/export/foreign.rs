//! Weights of other programs, to start from: names without the prefixes that wrappers of modules put before them, and values of
//! other float types as `f32`.

use kernels::F16;
use safetensors::{Dtype, tensor::TensorView};

use super::{TensorProblem, check_finite};

/// Prefixes of wrappers: `DataParallel`, `torch.compile`, and a module that holds the network as its field.
const PREFIXES: [&str; 3] = ["module.", "_orig_mod.", "model."];

/// Prefix of wrappers before all of these names, one of theirs or several; empty where there is none.
pub(super) fn prefix(names: &[String]) -> &str {
    let Some(first) = names.first() else { return "" };
    let mut length = 0;
    while let Some(prefix) = PREFIXES.into_iter().find(|prefix| first[length..].starts_with(prefix)) {
        let longer = &first[..length + prefix.len()];
        if !names.iter().all(|name| name.starts_with(longer)) {
            break;
        }
        length = longer.len();
    }
    &first[..length]
}

/// The values of a tensor of floats of any width, as `f32`; those of `F64` are rounded.
///
/// # Errors
/// The tensor has another type, or a value is no finite `f32`.
pub(super) fn widened(tensor: &TensorView<'_>) -> Result<Vec<f32>, TensorProblem> {
    let data = tensor.data();
    let halves = || data.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
    let values: Vec<f32> = match tensor.dtype() {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F16 => halves().map(|bits| F16(bits).to_f32()).collect(),
        Dtype::BF16 => halves().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
        Dtype::F64 => {
            let values = data.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
            let narrow = |(index, value): (usize, f64)| {
                let narrowed = value as f32;
                let too_large = value.is_finite() && !narrowed.is_finite();
                if too_large { Err(TensorProblem::TooLarge { index, value }) } else { Ok(narrowed) }
            };
            values.enumerate().map(narrow).collect::<Result<_, _>>()?
        }
        found => return Err(TensorProblem::NoFloats { found }),
    };
    check_finite(values.iter().copied())?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_taken_off_where_all_names_have_them() {
        let found = |names: &[&str]| prefix(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>()).to_string();
        assert_eq!(found(&["conv1.weight", "conv1.bias"]), "");
        assert_eq!(found(&["module.conv1.weight", "module.conv1.bias"]), "module.");
        assert_eq!(found(&["_orig_mod.module.model.conv1.weight"]), "_orig_mod.module.model.");
        assert_eq!(found(&["model.model.a", "model.model.b"]), "model.model.");
        assert_eq!(found(&["model.model.a", "model.b"]), "model.");
        assert_eq!(found(&["module.a", "b"]), "");
        assert_eq!(found(&["modules.a"]), "");
        assert_eq!(found(&[]), "");
    }

    #[test]
    fn floats_of_any_width_are_the_same_numbers() {
        let values = |dtype, data: &[u8]| {
            widened(&TensorView::new(dtype, vec![data.len() * 8 / dtype.bitsize()], data).unwrap())
        };
        // Bits of numpy.float16, and of torch.bfloat16: 1.5, −2⁻¹⁴ and the smallest subnormal number of the first kind.
        assert_eq!(values(Dtype::F16, &[0, 0x3e, 0, 0x84, 1, 0]).unwrap(), [1.5, -(2_f32.powi(-14)), 2_f32.powi(-24)]);
        assert_eq!(values(Dtype::BF16, &[0xc0, 0x3f, 0x80, 0xb8]).unwrap(), [1.5, -(2_f32.powi(-14))]);
        let doubles = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(values(Dtype::F64, &doubles(&[0.1, -1e-60])).unwrap(), [0.1_f32, -0.0]);
        let refused = |dtype, data: &[u8]| values(dtype, data).unwrap_err().to_string();
        assert_eq!(
            refused(Dtype::F64, &doubles(&[0.0, -1e39])),
            "expected values within the range of F32, found -1e39 at index 1"
        );
        assert!(refused(Dtype::F64, &doubles(&[f64::NAN])).starts_with("expected finite values, found NaN at index 0"));
        assert!(refused(Dtype::BF16, &[0x80, 0x7f]).starts_with("expected finite values, found inf"));
        assert!(refused(Dtype::F16, &[0, 0xfc]).starts_with("expected finite values, found -inf"));
        assert_eq!(refused(Dtype::I8, &[1]), "expected dtype F32, F16, BF16 or F64, found I8");
    }
}
