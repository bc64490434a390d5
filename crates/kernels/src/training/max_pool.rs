//! Max-pooling that keeps where its maxima were, and its gradient. Plain Rust over blocks of channels, of which the compiler
//! makes the vector instructions of each backend.

use crate::layout::LANES;

/// A max-pooling of one image that keeps where each maximum was.
#[derive(Debug)]
pub struct MaxPool<'a> {
    /// `[height][width][channels]`
    pub input: &'a [f32],
    /// Columns of the input.
    pub width: usize,
    /// A multiple of [`LANES`].
    pub channels: usize,
    /// Side of the window, from 1 to 16.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Columns of the output.
    pub columns: usize,
    /// The first of the largest values of each window in row order, a NaN counting as the largest:
    /// `[rows][columns][channels]`.
    pub output: &'a mut [f32],
    /// Which of the window's kernel² values it was: `[rows][columns][channels]`.
    pub winners: &'a mut [u8],
}

/// The gradient of [`MaxPool`], and of a ReLU before it.
#[derive(Debug)]
pub struct MaxPoolGradient<'a> {
    /// Output of [`MaxPool`].
    pub output: &'a [f32],
    /// Where it found it.
    pub winners: &'a [u8],
    /// Gradient of the output, of the same shape.
    pub output_gradient: &'a [f32],
    /// Whether gradients of outputs that are 0 are 0: a ReLU came before.
    pub relu: bool,
    /// Columns of the input.
    pub width: usize,
    /// A multiple of [`LANES`].
    pub channels: usize,
    /// Side of the window, from 1 to 16.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Columns of the output.
    pub columns: usize,
    /// Gradient of the input, to which each output's is added where its maximum was: `[height][width][channels]`.
    pub input_gradient: &'a mut [f32],
}

/// Whether a window of `kernel` with `stride` has all `rows` × `columns` positions in an image.
fn pool_fits(
    input: usize,
    width: usize,
    channels: usize,
    (kernel, stride): (usize, usize),
    outputs: usize,
    columns: usize,
) -> bool {
    if channels == 0 || !channels.is_multiple_of(LANES) || !(1..=16).contains(&kernel) || stride == 0 {
        return false;
    }
    let rows = (outputs / channels).checked_div(columns).unwrap_or(0);
    let reach = |positions: usize| positions.checked_sub(1)?.checked_mul(stride)?.checked_add(kernel);
    let needed = reach(rows).and_then(|height| height.checked_mul(width)?.checked_mul(channels));
    rows.checked_mul(columns).and_then(|places| places.checked_mul(channels)) == Some(outputs)
        && reach(columns).is_some_and(|reach| reach <= width)
        && needed.is_some_and(|needed| needed <= input)
}

impl MaxPool<'_> {
    /// Whether the windows of all positions lie within the input.
    pub(crate) fn fits(&self) -> bool {
        let Self { input, width, channels, kernel, stride, columns, .. } = *self;
        self.winners.len() == self.output.len()
            && pool_fits(input.len(), width, channels, (kernel, stride), self.output.len(), columns)
    }
}

impl MaxPoolGradient<'_> {
    /// Whether the windows of all positions lie within the input.
    pub(crate) fn fits(&self) -> bool {
        let Self { output, width, channels, kernel, stride, columns, .. } = *self;
        self.winners.len() == output.len()
            && self.output_gradient.len() == output.len()
            && pool_fits(self.input_gradient.len(), width, channels, (kernel, stride), output.len(), columns)
    }
}

/// See [`MaxPool`].
///
/// # Safety
/// The sizes of `pool` hold (see [`MaxPool::fits`]).
#[inline(always)]
pub(crate) unsafe fn max_pool(pool: MaxPool<'_>) {
    let MaxPool { input, width, channels, kernel, stride, columns, output, winners } = pool;
    let (input, _) = input.as_chunks::<LANES>();
    let blocks = channels / LANES;
    let places = output.as_chunks_mut::<LANES>().0.chunks_exact_mut(blocks);
    let winners = winners.as_chunks_mut::<LANES>().0.chunks_exact_mut(blocks);
    for (place, (output, winners)) in places.zip(winners).enumerate() {
        let corner = (place / columns * stride * width + place % columns * stride) * blocks;
        for (block, (output, winners)) in output.iter_mut().zip(winners).enumerate() {
            let mut largest = [f32::NEG_INFINITY; LANES];
            let mut winner = [0_u32; LANES];
            for k in 0..kernel {
                for l in 0..kernel {
                    // SAFETY: `fits` says that the windows of all positions lie within the input.
                    let values = unsafe { input.get_unchecked(corner + (k * width + l) * blocks + block) };
                    let tap = (k * kernel + l) as u32;
                    for ((largest, winner), value) in largest.iter_mut().zip(&mut winner).zip(values) {
                        // A NaN wins over everything, a later one over an earlier one. The first value always wins, as it
                        // has number 0 already: a window of −∞ keeps that.
                        let wins = *value > *largest || value.is_nan();
                        *winner = if wins { tap } else { *winner };
                        *largest = if wins { *value } else { *largest };
                    }
                }
            }
            *output = largest;
            *winners = winner.map(|winner| winner as u8);
        }
    }
}

/// See [`MaxPoolGradient`].
///
/// # Safety
/// The sizes of `pool` hold (see [`MaxPoolGradient::fits`]).
#[inline(always)]
pub(crate) unsafe fn max_pool_gradient(pool: MaxPoolGradient<'_>) {
    let MaxPoolGradient { output, winners, output_gradient, relu, width, channels, kernel, stride, columns, .. } = pool;
    let (input_gradient, _) = pool.input_gradient.as_chunks_mut::<LANES>();
    let blocks = channels / LANES;
    let outputs = output.as_chunks::<LANES>().0.chunks_exact(blocks);
    let gradients = output_gradient.as_chunks::<LANES>().0.chunks_exact(blocks);
    let winners = winners.as_chunks::<LANES>().0.chunks_exact(blocks);
    for (place, ((outputs, gradients), winners)) in outputs.zip(gradients).zip(winners).enumerate() {
        let corner = (place / columns * stride * width + place % columns * stride) * blocks;
        for (block, ((output, gradient), winners)) in outputs.iter().zip(gradients).zip(winners).enumerate() {
            let winners = winners.map(u32::from);
            let mut gradient = *gradient;
            for (gradient, output) in gradient.iter_mut().zip(output) {
                *gradient = if relu && *output == 0.0 { 0.0 } else { *gradient };
            }
            for k in 0..kernel {
                for l in 0..kernel {
                    let place = corner + (k * width + l) * blocks + block;
                    // SAFETY: `fits` says that the windows of all positions lie within the input.
                    let sums = unsafe { input_gradient.get_unchecked_mut(place) };
                    let tap = (k * kernel + l) as u32;
                    for ((sum, gradient), winner) in sums.iter_mut().zip(gradient).zip(winners) {
                        *sum += if winner == tap { gradient } else { 0.0 };
                    }
                }
            }
        }
    }
}
