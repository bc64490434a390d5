//! The operations that transforms of inputs are written in: a vector of 16-bit integers, whatever its width.

/// A vector of [`LANES`](Self::LANES) integers of 16 bits.
///
/// # Safety
/// Each method may use instructions that not every CPU has, so all are unsafe: the caller is a kernel of a backend whose
/// instructions were found on this CPU. Pointers need no alignment.
pub(crate) trait Shorts: Copy {
    /// Integers in a vector; divides 32.
    const LANES: usize;

    /// `value` in every lane.
    unsafe fn splat(value: i16) -> Self;
    /// Reads `LANES` bytes from `pointer`, which must be readable.
    unsafe fn load(pointer: *const u8) -> Self;
    /// `self + other`, which does not overflow.
    unsafe fn add(self, other: Self) -> Self;
    /// `self − other`, which does not overflow.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self · other`, which does not overflow.
    unsafe fn mul(self, other: Self) -> Self;
    /// The greater of `self` and the magnitude of `other`.
    unsafe fn max_magnitude(self, other: Self) -> Self;
    /// The greatest lane; none is negative.
    unsafe fn greatest(self) -> i16;
    /// Writes `((self << shift) · multiplier + 2¹⁴) >> 15`, plus `offset`, as `LANES` bytes. The shift does not overflow, and the
    /// results are bytes, with sign or without.
    unsafe fn store_scaled(self, shift: i32, multiplier: i16, offset: i16, pointer: *mut u8);
}
