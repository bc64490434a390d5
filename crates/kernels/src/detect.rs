//! Which backends this CPU has, and their kernels.

#[cfg(target_arch = "aarch64")]
use crate::aarch64;
use crate::backend::Backend;
use crate::scalar;
use crate::table::Kernels;
#[cfg(feature = "training")]
use crate::training::TrainingKernels;
#[cfg(simd128)]
use crate::wasm32;
#[cfg(target_arch = "x86_64")]
use crate::x86_64;

impl Backend {
    /// Whether this CPU has the instructions.
    #[must_use]
    pub fn available(self) -> bool {
        self.kernels().is_some()
    }

    /// The fastest one that is available.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.iter().copied().find(|backend| backend.available()).unwrap_or(Self::Scalar)
    }

    /// Does multiply-adds in registers, without memory, and returns how many: at least `least`. How long they take says what
    /// this CPU can do at most with these instructions. `None` where it does not have them.
    #[must_use]
    pub fn multiply_adds(self, least: u32) -> Option<u64> {
        // As in `kernels`: a reference is the proof that the CPU has the instructions.
        let kernels = self.kernels()?;
        // SAFETY: the CPU has the instructions.
        Some(unsafe { (kernels.multiply_adds)(least as usize / 16) })
    }

    /// Its functions, where the CPU has the instructions.
    #[must_use]
    pub fn kernels(self) -> Option<&'static Kernels> {
        match self {
            Self::Scalar => Some(&scalar::SCALAR),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86_64::detect().avx2.then_some(&x86_64::AVX2),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86_64::detect().avx512.then_some(&x86_64::AVX512),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Some(&aarch64::NEON),
            #[cfg(simd128)]
            Self::Simd128 => Some(&wasm32::SIMD128),
            _ => None,
        }
    }

    /// Its functions for training, where the CPU has the instructions.
    #[cfg(feature = "training")]
    #[must_use]
    pub fn training(self) -> Option<&'static TrainingKernels> {
        match self {
            Self::Scalar => Some(&scalar::SCALAR_TRAINING),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86_64::detect().avx2.then_some(&x86_64::AVX2_TRAINING),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86_64::detect().avx512.then_some(&x86_64::AVX512_TRAINING),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Some(&aarch64::NEON_TRAINING),
            #[cfg(simd128)]
            Self::Simd128 => Some(&wasm32::SIMD128_TRAINING),
            _ => None,
        }
    }

    /// The functions for training of the fastest backend that is available.
    #[cfg(feature = "training")]
    #[must_use]
    pub fn best_training() -> &'static TrainingKernels {
        Self::best().training().unwrap_or(&scalar::SCALAR_TRAINING)
    }
}
