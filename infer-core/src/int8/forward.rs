//! The forward pass: the steps of a layer, each split into tasks that write memory of their own.

use super::memory::{Factors, Section};
use super::plan::{Format, Grid, How, Parts, Step};
use super::{ACTIVATION, GROUP, Network, norm_index};
use crate::layers::LocalResponseNorm;
use core::sync::atomic::{AtomicBool, Ordering};
use kernels::{
    Activation, Int4Linear, Int8Kernels, Int8Output, Int8PoolRow, Int8Row, Int8Rows, Int8Tile, Line, Misfit, Number,
    Parallel, Scaling, for_each_chunk, numbers, numbers_mut,
};

/// Rows of feature maps that a task computes, so that weights are read once for all of them.
const ROWS: usize = 8;

/// Bytes of weights that the first cache holds beside inputs.
const CACHED: usize = 1 << 15;

/// Kernels that run the steps.
pub(super) struct Engine<'p, P> {
    pub(super) kernels: &'static Int8Kernels,
    pub(super) parallel: &'p P,
    /// Whether a kernel was given memory that does not fit its sizes, in any task.
    pub(super) misfit: AtomicBool,
}

/// A number format of activations, and the kernels for it.
trait Input: Activation + Number + Default {
    fn row(kernels: &Int8Kernels, row: Int8Row<'_, Self>) -> Result<(), Misfit>;
    fn rows(kernels: &Int8Kernels, rows: Int8Rows<'_, Self>) -> Result<(), Misfit>;
    fn max_pool(kernels: &Int8Kernels, row: Int8PoolRow<'_, Self>) -> Result<(), Misfit>;
}

impl Input for u8 {
    fn row(kernels: &Int8Kernels, row: Int8Row<'_, Self>) -> Result<(), Misfit> {
        kernels.row(row)
    }

    fn rows(kernels: &Int8Kernels, rows: Int8Rows<'_, Self>) -> Result<(), Misfit> {
        kernels.rows(rows)
    }

    fn max_pool(kernels: &Int8Kernels, row: Int8PoolRow<'_, Self>) -> Result<(), Misfit> {
        kernels.max_pool(row)
    }
}

impl Input for i16 {
    fn row(kernels: &Int8Kernels, row: Int8Row<'_, Self>) -> Result<(), Misfit> {
        kernels.wide_row(row)
    }

    fn rows(kernels: &Int8Kernels, rows: Int8Rows<'_, Self>) -> Result<(), Misfit> {
        kernels.wide_rows(rows)
    }

    fn max_pool(kernels: &Int8Kernels, row: Int8PoolRow<'_, Self>) -> Result<(), Misfit> {
        kernels.wide_max_pool(row)
    }
}

/// Some outputs of a layer, the first one at the beginning of a panel.
struct Outputs<'w> {
    /// Where they have 8 bits.
    weights: &'w [i8],
    bias: &'w [i32],
    scaling: Scaling<'w>,
    count: usize,
}

impl<'w> Outputs<'w> {
    /// Those from `first` on, at most `most`.
    fn of(section: &Section<'w>, step: &Step, outputs: usize, (first, most): (usize, usize)) -> Self {
        let multipliers = match section.factors {
            Factors::Multipliers(multipliers) => multipliers.get(first..).unwrap_or_default(),
            Factors::Scales(_) | Factors::Norm(_) | Factors::Winograd(_) => &[],
        };
        Self {
            weights: section.weights.get(first * step.depth()..).unwrap_or_default(),
            bias: section.bias.get(first..).unwrap_or_default(),
            scaling: Scaling { multipliers, shift1: section.shift1, shift2: section.shift2 },
            count: outputs.saturating_sub(first).min(most),
        }
    }
}

impl<'p, P: Parallel> Engine<'p, P> {
    pub(super) fn new(kernels: &'static Int8Kernels, parallel: &'p P) -> Self {
        Self { kernels, parallel, misfit: AtomicBool::new(false) }
    }

    /// Whether all kernels were given memory that fits their sizes.
    pub(super) fn finish(self) -> Result<(), Misfit> {
        if self.misfit.into_inner() { Err(Misfit) } else { Ok(()) }
    }

    /// An image in channel, row, column order as integers in the layout of `grid`.
    fn enter<T: Copy + Sync>(&self, grid: &Grid, image: &[T], pixel: &(impl Fn(T) -> i16 + Sync), output: &mut [i16]) {
        let Grid { channels, side, border, .. } = *grid;
        for_each_chunk(self.parallel, output, grid.row_len(), grid.rows(), |row, output| {
            output.fill(0);
            let Some(y) = row.checked_sub(border).filter(|y| *y < side) else { return };
            let inner = output.get_mut(border * channels..).and_then(|inner| inner.get_mut(..side * channels));
            let inner = inner.unwrap_or_default();
            for channel in 0..channels {
                let source =
                    image.get((channel * side + y) * side..).and_then(|rest| rest.get(..side)).unwrap_or_default();
                if channels == 1 {
                    // Values beside each other, for vectors.
                    inner.iter_mut().zip(source).for_each(|(value, source)| *value = pixel(*source));
                } else {
                    let values = inner.iter_mut().skip(channel).step_by(channels);
                    values.zip(source).for_each(|(value, source)| *value = pixel(*source));
                }
            }
        });
    }

    /// A layer of one image that is no vector. `tiles` and `blocks` are the memory of a Winograd convolution.
    fn maps(
        &self,
        step: &Step,
        section: &Section<'_>,
        input: &[Line],
        output: &mut [Line],
        (tiles, blocks): (&mut [Line], &mut [Line]),
    ) {
        match (step.how, step.input.format) {
            (How::Winograd(_), _) if !Int8Tile::AVAILABLE => self.note(Err(Misfit)),
            (How::Winograd(tile), _) => self.winograd(step, section, step.tiling(tile), input, output, (tiles, blocks)),
            (How::Norm, Format::U7) => self.norm(step, section, numbers(input), numbers_mut(output)),
            (How::MaxPool { kernel, stride }, Format::U7) => {
                self.max_pool::<u8>(step, (kernel, stride), numbers(input), numbers_mut(output));
            }
            (How::MaxPool { kernel, stride }, Format::I16) => {
                self.max_pool::<i16>(step, (kernel, stride), numbers(input), numbers_mut(output));
            }
            (How::Conv { kernel, stride }, Format::U7) => {
                self.conv::<u8>(step, section, (kernel, stride), numbers(input), numbers_mut(output));
            }
            (How::Conv { kernel, stride }, Format::I16) => {
                self.conv::<i16>(step, section, (kernel, stride), numbers(input), numbers_mut(output));
            }
            // Normalisation stands behind a ReLU, and a linear layer is none of maps.
            (How::Norm, Format::I16) | (How::Linear | How::Int4, _) => self.note(Err(Misfit)),
        }
    }

    /// A convolution and ReLU.
    fn conv<A: Input>(
        &self,
        step: &Step,
        section: &Section<'_>,
        (kernel, stride): (usize, usize),
        input: &[A],
        output: &mut [u8],
    ) {
        let (misfit, kernels) = (&self.misfit, self.kernels);
        let Grid { channels, side, border, .. } = step.output;
        let (row_len, between) = (step.output.row_len(), step.input.row_len());
        let rows = step.output.rows();
        // Outputs that are computed at once: whole groups.
        let at_once = ((CACHED / (step.depth() * GROUP).max(1)) * GROUP).max(GROUP);
        let times = channels.div_ceil(at_once);
        // Rows of a task: as equal as can be.
        let share = rows.div_ceil(rows.div_ceil(ROWS).max(1));
        let output = output.get_mut(..step.output.len()).unwrap_or_default();
        for_each_chunk(self.parallel, output, share * row_len, rows, |number, output| {
            let first = number * share;
            // Those that are no border.
            let top = first.max(border);
            let count = (first + output.len() / row_len.max(1)).min(border + side).saturating_sub(top);
            for (row, output) in output.chunks_exact_mut(row_len.max(1)).enumerate() {
                if (top..top + count).contains(&(first + row)) {
                    let (left, inner) = output.split_at_mut_checked(border * channels).unwrap_or_default();
                    left.fill(0);
                    inner.get_mut(side * channels..).unwrap_or_default().fill(0);
                } else {
                    output.fill(0);
                }
            }
            let inner = output.get_mut((top - first) * row_len + border * channels..).unwrap_or_default();
            if count == 0 {
                return;
            }
            for first in (0..times).map(|number| number * at_once) {
                let Outputs { weights, bias, scaling, count: outputs } =
                    Outputs::of(section, step, channels, (first, at_once));
                let values = inner.get_mut(first..).unwrap_or_default();
                let row = Int8Row {
                    input: input.get((top - border) * stride * between..).unwrap_or_default(),
                    rows: kernel,
                    between,
                    run: kernel * step.input.channels,
                    step: stride * step.input.channels,
                    positions: side,
                    weights,
                    outputs,
                    bias,
                    output: Int8Output::Activations { values, pixel: channels, scaling },
                };
                let rows = Int8Rows { first: row, count, input: stride * between, output: row_len };
                note(misfit, A::rows(kernels, rows));
            }
        });
    }

    /// Local response normalisation.
    fn norm(&self, step: &Step, section: &Section<'_>, input: &[u8], output: &mut [u8]) {
        let Factors::Norm(multipliers) = section.factors else { return self.note(Err(Misfit)) };
        let Grid { channels, side, border, .. } = step.output;
        let output = output.get_mut(..step.output.len()).unwrap_or_default();
        for_each_chunk(self.parallel, output, step.output.row_len(), step.output.rows(), |row, output| {
            output.fill(0);
            let Some(y) = row.checked_sub(border).filter(|y| *y < side) else { return };
            let input = input.get(y * step.input.row_len()..).unwrap_or_default();
            let output = output.get_mut(border * channels..).unwrap_or_default();
            let positions = input.chunks_exact(channels.max(1)).zip(output.chunks_exact_mut(channels.max(1)));
            for (input, output) in positions.take(side) {
                normalise(input, multipliers, section.shift2, output);
            }
        });
    }

    /// A max pool.
    fn max_pool<A: Input>(&self, step: &Step, (kernel, stride): (usize, usize), input: &[A], output: &mut [A]) {
        let (misfit, kernels) = (&self.misfit, self.kernels);
        let Grid { channels, side, border, .. } = step.output;
        let (row_len, between) = (step.output.row_len(), step.input.row_len());
        let output = output.get_mut(..step.output.len()).unwrap_or_default();
        for_each_chunk(self.parallel, output, row_len, step.output.rows(), |row, output| {
            let Some(y) = row.checked_sub(border).filter(|y| *y < side) else {
                output.fill(A::default());
                return;
            };
            let (left, inner) = output.split_at_mut_checked(border * channels).unwrap_or_default();
            let (inner, right) = inner.split_at_mut_checked(side * channels).unwrap_or_default();
            left.fill(A::default());
            right.fill(A::default());
            let input = input.get(y * stride * between..).unwrap_or_default();
            let width = step.input.side;
            note(misfit, A::max_pool(kernels, Int8PoolRow { input, width, channels, kernel, stride, output: inner }));
        });
    }

    /// The outputs of a linear layer for a batch of vectors: `[groups][batch][64]`.
    fn products<A: Input, T: Send>(
        &self,
        step: &Step,
        section: &Section<'_>,
        (outputs, batch): (usize, usize),
        input: &[A],
        products: &mut [T],
        output: impl for<'o> Fn(&'o mut [T], Scaling<'o>) -> Int8Output<'o> + Sync,
    ) {
        let (misfit, kernels) = (&self.misfit, self.kernels);
        let run = step.input.len();
        for_each_chunk(self.parallel, products, GROUP * batch, outputs.div_ceil(GROUP), |group, products| {
            let Outputs { weights, bias, scaling, count } = Outputs::of(section, step, outputs, (group * GROUP, GROUP));
            let output = output(products, scaling);
            let row = Int8Row {
                input,
                rows: 1,
                between: 0,
                run,
                step: run,
                positions: batch,
                weights,
                outputs: count,
                bias,
                output,
            };
            note(misfit, A::row(kernels, row));
        });
    }

    fn note(&self, result: Result<(), Misfit>) {
        note(&self.misfit, result);
    }
}

/// Local response normalisation of the channels of a position.
fn normalise(input: &[u8], multipliers: &[i16], shift: u32, output: &mut [u8]) {
    const REACH: usize = LocalResponseNorm::REACH;
    let square = |place: Option<usize>| {
        let value = place.and_then(|place| input.get(place)).copied().unwrap_or_default();
        u32::from(value) * u32::from(value)
    };
    // The squares around the place before the first one.
    let mut sum: u32 = (0..REACH).map(|place| square(Some(place))).sum();
    for (place, (value, output)) in input.iter().zip(output).enumerate() {
        sum += square(Some(place + REACH));
        sum -= square(place.checked_sub(REACH + 1));
        let multiplier = multipliers.get(norm_index(sum)).copied().unwrap_or_default();
        let scaled = u32::from(*value) * u32::from(multiplier.unsigned_abs());
        *output = ((scaled + (1 << (shift - 1))) >> shift).min(u32::from(ACTIVATION)) as u8;
    }
}

/// Keeps in mind that a kernel did not run. (Tasks share this rather than the engine, which only threads that share `P` can.)
pub(super) fn note(misfit: &AtomicBool, result: Result<(), Misfit>) {
    if result.is_err() {
        misfit.store(true, Ordering::Relaxed);
    }
}

/// Passes each output of each vector to `write(vector, output, value)`.
fn scatter<T: Copy>(products: &[T], outputs: usize, batch: usize, mut write: impl FnMut(usize, usize, &[T])) {
    for (group, products) in products.chunks_exact((GROUP * batch).max(1)).enumerate() {
        let count = outputs.saturating_sub(group * GROUP).min(GROUP);
        for (vector, products) in products.chunks_exact(GROUP).enumerate() {
            write(vector, group * GROUP, products.get(..count).unwrap_or_default());
        }
    }
}

/// Writes some outputs of a vector among the vectors of a batch.
fn place<T: Copy>(vectors: &mut [T], length: usize, vector: usize, first: usize, values: &[T]) {
    let target = vectors.get_mut(vector * length + first..).unwrap_or_default();
    target.iter_mut().zip(values).for_each(|(target, value)| *target = *value);
}

/// A forward pass: its memory, and what runs it. The image lies in `odd`, and outputs of layers in `even` and `odd` by turns.
pub(super) struct Pass<'a, 'w, P, D> {
    network: &'a Network<'w>,
    engine: &'a Engine<'a, P>,
    even: &'a mut [Line],
    odd: &'a mut [Line],
    tiles: &'a mut [Line],
    blocks: &'a mut [Line],
    features: &'a mut [Line],
    products: &'a mut [Line],
    done: &'a mut D,
}

impl<'a, 'w, P: Parallel, D: FnMut(usize)> Pass<'a, 'w, P, D> {
    pub(super) fn new(
        network: &'a Network<'w>,
        engine: &'a Engine<'a, P>,
        batch: usize,
        mut workspace: &'a mut [Line],
        done: &'a mut D,
    ) -> Self {
        let Parts { even, odd, features, products, tiles, blocks } = network.plan.parts(network.classes, batch);
        let mut part = |length| workspace.split_off_mut(..length).unwrap_or_default();
        let (even, odd) = (part(even), part(odd));
        let (features, products, tiles, blocks) = (part(features), part(products), part(tiles), part(blocks));
        Self { network, engine, even, odd, tiles, blocks, features, products, done }
    }

    /// The layers before the linear ones, image by image.
    pub(super) fn maps<'i, T: Copy + Sync + 'i>(
        &mut self,
        images: impl Iterator<Item = &'i [T]>,
        pixel: impl Fn(T) -> i16 + Sync,
    ) {
        let plan = self.network.plan;
        let features = plan.features();
        for (number, image) in images.enumerate() {
            if plan.linear == 0 {
                let length = features.len();
                let target = numbers_mut(self.features).get_mut(number * length..).unwrap_or_default();
                self.engine.enter(&plan.image, image, &pixel, target);
                continue;
            }
            self.engine.enter(&plan.image, image, &pixel, numbers_mut(self.odd));
            for (layer, (step, section)) in self.network.sections().take(plan.linear).enumerate() {
                // Each layer reads what the one before it wrote, the first one the image. The features are then copied, since
                // those of an image need not begin a line.
                let (input, output): (&[Line], &mut [Line]) =
                    if layer.is_multiple_of(2) { (self.odd, self.even) } else { (self.even, self.odd) };
                self.engine.maps(step, &section, input, output, (self.tiles, self.blocks));
                (self.done)(layer);
            }
            let last: &[Line] = if plan.linear.is_multiple_of(2) { self.odd } else { self.even };
            let length = features.len();
            match features.format {
                Format::U7 => place::<u8>(numbers_mut(self.features), length, number, 0, values(last, length)),
                Format::I16 => place::<i16>(numbers_mut(self.features), length, number, 0, values(last, length)),
            }
        }
    }

    /// The linear layers of the whole batch.
    pub(super) fn linears(&mut self, batch: usize, logits: &mut [f32]) {
        let Network { plan, classes, .. } = self.network;
        for (number, (step, section)) in self.network.sections().enumerate().skip(plan.linear) {
            let (input, output): (&[Line], &mut [Line]) = match (number == plan.linear, number.is_multiple_of(2)) {
                (true, true) => (self.features, self.even),
                (true, false) => (self.features, self.odd),
                (false, true) => (self.odd, self.even),
                (false, false) => (self.even, self.odd),
            };
            let section = &section;
            let call = Vectors { engine: self.engine, step, section, outputs: step.outputs(*classes), batch };
            match step.input.format {
                Format::U7 if matches!(step.how, How::Int4) => {
                    int4((self.engine, step, section), (call.outputs, batch), input, self.products, output)
                }
                Format::U7 => call.run::<u8>(numbers(input), self.products, output, logits),
                Format::I16 => call.run::<i16>(numbers(input), self.products, output, logits),
            }
            (self.done)(number);
        }
    }
}

/// The first values of lines.
fn values<T: Number>(lines: &[Line], length: usize) -> &[T] {
    numbers(lines).get(..length).unwrap_or_default()
}

/// A linear layer of a batch.
struct Vectors<'a, 'w, P> {
    engine: &'a Engine<'a, P>,
    step: &'a Step,
    section: &'a Section<'w>,
    outputs: usize,
    batch: usize,
}

impl<P: Parallel> Vectors<'_, '_, P> {
    fn run<A: Input>(&self, input: &[A], products: &mut [Line], output: &mut [Line], logits: &mut [f32]) {
        let Self { engine, step, section, outputs, batch } = *self;
        let sizes = (outputs, batch);
        match (section.factors, step.output.format) {
            (Factors::Scales(scales), _) => {
                let sums = numbers_mut::<i32>(products);
                engine
                    .products(step, section, sizes, input, sums, |values, _| Int8Output::Sums { values, pixel: GROUP });
                scatter(sums, outputs, batch, |vector, first, sums| {
                    let logits = logits.get_mut(vector * outputs + first..).unwrap_or_default();
                    let scales = scales.get(first..).unwrap_or_default();
                    for (logit, (sum, scale)) in logits.iter_mut().zip(sums.iter().zip(scales)) {
                        *logit = *sum as f32 * scale;
                    }
                });
            }
            (Factors::Norm(_) | Factors::Winograd(_), _) => engine.note(Err(Misfit)),
            (Factors::Multipliers(_), Format::U7) => {
                let values = numbers_mut::<u8>(products);
                engine.products(step, section, sizes, input, values, |values, scaling| Int8Output::Activations {
                    values,
                    pixel: GROUP,
                    scaling,
                });
                let output = numbers_mut(output);
                scatter(values, outputs, batch, |vector, first, values| place(output, outputs, vector, first, values));
            }
            (Factors::Multipliers(_), Format::I16) => {
                let values = numbers_mut::<i16>(products);
                engine.products(step, section, sizes, input, values, |values, scaling| Int8Output::Hidden {
                    values,
                    pixel: GROUP,
                    scaling,
                });
                let output = numbers_mut(output);
                scatter(values, outputs, batch, |vector, first, values| place(output, outputs, vector, first, values));
            }
        }
    }
}

/// A linear layer of a batch, with weights of 4 bits. It is a function of its own so that networks without such layers need no stack for
/// it.
#[inline(never)]
fn int4<P: Parallel>(
    (engine, step, section): (&Engine<'_, P>, &Step, &Section<'_>),
    (outputs, batch): (usize, usize),
    input: &[Line],
    products: &mut [Line],
    output: &mut [Line],
) {
    let (misfit, kernels) = (&engine.misfit, engine.kernels);
    let (input, values) = (numbers(input), numbers_mut::<u8>(products));
    for_each_chunk(engine.parallel, values, GROUP * batch, outputs.div_ceil(GROUP), |group, values| {
        let first = group * GROUP;
        let Outputs { bias, scaling, count, .. } = Outputs::of(section, step, outputs, (first, GROUP));
        let layer = Int4Linear {
            input,
            depth: step.input.len(),
            vectors: batch,
            weights: section.weights.get(step.weights_of(first)..).unwrap_or_default(),
            factors: section.groups.get(step.factors_of(first)..).unwrap_or_default(),
            outputs: count,
            bias,
            output: Int8Output::Activations { values, pixel: GROUP, scaling },
        };
        note(misfit, kernels.int4(layer));
    });
    let output = numbers_mut(output);
    scatter(values, outputs, batch, |vector, first, values| place(output, outputs, vector, first, values));
}
