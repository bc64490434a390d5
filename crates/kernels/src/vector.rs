//! The operations that kernels are written in: a vector of floats, whatever its width.

use crate::f16::F16;

/// A vector of [`LANES`](Self::LANES) floats.
///
/// # Safety
/// Each method may use instructions that not every CPU has, so all are unsafe: the caller is a kernel of a backend whose
/// instructions were found on this CPU. Pointers need no alignment beyond their type's.
pub(crate) trait Vector: Copy {
    /// Floats in a vector; divides 16.
    const LANES: usize;

    /// `value` in every lane.
    unsafe fn splat(value: f32) -> Self;
    /// Reads `LANES` floats from `pointer`, which must be readable.
    unsafe fn load(pointer: *const f32) -> Self;
    /// Reads `LANES` half-width floats from `pointer`, which must be readable.
    unsafe fn load_f16(pointer: *const F16) -> Self;
    /// Reads `LANES` integers from `pointer`, which must be readable, as floats.
    unsafe fn load_i32(pointer: *const i32) -> Self;
    /// Writes `LANES` floats to `pointer`, which must be writable.
    unsafe fn store(self, pointer: *mut f32);
    /// `self + other`
    unsafe fn add(self, other: Self) -> Self;
    /// `self − other`
    unsafe fn sub(self, other: Self) -> Self;
    /// `self · other`
    unsafe fn mul(self, other: Self) -> Self;
    /// `self · factor + addend`, rounded once where the CPU can.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The greater of each two values; where one is NaN, at least a NaN in `other` stays.
    unsafe fn max(self, other: Self) -> Self;
    /// The less of each two values, of which none is NaN.
    unsafe fn min(self, other: Self) -> Self;
    /// Writes values from 0 to 127, rounded to the nearest integers, ties to even, as `LANES` bytes to `pointer`, which must be
    /// writable.
    unsafe fn store_bytes(self, pointer: *mut u8);
    /// Hints that the cache line at `pointer`, which may be any address, is read soon: it belongs into the second cache.
    unsafe fn prefetch(pointer: *const u8);
}

/// Number format of stored weights.
pub(crate) trait Weight: Copy {
    /// Reads a vector's worth of weights.
    ///
    /// # Safety
    /// As [`Vector::load`].
    unsafe fn load<V: Vector>(pointer: *const Self) -> V;
}

impl Weight for f32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(pointer: *const Self) -> V {
        // SAFETY: the caller's promise is the same.
        unsafe { V::load(pointer) }
    }
}

impl Weight for F16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(pointer: *const Self) -> V {
        // SAFETY: the caller's promise is the same.
        unsafe { V::load_f16(pointer) }
    }
}

/// A vector that needs no particular instructions: an array, of which the compiler makes what the target has.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const LANES: usize>([f32; LANES]);

impl<const LANES: usize> Portable<LANES> {
    #[inline(always)]
    fn zip(mut self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        // Four lanes without a loop, which the compiler would take most of its time to unroll, wherever it stands.
        if LANES == 4 {
            self.0[0] = operation(self.0[0], other.0[0]);
            self.0[1] = operation(self.0[1], other.0[1]);
            self.0[2] = operation(self.0[2], other.0[2]);
            self.0[3] = operation(self.0[3], other.0[3]);
            return self;
        }
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a = operation(*a, b);
        }
        self
    }
}

impl<const LANES: usize> Vector for Portable<LANES> {
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    unsafe fn load(pointer: *const f32) -> Self {
        // SAFETY: the caller says that `LANES` floats can be read.
        Self(unsafe { pointer.cast::<[f32; LANES]>().read() })
    }

    #[inline(always)]
    unsafe fn load_f16(pointer: *const F16) -> Self {
        // SAFETY: the caller says that `LANES` half-width floats can be read.
        Self(unsafe { pointer.cast::<[F16; LANES]>().read() }.map(F16::to_f32))
    }

    #[inline(always)]
    unsafe fn load_i32(pointer: *const i32) -> Self {
        // SAFETY: the caller says that `LANES` integers can be read.
        Self(unsafe { pointer.cast::<[i32; LANES]>().read() }.map(|value| value as f32))
    }

    #[inline(always)]
    unsafe fn store(self, pointer: *mut f32) {
        // SAFETY: the caller says that `LANES` floats can be written.
        unsafe { pointer.cast::<[f32; LANES]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.zip(factor, |a, b| a * b).zip(addend, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn store_bytes(self, pointer: *mut u8) {
        /// A float of this size has no room for fractions, so that adding it rounds; the integer is in its lowest bits.
        const ROUND: f32 = (1_u32 << 23) as f32;
        let bytes = self.0.map(|value| (value + ROUND).to_bits() as u8);
        // SAFETY: the caller says that `LANES` bytes can be written.
        unsafe { pointer.cast::<[u8; LANES]>().write(bytes) }
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {}
}
