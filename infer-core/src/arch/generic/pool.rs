//! Max pooling.

use crate::arch::PoolRow;
use crate::arch::vector::Vector;

/// One row of outputs of a 3×3 pool with stride 2, for all channels, see [`PoolRow`].
///
/// # Safety
/// The sizes of `row` hold (see [`PoolRow::fits`]), and the CPU has the instructions of `V`.
#[inline(always)]
pub(in crate::arch) unsafe fn max_pool<V: Vector>(row: PoolRow<'_>) {
    let PoolRow { input, width, channels, output } = row;
    for (column, output) in output.chunks_exact_mut(channels.max(1)).enumerate() {
        let mut channel = 0;
        while channel < channels {
            // SAFETY: `fits` says that the input holds three rows with columns `2·column..2·column + 3`, and `channels`, a
            // multiple of the lanes, at each; the output's chunk holds as many.
            unsafe {
                let window = input.as_ptr().add(2 * column * channels + channel);
                let mut greatest = V::load(window);
                for i in 0..3 {
                    for j in 0..3 {
                        greatest = greatest.max(V::load(window.add((i * width + j) * channels)));
                    }
                }
                greatest.store(output.as_mut_ptr().add(channel));
            }
            channel += V::LANES;
        }
    }
}
