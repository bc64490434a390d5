//! Plain Rust, for every CPU.

use super::table::{Int8Kernels, int8_kernels};
use super::vector::Sums;
use super::winograd::shorts::Shorts;
use crate::vector;

/// A vector that needs no particular instructions: an array, of which the compiler makes what the target has.
#[derive(Clone, Copy)]
pub(super) struct Portable<const LANES: usize>([i32; LANES]);

impl<const LANES: usize> Sums for Portable<LANES> {
    const LANES: usize = LANES;
    /// The first of each lane's group, the second ones and so on: no operation goes across lanes. Of pairs, the last two are
    /// zero, and the compiler leaves them out.
    type Operand = [[i32; LANES]; 4];

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0; LANES])
    }

    #[inline(always)]
    unsafe fn load(pointer: *const i32) -> Self {
        // SAFETY: the caller says that `LANES` sums can be read.
        Self(unsafe { pointer.cast::<[i32; LANES]>().read() })
    }

    #[inline(always)]
    unsafe fn add(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(sum, other)| *sum = sum.wrapping_add(other));
        self
    }

    #[inline(always)]
    unsafe fn store(self, pointer: *mut i32) {
        // SAFETY: the caller says that `LANES` sums can be written.
        unsafe { pointer.cast::<[i32; LANES]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const i8) {}

    #[inline(always)]
    unsafe fn load_quads(pointer: *const i8) -> Self::Operand {
        // SAFETY: the caller says that 4 weights for each lane can be read.
        let weights = unsafe { pointer.cast::<[[u8; 4]; LANES]>().read() };
        if LANES <= 4 {
            return core::array::from_fn(|i| weights.map(|weights| i32::from(weights[i] as i8)));
        }
        // Shifts tell bytes apart in all lanes at once. In this form the compiler makes vectors of them: four times the speed.
        let quads = weights.map(i32::from_le_bytes);
        let [first, second, third] =
            [quads.map(|q| q << 24 >> 24), quads.map(|q| q << 16 >> 24), quads.map(|q| q << 8 >> 24)];
        [first, second, third, quads.map(|q| q >> 24)]
    }

    #[inline(always)]
    unsafe fn splat_quad(pointer: *const u8) -> Self::Operand {
        // SAFETY: the caller says that 4 activations can be read.
        unsafe { pointer.cast::<[u8; 4]>().read() }.map(|activation| [i32::from(activation); LANES])
    }

    #[inline(always)]
    unsafe fn splat_transformed(pointer: *const u8) -> Self::Operand {
        // SAFETY: the caller says that 4 inputs can be read.
        unsafe { pointer.cast::<[i8; 4]>().read() }.map(|input| [i32::from(input); LANES])
    }

    #[inline(always)]
    unsafe fn dot_quads(mut self, activations: Self::Operand, weights: Self::Operand) -> Self {
        for (activations, weights) in activations.iter().zip(&weights) {
            self.add_products(activations, weights);
        }
        self
    }

    #[inline(always)]
    unsafe fn load_halves(pointer: *const i8) -> [Self::Operand; 2] {
        // SAFETY: the caller says that 4 bytes for each lane can be read.
        let bytes = unsafe { pointer.cast::<[[u8; 4]; LANES]>().read() };
        let low = core::array::from_fn(|i| bytes.map(|bytes| i32::from((bytes[i] << 4) as i8)));
        [low, core::array::from_fn(|i| bytes.map(|bytes| i32::from((bytes[i] & 0xF0) as i8)))]
    }

    #[inline(always)]
    unsafe fn add_scaled(mut self, sums: Self, factors: *const u8) -> Self {
        // SAFETY: the caller says that `LANES` factors can be read.
        let factors = unsafe { factors.cast::<[u8; LANES]>().read() };
        for (total, (sum, factor)) in self.0.iter_mut().zip(sums.0.into_iter().zip(factors)) {
            *total = total.wrapping_add((sum >> 4).wrapping_mul(i32::from(factor)));
        }
        self
    }

    #[inline(always)]
    unsafe fn load_pairs(pointer: *const i8) -> Self::Operand {
        // SAFETY: the caller says that 2 weights for each lane can be read.
        let weights = unsafe { pointer.cast::<[[u8; 2]; LANES]>().read() };
        let rest = [0; LANES];
        if LANES <= 4 {
            let [first, second] = core::array::from_fn(|i| weights.map(|weights| i32::from(weights[i] as i8)));
            return [first, second, rest, rest];
        }
        let pairs = weights.map(|weights| i32::from(i16::from_le_bytes(weights)));
        [pairs.map(|pair| pair << 24 >> 24), pairs.map(|pair| pair >> 8), rest, rest]
    }

    #[inline(always)]
    unsafe fn splat_pair(pointer: *const i16) -> Self::Operand {
        // SAFETY: the caller says that 2 activations can be read.
        let [first, second] = unsafe { pointer.cast::<[i16; 2]>().read() }.map(i32::from);
        [[first; LANES], [second; LANES], [0; LANES], [0; LANES]]
    }

    #[inline(always)]
    unsafe fn dot_pairs(mut self, activations: Self::Operand, weights: Self::Operand) -> Self {
        for (activations, weights) in activations.iter().zip(&weights).take(2) {
            self.add_products(activations, weights);
        }
        self
    }
}

