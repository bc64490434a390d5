//! AVX2 and AVX-512: vectors of 8 and 16 floats, and how their presence is found without a standard library.

use crate::f16::F16;
use crate::table::{Kernels, kernels};
#[cfg(feature = "training")]
use crate::training::TrainingKernels;
use crate::vector::Vector;
use core::arch::x86_64::*;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Instructions that the CPU and the operating system offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    /// AVX2, FMA and F16C, with the state of 256-bit registers kept.
    pub(crate) avx2: bool,
    /// AVX-512 F, with the state of 512-bit registers kept.
    pub(crate) avx512: bool,
    /// AVX2's and AVX-VNNI's.
    pub(crate) avx_vnni: bool,
    /// AVX-512 F, BW and VNNI, with the state of 512-bit registers kept.
    pub(crate) avx512_vnni: bool,
    /// AVX-512's of `avx512_vnni` and AMX's products of bytes, with the state of tiles kept where the operating system permits their use.
    pub(crate) amx: bool,
}

/// Features of the CPU, which it is asked for once: on a virtual machine each question goes to its host, for a microsecond and more.
pub(crate) fn detect() -> Features {
    /// The features as bits, with one that says that they are known.
    static FOUND: AtomicU8 = AtomicU8::new(0);
    const KNOWN: u8 = 1 << 7;
    let mut found = FOUND.load(Relaxed);
    if found & KNOWN == 0 {
        found = KNOWN | ask().bits();
        FOUND.store(found, Relaxed);
    }
    Features::of_bits(found)
}

impl Features {
    fn bits(self) -> u8 {
        let Self { avx2, avx512, avx_vnni, avx512_vnni, amx } = self;
        [avx2, avx512, avx_vnni, avx512_vnni, amx].into_iter().rev().fold(0, |bits, has| bits << 1 | u8::from(has))
    }

    fn of_bits(bits: u8) -> Self {
        let [avx2, avx512, avx_vnni, avx512_vnni, amx] = core::array::from_fn(|number| bits >> number & 1 == 1);
        Self { avx2, avx512, avx_vnni, avx512_vnni, amx }
    }
}

/// Asks CPUID and XGETBV (Intel SDM volume 1, sections 14.3, 14.7.1 and 15.2).
fn ask() -> Features {
    const fn bit(register: u32, number: u32) -> bool {
        register >> number & 1 == 1
    }
    let none = Features { avx2: false, avx512: false, avx_vnni: false, avx512_vnni: false, amx: false };
    if cfg!(miri) || __cpuid(0).eax < 7 {
        return none;
    }
    let (one, seven) = (__cpuid(1), __cpuid_count(7, 0));
    if !bit(one.ecx, 27) {
        return none; // no OSXSAVE: the operating system has not switched XGETBV on
    }
    // SAFETY: OSXSAVE says that XGETBV can be executed.
    let state = unsafe { extended_state() };
    let (ymm, zmm) = (state & 0b110 == 0b110, state & 0b1110_0110 == 0b1110_0110);
    // F16C is bit 29, FMA 12.
    let avx2 = ymm && bit(one.ecx, 29) && bit(one.ecx, 12) && bit(seven.ebx, 5);
    let avx512 = avx2 && zmm && bit(seven.ebx, 16);
    // The largest subleaf of leaf 7 is in EAX of the first.
    let avx_vnni = avx2 && seven.eax >= 1 && bit(__cpuid_count(7, 1).eax, 4);
    let avx512_vnni = avx512 && bit(seven.ebx, 30) && bit(seven.ecx, 11);
    // Bits 17 and 18 of the state are tiles and their sizes.
    let amx = avx512_vnni && state >> 17 & 0b11 == 0b11 && bit(seven.edx, 24) && bit(seven.edx, 25);
    Features { avx2, avx512, avx_vnni, avx512_vnni, amx }
}

/// The register states that the operating system keeps: XCR0.
///
/// # Safety
/// CPUID must report OSXSAVE.
#[target_feature(enable = "xsave")]
unsafe fn extended_state() -> u64 {
    // SAFETY: the caller knows that the instruction is there.
    unsafe { _xgetbv(0) }
}

