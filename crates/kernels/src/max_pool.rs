//! Max pooling.

use crate::layout::LANES;
use crate::vector::Vector;

/// One row of outputs of a max pool, all channels.
#[derive(Debug)]
pub struct PoolRow<'a> {
    /// `[kernel][width][channels]`
    pub input: &'a [f32],
    /// Columns of the input.
    pub width: usize,
    /// A multiple of [`LANES`].
    pub channels: usize,
    /// Rows and columns of a window.
    pub kernel: usize,
    /// Columns from one window to the next.
    pub stride: usize,
    /// `[columns][channels]` with `(columns − 1)·stride + kernel <= width`.
    pub output: &'a mut [f32],
}

impl PoolRow<'_> {
    #[inline]
    pub(crate) fn fits(&self) -> bool {
        let input = self.width.checked_mul(self.channels).and_then(|row| row.checked_mul(self.kernel));
        let columns = self.output.len().checked_div(self.channels).unwrap_or_default();
        let last = columns.checked_sub(1).map(|last| last.checked_mul(self.stride)?.checked_add(self.kernel));
        self.channels > 0
            && self.channels.is_multiple_of(LANES)
            && self.kernel > 0
            && self.output.len().is_multiple_of(self.channels)
            && input.is_some_and(|input| input <= self.input.len())
            && last.is_none_or(|last| last.is_some_and(|last| last <= self.width))
    }
}

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
