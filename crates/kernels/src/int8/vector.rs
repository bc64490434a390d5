//! The operations that int8 kernels are written in: a vector of 32-bit sums, whatever its width.

/// A number format of activations.
#[allow(private_bounds, reason = "nobody else adds a format")]
pub trait Activation: Format + Copy + Ord + Send + Sync + 'static {}

impl Activation for u8 {}
impl Activation for i16 {}

/// Operations of kernels on activations of a format.
pub(crate) trait Format: Sized {
    /// Products that are summed at once; as many weights of an output lie side by side.
    const GROUP: usize;

    /// Reads the weights of a group for a vector's worth of outputs.
    ///
    /// # Safety
    /// `GROUP · LANES` weights can be read; the CPU has the instructions of `V`.
    unsafe fn weights<V: Sums>(pointer: *const i8) -> V::Operand;

    /// Reads a group of activations into every lane.
    ///
    /// # Safety
    /// `GROUP` activations can be read; the CPU has the instructions of `V`.
    unsafe fn splat<V: Sums>(pointer: *const Self) -> V::Operand;

    /// `sums + Σ over the group of activations · weights`
    ///
    /// # Safety
    /// The CPU has the instructions of `V`.
    unsafe fn dot<V: Sums>(sums: V, activations: V::Operand, weights: V::Operand) -> V;
}

/// A vector of [`LANES`](Self::LANES) sums of 32 bits.
///
/// # Safety
/// Each method may use instructions that not every CPU has, so all are unsafe: the caller is a kernel of a backend whose
/// instructions were found on this CPU. Pointers need no alignment beyond their type's.
pub(crate) trait Sums: Copy {
    /// Sums in a vector; divides 16.
    const LANES: usize;
    /// Added to transformed inputs, signed bytes within ±127, where products want bytes without sign; those are signed where it is 0.
    const OFFSET: i16 = 0;
    /// Activations or weights of a group, in each lane.
    type Operand: Copy;

    /// Zero in every lane.
    unsafe fn zero() -> Self;
    /// Reads sums from `pointer`, where as many can be read.
    unsafe fn load(pointer: *const i32) -> Self;
    /// `self + other`
    unsafe fn add(self, other: Self) -> Self;
    /// Writes the sums to `pointer`, where as many can be written.
    unsafe fn store(self, pointer: *mut i32);
    /// Hints that the cache line at `pointer`, which may be any address, is read soon.
    unsafe fn prefetch(pointer: *const i8);
    /// Reads 4 weights for each lane.
    unsafe fn load_quads(pointer: *const i8) -> Self::Operand;
    /// Reads 4 activations, from 0 to 127, into every lane.
    unsafe fn splat_quad(pointer: *const u8) -> Self::Operand;
    /// Adds the products of 4 activations and 4 weights in each lane.
    unsafe fn dot_quads(self, activations: Self::Operand, weights: Self::Operand) -> Self;
    /// Reads 4 transformed inputs into every lane.
    ///
    /// # Safety
    /// As [`splat_quad`](Self::splat_quad).
    #[inline(always)]
    unsafe fn splat_transformed(pointer: *const u8) -> Self::Operand {
        // SAFETY: the caller's promise is the same.
        unsafe { Self::splat_quad(pointer) }
    }
    /// Adds the products of 4 transformed inputs and 4 weights in each lane.
    ///
    /// # Safety
    /// As [`dot_quads`](Self::dot_quads).
    #[inline(always)]
    unsafe fn dot_transformed(self, inputs: Self::Operand, weights: Self::Operand) -> Self {
        // SAFETY: the caller's promise is the same.
        unsafe { self.dot_quads(inputs, weights) }
    }
    /// Reads 4 bytes for each lane, of which each half is a weight of 4 bits: the low halves, and the high ones, as bytes that are 16
    /// times as great.
    unsafe fn load_halves(pointer: *const i8) -> [Self::Operand; 2];
    /// `self + sums / 16 · factors`, of `sums` that are multiples of 16, and a byte for each lane.
    unsafe fn add_scaled(self, sums: Self, factors: *const u8) -> Self;
    /// Reads 2 weights for each lane.
    unsafe fn load_pairs(pointer: *const i8) -> Self::Operand;
    /// Reads 2 activations into every lane.
    unsafe fn splat_pair(pointer: *const i16) -> Self::Operand;
    /// Adds the products of 2 activations and 2 weights in each lane.
    unsafe fn dot_pairs(self, activations: Self::Operand, weights: Self::Operand) -> Self;
}

impl Format for u8 {
    const GROUP: usize = 4;

    #[inline(always)]
    unsafe fn weights<V: Sums>(pointer: *const i8) -> V::Operand {
        // SAFETY: the caller's promise is the same.
        unsafe { V::load_quads(pointer) }
    }

    #[inline(always)]
    unsafe fn splat<V: Sums>(pointer: *const Self) -> V::Operand {
        // SAFETY: the caller's promise is the same.
        unsafe { V::splat_quad(pointer) }
    }

    #[inline(always)]
    unsafe fn dot<V: Sums>(sums: V, activations: V::Operand, weights: V::Operand) -> V {
        // SAFETY: the caller's promise is the same.
        unsafe { sums.dot_quads(activations, weights) }
    }
}

impl Format for i16 {
    const GROUP: usize = 2;

    #[inline(always)]
    unsafe fn weights<V: Sums>(pointer: *const i8) -> V::Operand {
        // SAFETY: the caller's promise is the same.
        unsafe { V::load_pairs(pointer) }
    }

    #[inline(always)]
    unsafe fn splat<V: Sums>(pointer: *const Self) -> V::Operand {
        // SAFETY: the caller's promise is the same.
        unsafe { V::splat_pair(pointer) }
    }

    #[inline(always)]
    unsafe fn dot<V: Sums>(sums: V, activations: V::Operand, weights: V::Operand) -> V {
        // SAFETY: the caller's promise is the same.
        unsafe { sums.dot_pairs(activations, weights) }
    }
}

/// A transformed input of a Winograd convolution: a signed byte, to which [`Sums::OFFSET`] is added.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Transformed(#[allow(dead_code, reason = "it is read as four at a time")] u8);

impl Format for Transformed {
    const GROUP: usize = 4;

    #[inline(always)]
    unsafe fn weights<V: Sums>(pointer: *const i8) -> V::Operand {
        // SAFETY: the caller's promise is the same.
        unsafe { V::load_quads(pointer) }
    }

    #[inline(always)]
    unsafe fn splat<V: Sums>(pointer: *const Self) -> V::Operand {
        // SAFETY: the caller's promise is the same; it is a byte.
        unsafe { V::splat_transformed(pointer.cast()) }
    }

    #[inline(always)]
    unsafe fn dot<V: Sums>(sums: V, activations: V::Operand, weights: V::Operand) -> V {
        // SAFETY: the caller's promise is the same.
        unsafe { sums.dot_transformed(activations, weights) }
    }
}
