//! Products of bytes and nothing else: what the CPU can do at most, for measurements.

use super::vector::Sums;
use core::hint::black_box;

/// Vectors that are worked on by turns: enough for two additions of products a cycle that take five cycles each.
const SUMS: usize = 12;

/// Multiply-adds of bytes, `rounds` additions of products for each of [`SUMS`] vectors; how many they were in all.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn multiply_adds<V: Sums>(rounds: usize) -> u64 {
    let (activations, weights) = ([1; 4], [3; 64]);
    // SAFETY: arithmetic of a CPU that has it, as the caller says; 4 activations and at most 64 weights are read, and at most 16
    // sums written.
    unsafe {
        let weights = V::load_quads(black_box(weights.as_ptr()));
        let mut sums = [V::zero(); SUMS];
        for _ in 0..rounds {
            // Read anew each round: nothing of the products can be worked out beforehand.
            let activations = V::splat_quad(black_box(activations.as_ptr()));
            for sum in &mut sums {
                *sum = sum.dot_quads(activations, weights);
            }
        }
        let mut total = V::zero();
        for sum in sums {
            total = total.add(sum);
        }
        let mut lanes = [0; 16];
        total.store(lanes.as_mut_ptr());
        black_box(lanes);
    }
    (rounds * SUMS * V::LANES * 4) as u64
}