impl<const LANES: usize> Portable<LANES> {
    #[inline(always)]
    fn add_products(&mut self, activations: &[i32; LANES], weights: &[i32; LANES]) {
        for (sum, (activation, weight)) in self.0.iter_mut().zip(activations.iter().zip(weights)) {
            *sum = sum.wrapping_add(activation.wrapping_mul(*weight));
        }
    }
}

/// Integers of 16 bits, in an array.
#[derive(Clone, Copy)]
pub(super) struct PortableShorts<const LANES: usize>([i16; LANES]);

impl<const LANES: usize> PortableShorts<LANES> {
    #[inline(always)]
    fn zip(mut self, other: Self, operation: impl Fn(i16, i16) -> i16) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a = operation(*a, b));
        self
    }
}

impl<const LANES: usize> Shorts for PortableShorts<LANES> {
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn splat(value: i16) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    unsafe fn load(pointer: *const u8) -> Self {
        // SAFETY: the caller says that `LANES` bytes can be read.
        Self(unsafe { pointer.cast::<[u8; LANES]>().read() }.map(i16::from))
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, i16::wrapping_add)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, i16::wrapping_sub)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, i16::wrapping_mul)
    }

    #[inline(always)]
    unsafe fn max_magnitude(self, other: Self) -> Self {
        self.zip(other, |a, b| a.max(b.wrapping_abs()))
    }

    #[inline(always)]
    unsafe fn greatest(self) -> i16 {
        self.0.into_iter().fold(0, i16::max)
    }

    #[inline(always)]
    unsafe fn store_scaled(self, shift: i32, multiplier: i16, offset: i16, pointer: *mut u8) {
        let bytes = self.0.map(|value| {
            let shifted = i32::from(value).wrapping_shl(shift as u32);
            let product = shifted.wrapping_mul(i32::from(multiplier));
            ((product.wrapping_add(1 << 14) >> 15) + i32::from(offset)) as u8
        });
        // SAFETY: the caller says that `LANES` bytes can be written.
        unsafe { pointer.cast::<[u8; LANES]>().write(bytes) }
    }
}

// Where every CPU of the target has vectors: two of them, as a rule, and four positions use the widened weights.
#[cfg(any(target_feature = "sse2", target_feature = "neon", target_feature = "simd128"))]
int8_kernels!(scalar: Scalar, Portable<8>, PortableShorts<8>, vector::Portable<4>, panels: 1, rows: 4, unroll: 1, split: 1, int4: 1);
// Otherwise, few registers, and little memory for code.
#[cfg(not(any(target_feature = "sse2", target_feature = "neon", target_feature = "simd128")))]
int8_kernels!(scalar: Scalar, Portable<4>, PortableShorts<4>, vector::Portable<4>, panels: 1, rows: 1, unroll: 1, split: 1, int4: 1);

/// The kernels of any CPU.
pub(super) const KERNELS: Int8Kernels = scalar::KERNELS;

/// The kernels of any CPU, in one place.
pub(super) static SCALAR: Int8Kernels = KERNELS;
