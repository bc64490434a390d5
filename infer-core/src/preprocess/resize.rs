//! Bilinear resize in one pass over the source: each pixel is asked for once, and each weight is computed once where it
//! is kept.
//!
//! Along an axis one grid is at least as fine as the other: that of the source where the image shrinks, that of the output
//! where it grows. A position of the finer grid lies between two centres of the coarser one, and has a weight for each of
//! them. So a [`Walk`] along the finer grid passes all weights of the axis in order, whatever the direction, and needs no
//! multiplication or division to find its way.

use super::{MAX_SIDE, PreprocessError};

/// The most pairs of weights of an axis that are kept, in 2 KB of stack. An axis has as many different ones as its finer grid
/// has positions, divided by the greatest common divisor with the coarser one: 80 for 320 columns to 28, 125 for 500 to 224.
const KEPT: usize = 256;

/// Resizes a one-channel image to `output.len()` rows of `W` columns: bilinear with half-pixel centres, antialiased
/// where it shrinks.
///
/// `pixel(x, y)` is the source value at column `x < width`, row `y < height`. Each pixel is asked for once, row by row and
/// from left to right; an output without values asks for none. Values of the output lie within the range of the source's.
///
/// The same as torchvision's `Resize` on a tensor (`antialias=True`): output column `o` is the mean of the source
/// columns `s` weighted by `max(0, 1 − |(s + ½) − (o + ½)·scale| / max(scale, 1))`, with `scale = width / W`; rows alike.
///
/// ```
/// use infer_core::preprocess::{gray, resize_bilinear};
///
/// let camera = [[0_u8, 255], [255, 0]];
/// let mut input = [[0.0; 28]; 28];
/// resize_bilinear(2, 2, |x, y| gray(camera[y][x]), &mut input)?;
/// assert_eq!(input[0][0], 0.0);
/// assert_eq!(input[0][27], 1.0);
/// # Ok::<(), infer_core::preprocess::PreprocessError>(())
/// ```
///
/// # Errors
/// An image without pixels, or with a side above [`MAX_SIDE`].
#[inline(never)] // Else the stack of a caller has room for the weights as long as the caller runs.
pub fn resize_bilinear<const W: usize>(
    width: usize,
    height: usize,
    mut pixel: impl FnMut(usize, usize) -> f32,
    output: &mut [[f32; W]],
) -> Result<(), PreprocessError> {
    if width == 0 || height == 0 {
        return Err(PreprocessError::Empty);
    }
    let side = width.max(height);
    if side > MAX_SIDE {
        return Err(PreprocessError::TooLarge { side });
    }
    if output.as_flattened().is_empty() {
        return Ok(());
    }

    let columns = Walk::new(width, W);
    let mut kept = [[0.0; 2]; KEPT];
    kept.iter_mut().zip(0..columns.span).for_each(|(weights, offset)| *weights = columns.weights(offset));
    let columns = Walk { kept: &kept, ..columns };
    let mut totals = [0.0; W];
    sums(columns, width, |_| 1.0, &mut totals);

    let rows = Walk::new(height, output.len());
    let mut line = [0.0; W];
    if height >= output.len() {
        output.as_flattened_mut().fill(0.0);
        let (mut cell, mut below, mut above) = (rows.cell, 0.0, 0.0);
        for (y, step) in (0..height).zip(rows) {
            if step.cell != cell {
                divide(output.get_mut(cell.wrapping_sub(1)), below);
                (cell, below, above) = (step.cell, above, 0.0);
            }
            means(columns, width, &mut pixel, y, &totals, &mut line);
            below += add(output.get_mut(cell.wrapping_sub(1)), step.below, &line);
            if !step.centred {
                above += add(output.get_mut(cell), step.above, &line);
            }
        }
        divide(output.get_mut(cell.wrapping_sub(1)), below);
    } else {
        let mut previous = line;
        let mut cell = None;
        for (row, step) in output.iter_mut().zip(rows) {
            if cell != Some(step.cell) {
                cell = Some(step.cell);
                previous = line;
                if step.cell < height {
                    means(columns, width, &mut pixel, step.cell, &totals, &mut line);
                }
            }
            row.fill(0.0);
            let mut total = 0.0;
            if step.cell > 0 {
                total += add(Some(row), step.below, &previous);
            }
            if step.cell < height && !step.centred {
                total += add(Some(row), step.above, &line);
            }
            divide(Some(row), total);
        }
    }
    Ok(())
}

/// Adds a weighted line to a row, if there is one, and returns the weight.
fn add<const W: usize>(row: Option<&mut [f32; W]>, weight: f32, line: &[f32; W]) -> f32 {
    if let Some(row) = row {
        row.iter_mut().zip(line).for_each(|(sum, value)| *sum += weight * value);
    }
    weight
}

/// Divides a row, if there is one, by the sum of its weights.
fn divide<const W: usize>(row: Option<&mut [f32; W]>, total: f32) {
    if let Some(row) = row {
        row.iter_mut().for_each(|sum| *sum /= total);
    }
}

/// The weighted means of source row `y`. Not inlined, so that a program has this loop, and `pixel` in it, once.
#[inline(never)]
fn means<const W: usize>(
    columns: Walk<'_>,
    width: usize,
    pixel: &mut impl FnMut(usize, usize) -> f32,
    y: usize,
    totals: &[f32; W],
    line: &mut [f32; W],
) {
    sums(columns, width, |x| pixel(x, y), line);
    line.iter_mut().zip(totals).for_each(|(sum, total)| *sum /= total);
}

