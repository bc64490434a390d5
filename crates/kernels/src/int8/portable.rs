//! Plain Rust, for every CPU.

use super::table::{Int8Kernels, int8_kernels};
use super::vector::Sums;

/// A vector that needs no particular instructions: an array, of which the compiler makes what the target has.
#[derive(Clone, Copy)]
pub(super) struct Portable<const LANES: usize>([i32; LANES]);

impl<const LANES: usize> Sums for Portable<LANES> {
    const LANES: usize = LANES;
    type Operand = [[i16; LANES]; 4];

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0; LANES])
    }

    #[inline(always)]
    unsafe fn store(self, pointer: *mut i32) {
        // SAFETY: the caller says that `LANES` sums can be written.
        unsafe { pointer.cast::<[i32; LANES]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn load_quads(pointer: *const i8) -> Self::Operand {
        // SAFETY: the caller says that 4 weights for each lane can be read.
        let weights = unsafe { pointer.cast::<[[i8; 4]; LANES]>().read() };
        core::array::from_fn(|i| core::array::from_fn(|lane| i16::from(weights[lane][i])))
    }

    #[inline(always)]
    unsafe fn splat_quad(pointer: *const u8) -> Self::Operand {
        // SAFETY: the caller says that 4 activations can be read.
        let activations = unsafe { pointer.cast::<[u8; 4]>().read() };
        activations.map(|activation| [i16::from(activation); LANES])
    }

    #[inline(always)]
    unsafe fn dot_quads(mut self, activations: Self::Operand, weights: Self::Operand) -> Self {
        for (activations, weights) in activations.iter().zip(&weights) {
            add_products(&mut self.0, activations, weights);
        }
        self
    }

    #[inline(always)]
    unsafe fn load_pairs(pointer: *const i8) -> Self::Operand {
        // SAFETY: the caller says that 2 weights for each lane can be read.
        let weights = unsafe { pointer.cast::<[[i8; 2]; LANES]>().read() };
        let [first, second] = core::array::from_fn(|i| core::array::from_fn(|lane| i16::from(weights[lane][i])));
        [first, second, [0; LANES], [0; LANES]]
    }

    #[inline(always)]
    unsafe fn splat_pair(pointer: *const i16) -> Self::Operand {
        // SAFETY: the caller says that 2 activations can be read.
        let [first, second] = unsafe { pointer.cast::<[i16; 2]>().read() };
        [[first; LANES], [second; LANES], [0; LANES], [0; LANES]]
    }

    #[inline(always)]
    unsafe fn dot_pairs(mut self, activations: Self::Operand, weights: Self::Operand) -> Self {
        for (activations, weights) in activations.iter().zip(&weights).take(2) {
            add_products(&mut self.0, activations, weights);
        }
        self
    }
}

#[inline(always)]
fn add_products<const LANES: usize>(sums: &mut [i32; LANES], activations: &[i16; LANES], weights: &[i16; LANES]) {
    for (sum, (activation, weight)) in sums.iter_mut().zip(activations.iter().zip(weights)) {
        *sum = sum.wrapping_add(i32::from(*activation) * i32::from(*weight));
    }
}

int8_kernels!(scalar: Scalar, Portable<4>, panels: 1, rows: 1);

/// The kernels of any CPU.
pub(super) static SCALAR: Int8Kernels = scalar::KERNELS;
