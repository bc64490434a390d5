//! NEON: vectors of 4 sums, with and without the instructions for dot products.

use super::table::{Int8Kernels, int8_kernels};
use super::vector::Sums;
use super::winograd::shorts::Shorts;
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
            unsafe fn load(pointer: *const i32) -> Self {
                // SAFETY: the caller knows that the CPU has NEON, and the sums can be read.
                Self(unsafe { vld1q_s32(pointer) })
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
            unsafe fn prefetch(pointer: *const i8) {
                // SAFETY: a hint, which takes any address.
                unsafe {
                    core::arch::asm!("prfm pldl1keep, [{pointer}]", pointer = in(reg) pointer,
                        options(readonly, nostack, preserves_flags));
                }
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
            unsafe fn load_halves(pointer: *const i8) -> [int8x16_t; 2] {
                // SAFETY: the caller knows that the CPU has NEON, and sixteen bytes can be read.
                unsafe {
                    let bytes = vld1q_s8(pointer);
                    [vshlq_n_s8::<4>(bytes), vandq_s8(bytes, vdupq_n_s8(-16))]
                }
            }

            #[inline(always)]
            unsafe fn add_scaled(self, sums: Self, factors: *const u8) -> Self {
                // SAFETY: the caller knows that the CPU has NEON, and four factors can be read.
                unsafe {
                    let factors = vcreate_u8(u64::from(factors.cast::<u32>().read_unaligned()));
                    let factors = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(factors))));
                    Self(vmlaq_s32(self.0, vshrq_n_s32::<4>(sums.0), factors))
                }
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

/// Eight integers of 16 bits.
#[derive(Clone, Copy)]
struct NeonShorts(int16x8_t);

impl Shorts for NeonShorts {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: i16) -> Self {
        // SAFETY: the caller knows that the CPU has NEON.
        Self(unsafe { vdupq_n_s16(value) })
    }

    #[inline(always)]
    unsafe fn load(pointer: *const u8) -> Self {
        // SAFETY: the caller knows that the CPU has NEON, and eight bytes can be read.
        Self(unsafe { vreinterpretq_s16_u16(vmovl_u8(vld1_u8(pointer))) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller knows that the CPU has NEON.
        Self(unsafe { vaddq_s16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller knows that the CPU has NEON.
        Self(unsafe { vsubq_s16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the caller knows that the CPU has NEON.
        Self(unsafe { vmulq_s16(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn max_magnitude(self, other: Self) -> Self {
        // SAFETY: the caller knows that the CPU has NEON.
        Self(unsafe { vmaxq_s16(self.0, vabsq_s16(other.0)) })
    }

    #[inline(always)]
    unsafe fn greatest(self) -> i16 {
        // SAFETY: the caller knows that the CPU has NEON.
        unsafe { vmaxvq_s16(self.0) }
    }

    #[inline(always)]
    unsafe fn store_scaled(self, shift: i32, multiplier: i16, offset: i16, pointer: *mut u8) {
        // SAFETY: the caller knows that the CPU has NEON, and eight bytes can be written. The doubled product, rounded, halves to
        // the one that is wanted.
        unsafe {
            let shifted = vshlq_s16(self.0, vdupq_n_s16(shift as i16));
            let value = vaddq_s16(vqrdmulhq_s16(shifted, vdupq_n_s16(multiplier)), vdupq_n_s16(offset));
            vst1_u8(pointer, vmovn_u16(vreinterpretq_u16_s16(value)));
        }
    }
}

/// Whether the CPU has instructions for dot products. Linux says so; elsewhere, the target must.
pub(super) fn has_dot_products() -> bool {
    #[cfg(all(any(target_os = "linux", target_os = "android"), target_endian = "little", target_pointer_width = "64"))]
    if linux::hardware_capabilities() >> 20 & 1 == 1 {
        return true; // HWCAP_ASIMDDP, arch/arm64/include/uapi/asm/hwcap.h
    }
    cfg!(target_feature = "dotprod")
}

/// System calls, as there may be no C library. (The registers that describe the CPU cannot be read before Linux 4.11, which
/// is newer than what runs on many boards.)
#[cfg(all(any(target_os = "linux", target_os = "android"), target_endian = "little", target_pointer_width = "64"))]
mod linux {
    use core::arch::asm;

    const OPENAT: usize = 56;
    const CLOSE: usize = 57;
    const READ: usize = 63;
    /// The folder that relative paths begin at.
    const AT_FDCWD: isize = -100;
    /// Key of the capabilities in the auxiliary vector.
    const AT_HWCAP: u64 = 16;

    /// The auxiliary vector's word of capabilities; 0 where it cannot be read.
    pub(super) fn hardware_capabilities() -> u64 {
        if cfg!(miri) {
            return 0;
        }
        // Pairs of a key and a value, fewer than 30.
        let mut pairs = [[0_u64; 2]; 64];
        // SAFETY: the path ends with 0; at most as many bytes as `pairs` has are written, and every pattern of bits is valid.
        unsafe {
            let file = call(OPENAT, [AT_FDCWD as usize, c"/proc/self/auxv".as_ptr() as usize, 0, 0]);
            if file < 0 {
                return 0;
            }
            call(READ, [file as usize, pairs.as_mut_ptr() as usize, size_of_val(&pairs), 0]);
            call(CLOSE, [file as usize, 0, 0, 0]);
        }
        pairs.iter().find(|[key, _]| *key == AT_HWCAP).map_or(0, |[_, value]| *value)
    }

    /// A system call; its result, or the negative number of an error.
    ///
    /// # Safety
    /// It does what Linux's documentation says.
    unsafe fn call(number: usize, [a, b, c, d]: [usize; 4]) -> isize {
        let result;
        // SAFETY: Linux changes no register but x0; what else the call does is the caller's business.
        unsafe {
            asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, options(nostack));
        }
        result
    }
}

// 32 registers: 4 · 5 sums, 4 vectors of weights, 1 input, 3 products.
int8_kernels!(neon: Neon, Neon, NeonShorts, float32x4_t, panels: 1, rows: 5, unroll: 2, split: 2, int4: 2, "neon");
// 32 registers: 4 · 6 sums, 4 vectors of weights, 1 input.
int8_kernels!(neon_dot: NeonDot, NeonDot, NeonShorts, float32x4_t, panels: 1, rows: 6, unroll: 2, split: 2, int4: 2, "neon,dotprod");

/// The kernels of NEON.
pub(super) static NEON: Int8Kernels = neon::KERNELS;
/// The kernels of NEON with dot products.
pub(super) static NEON_DOT: Int8Kernels = neon_dot::KERNELS;
