//! AVX2, AVX-VNNI and AVX-512 VNNI: vectors of 8 and 16 sums.

use super::table::{Int8Kernels, int8_kernels};
use super::vector::Sums;
use super::winograd::shorts::Shorts;
use core::arch::x86_64::*;

/// Eight sums; products of bytes by pairs in 16 bits, then by pairs in 32. Both kinds of pairs fit: 2 · 127 · 127 of activations and
/// weights, 255 · 128 of transformed ones.
#[derive(Clone, Copy)]
struct Avx2(__m256i);

/// Eight sums, and instructions that add four products of bytes at once.
#[derive(Clone, Copy)]
struct AvxVnni(__m256i);

/// Sixteen sums, and instructions that add four products of bytes at once.
#[derive(Clone, Copy)]
struct Avx512Vnni(__m512i);

macro_rules! sums {
    ($type:ident, $lanes:literal, $register:ty, $zero:ident, $add:ident, $store:ident, $load:ident, $splat:ident, $widen:expr,
     $halves:ident, $scaled:ident, |$sums:ident, $activations:ident, $weights:ident| $quads:expr, $pairs:expr) => {
        impl Sums for $type {
            const LANES: usize = $lanes;
            const OFFSET: i16 = 128;
            type Operand = $register;

            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                Self(unsafe { $zero() })
            }

            #[inline(always)]
            unsafe fn load(pointer: *const i32) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction, and the sums can be read.
                Self(unsafe { $load(pointer.cast()) })
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                Self(unsafe { $add(self.0, other.0) })
            }

            #[inline(always)]
            unsafe fn store(self, pointer: *mut i32) {
                // SAFETY: the caller knows that the CPU has the instruction, and the sums can be written.
                unsafe { $store(pointer.cast(), self.0) }
            }

            #[inline(always)]
            unsafe fn prefetch(pointer: *const i8) {
                // SAFETY: a hint that every x86-64 has; any address will do.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(pointer) }
            }

            #[inline(always)]
            unsafe fn load_quads(pointer: *const i8) -> $register {
                // SAFETY: the caller knows that the CPU has the instruction, and the weights can be read.
                unsafe { $load(pointer.cast()) }
            }

            #[inline(always)]
            unsafe fn splat_quad(pointer: *const u8) -> $register {
                // SAFETY: the caller knows that the CPU has the instruction, and four bytes can be read.
                unsafe { $splat(pointer.cast::<i32>().read_unaligned()) }
            }

            #[inline(always)]
            unsafe fn dot_quads(self, $activations: $register, $weights: $register) -> Self {
                let $sums = self.0;
                // SAFETY: the caller knows that the CPU has the instructions.
                Self(unsafe { $quads })
            }

            #[inline(always)]
            unsafe fn load_halves(pointer: *const i8) -> [$register; 2] {
                // SAFETY: the caller knows that the CPU has the instructions, and the bytes can be read.
                unsafe { $halves($load(pointer.cast())) }
            }

            #[inline(always)]
            unsafe fn add_scaled(self, sums: Self, factors: *const u8) -> Self {
                // SAFETY: the caller knows that the CPU has the instructions, and the factors can be read.
                Self(unsafe { $scaled(self.0, sums.0, factors) })
            }

            #[inline(always)]
            unsafe fn load_pairs(pointer: *const i8) -> $register {
                // SAFETY: the caller knows that the CPU has the instruction, and the weights can be read.
                unsafe { $widen(pointer) }
            }

            #[inline(always)]
            unsafe fn splat_pair(pointer: *const i16) -> $register {
                // SAFETY: the caller knows that the CPU has the instruction, and two activations can be read.
                unsafe { $splat(pointer.cast::<i32>().read_unaligned()) }
            }

            #[inline(always)]
            unsafe fn dot_pairs(self, $activations: $register, $weights: $register) -> Self {
                let $sums = self.0;
                // SAFETY: the caller knows that the CPU has the instructions.
                Self(unsafe { $pairs })
            }
        }
    };
}

/// Functions of sums, activations and weights: sums and products of pairs. Of the intrinsics, the compiler makes a multiplication
/// and an addition where it sees many in a row, which take twice as long.
macro_rules! pair_products {
    ($($name:ident: $register:ty, $class:ident, $instruction:literal, $features:literal;)*) => {
        $(
            /// # Safety
            /// The CPU has the instructions.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn $name(mut sums: $register, activations: $register, weights: $register) -> $register {
                // SAFETY: an instruction of registers alone, which the CPU has.
                unsafe {
                    core::arch::asm!(
                        concat!($instruction, " {sums}, {activations}, {weights}"),
                        sums = inout($class) sums, activations = in($class) activations, weights = in($class) weights,
                        options(pure, nomem, nostack, preserves_flags)
                    );
                }
                sums
            }
        )*
    };
}

pair_products! {
    pairs256: __m256i, ymm_reg, "{{vex}} vpdpwssd", "avx,avxvnni";
    pairs512: __m512i, zmm_reg, "vpdpwssd", "avx512f,avx512vnni";
}

