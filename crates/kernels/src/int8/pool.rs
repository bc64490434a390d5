//! Max pooling of integers.

use super::vector::Activation;

/// One row of outputs of a max pool, all channels.
#[derive(Debug)]
pub struct Int8PoolRow<'a, A> {
    /// `[kernel]` rows of `[width][channels]`.
    pub input: &'a [A],
    /// Columns of the input.
    pub width: usize,
    /// Channels, at least one.
    pub channels: usize,
    /// Rows and columns of a window.
    pub kernel: usize,
    /// Columns from one window to the next.
    pub stride: usize,
    /// `[columns][channels]` with `(columns − 1)·stride + kernel <= width`.
    pub output: &'a mut [A],
}

impl<A: Activation> Int8PoolRow<'_, A> {
    #[inline]
    pub(crate) fn fits(&self) -> bool {
        let input = self.width.checked_mul(self.channels).and_then(|row| row.checked_mul(self.kernel));
        let columns = self.output.len().checked_div(self.channels).unwrap_or_default();
        let last = columns.checked_sub(1).map(|last| last.checked_mul(self.stride)?.checked_add(self.kernel));
        self.channels > 0
            && self.kernel > 0
            && self.output.len().is_multiple_of(self.channels)
            && input.is_some_and(|input| input <= self.input.len())
            && last.is_none_or(|last| last.is_some_and(|last| last <= self.width))
    }
}

/// One row of outputs of a max pool, see [`Int8PoolRow`]. The compiler makes vectors of the loop over channels.
///
/// # Safety
/// The sizes of `row` hold (see [`Int8PoolRow::fits`]).
#[inline(always)]
pub(crate) unsafe fn max_pool<A: Activation>(row: Int8PoolRow<'_, A>) {
    let Int8PoolRow { input, width, channels, kernel, stride, output } = row;
    for (column, output) in output.chunks_exact_mut(channels.max(1)).enumerate() {
        for i in 0..kernel {
            for j in 0..kernel {
                let start = (i * width + stride * column + j) * channels;
                // SAFETY: `fits` says that the input holds `kernel` rows with columns up to `stride · column + kernel`, and
                // `channels` values at each.
                let values = unsafe { core::slice::from_raw_parts(input.as_ptr().add(start), channels) };
                if (i, j) == (0, 0) {
                    output.iter_mut().zip(values).for_each(|(greatest, value)| *greatest = *value);
                } else {
                    output.iter_mut().zip(values).for_each(|(greatest, value)| *greatest = (*greatest).max(*value));
                }
            }
        }
    }
}
