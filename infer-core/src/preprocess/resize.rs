//! Bilinear resize in one pass over the source: each pixel is asked for once, and each weight is computed once where it
//! is kept.
//!
//! Along an axis one grid is at least as fine as the other: that of the source where the image shrinks, that of the output
//! where it grows. A position of the finer grid lies between two centres of the coarser one, and has a weight for each of
//! them. So a [`Walk`] along the finer grid passes all weights of the axis in order, whatever the direction, and needs no
//! multiplication or division to find its way.

use super::{MAX_SIDE, PreprocessError, Resize};

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
#[inline]
pub fn resize_bilinear<const W: usize>(
    width: usize,
    height: usize,
    pixel: impl FnMut(usize, usize) -> f32,
    output: &mut [[f32; W]],
) -> Result<(), PreprocessError> {
    check(width, height)?;
    if output.as_flattened().is_empty() {
        return Ok(());
    }
    let (columns, rows) = (Walk::new(width, W), Walk::new(height, output.len()));
    resize_windows((width, height), columns, rows, pixel, [output]);
    Ok(())
}

/// Resizes an image of `C` channels to a network's input of as many planes, each as [`resize_bilinear`] does it.
///
/// `pixel(x, y)` has the source values at column `x < width`, row `y < height`. Pixels are asked for row by row and from left
/// to right, each once, but for those that lie too far outside of what is cut out.
///
/// The same as torchvision's `Resize` and `CenterCrop` on a tensor.
///
/// ```
/// use infer_core::preprocess::{Resize, resize_channels, rgb};
///
/// let photo = [[[255_u8, 0, 51]; 400]; 300];
/// let mut input = [[[0.0; 28]; 28]; 3];
/// resize_channels(Resize::ShorterSide(32), 400, 300, |x, y| rgb(photo[y][x]), &mut input)?;
/// assert!((input[0][0][0] - 1.0).abs() < 1e-6 && (input[2][27][27] - 0.2).abs() < 1e-6);
/// # Ok::<(), infer_core::preprocess::PreprocessError>(())
/// ```
///
/// # Errors
/// An image without pixels, or with a side above [`MAX_SIDE`], as it is or as it is resized; an input that is larger than the
/// resized image.
#[inline]
pub fn resize_channels<const C: usize, const H: usize, const W: usize>(
    resize: Resize,
    width: usize,
    height: usize,
    pixel: impl FnMut(usize, usize) -> [f32; C],
    output: &mut [[[f32; W]; H]; C],
) -> Result<(), PreprocessError> {
    check(width, height)?;
    let [(columns, left), (rows, top)] = resize.placed((width, height), (W, H))?;
    resize_part((width, height), (columns, rows), (left, top), pixel, output)
}

/// Makes one part of an image that is resized to `columns` × `rows`: the `W` columns from `left` on of the `H` rows from `top` on,
/// the same bits as there. So an image of any size is resized part by part, in rooms of a size that is known when a program is built.
///
/// # Errors
/// An image without pixels, or with a side above [`MAX_SIDE`]; a resized image with such a side, or that the part is not within.
#[inline]
pub fn resize_part<const C: usize, const H: usize, const W: usize>(
    (width, height): (usize, usize),
    (columns, rows): (usize, usize),
    (left, top): (usize, usize),
    pixel: impl FnMut(usize, usize) -> [f32; C],
    output: &mut [[[f32; W]; H]; C],
) -> Result<(), PreprocessError> {
    check(width, height)?;
    check(columns, rows)?;
    for (begin, length, side) in [(left, W, columns), (top, H, rows)] {
        let expected = begin.saturating_add(length);
        if expected > side {
            return Err(PreprocessError::Crop { expected, found: side });
        }
    }
    if output.as_flattened().as_flattened().is_empty() {
        return Ok(());
    }
    let across = Walk::new(width, columns).window(left, W, columns);
    let down = Walk::new(height, rows).window(top, H, rows);
    resize_windows((width, height), across, down, pixel, output.each_mut().map(|plane| &mut plane[..]));
    Ok(())
}

/// Refuses sizes that no image has, or none that is resized.
fn check(width: usize, height: usize) -> Result<(), PreprocessError> {
    if width == 0 || height == 0 {
        return Err(PreprocessError::Empty);
    }
    let side = width.max(height);
    if side > MAX_SIDE { Err(PreprocessError::TooLarge { side }) } else { Ok(()) }
}