/// Sums and products of four bytes, added by pairs. Of the intrinsics, the compiler makes other sums, which registers do not hold.
///
/// # Safety
/// The CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn quads256(mut sums: __m256i, activations: __m256i, weights: __m256i) -> __m256i {
    // SAFETY: instructions of registers alone, which the CPU has.
    unsafe {
        core::arch::asm!(
            "vpmaddubsw {products}, {activations}, {weights}",
            "vpmaddwd {products}, {products}, {ones}",
            "vpaddd {sums}, {sums}, {products}",
            products = out(ymm_reg) _, sums = inout(ymm_reg) sums, activations = in(ymm_reg) activations,
            weights = in(ymm_reg) weights, ones = in(ymm_reg) _mm256_set1_epi16(1),
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// Sixteen weights widened to 16 bits.
///
/// # Safety
/// The CPU has AVX2, and sixteen weights can be read.
#[inline(always)]
unsafe fn widen16(pointer: *const i8) -> __m256i {
    // SAFETY: as the caller says.
    unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(pointer.cast())) }
}

/// Thirty-two weights widened to 16 bits.
///
/// # Safety
/// The CPU has AVX-512 BW, and thirty-two weights can be read.
#[inline(always)]
unsafe fn widen32(pointer: *const i8) -> __m512i {
    // SAFETY: as the caller says.
    unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(pointer.cast())) }
}

/// Makes the functions for weights of 4 bits of a width of vectors.
macro_rules! four_bits {
    ($register:ty, $halves:ident, $scaled:ident, $shift:ident, $and:ident, $bytes:ident, $shift_right:ident, $multiply:ident, $add:ident,
     $widen:ident, $load:ident) => {
        /// The low halves of bytes, and the high ones, 16 times as great.
        ///
        /// # Safety
        /// The CPU has the instructions.
        #[inline(always)]
        unsafe fn $halves(bytes: $register) -> [$register; 2] {
            // SAFETY: instructions of registers alone, which the CPU has.
            unsafe {
                let high = $bytes(-16);
                [$and($shift::<4>(bytes), high), $and(bytes, high)]
            }
        }

        /// `total + sums / 16 · factors`
        ///
        /// # Safety
        /// The CPU has the instructions, and a factor of each lane can be read.
        #[inline(always)]
        unsafe fn $scaled(total: $register, sums: $register, factors: *const u8) -> $register {
            // SAFETY: as the caller says.
            unsafe { $add(total, $multiply($shift_right::<4>(sums), $widen($load(factors.cast())))) }
        }
    };
}

four_bits!(
    __m256i,
    halves256,
    scaled256,
    _mm256_slli_epi16,
    _mm256_and_si256,
    _mm256_set1_epi8,
    _mm256_srai_epi32,
    _mm256_mullo_epi32,
    _mm256_add_epi32,
    _mm256_cvtepu8_epi32,
    _mm_loadl_epi64
);
four_bits!(
    __m512i,
    halves512,
    scaled512,
    _mm512_slli_epi16,
    _mm512_and_si512,
    _mm512_set1_epi8,
    _mm512_srai_epi32,
    _mm512_mullo_epi32,
    _mm512_add_epi32,
    _mm512_cvtepu8_epi32,
    _mm_loadu_si128
);

sums!(
    Avx2,
    8,
    __m256i,
    _mm256_setzero_si256,
    _mm256_add_epi32,
    _mm256_storeu_si256,
    _mm256_loadu_si256,
    _mm256_set1_epi32,
    widen16,
    halves256,
    scaled256,
    |sums, activations, weights| quads256(sums, activations, weights),
    _mm256_add_epi32(sums, _mm256_madd_epi16(activations, weights))
);
sums!(
    AvxVnni,
    8,
    __m256i,
    _mm256_setzero_si256,
    _mm256_add_epi32,
    _mm256_storeu_si256,
    _mm256_loadu_si256,
    _mm256_set1_epi32,
    widen16,
    halves256,
    scaled256,
    |sums, activations, weights| _mm256_dpbusd_avx_epi32(sums, activations, weights),
    pairs256(sums, activations, weights)
);
sums!(
    Avx512Vnni,
    16,
    __m512i,
    _mm512_setzero_si512,
    _mm512_add_epi32,
    _mm512_storeu_si512,
    _mm512_loadu_si512,
    _mm512_set1_epi32,
    widen32,
    halves512,
    scaled512,
    |sums, activations, weights| _mm512_dpbusd_epi32(sums, activations, weights),
    pairs512(sums, activations, weights)
);

/// Sixteen integers of 16 bits.
#[derive(Clone, Copy)]
struct Shorts256(__m256i);

/// Thirty-two integers of 16 bits.
#[derive(Clone, Copy)]
struct Shorts512(__m512i);

