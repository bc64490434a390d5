//! Max pooling.

use crate::PoolRow;
use crate::vector::Vector;

/// One row of outputs of a max pool, for all channels, see [`PoolRow`].
///
/// # Safety
/// The sizes of `row` hold (see [`PoolRow::fits`]), and the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn max_pool<V: Vector>(row: PoolRow<'_>) {
    // SAFETY: as the caller says. The windows of the best-known networks are constants, whose loops the compiler unrolls.
    unsafe {
        match (row.kernel, row.stride) {
            (3, 2) => windows::<V>(row, 3, 2),
            (2, 2) => windows::<V>(row, 2, 2),
            (kernel, stride) => windows::<V>(row, kernel, stride),
        }
    }
}

/// # Safety
/// As [`max_pool`]; `kernel` and `stride` are those of `row`.
#[inline(always)]
unsafe fn windows<V: Vector>(row: PoolRow<'_>, kernel: usize, stride: usize) {
    let PoolRow { input, width, channels, output, .. } = row;
    for (column, output) in output.chunks_exact_mut(channels.max(1)).enumerate() {
        let mut channel = 0;
        while channel < channels {
            // SAFETY: `fits` says that the input holds `kernel` rows with columns `stride·column..stride·column + kernel`, and
            // `channels`, a multiple of the lanes, at each; the output's chunk holds as many.
            unsafe {
                let window = input.as_ptr().add(stride * column * channels + channel);
                let mut greatest = V::load(window);
                for i in 0..kernel {
                    for j in 0..kernel {
                        greatest = greatest.max(V::load(window.add((i * width + j) * channels)));
                    }
                }
                greatest.store(output.as_mut_ptr().add(channel));
            }
            channel += V::LANES;
        }
    }
}
