//! WebAssembly with vectors (simd128): vectors of 4 floats. A module is compiled with these instructions or without.

use crate::f16::F16;
use crate::table::{Kernels, kernels};
#[cfg(feature = "training")]
use crate::training::TrainingKernels;
use crate::vector::Vector;
use core::arch::wasm32::*;

impl Vector for v128 {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        f32x4_splat(value)
    }

    #[inline(always)]
    unsafe fn load(pointer: *const f32) -> Self {
        // SAFETY: the caller says that the floats can be read.
        unsafe { v128_load(pointer.cast()) }
    }

    #[inline(always)]
    unsafe fn load_f16(pointer: *const F16) -> Self {
        // SAFETY: the caller says that the floats can be read.
        let half = unsafe { u32x4_load_extend_u16x4(pointer.cast()) };
        let sign = i32x4_shl(v128_and(half, i32x4_splat(0x8000)), 16);
        let magnitude = v128_and(half, i32x4_splat(0x7FFF));
        // The product moves the exponent's bias, and makes a subnormal number normal.
        let finite = f32x4_mul(i32x4_shl(magnitude, 13), f32x4_splat(f32::from_bits((127 + 127 - 15) << 23)));
        // Infinities and NaN keep the greatest exponent.
        let special = v128_and(i32x4_ge(magnitude, i32x4_splat(0x7C00)), i32x4_splat(0x7F80_0000));
        v128_or(sign, v128_or(finite, special))
    }

    #[inline(always)]
    unsafe fn load_i32(pointer: *const i32) -> Self {
        // SAFETY: the caller says that the integers can be read.
        f32x4_convert_i32x4(unsafe { v128_load(pointer.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, pointer: *mut f32) {
        // SAFETY: the caller says that the floats can be written.
        unsafe { v128_store(pointer.cast(), self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        f32x4_add(self, other)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        f32x4_sub(self, other)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        f32x4_mul(self, other)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        f32x4_add(f32x4_mul(self, factor), addend)
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // The second, unless the first is greater.
        f32x4_pmax(other, self)
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        f32x4_pmin(other, self)
    }

    #[inline(always)]
    unsafe fn store_bytes(self, pointer: *mut u8) {
        let integers = i32x4_trunc_sat_f32x4(f32x4_nearest(self));
        let shorts = i16x8_narrow_i32x4(integers, integers);
        let bytes = u8x16_narrow_i16x8(shorts, shorts);
        // SAFETY: the caller says that four bytes can be written.
        unsafe { v128_store32_lane::<0>(bytes, pointer.cast()) }
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {}
}

// 16 registers on x86-64, where most modules run: 2 · 4 sums, 2 vectors of weights, 1 input, products.
kernels!(simd128: Simd128, v128, registers: 2, rows: 4, "simd128");

/// The kernels of simd128.
pub(crate) static SIMD128: Kernels = simd128::KERNELS;
/// The kernels of training of simd128.
#[cfg(feature = "training")]
pub(crate) static SIMD128_TRAINING: TrainingKernels = simd128::TRAINING;