macro_rules! shorts {
    ($type:ident, $lanes:literal, $splat:ident, $load:expr, $add:ident, $sub:ident, $mul:ident, $max:ident, $abs:ident,
     $shift:ident, $scale:ident, |$vector:ident, $part:ident| $halved:expr, |$value:ident, $pointer:ident| $store:expr) => {
        impl Shorts for $type {
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(value: i16) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                Self(unsafe { $splat(value) })
            }

            #[inline(always)]
            unsafe fn load(pointer: *const u8) -> Self {
                // SAFETY: the caller knows that the CPU has the instructions, and the bytes can be read.
                Self(unsafe { $load(pointer) })
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                Self(unsafe { $add(self.0, other.0) })
            }

            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                Self(unsafe { $sub(self.0, other.0) })
            }

            #[inline(always)]
            unsafe fn mul(self, other: Self) -> Self {
                // SAFETY: the caller knows that the CPU has the instruction.
                Self(unsafe { $mul(self.0, other.0) })
            }

            #[inline(always)]
            unsafe fn max_magnitude(self, other: Self) -> Self {
                // SAFETY: the caller knows that the CPU has the instructions.
                Self(unsafe { $max(self.0, $abs(other.0)) })
            }

            #[inline(always)]
            unsafe fn greatest(self) -> i16 {
                let $vector = self.0;
                // SAFETY: the caller knows that the CPU has the instructions.
                unsafe {
                    let $part = $halved;
                    let part = _mm_max_epi16(_mm256_castsi256_si128($part), _mm256_extracti128_si256::<1>($part));
                    // The least of eight, of the complements.
                    let ones = _mm_set1_epi16(-1);
                    !_mm_extract_epi16::<0>(_mm_minpos_epu16(_mm_xor_si128(part, ones))) as i16
                }
            }

            #[inline(always)]
            unsafe fn store_scaled(self, shift: i32, multiplier: i16, offset: i16, $pointer: *mut u8) {
                // SAFETY: the caller knows that the CPU has the instructions, and the bytes can be written.
                unsafe {
                    let shifted = $shift(self.0, _mm_cvtsi32_si128(shift));
                    let $value = $add($scale(shifted, $splat(multiplier)), $splat(offset));
                    $store;
                }
            }
        }
    };
}

shorts!(
    Shorts256,
    16,
    _mm256_set1_epi16,
    |pointer: *const u8| _mm256_cvtepu8_epi16(_mm_loadu_si128(pointer.cast())),
    _mm256_add_epi16,
    _mm256_sub_epi16,
    _mm256_mullo_epi16,
    _mm256_max_epi16,
    _mm256_abs_epi16,
    _mm256_sll_epi16,
    _mm256_mulhrs_epi16,
    |vector, part| vector,
    |value, pointer| {
        let value = _mm256_and_si256(value, _mm256_set1_epi16(255));
        let bytes = _mm_packus_epi16(_mm256_castsi256_si128(value), _mm256_extracti128_si256::<1>(value));
        _mm_storeu_si128(pointer.cast(), bytes)
    }
);
shorts!(
    Shorts512,
    32,
    _mm512_set1_epi16,
    |pointer: *const u8| _mm512_cvtepu8_epi16(_mm256_loadu_si256(pointer.cast())),
    _mm512_add_epi16,
    _mm512_sub_epi16,
    _mm512_mullo_epi16,
    _mm512_max_epi16,
    _mm512_abs_epi16,
    _mm512_sll_epi16,
    _mm512_mulhrs_epi16,
    |vector, part| _mm256_max_epi16(_mm512_castsi512_si256(vector), _mm512_extracti64x4_epi64::<1>(vector)),
    |value, pointer| _mm256_storeu_si256(pointer.cast(), _mm512_cvtepi16_epi8(value))
);

// 16 registers: 2 · 4 sums, 2 vectors of weights, 1 input, 2 products, ones.
int8_kernels!(avx2: Avx2, Avx2, Shorts256, __m256, panels: 1, rows: 4, unroll: 4, split: 4, int4: 2, "avx2");
// 16 registers: 2 · 6 sums, 2 vectors of weights, 1 input.
int8_kernels!(avx_vnni: AvxVnni, AvxVnni, Shorts256, __m256, panels: 1, rows: 6, unroll: 4, split: 4, int4: 2, "avx2,avxvnni");
// 32 registers: 4 · 6 sums, 4 vectors of weights, 1 input.
int8_kernels!(avx512_vnni: Avx512Vnni, Avx512Vnni, Shorts512, __m512, panels: 2, rows: 12, unroll: 4, split: 4, int4: 8, "avx512f,avx512bw,avx512vnni");

/// The kernels of AVX2.
pub(super) static AVX2: Int8Kernels = avx2::KERNELS;
/// The kernels of AVX-VNNI.
pub(super) static AVX_VNNI: Int8Kernels = avx_vnni::KERNELS;
/// The kernels of AVX-512 VNNI.
pub(super) static AVX512_VNNI: Int8Kernels = WIDEST;
/// Those of the widest vectors, which others are made of.
pub(super) const WIDEST: Int8Kernels = avx512_vnni::KERNELS;
