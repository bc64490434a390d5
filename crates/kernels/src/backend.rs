//! The names of the backends.

use core::fmt;

/// The instructions that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Backend {
    /// Those that every CPU of the target has: plain Rust.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C: Intel since Haswell (2013), AMD since Excavator (2015).
    Avx2,
    /// x86-64 with AVX-512 F as well.
    Avx512,
    /// aarch64 with NEON: all of them.
    Neon,
    /// WebAssembly with vectors: a module that was compiled with `-C target-feature=+simd128`.
    Simd128,
}

impl Backend {
    /// All of them, the fastest first. Most machines have only some.
    pub const ALL: &'static [Self] = &[Self::Avx512, Self::Avx2, Self::Neon, Self::Simd128, Self::Scalar];
}

/// Writes the name, as `avx2`.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
            Self::Simd128 => "simd128",
        })
    }
}
