//! Arithmetic and nothing else: what the CPU can do at most, for measurements.

use crate::vector::Vector;

/// Vectors that are worked on by turns: enough for two multiply-adds a cycle that take four cycles each.
const SUMS: usize = 12;

/// Multiply-adds without a memory access, `rounds` for each of [`SUMS`] vectors; how many they were in all.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn multiply_adds<V: Vector>(rounds: usize) -> u64 {
    // SAFETY: arithmetic of a CPU that has it, as the caller says, and a store into an array of as many lanes.
    unsafe {
        let (factor, addend) = (V::splat(core::hint::black_box(0.5)), V::splat(core::hint::black_box(1.0)));
        let mut sums = [addend; SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, addend);
            }
        }
        let mut sum = sums[0];
        for other in &sums[1..] {
            sum = sum.add(*other);
        }
        let mut lanes = [0.0; 16];
        sum.store(lanes.as_mut_ptr());
        core::hint::black_box(lanes);
    }
    (rounds * SUMS * V::LANES) as u64
}