macro_rules! vector {
    ($type:ty, $lanes:literal, $splat:ident, $load:ident, $widen:expr, $store:ident, $add:ident, $sub:ident, $mul:ident,
     $mul_add:ident, $max:ident, $min:ident, $from:expr, |$value:ident, $pointer:ident| $bytes:expr) => {
        impl Vector for $type {
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(value: f32) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                unsafe { $splat(value) }
            }

            #[inline(always)]
            unsafe fn load(pointer: *const f32) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction, and the floats can be read.
                unsafe { $load(pointer) }
            }

            #[inline(always)]
            unsafe fn load_f16(pointer: *const F16) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction, and the floats can be read.
                unsafe { $widen(pointer) }
            }

            #[inline(always)]
            unsafe fn load_i32(pointer: *const i32) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction, and the integers can be read.
                unsafe { $from(pointer) }
            }

            #[inline(always)]
            unsafe fn store(self, pointer: *mut f32) {
                // SAFETY: the caller knows that the CPU has the instruction, and the floats can be written.
                unsafe { $store(pointer, self) }
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                unsafe { $add(self, other) }
            }

            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                unsafe { $sub(self, other) }
            }

            #[inline(always)]
            unsafe fn mul(self, other: Self) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                unsafe { $mul(self, other) }
            }

            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                unsafe { $mul_add(self, factor, addend) }
            }

            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                unsafe { $max(self, other) }
            }

            #[inline(always)]
            unsafe fn min(self, other: Self) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                unsafe { $min(self, other) }
            }

            #[inline(always)]
            unsafe fn store_bytes(self, $pointer: *mut u8) {
                let $value = self;
                // SAFETY: the caller knows that the CPU has the instructions, and the bytes can be written.
                unsafe { $bytes }
            }

            #[inline(always)]
            unsafe fn prefetch(pointer: *const u8) {
                // SAFETY: a hint that every x86-64 has; any address will do.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(pointer.cast()) }
            }
        }
    };
}

vector!(
    __m256,
    8,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    |pointer: *const F16| _mm256_cvtph_ps(_mm_loadu_si128(pointer.cast())),
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps,
    _mm256_max_ps,
    _mm256_min_ps,
    |pointer: *const i32| _mm256_cvtepi32_ps(_mm256_loadu_si256(pointer.cast())),
    |value, pointer| {
        let integers = _mm256_cvtps_epi32(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value));
        let shorts = _mm_packs_epi32(_mm256_castsi256_si128(integers), _mm256_extracti128_si256::<1>(integers));
        _mm_storel_epi64(pointer.cast(), _mm_packus_epi16(shorts, shorts));
    }
);
vector!(
    __m512,
    16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    |pointer: *const F16| _mm512_cvtph_ps(_mm256_loadu_si256(pointer.cast())),
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps,
    _mm512_max_ps,
    _mm512_min_ps,
    |pointer: *const i32| _mm512_cvtepi32_ps(_mm512_loadu_si512(pointer.cast())),
    |value, pointer| {
        let integers = _mm512_cvt_roundps_epi32::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value);
        _mm_storeu_si128(pointer.cast(), _mm512_cvtepi32_epi8(integers));
    }
);

// 16 registers: 2 · 6 sums, 2 vectors of weights, 1 input. 32 registers: 2 · 9 sums, of the 13 that there is room for: the
// convolutions of one image have 9 tiles.
kernels!(avx2: Avx2, __m256, registers: 2, rows: 6, "avx2,fma,f16c");
kernels!(avx512: Avx512, __m512, registers: 2, rows: 9, "avx2,fma,f16c,avx512f");

/// The kernels of AVX2.
pub(crate) static AVX2: Kernels = avx2::KERNELS;
/// The kernels of AVX-512.
pub(crate) static AVX512: Kernels = avx512::KERNELS;
/// The kernels of training of AVX2.
#[cfg(feature = "training")]
pub(crate) static AVX2_TRAINING: TrainingKernels = avx2::TRAINING;
/// The kernels of training of AVX-512.
#[cfg(feature = "training")]
pub(crate) static AVX512_TRAINING: TrainingKernels = avx512::TRAINING;

#[cfg(test)]
mod tests {
    use super::{Features, ask, detect};
    use std::is_x86_feature_detected;

    #[test]
    fn features_are_kept_as_the_cpu_tells_them() {
        for _ in 0..2 {
            assert_eq!(detect(), ask());
        }
        let [avx2, fma, f16c] =
            [is_x86_feature_detected!("avx2"), is_x86_feature_detected!("fma"), is_x86_feature_detected!("f16c")];
        assert_eq!(detect().avx2, avx2 && fma && f16c);
        assert_eq!(detect().avx512, avx2 && is_x86_feature_detected!("avx512f"));
        for bits in 0..1 << 5 {
            assert_eq!(Features::of_bits(bits).bits(), bits);
        }
    }
}