/// The weighted sums of a source row, each added up from left to right.
#[inline]
fn sums<const W: usize>(columns: Walk<'_>, width: usize, value: impl FnMut(usize) -> f32, line: &mut [f32; W]) {
    if width >= W { shrink(columns, value, line) } else { grow(columns, width, value, line) }
}

/// Sums of more values than there are sums.
#[inline]
fn shrink<const W: usize>(mut columns: Walk<'_>, mut value: impl FnMut(usize) -> f32, line: &mut [f32; W]) {
    let (mut x, mut above) = (0, 0.0);
    loop {
        let mut below = above;
        above = 0.0;
        let last = columns.cell == W;
        let end = if last { columns.end } else { columns.span };
        while columns.offset < end {
            let [weight_below, weight_above] = columns.weights(columns.offset);
            let value = value(x);
            below += weight_below * value;
            if !columns.centred() {
                above += weight_above * value;
            }
            columns.offset += columns.stride;
            x += 1;
        }
        if let Some(sum) = line.get_mut(columns.cell.wrapping_sub(1)) {
            *sum = below;
        }
        if last {
            return;
        }
        columns.offset -= columns.span;
        columns.cell += 1;
    }
}

/// Sums of fewer values than there are sums.
#[inline]
fn grow<const W: usize>(columns: Walk<'_>, width: usize, mut value: impl FnMut(usize) -> f32, line: &mut [f32; W]) {
    let (mut cell, mut below, mut above) = (None, 0.0, 0.0);
    for (sum, step) in line.iter_mut().zip(columns) {
        if cell != Some(step.cell) {
            cell = Some(step.cell);
            below = above;
            if step.cell < width {
                above = value(step.cell);
            }
        }
        *sum = 0.0;
        if step.cell > 0 {
            *sum += step.below * below;
        }
        if step.cell < width && !step.centred {
            *sum += step.above * above;
        }
    }
}

/// A position of an axis's finer grid: between the centres `cell − 1` and `cell` of the coarser grid, of which the first
/// has none below it and the last none above.
struct Step {
    cell: usize,
    /// Weight for the centre below, before normalisation.
    below: f32,
    /// Weight for the centre above. Without meaning where the position is `centred`.
    above: f32,
    /// Whether the position is that of the centre below, so that the one above is too far away.
    centred: bool,
}

/// A walk along the finer grid of an axis. Distances are integers, so that windows and weights are exact at any size: in units
/// of `1 / (2 · coarse)` of the finer grid's, centres of the coarser grid are `2 · fine` apart, which is also the distance at
/// which a weight is 0. All distances from the centre below are `unit · offset + rest`. 32 bits hold them where addresses have 32
/// bits, since an output in such a memory has less than 2²⁹ values.
#[derive(Clone, Copy)]
struct Walk<'a> {
    unit: usize,
    rest: usize,
    /// Steps of `offset`: from a position to the next, from a centre to the next.
    stride: usize,
    span: usize,
    /// End of the offsets of the positions that no centre is above.
    end: usize,
    /// The weights of the first offsets.
    kept: &'a [[f32; 2]],
    offset: usize,
    cell: usize,
}

impl Walk<'_> {
    /// From the start of an axis with so many positions in source and output, neither of them 0. No weights are kept.
    fn new(sources: usize, outputs: usize) -> Self {
        let (coarse, fine) = (sources.min(outputs), sources.max(outputs));
        let (mut divisor, mut remainder) = (fine, coarse);
        while remainder > 0 {
            (divisor, remainder) = (remainder, divisor % remainder);
        }
        let divisor = divisor.max(1);
        let (stride, span) = (coarse / divisor, fine / divisor);
        // The first position is half a step behind the border, which is half a span behind the centre before it.
        let (first, same) = ((span + stride) / 2, usize::from(fine == coarse));
        Self {
            unit: 2 * divisor,
            rest: divisor * ((span + stride) % 2),
            stride,
            span,
            end: (span - stride) / 2 + 1,
            kept: &[],
            offset: first - same * span,
            cell: same,
        }
    }

    /// Weights for the centres below and above.
    #[inline]
    fn weights(&self, offset: usize) -> [f32; 2] {
        match self.kept.get(offset) {
            Some(weights) => *weights,
            None => {
                let (distance, support) = (self.unit * offset + self.rest, self.unit * self.span);
                [distance, support - distance].map(|distance| 1.0 - distance as f32 / support as f32)
            }
        }
    }

    /// Whether the position is that of the centre below, so that the one above is too far away.
    #[inline]
    fn centred(&self) -> bool {
        self.offset == 0 && self.rest == 0
    }
}

impl Iterator for Walk<'_> {
    type Item = Step;

    #[inline]
    fn next(&mut self) -> Option<Step> {
        let [below, above] = self.weights(self.offset);
        let step = Step { cell: self.cell, below, above, centred: self.centred() };
        self.offset += self.stride;
        if self.offset >= self.span {
            self.offset -= self.span;
            self.cell += 1;
        }
        Some(step)
    }
}

#[cfg(test)]
mod tests;
