//! The names of the int8 backends, and which of them this CPU has.

#[cfg(target_arch = "aarch64")]
use super::aarch64;
#[cfg(target_arch = "x86_64")]
use super::amx;
#[cfg(arm_dsp)]
use super::arm_dsp;
use super::portable;
use super::table::Int8Kernels;
#[cfg(simd128)]
use super::wasm32;
#[cfg(target_arch = "x86_64")]
use super::x86_64;
use crate::backend::Backend;
use core::fmt;

/// The instructions that int8 kernels are compiled for. Results do not depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Int8Backend {
    /// Those that every CPU of the target has: plain Rust.
    Scalar,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-VNNI, dot products of 256 bits: Intel since Alder Lake (2021), AMD since Zen 5.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW and VNNI: Intel servers since Cascade Lake (2019), AMD since Zen 4.
    Avx512Vnni,
    /// x86-64 with AMX's products of bytes beside AVX-512: Intel servers since Sapphire Rapids (2023). On Linux alone, whose leave is
    /// asked for.
    Amx,
    /// aarch64 with NEON: all of them.
    Neon,
    /// aarch64 with NEON's dot products: since Armv8.4, and most of Armv8.2.
    NeonDot,
    /// WebAssembly with vectors.
    Simd128,
    /// Arm with DSP instructions: Cortex-M4, M7 and M85, and those that the compiler is told of (`-C target-cpu=cortex-m33`).
    ArmDsp,
}

impl Int8Backend {
    /// All of them, the fastest first. Most machines have only some.
    pub const ALL: &'static [Self] = &[
        Self::Amx,
        Self::Avx512Vnni,
        Self::AvxVnni,
        Self::Avx2,
        Self::NeonDot,
        Self::Neon,
        Self::Simd128,
        Self::ArmDsp,
        Self::Scalar,
    ];

    /// Whether this CPU has the instructions.
    #[must_use]
    pub fn available(self) -> bool {
        self.kernels().is_some()
    }

    /// The fastest one that is available.
    #[must_use]
    pub fn best() -> Self {
        Self::of(Backend::best())
    }

    /// The fastest one that is available and whose vectors are no wider than a backend's of floats.
    #[must_use]
    pub fn of(backend: Backend) -> Self {
        let allowed: &[Self] = match backend {
            Backend::Scalar => &[Self::ArmDsp],
            Backend::Avx2 => &[Self::AvxVnni, Self::Avx2],
            Backend::Avx512 => &[Self::Amx, Self::Avx512Vnni, Self::AvxVnni, Self::Avx2],
            Backend::Neon => &[Self::NeonDot, Self::Neon],
            Backend::Simd128 => &[Self::Simd128],
        };
        allowed.iter().copied().find(|backend| backend.available()).unwrap_or(Self::Scalar)
    }

    /// Its functions, where the CPU has the instructions.
    #[must_use]
    pub fn kernels(self) -> Option<&'static Int8Kernels> {
        match self {
            Self::Scalar => Some(&portable::SCALAR),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => crate::x86_64::detect().avx2.then_some(&x86_64::AVX2),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => crate::x86_64::detect().avx_vnni.then_some(&x86_64::AVX_VNNI),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => crate::x86_64::detect().avx512_vnni.then_some(&x86_64::AVX512_VNNI),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => (crate::x86_64::detect().amx && amx::permitted()).then_some(&amx::AMX),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Some(&aarch64::NEON),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => aarch64::has_dot_products().then_some(&aarch64::NEON_DOT),
            #[cfg(simd128)]
            Self::Simd128 => Some(&wasm32::SIMD128),
            #[cfg(arm_dsp)]
            Self::ArmDsp => Some(&arm_dsp::ARM_DSP),
            _ => None,
        }
    }
}

/// Writes the name, as `avx512-vnni`.
impl fmt::Display for Int8Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Amx => "amx",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dot",
            Self::Simd128 => "simd128",
            Self::ArmDsp => "arm-dsp",
        })
    }
}