/// Resizes to planes that are windows of what the walks pass.
#[inline(never)] // Else the stack of a caller has room for the weights as long as the caller runs.
fn resize_windows<V: Value<C>, const C: usize, const W: usize>(
    (width, height): (usize, usize),
    columns: Walk<'_>,
    rows: Walk<'_>,
    mut pixel: impl FnMut(usize, usize) -> V,
    mut output: [&mut [[f32; W]]; C],
) {
    let mut kept = [[0.0; 2]; KEPT];
    kept.iter_mut().zip(0..columns.span).for_each(|(weights, offset)| *weights = columns.weights(offset));
    let columns = Walk { kept: &kept, ..columns };
    let mut totals = [0.0; W];
    sums(columns, width, |_| 1.0, &mut totals);

    let mut line = [V::ZERO; W];
    if rows.shrinks {
        output.iter_mut().for_each(|plane| plane.as_flattened_mut().fill(0.0));
        let (mut cell, mut below, mut above) = (rows.cell, 0.0, 0.0);
        for (y, step) in (rows.start..rows.stop).zip(rows) {
            if step.cell != cell {
                divide(&mut output, cell.wrapping_sub(1), below);
                (cell, below, above) = (step.cell, above, 0.0);
            }
            means(columns, width, &mut pixel, y, &totals, &mut line);
            below += add(&mut output, cell.wrapping_sub(1), step.below, &line);
            if !step.centred {
                above += add(&mut output, cell, step.above, &line);
            }
        }
        divide(&mut output, cell.wrapping_sub(1), below);
    } else {
        if let Some(before) = rows.cell.checked_sub(1) {
            means(columns, width, &mut pixel, before, &totals, &mut line);
        }
        let mut previous = line;
        let mut cell = None;
        for (row, step) in (0..output.first().map_or(0, |plane| plane.len())).zip(rows) {
            if cell != Some(step.cell) {
                cell = Some(step.cell);
                previous = line;
                if step.cell < height {
                    means(columns, width, &mut pixel, step.cell, &totals, &mut line);
                }
            }
            output.iter_mut().filter_map(|plane| plane.get_mut(row)).for_each(|row| row.fill(0.0));
            let mut total = 0.0;
            if step.cell > 0 {
                total += add(&mut output, row, step.below, &previous);
            }
            if step.cell < height && !step.centred {
                total += add(&mut output, row, step.above, &line);
            }
            divide(&mut output, row, total);
        }
    }
}

/// Values of a pixel, one for each of `C` channels.
trait Value<const C: usize>: Copy {
    const ZERO: Self;

    /// Adds weighted values.
    fn add(&mut self, weight: f32, values: Self);

    /// Divides each value.
    fn divide(&mut self, total: f32);

    /// The value of a channel.
    fn channel(&self, channel: usize) -> f32;
}

impl Value<1> for f32 {
    const ZERO: Self = 0.0;

    #[inline]
    fn add(&mut self, weight: f32, value: Self) {
        *self += weight * value;
    }

    #[inline]
    fn divide(&mut self, total: f32) {
        *self /= total;
    }

    #[inline]
    fn channel(&self, _: usize) -> f32 {
        *self
    }
}

impl<const C: usize> Value<C> for [f32; C] {
    const ZERO: Self = [0.0; C];

    #[inline]
    fn add(&mut self, weight: f32, values: Self) {
        self.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
    }

    #[inline]
    fn divide(&mut self, total: f32) {
        self.iter_mut().for_each(|sum| *sum /= total);
    }

    #[inline]
    fn channel(&self, channel: usize) -> f32 {
        self.get(channel).copied().unwrap_or_default()
    }
}

/// Adds a weighted line to the rows of that number, if there are such, and returns the weight.
fn add<V: Value<C>, const C: usize, const W: usize>(
    output: &mut [&mut [[f32; W]]; C],
    row: usize,
    weight: f32,
    line: &[V; W],
) -> f32 {
    for (channel, plane) in output.iter_mut().enumerate() {
        if let Some(row) = plane.get_mut(row) {
            row.iter_mut().zip(line).for_each(|(sum, values)| *sum += weight * values.channel(channel));
        }
    }
    weight
}

