//! Where to compute: what `--device` names, and the device behind it.

use std::{fmt, str::FromStr};

/// Value of `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first GPU where this program was built for one and it can be used, the processor otherwise.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The NVIDIA GPU with this number, from 0.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("cuda:").map(usize::from_str)) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(Ok(ordinal))) => Ok(Self::Cuda(ordinal)),
            _ => Err("expected auto, cpu, cuda or cuda:N with the number of a GPU".to_string()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// Value of `--precision`: precision of matrix products on a GPU. Weights, activations, sums and exported files are
/// `f32` in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// TF32 for convolutions where the GPU has it, `f32` for linear layers, as in PyTorch.
    #[default]
    Auto,
    /// `f32` for all.
    F32,
    /// TF32 for all.
    Tf32,
    /// bfloat16 for all.
    Bf16,
}

/// Number format that the factors of matrix products are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Products {
    /// Nothing: they stay as they are.
    #[default]
    F32,
    /// TF32, which has 10 bits of mantissa.
    Tf32,
    /// bfloat16, which has 7 bits of mantissa.
    Bf16,
    /// Half precision, which has 10 bits of mantissa and numbers up to 65504 only. Convolutions scale gradients for it.
    F16,
}

/// Precision of the products of each kind of layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerProducts {
    /// Of convolutions.
    pub convolutions: Products,
    /// Of linear layers.
    pub linear: Products,
}

/// Compute capability of the first GPUs with TF32 and bfloat16.
const AMPERE: u32 = 80;

impl Precision {
    const ALL: [Self; 4] = [Self::Auto, Self::F32, Self::Tf32, Self::Bf16];

    /// Precision on a GPU of a compute capability (80 for 8.0), with a note where the GPU lacks what was asked for.
    pub fn on(self, capability: u32) -> (LayerProducts, Option<String>) {
        let (convolutions, linear) = match self {
            Self::Auto => (Products::Tf32, Products::F32),
            Self::F32 => (Products::F32, Products::F32),
            Self::Tf32 => (Products::Tf32, Products::Tf32),
            Self::Bf16 => (Products::Bf16, Products::Bf16),
        };
        if capability >= AMPERE || self == Self::F32 {
            return (LayerProducts { convolutions, linear }, None);
        }
        let products = match self {
            Self::Bf16 => LayerProducts { convolutions: Products::F16, linear: Products::F32 },
            _ => LayerProducts::default(),
        };
        let note = format!(
            "--precision {self}: a GPU of compute capability {}.{} has no {convolutions}; products are computed in {products}",
            capability / 10,
            capability % 10
        );
        (products, Some(note))
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        })
    }
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

impl fmt::Display for LayerProducts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { convolutions, linear } = self;
        if convolutions == linear {
            return write!(f, "{linear}");
        }
        write!(f, "{convolutions} for convolutions, {linear} for linear layers")
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|precision| precision.to_string() == text)
            .ok_or_else(|| "expected auto, f32, tf32 or bf16".to_string())
    }
}

/// Kind of kernels of convolutions on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CudaKernels {
    /// Composed of dfdx's operations.
    Portable,
    /// One operation with kernels of its own, where the network allows it.
    #[default]
    Fused,
}

impl fmt::Display for CudaKernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Fused => "fused",
        })
    }
}

impl FromStr for CudaKernels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Portable, Self::Fused]
            .into_iter()
            .find(|kernels| kernels.to_string() == text)
            .ok_or_else(|| "expected portable or fused".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda:0", DeviceChoice::Cuda(0)),
            ("cuda:11", DeviceChoice::Cuda(11)),
        ] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda0", "CPU"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn precisions_have_names() {
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        assert!("f16".parse::<Precision>().unwrap_err().contains("tf32"));
    }

    #[test]
    fn a_gpu_without_the_precision_says_so_and_what_it_does_instead() {
        let (products, note) = Precision::Auto.on(90);
        assert_eq!((products.convolutions, products.linear, note), (Products::Tf32, Products::F32, None));
        assert_eq!(products.to_string(), "tf32 for convolutions, f32 for linear layers");
        assert_eq!(Precision::Bf16.on(80).0.to_string(), "bf16");
        for precision in [Precision::Auto, Precision::Tf32, Precision::Bf16] {
            let (products, note) = precision.on(75);
            let expected =
                if precision == Precision::Bf16 { "f16 for convolutions, f32 for linear layers" } else { "f32" };
            assert_eq!(products.to_string(), expected);
            let note = note.unwrap();
            assert!(note.contains(&format!("--precision {precision}")) && note.contains("7.5"), "{note}");
        }
        assert_eq!(Precision::F32.on(75), (LayerProducts::default(), None));
    }
}
