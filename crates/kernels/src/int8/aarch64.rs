//! NEON: vectors of 4 sums, with and without the instructions for dot products.

use super::table::{Int8Kernels, int8_kernels};
use super::vector::Sums;
use core::arch::aarch64::*;

/// Four sums; products of bytes in 16 bits, added by pairs (at most 2 · 127 · 127, which fits), then by pairs in 32.
#[derive(Clone, Copy)]
struct Neon(int32x4_t);

/// Four sums, and an instruction that adds four products of bytes at once.
#[derive(Clone, Copy)]
struct NeonDot(int32x4_t);

macro_rules! sums {
    ($type:ident, |$sums:ident, $activations:ident, $weights:ident| $quads:expr) => {
        impl Sums for $type {
            const LANES: usize = 4;
            type Operand = int8x16_t;

            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: the caller knows that the CPU has NEON.
                Self(unsafe { vdupq_n_s32(0) })
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the caller knows that the CPU has NEON.
                Self(unsafe { vaddq_s32(self.0, other.0) })
            }

            #[inline(always)]
            unsafe fn store(self, pointer: *mut i32) {
                // SAFETY: the caller knows that the CPU has NEON, and the sums can be written.
                unsafe { vst1q_s32(pointer, self.0) }
            }

            #[inline(always)]
            unsafe fn load_quads(pointer: *const i8) -> int8x16_t {
                // SAFETY: the caller knows that the CPU has NEON, and the weights can be read.
                unsafe { vld1q_s8(pointer) }
            }

            #[inline(always)]
            unsafe fn splat_quad(pointer: *const u8) -> int8x16_t {
                // SAFETY: the caller knows that the CPU has NEON, and four bytes can be read.
                unsafe { vreinterpretq_s8_s32(vdupq_n_s32(pointer.cast::<i32>().read_unaligned())) }
            }

            #[inline(always)]
            unsafe fn dot_quads(self, $activations: int8x16_t, $weights: int8x16_t) -> Self {
                let $sums = self.0;
                // SAFETY: the caller knows that the CPU has the instructions.
                Self(unsafe { $quads })
            }

            #[inline(always)]
            unsafe fn load_pairs(pointer: *const i8) -> int8x16_t {
                // SAFETY: the caller knows that the CPU has NEON, and eight weights can be read.
                unsafe { vreinterpretq_s8_s16(vmovl_s8(vld1_s8(pointer))) }
            }

            #[inline(always)]
            unsafe fn splat_pair(pointer: *const i16) -> int8x16_t {
                // SAFETY: the caller knows that the CPU has NEON, and two activations can be read.
                unsafe { vreinterpretq_s8_s32(vdupq_n_s32(pointer.cast::<i32>().read_unaligned())) }
            }

            #[inline(always)]
            unsafe fn dot_pairs(self, activations: int8x16_t, weights: int8x16_t) -> Self {
                // SAFETY: the caller knows that the CPU has NEON.
                unsafe {
                    let (activations, weights) = (vreinterpretq_s16_s8(activations), vreinterpretq_s16_s8(weights));
                    let low = vmull_s16(vget_low_s16(activations), vget_low_s16(weights));
                    let high = vmull_high_s16(activations, weights);
                    Self(vaddq_s32(self.0, vpaddq_s32(low, high)))
                }
            }
        }
    };
}

sums!(Neon, |sums, activations, weights| {
    let low = vmull_s8(vget_low_s8(activations), vget_low_s8(weights));
    let high = vmull_high_s8(activations, weights);
    vpadalq_s16(sums, vpaddq_s16(low, high))
});
sums!(NeonDot, |sums, activations, weights| {
    let mut sums = sums;
    // The intrinsic is not stable.
    core::arch::asm!("sdot {sums:v}.4s, {activations:v}.16b, {weights:v}.16b", sums = inout(vreg) sums,
        activations = in(vreg) activations, weights = in(vreg) weights, options(pure, nomem, nostack, preserves_flags));
    sums
});

/// Whether the CPU has instructions for dot products. The register that says so can be read where the operating system
/// is Linux, which answers for it, or where there is none.
pub(super) fn has_dot_products() -> bool {
    if cfg!(target_feature = "dotprod") {
        return true;
    }
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return false;
    }
    let features: u64;
    // SAFETY: Linux lets programs read ID_AA64ISAR0_EL1 (since 4.11, which is older than what Rust's standard library needs on
    // CPUs with Armv8.2), and answers for it.
    unsafe {
        core::arch::asm!("mrs {features}, ID_AA64ISAR0_EL1", features = out(reg) features,
            options(pure, nomem, nostack, preserves_flags));
    }
    // Field DP, bits 44 to 47 (Arm Architecture Reference Manual, D19.2.61).
    features >> 44 & 0xF != 0
}

// 32 registers: 4 · 5 sums, 4 vectors of weights, 1 input, 3 products.
int8_kernels!(neon: Neon, Neon, panels: 1, rows: 5, unroll: 2, split: 2, "neon");
// 32 registers: 4 · 6 sums, 4 vectors of weights, 1 input.
int8_kernels!(neon_dot: NeonDot, NeonDot, panels: 1, rows: 6, unroll: 2, split: 2, "neon,dotprod");

/// The kernels of NEON.
pub(super) static NEON: Int8Kernels = neon::KERNELS;
/// The kernels of NEON with dot products.
pub(super) static NEON_DOT: Int8Kernels = neon_dot::KERNELS;