/// Divides the rows of that number, if there are such, by the sum of their weights.
fn divide<const C: usize, const W: usize>(output: &mut [&mut [[f32; W]]; C], row: usize, total: f32) {
    for row in output.iter_mut().filter_map(|plane| plane.get_mut(row)) {
        row.iter_mut().for_each(|sum| *sum /= total);
    }
}

/// The weighted means of source row `y`. Not inlined, so that a program has this loop, and `pixel` in it, once.
#[inline(never)]
fn means<V: Value<C>, const C: usize, const W: usize>(
    columns: Walk<'_>,
    width: usize,
    pixel: &mut impl FnMut(usize, usize) -> V,
    y: usize,
    totals: &[f32; W],
    line: &mut [V; W],
) {
    sums(columns, width, |x| pixel(x, y), line);
    line.iter_mut().zip(totals).for_each(|(sum, total)| sum.divide(*total));
}

/// The weighted sums of a source row, each added up from left to right.
#[inline]
fn sums<V: Value<C>, const C: usize, const W: usize>(
    columns: Walk<'_>,
    width: usize,
    value: impl FnMut(usize) -> V,
    line: &mut [V; W],
) {
    if columns.shrinks { shrink(columns, value, line) } else { grow(columns, width, value, line) }
}

/// Sums of more values than there are sums.
#[inline]
fn shrink<V: Value<C>, const C: usize, const W: usize>(
    mut columns: Walk<'_>,
    mut value: impl FnMut(usize) -> V,
    line: &mut [V; W],
) {
    let (mut x, mut above) = (columns.start, V::ZERO);
    loop {
        let mut below = above;
        above = V::ZERO;
        let last = columns.cell == W;
        let end = if last { columns.end } else { columns.span };
        while columns.offset < end {
            let [weight_below, weight_above] = columns.weights(columns.offset);
            let value = value(x);
            below.add(weight_below, value);
            if !columns.centred() {
                above.add(weight_above, value);
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
fn grow<V: Value<C>, const C: usize, const W: usize>(
    columns: Walk<'_>,
    width: usize,
    mut value: impl FnMut(usize) -> V,
    line: &mut [V; W],
) {
    let (mut cell, mut below, mut above) = (None, V::ZERO, V::ZERO);
    if let Some(before) = columns.cell.checked_sub(1) {
        above = value(before);
    }
    for (sum, step) in line.iter_mut().zip(columns) {
        if cell != Some(step.cell) {
            cell = Some(step.cell);
            below = above;
            if step.cell < width {
                above = value(step.cell);
            }
        }
        *sum = V::ZERO;
        if step.cell > 0 {
            sum.add(step.below, below);
        }
        if step.cell < width && !step.centred {
            sum.add(step.above, above);
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
    /// End of the offsets of the positions in the last cell: of those that no centre is above, where the axis ends there.
    end: usize,
    /// Whether the source's grid is the finer one.
    shrinks: bool,
    /// The first source position, and the end of them, where it is.
    start: usize,
    stop: usize,
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
            shrinks: sources >= outputs,
            start: 0,
            stop: sources,
            kept: &[],
            offset: first - same * span,
            cell: same,
        }
    }

    /// From the first source position that an output from `first` on follows from, `length` of all `outputs`. Where the image
    /// shrinks, cells are counted from the window on.
    fn window(self, first: usize, length: usize, outputs: usize) -> Self {
        if length == outputs {
            return self;
        }
        let [stride, span] = [self.stride, self.span].map(|size| size as u64);
        // Where a position lies, in steps of `offset` from the first centre of the coarser grid, 0 lying a step before it.
        let begin = (span + stride) / 2;
        // A position of the finer grid; the sizes are those of images, so that products fit.
        let position_at = |cell: usize| {
            let distance = (cell as u64 * span).saturating_sub(begin);
            distance.div_ceil(stride.max(1)) as usize
        };
        let start = if self.shrinks { position_at(first) } else { first };
        let place = begin + start as u64 * stride;
        let (cell, offset) = ((place / span.max(1)) as usize, (place % span.max(1)) as usize);
        let end = if first + length < outputs { self.span } else { self.end };
        if self.shrinks {
            let stop = self.stop.min(position_at(first + length + 1));
            Self { end, start, stop, offset, cell: cell.saturating_sub(first), ..self }
        } else {
            Self { offset, cell, ..self }
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
