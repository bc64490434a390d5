//! Plain Rust, for every CPU.

use super::table::{Int8Kernels, int8_kernels};
use super::vector::Sums;

/// A vector that needs no particular instructions: an array, of which the compiler makes what the target has.
#[derive(Clone, Copy)]
pub(super) struct Portable<const LANES: usize>([i32; LANES]);

/// Two activations or weights of each lane.
type Pairs<const LANES: usize> = [[i16; 2]; LANES];

impl<const LANES: usize> Sums for Portable<LANES> {
    const LANES: usize = LANES;
    /// The first and third of four, and the second and fourth. There are no others of two, and the compiler leaves zeros out.
    type Operand = [Pairs<LANES>; 2];

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0; LANES])
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
    unsafe fn load_quads(pointer: *const i8) -> Self::Operand {
        // SAFETY: the caller says that 4 weights for each lane can be read.
        let pairs = unsafe { pointer.cast::<Pairs<LANES>>().read_unaligned() }.map(|pairs| pairs.map(i16::from_le));
        // Halves of 16 bits are told apart by shifts, which every CPU with vectors has for all of them at once.
        [pairs.map(|pairs| pairs.map(|pair| pair << 8 >> 8)), pairs.map(|pairs| pairs.map(|pair| pair >> 8))]
    }

    #[inline(always)]
    unsafe fn splat_quad(pointer: *const u8) -> Self::Operand {
        // SAFETY: the caller says that 4 activations can be read.
        let [first, second, third, fourth] = unsafe { pointer.cast::<[u8; 4]>().read() }.map(i16::from);
        [[[first, third]; LANES], [[second, fourth]; LANES]]
    }

    #[inline(always)]
    unsafe fn dot_quads(self, activations: Self::Operand, weights: Self::Operand) -> Self {
        self.add_products(&activations[0], &weights[0]).add_products(&activations[1], &weights[1])
    }

    #[inline(always)]
    unsafe fn load_pairs(pointer: *const i8) -> Self::Operand {
        // SAFETY: the caller says that 2 weights for each lane can be read.
        let weights = unsafe { pointer.cast::<[[i8; 2]; LANES]>().read() };
        [weights.map(|weights| weights.map(i16::from)), [[0; 2]; LANES]]
    }

    #[inline(always)]
    unsafe fn splat_pair(pointer: *const i16) -> Self::Operand {
        // SAFETY: the caller says that 2 activations can be read.
        [[unsafe { pointer.cast::<[i16; 2]>().read() }; LANES], [[0; 2]; LANES]]
    }

    #[inline(always)]
    unsafe fn dot_pairs(self, activations: Self::Operand, weights: Self::Operand) -> Self {
        self.add_products(&activations[0], &weights[0])
    }
}

impl<const LANES: usize> Portable<LANES> {
    /// Adds two products in each lane, in a form of which the compiler makes an instruction where there is one for it.
    #[inline(always)]
    fn add_products(mut self, activations: &Pairs<LANES>, weights: &Pairs<LANES>) -> Self {
        for (sum, (a, w)) in self.0.iter_mut().zip(activations.iter().zip(weights)) {
            let products = (i32::from(a[0]) * i32::from(w[0])).wrapping_add(i32::from(a[1]) * i32::from(w[1]));
            *sum = sum.wrapping_add(products);
        }
        self
    }
}

// Vectors that every CPU of the target has: a panel's sums are an array that the compiler makes some of, and four positions use
// widened weights.
#[cfg(any(target_feature = "sse2", target_feature = "neon", target_feature = "simd128"))]
int8_kernels!(scalar: Scalar, Portable<16>, panels: 1, rows: 4, unroll: 1, split: 1);
// Otherwise few registers, and little memory for code.
#[cfg(not(any(target_feature = "sse2", target_feature = "neon", target_feature = "simd128")))]
int8_kernels!(scalar: Scalar, Portable<4>, panels: 1, rows: 1, unroll: 1, split: 1);

/// The kernels of any CPU.
pub(super) static SCALAR: Int8Kernels = scalar::KERNELS;
