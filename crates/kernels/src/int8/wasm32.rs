//! WebAssembly with vectors (simd128): vectors of 4 sums.

use super::table::{Int8Kernels, int8_kernels};
use super::vector::Sums;
use super::winograd::shorts::Shorts;
use core::arch::wasm32::*;

/// Four sums. Products of 16-bit integers are added by pairs, so that a sum of four products lies in two halves.
#[derive(Clone, Copy)]
struct Simd128 {
    /// Four sums.
    whole: v128,
    /// Halves of the first two sums, and of the last two, side by side.
    halves: [v128; 2],
}

impl Sums for Simd128 {
    const LANES: usize = 4;
    /// 16-bit integers: a vector, and one more where there are four of a group.
    type Operand = [v128; 2];

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self { whole: i32x4_splat(0), halves: [i32x4_splat(0); 2] }
    }

    #[inline(always)]
    unsafe fn load(pointer: *const i32) -> Self {
        // SAFETY: the caller says that the sums can be read.
        Self { whole: unsafe { v128_load(pointer.cast()) }, halves: [i32x4_splat(0); 2] }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        let [low, high] = self.halves;
        let halves = [i32x4_add(low, other.halves[0]), i32x4_add(high, other.halves[1])];
        Self { whole: i32x4_add(self.whole, other.whole), halves }
    }

    #[inline(always)]
    unsafe fn store(self, pointer: *mut i32) {
        let [low, high] = self.halves;
        let even = i32x4_shuffle::<0, 2, 4, 6>(low, high);
        let odd = i32x4_shuffle::<1, 3, 5, 7>(low, high);
        // SAFETY: the caller says that the sums can be written.
        unsafe { v128_store(pointer.cast(), i32x4_add(self.whole, i32x4_add(even, odd))) }
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const i8) {}

    #[inline(always)]
    unsafe fn load_quads(pointer: *const i8) -> [v128; 2] {
        // SAFETY: the caller says that sixteen weights can be read.
        unsafe { [i16x8_load_extend_i8x8(pointer), i16x8_load_extend_i8x8(pointer.add(8))] }
    }

    #[inline(always)]
    unsafe fn splat_quad(pointer: *const u8) -> [v128; 2] {
        // SAFETY: the caller says that four bytes can be read. (They are at most 127, or have a sign.)
        [i16x8_extend_low_i8x16(unsafe { v128_load32_splat(pointer.cast()) }); 2]
    }

    #[inline(always)]
    unsafe fn dot_quads(self, activations: [v128; 2], weights: [v128; 2]) -> Self {
        let [low, high] = self.halves;
        let low = i32x4_add(low, i32x4_dot_i16x8(activations[0], weights[0]));
        let high = i32x4_add(high, i32x4_dot_i16x8(activations[1], weights[1]));
        Self { halves: [low, high], ..self }
    }

    #[inline(always)]
    unsafe fn load_halves(pointer: *const i8) -> [[v128; 2]; 2] {
        // SAFETY: the caller says that sixteen bytes can be read.
        let bytes = unsafe { v128_load(pointer.cast()) };
        let widened = |bytes| [i16x8_extend_low_i8x16(bytes), i16x8_extend_high_i8x16(bytes)];
        [widened(i8x16_shl(bytes, 4)), widened(v128_and(bytes, i8x16_splat(-16)))]
    }

    #[inline(always)]
    unsafe fn add_scaled(self, sums: Self, factors: *const u8) -> Self {
        let [low, high] = sums.halves;
        let (even, odd) = (i32x4_shuffle::<0, 2, 4, 6>(low, high), i32x4_shuffle::<1, 3, 5, 7>(low, high));
        let sums = i32x4_shr(i32x4_add(sums.whole, i32x4_add(even, odd)), 4);
        // SAFETY: the caller says that four factors can be read.
        let factors = i32x4_extend_low_u16x8(i16x8_extend_low_u8x16(unsafe { v128_load32_zero(factors.cast()) }));
        Self { whole: i32x4_add(self.whole, i32x4_mul(sums, factors)), ..self }
    }

    #[inline(always)]
    unsafe fn load_pairs(pointer: *const i8) -> [v128; 2] {
        // SAFETY: the caller says that eight weights can be read.
        [unsafe { i16x8_load_extend_i8x8(pointer) }; 2]
    }

    #[inline(always)]
    unsafe fn splat_pair(pointer: *const i16) -> [v128; 2] {
        // SAFETY: the caller says that two activations can be read.
        [unsafe { v128_load32_splat(pointer.cast()) }; 2]
    }

    #[inline(always)]
    unsafe fn dot_pairs(self, activations: [v128; 2], weights: [v128; 2]) -> Self {
        Self { whole: i32x4_add(self.whole, i32x4_dot_i16x8(activations[0], weights[0])), ..self }
    }
}

/// Eight integers of 16 bits.
#[derive(Clone, Copy)]
struct Simd128Shorts(v128);

impl Shorts for Simd128Shorts {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: i16) -> Self {
        Self(i16x8_splat(value))
    }

    #[inline(always)]
    unsafe fn load(pointer: *const u8) -> Self {
        // SAFETY: the caller says that eight bytes can be read.
        Self(unsafe { i16x8_load_extend_u8x8(pointer) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(i16x8_add(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Self(i16x8_sub(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Self(i16x8_mul(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn max_magnitude(self, other: Self) -> Self {
        Self(i16x8_max(self.0, i16x8_abs(other.0)))
    }

    #[inline(always)]
    unsafe fn greatest(self) -> i16 {
        let four = i16x8_max(self.0, i16x8_shuffle::<4, 5, 6, 7, 0, 1, 2, 3>(self.0, self.0));
        let two = i16x8_max(four, i16x8_shuffle::<2, 3, 0, 1, 0, 1, 2, 3>(four, four));
        i16x8_extract_lane::<0>(two).max(i16x8_extract_lane::<1>(two))
    }

    #[inline(always)]
    unsafe fn store_scaled(self, shift: i32, multiplier: i16, offset: i16, pointer: *mut u8) {
        let product = i16x8_q15mulr_sat(i16x8_shl(self.0, shift as u32), i16x8_splat(multiplier));
        let value = i16x8_add(product, i16x8_splat(offset));
        // SAFETY: the caller says that eight bytes can be written. (Values are within ±127, as there is no offset.)
        unsafe { v128_store64_lane::<0>(i8x16_narrow_i16x8(value, value), pointer.cast()) }
    }
}

// Most modules run on x86-64, which has 16 registers; of 1, 2 and 4 positions at once, two are the fastest there.
int8_kernels!(simd128: Simd128, Simd128, Simd128Shorts, v128, panels: 1, rows: 2, unroll: 1, split: 1, int4: 1, "simd128");

/// The kernels of simd128.
pub(super) static SIMD128: Int8Kernels = simd128::KERNELS;
