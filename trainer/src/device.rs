//! Where to compute: what `--device` names, and the failures of the device behind it.

use std::{error::Error, fmt, str::FromStr};

use dfdx::tensor::CpuError;

/// Failure of a device. Its source is the error as dfdx or one of NVIDIA's libraries reported it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DeviceError(#[source] Box<dyn Error + Send + Sync>);

impl DeviceError {
    /// A failure that is described by another error.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl From<CpuError> for DeviceError {
    fn from(error: CpuError) -> Self {
        Self::new(error)
    }
}

#[cfg(feature = "cuda")]
impl From<dfdx::tensor::CudaError> for DeviceError {
    fn from(error: dfdx::tensor::CudaError) -> Self {
        use dfdx::tensor::CudaError;

        // dfdx's error is none of the standard library's, those that it is made of are.
        match error {
            CudaError::Blas(error) => Self::new(error),
            CudaError::Driver(error) => Self::new(error),
            CudaError::Cpu(error) => Self::new(error),
        }
    }
}

/// Why a device cannot train with batches of some size.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Its memory is too small.
    #[error(
        "the GPU's memory does not suffice: batches of {batch_size} images need about {} MiB, {} MiB are free; {}",
        .needed >> 20, .free >> 20, smaller_batch(.largest)
    )]
    TooLittle {
        /// Images of a batch.
        batch_size: usize,
        /// Bytes that training takes.
        needed: usize,
        /// Bytes that are free.
        free: usize,
        /// The largest batch that there is memory for, if there is one.
        largest: Option<usize>,
    },
    /// The device does not tell how much it has.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

fn smaller_batch(largest: &Option<usize>) -> String {
    largest.map_or("no batch is small enough".to_string(), |images| format!("--batch-size {images} would do"))
}

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
    fn a_failure_has_the_devices_error_as_its_source() {
        let error = DeviceError::from(CpuError::OutOfMemory);
        assert_eq!(error.to_string(), "CpuError::OutOfMemory");
        let source = error.source().and_then(|source| source.downcast_ref::<CpuError>());
        assert!(matches!(source, Some(CpuError::OutOfMemory)), "{source:?}");
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn a_failure_of_a_gpu_has_its_error_as_source() {
        use cudarc::driver::{DriverError, sys::CUresult};

        let driver = DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        let error = DeviceError::from(dfdx::tensor::CudaError::Driver(driver));
        let source = error.source().and_then(|source| source.downcast_ref::<DriverError>());
        assert_eq!(source, Some(&driver));
    }

    #[test]
    fn too_little_memory_names_the_batch_that_would_do() {
        let error = |largest| MemoryError::TooLittle { batch_size: 512, needed: 10 << 30, free: 8 << 30, largest };
        assert_eq!(
            error(Some(400)).to_string(),
            "the GPU's memory does not suffice: batches of 512 images need about 10240 MiB, 8192 MiB are free; \
             --batch-size 400 would do"
        );
        assert!(error(None).to_string().ends_with("no batch is small enough"));
    }

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
