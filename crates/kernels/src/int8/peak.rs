//! Products of bytes and nothing else: what the CPU can do at most, for measurements.

use super::vector::Sums;
use core::hint::black_box;

/// Multiply-adds of bytes that lie in the first cache, at least `least`, to `VECTORS · ROWS` vectors of sums; how many they were.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn multiply_adds<V: Sums, const VECTORS: usize, const ROWS: usize>(least: usize) -> u64 {
    let round = VECTORS * ROWS * V::LANES * 4;
    let rounds = least.div_ceil(round);
    let (mut activations, mut weights) = ([[1; 4]; ROWS], [[3; 64]; VECTORS]);
    let (activations, weights) = (black_box(&mut activations), black_box(&mut weights));
    // SAFETY: arithmetic of a CPU that has it, as the caller says; 4 activations and at most 64 weights are read, and at most 16
    // sums written.
    unsafe {
        let mut sums = [[V::zero(); VECTORS]; ROWS];
        for _ in 0..rounds {
            // The values may have changed: nothing of the products can be worked out beforehand.
            core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
            let lanes: [V::Operand; VECTORS] = core::array::from_fn(|v| V::load_quads(weights[v].as_ptr()));
            for (sums, activations) in sums.iter_mut().zip(activations.iter()) {
                let activations = V::splat_quad(activations.as_ptr());
                for (sum, lanes) in sums.iter_mut().zip(lanes) {
                    *sum = sum.dot_quads(activations, lanes);
                }
            }
        }
        let mut total = V::zero();
        for sum in sums.as_flattened() {
            total = total.add(*sum);
        }
        let mut lanes = [0; 16];
        total.store(lanes.as_mut_ptr());
        black_box(lanes);
    }
    (rounds * round) as u64
}
