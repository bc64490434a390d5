//! NEON: vectors of 4 floats. Every aarch64 CPU with floats has it.

use crate::f16::F16;
use crate::table::{Kernels, kernels};
#[cfg(feature = "training")]
use crate::training::TrainingKernels;
use crate::vector::Vector;
use core::arch::aarch64::*;

impl Vector for float32x4_t {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller knows that the CPU has NEON.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(pointer: *const f32) -> Self {
        // SAFETY: the caller knows that the CPU has NEON, and the floats can be read.
        unsafe { vld1q_f32(pointer) }
    }

    #[inline(always)]
    unsafe fn load_f16(pointer: *const F16) -> Self {
        let wide: Self;
        // SAFETY: the caller knows that the CPU has NEON, and the floats can be read. Widening half-width floats (FCVTL) is
        // in the base instruction set; its intrinsic is not stable.
        unsafe {
            let half = vld1_u16(pointer.cast());
            core::arch::asm!("fcvtl {wide:v}.4s, {half:v}.4h", wide = out(vreg) wide, half = in(vreg) half,
                options(pure, nomem, nostack, preserves_flags));
        }
        wide
    }

    #[inline(always)]
    unsafe fn load_i32(pointer: *const i32) -> Self {
        // SAFETY: the caller knows that the CPU has NEON, and the integers can be read.
        unsafe { vcvtq_f32_s32(vld1q_s32(pointer)) }
    }

    #[inline(always)]
    unsafe fn store(self, pointer: *mut f32) {
        // SAFETY: the caller knows that the CPU has NEON, and the floats can be written.
        unsafe { vst1q_f32(pointer, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller knows that the CPU has NEON.
        unsafe { vaddq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller knows that the CPU has NEON.
        unsafe { vsubq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the caller knows that the CPU has NEON.
        unsafe { vmulq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the caller knows that the CPU has NEON.
        unsafe { vfmaq_f32(addend, self, factor) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller knows that the CPU has NEON.
        unsafe { vmaxq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the caller knows that the CPU has NEON.
        unsafe { vminq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, pointer: *mut u8) {
        // SAFETY: the caller knows that the CPU has NEON, and four bytes can be written.
        unsafe {
            let shorts = vmovn_u32(vcvtnq_u32_f32(self));
            let bytes = vmovn_u16(vcombine_u16(shorts, shorts));
            pointer.cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_u8(bytes)));
        }
    }

    #[inline(always)]
    unsafe fn prefetch(pointer: *const u8) {
        // SAFETY: a hint, which takes any address.
        unsafe {
            core::arch::asm!("prfm pldl2keep, [{pointer}]", pointer = in(reg) pointer,
                options(readonly, nostack, preserves_flags));
        }
    }
}

// 32 registers: 4 · 6 sums, 4 vectors of weights, 1 input.
kernels!(neon: Neon, float32x4_t, registers: 4, rows: 6, "neon");

/// The kernels of NEON.
pub(crate) static NEON: Kernels = neon::KERNELS;
/// The kernels of training of NEON.
#[cfg(feature = "training")]
pub(crate) static NEON_TRAINING: TrainingKernels = neon::TRAINING;
