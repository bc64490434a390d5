//! Rows of outputs of a direct convolution, which share its weights.

use super::vector::Activation;
use super::{Int8Output, Int8Row};

/// Some rows of outputs of a direct convolution, one below the other.
#[derive(Debug)]
pub struct Int8Rows<'a, A> {
    /// The first one. Its input and output are those of all rows.
    pub first: Int8Row<'a, A>,
    /// Number of rows, at least one.
    pub count: usize,
    /// From the input of a row to that of the next.
    pub input: usize,
    /// From the outputs of a row to those of the next.
    pub output: usize,
}

impl<A: Activation> Int8Rows<'_, A> {
    /// Whether the sizes of the last row hold, and with it those of all.
    #[inline]
    pub(crate) fn fits(&self) -> bool {
        let last = |step: usize| self.count.checked_sub(1).and_then(|last| last.checked_mul(step));
        let (Some(input), Some(output)) = (last(self.input), last(self.output)) else { return false };
        self.first.fits_behind(input, output)
    }

    /// Calls `run` with one row after the other.
    ///
    /// # Safety
    /// The sizes hold (see [`Int8Rows::fits`]).
    #[inline(always)]
    pub(super) unsafe fn each(mut self, run: impl Fn(Int8Row<'_, A>)) {
        for row in 0..self.count {
            // SAFETY: `fits` says that all rows begin within the input and the output.
            let (input, output) = unsafe {
                (self.first.input.get_unchecked(row * self.input..), self.first.output.from(row * self.output))
            };
            run(Int8Row { input, output, ..self.first });
        }
    }
}

impl Int8Output<'_> {
    /// The outputs from a place on.
    ///
    /// # Safety
    /// There are as many.
    #[inline(always)]
    pub(super) unsafe fn from(&mut self, start: usize) -> Int8Output<'_> {
        // SAFETY: as the caller says.
        unsafe {
            match self {
                Self::Activations { values, pixel, scaling } => Int8Output::Activations {
                    values: values.get_unchecked_mut(start..),
                    pixel: *pixel,
                    scaling: *scaling,
                },
                Self::Hidden { values, pixel, scaling } => {
                    Int8Output::Hidden { values: values.get_unchecked_mut(start..), pixel: *pixel, scaling: *scaling }
                }
                Self::Sums { values, pixel } => {
                    Int8Output::Sums { values: values.get_unchecked_mut(start..), pixel: *pixel }
                }
            }
        }
    }
}
