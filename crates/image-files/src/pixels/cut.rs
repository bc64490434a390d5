//! Resized images of sizes that no compiler knows, and parts of them.

use infer_core::preprocess::{PreprocessError, resize_part};

/// A part of an image that is resized to `columns` × `rows`.
pub(super) struct Cut {
    pub(super) columns: usize,
    pub(super) rows: usize,
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Cut {
    pub(super) fn whole((columns, rows): (usize, usize)) -> Self {
        Self { columns, rows, left: 0, top: 0, width: columns, height: rows }
    }

    /// Its pixels, row by row, made in squares whose size the compiler knows.
    pub(super) fn of<const C: usize>(
        &self,
        size: (usize, usize),
        value: impl Fn(usize, usize) -> [f32; C],
    ) -> Result<Vec<[f32; C]>, PreprocessError> {
        match self.width.min(self.height) {
            64.. => self.of_squares::<C, 64>(size, value),
            7.. => self.of_squares::<C, 7>(size, value),
            _ => self.of_squares::<C, 1>(size, value),
        }
    }

    fn of_squares<const C: usize, const T: usize>(
        &self,
        size: (usize, usize),
        value: impl Fn(usize, usize) -> [f32; C],
    ) -> Result<Vec<[f32; C]>, PreprocessError> {
        let mut output = vec![[0.0; C]; self.width * self.height];
        let mut square = [[[0.0; T]; T]; C];
        // The last square of a side lies partly over the one before.
        let starts = |side: usize| (0..side.div_ceil(T)).map(move |number| (number * T).min(side.saturating_sub(T)));
        for (top, left) in starts(self.height).flat_map(|top| starts(self.width).map(move |left| (top, left))) {
            let place = (self.left + left, self.top + top);
            resize_part(size, (self.columns, self.rows), place, &value, &mut square)?;
            for (row, y) in output.chunks_exact_mut(self.width).skip(top).zip(0..T) {
                for (pixel, x) in row[left..].iter_mut().zip(0..T) {
                    *pixel = std::array::from_fn(|channel| square[channel][y][x]);
                }
            }
        }
        Ok(output)
    }
}
