//! Vectors whose operations are functions that are called: kernels of sixteen lanes of plain Rust compile faster than with the operations
//! in them, and compute the same.

use crate::f16::F16;
use crate::int8::{Shorts, Sums};
use crate::vector::Vector;

/// A vector, one call away.
#[derive(Clone, Copy)]
pub(crate) struct Called<V>(V);

/// Makes functions that are never compiled into their callers.
macro_rules! called {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? = $call:expr;)*) => {
        $(
            #[inline(never)]
            unsafe fn $name($($argument: $type),*) $(-> $result)? {
                // SAFETY: the caller's promise is the same.
                unsafe { $call }
            }
        )*
    };
}

impl<V: Vector> Vector for Called<V> {
    const LANES: usize = V::LANES;

    called! {
        fn splat(value: f32) -> Self = Self(V::splat(value));
        fn load(pointer: *const f32) -> Self = Self(V::load(pointer));
        fn load_f16(pointer: *const F16) -> Self = Self(V::load_f16(pointer));
        fn load_i32(pointer: *const i32) -> Self = Self(V::load_i32(pointer));
        fn store(self: Self, pointer: *mut f32) = self.0.store(pointer);
        fn add(self: Self, other: Self) -> Self = Self(self.0.add(other.0));
        fn sub(self: Self, other: Self) -> Self = Self(self.0.sub(other.0));
        fn mul(self: Self, other: Self) -> Self = Self(self.0.mul(other.0));
        fn mul_add(self: Self, factor: Self, addend: Self) -> Self = Self(self.0.mul_add(factor.0, addend.0));
        fn max(self: Self, other: Self) -> Self = Self(self.0.max(other.0));
        fn min(self: Self, other: Self) -> Self = Self(self.0.min(other.0));
        fn store_bytes(self: Self, pointer: *mut u8) = self.0.store_bytes(pointer);
        fn prefetch(pointer: *const u8) = V::prefetch(pointer);
    }
}

impl<V: Sums> Sums for Called<V> {
    const LANES: usize = V::LANES;
    const OFFSET: i16 = V::OFFSET;
    type Operand = V::Operand;

    called! {
        fn zero() -> Self = Self(V::zero());
        fn load(pointer: *const i32) -> Self = Self(V::load(pointer));
        fn add(self: Self, other: Self) -> Self = Self(self.0.add(other.0));
        fn store(self: Self, pointer: *mut i32) = self.0.store(pointer);
        fn prefetch(pointer: *const i8) = V::prefetch(pointer);
        fn load_quads(pointer: *const i8) -> V::Operand = V::load_quads(pointer);
        fn splat_quad(pointer: *const u8) -> V::Operand = V::splat_quad(pointer);
        fn dot_quads(self: Self, activations: V::Operand, weights: V::Operand) -> Self = Self(self.0.dot_quads(activations, weights));
        fn splat_transformed(pointer: *const u8) -> V::Operand = V::splat_transformed(pointer);
        fn dot_transformed(self: Self, inputs: V::Operand, weights: V::Operand) -> Self = Self(self.0.dot_transformed(inputs, weights));
        fn load_halves(pointer: *const i8) -> [V::Operand; 2] = V::load_halves(pointer);
        fn add_scaled(self: Self, sums: Self, factors: *const u8) -> Self = Self(self.0.add_scaled(sums.0, factors));
        fn load_pairs(pointer: *const i8) -> V::Operand = V::load_pairs(pointer);
        fn splat_pair(pointer: *const i16) -> V::Operand = V::splat_pair(pointer);
        fn dot_pairs(self: Self, activations: V::Operand, weights: V::Operand) -> Self = Self(self.0.dot_pairs(activations, weights));
    }
}

impl<V: Shorts> Shorts for Called<V> {
    const LANES: usize = V::LANES;

    called! {
        fn splat(value: i16) -> Self = Self(V::splat(value));
        fn load(pointer: *const u8) -> Self = Self(V::load(pointer));
        fn add(self: Self, other: Self) -> Self = Self(self.0.add(other.0));
        fn sub(self: Self, other: Self) -> Self = Self(self.0.sub(other.0));
        fn mul(self: Self, other: Self) -> Self = Self(self.0.mul(other.0));
        fn max_magnitude(self: Self, other: Self) -> Self = Self(self.0.max_magnitude(other.0));
        fn greatest(self: Self) -> i16 = self.0.greatest();
        fn store_scaled(self: Self, shift: i32, multiplier: i16, offset: i16, pointer: *mut u8) = self.0.store_scaled(shift, multiplier, offset, pointer);
    }
}
