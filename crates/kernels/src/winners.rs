//! What the kernels of max-pooling in training work on: see [`crate::training`].

use super::transforms::CHANNELS;

/// A max-pooling of one image that keeps where each maximum was.
#[derive(Debug)]
pub struct MaxPool<'a> {
    /// `[height][width][channels]`
    pub input: &'a [f32],
    /// Columns of the input.
    pub width: usize,
    /// A multiple of [`CHANNELS`].
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
    /// What [`MaxPool`] found.
    pub output: &'a [f32],
    /// Where it found it.
    pub winners: &'a [u8],
    /// Gradient of the output, of the same shape.
    pub output_gradient: &'a [f32],
    /// Whether gradients of outputs that are 0 are 0: a ReLU came before.
    pub relu: bool,
    /// Columns of the input.
    pub width: usize,
    /// A multiple of [`CHANNELS`].
    pub channels: usize,
    /// Side of the window, from 1 to 16.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Columns of the output.
    pub columns: usize,
    /// What each gradient is added to, where its maximum was: `[height][width][channels]`.
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
    if channels == 0 || !channels.is_multiple_of(CHANNELS) || !(1..=16).contains(&kernel) || stride == 0 {
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
    pub(super) fn fits(&self) -> bool {
        let Self { input, width, channels, kernel, stride, columns, .. } = *self;
        self.winners.len() == self.output.len()
            && pool_fits(input.len(), width, channels, (kernel, stride), self.output.len(), columns)
    }
}

impl MaxPoolGradient<'_> {
    pub(super) fn fits(&self) -> bool {
        let Self { output, width, channels, kernel, stride, columns, .. } = *self;
        self.winners.len() == output.len()
            && self.output_gradient.len() == output.len()
            && pool_fits(self.input_gradient.len(), width, channels, (kernel, stride), output.len(), columns)
    }
}
