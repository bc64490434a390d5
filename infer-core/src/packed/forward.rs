//! The forward pass: the steps of a layer, each split into tasks that write memory of their own.

use super::plan::{Direct, Entry, Grid, How, Step};
use super::winograd::Conv;
use crate::describe::Maps;
use crate::number::divide;
use core::sync::atomic::{AtomicBool, Ordering};
use kernels::{
    BESIDE, BLOCK, ConvRow, F16, Gemm, ImageTile, InputTile, Kernels, Misfit, NormRow, OutputTiles, PAD, Parallel,
    PoolRow, for_each_chunk,
};

/// Weights of a layer in blocks of 32 outputs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Weights<'w> {
    F32(&'w [f32]),
    F16(&'w [F16]),
}

/// Weights and bias of a layer; of a pool, none.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerWeights<'w> {
    pub(super) weights: Weights<'w>,
    /// Biases, one for each output, filled up to whole blocks.
    pub(super) bias: &'w [f32],
}

impl LayerWeights<'_> {
    pub(super) const NONE: Self = Self { weights: Weights::F32(&[]), bias: &[] };
}

/// Tasks of a linear layer, at least, that are of several blocks each.
const TASKS: usize = 8;

/// Memory for inputs made ready, and for products.
pub(super) type Scratch<'s> = (&'s mut [f32], &'s mut [f32]);

/// Kernels that run the steps.
pub(super) struct Engine<'p, P> {
    pub(super) kernels: &'static Kernels,
    pub(super) parallel: &'p P,
    /// Whether a kernel was given memory that does not fit its sizes, in any task.
    misfit: AtomicBool,
}

/// The part of `length` values with that number; empty where there is none.
fn part<T>(values: &[T], length: usize, number: usize) -> &[T] {
    values.get(number * length..).and_then(|rest| rest.get(..length)).unwrap_or_default()
}

/// The same, or what there is of it, of the last part.
fn chunk<T>(values: &[T], length: usize, number: usize) -> &[T] {
    let rest = values.get(number * length..).unwrap_or_default();
    rest.get(..length).unwrap_or(rest)
}

/// Copies as many values as both hold.
#[inline(always)]
fn copy(target: &mut [f32], source: &[f32]) {
    for (target, source) in target.iter_mut().zip(source) {
        *target = *source;
    }
}

/// Keeps in mind that a kernel did not run. (Tasks share this rather than the engine, which only threads that share `P` can.)
fn note(misfit: &AtomicBool, result: Result<(), Misfit>) {
    if result.is_err() {
        misfit.store(true, Ordering::Relaxed);
    }
}

impl<'p, P: Parallel> Engine<'p, P> {
    pub(super) fn new(kernels: &'static Kernels, parallel: &'p P) -> Self {
        Self { kernels, parallel, misfit: AtomicBool::new(false) }
    }

    /// Whether all kernels were given memory that fits their sizes.
    pub(super) fn finish(self) -> Result<(), Misfit> {
        if self.misfit.into_inner() { Err(Misfit) } else { Ok(()) }
    }

    /// Rearrangement of images before the first layer.
    pub(super) fn enter(&self, entry: &Entry, images: &[f32], output: &mut [f32]) {
        match *entry {
            Entry::Plain => (),
            Entry::Interleave { image, pixel } => self.interleave(image, pixel, images, output),
            Entry::SpaceToDepth { image, stride, padding, grid } => {
                // The strides of the best-known networks, whose loops the compiler then unrolls.
                match stride {
                    2 => self.space_to_depth(image, 2, padding, &grid, images, output),
                    4 => self.space_to_depth(image, 4, padding, &grid, images, output),
                    _ => self.space_to_depth(image, stride, padding, &grid, images, output),
                }
            }
        }
    }

    /// Lays the channels of each position side by side: `[side][side][pixel]`.
    fn interleave(&self, image: Maps, pixel: usize, images: &[f32], output: &mut [f32]) {
        let Maps { channels, side } = image;
        let (count, _) = divide(images.len(), image.values());
        for_each_chunk(self.parallel, output, side * pixel, count * side, |number, row| {
            let (index, y) = divide(number, side);
            let image = part(images, image.values(), index);
            for (x, position) in row.chunks_exact_mut(pixel.max(1)).enumerate() {
                for (channel, value) in position.iter_mut().enumerate() {
                    let inside = channel < channels;
                    let source = inside.then(|| image.get((channel * side + y) * side + x)).flatten();
                    *value = source.copied().unwrap_or_default();
                }
            }
        });
    }

    /// Lays `stride`×`stride` pixels of each channel into the channels of one position. The image is moved by the padding;
    /// last rows and columns that no filter reaches fall out.
    #[inline(always)]
    fn space_to_depth(
        &self,
        image: Maps,
        stride: usize,
        padding: usize,
        grid: &Grid,
        images: &[f32],
        output: &mut [f32],
    ) {
        let Maps { channels, side } = image;
        let (count, _) = divide(images.len(), image.values());
        for_each_chunk(self.parallel, output, grid.side * grid.pixel, count * grid.side, |number, row| {
            let (index, y) = divide(number, grid.side);
            let image = part(images, image.values(), index);
            for position in row.chunks_exact_mut(grid.pixel.max(1)) {
                // What fills the channels up.
                position.get_mut(channels * stride * stride..).unwrap_or_default().fill(0.0);
            }
            for channel in 0..channels {
                for i in 0..stride {
                    let pixels = (stride * y + i).checked_sub(padding).filter(|y| *y < side);
                    let pixels = pixels.map_or(&[][..], |y| part(image, side, channel * side + y));
                    let place = (channel * stride + i) * stride;
                    for (x, position) in row.chunks_exact_mut(grid.pixel.max(1)).enumerate() {
                        let Some(values) = position.get_mut(place..place + stride) else { continue };
                        let left = stride * x;
                        let whole = left.checked_sub(padding).and_then(|x| pixels.get(x..x + stride));
                        if let Some(pixels) = whole {
                            copy(values, pixels);
                        } else {
                            for (j, value) in values.iter_mut().enumerate() {
                                let pixel = (left + j).checked_sub(padding).and_then(|x| pixels.get(x));
                                *value = pixel.copied().unwrap_or_default();
                            }
                        }
                    }
                }
            }
        });
    }

    /// A layer of `images` images that are no vectors.
    pub(super) fn maps(
        &self,
        step: &Step,
        weights: &LayerWeights<'_>,
        images: usize,
        input: &[f32],
        scratch: Scratch<'_>,
        output: &mut [f32],
    ) {
        match (&step.how, weights.weights) {
            (How::Winograd { conv, .. }, Weights::F32(filters)) => {
                self.winograd(conv, (filters, weights.bias), images, (input, step.input.len), scratch, output);
            }
            (How::Direct(direct), Weights::F32(filters)) => {
                self.direct(direct, step, (filters, weights.bias), images, input, scratch.0, output);
            }
            (How::Norm, _) => self.norm(step, images, input, output),
            (How::MaxPool { kernel, stride }, _) => self.max_pool(step, (*kernel, *stride), images, input, output),
            // A linear layer is none of maps, and filters are stored as f32.
            _ => note(&self.misfit, Err(Misfit)),
        }
    }

    /// A convolution by Winograd's minimal filtering, and ReLU, of `images` images `stride` floats apart.
    pub(super) fn winograd(
        &self,
        conv: &Conv,
        (weights, bias): (&[f32], &[f32]),
        images: usize,
        (input, stride): (&[f32], usize),
        (transformed, products): Scratch<'_>,
        output: &mut [f32],
    ) {
        let (kernels, misfit) = (self.kernels, &self.misfit);
        let Conv { tile, inputs, outputs, groups, input_side: side, .. } = *conv;
        let depth = conv.depth();
        let across = conv.across();
        let tiles = images * across * across;

        for_each_chunk(self.parallel, transformed, conv.tile_len(), tiles, |number, output| {
            let (image, number) = divide(number, across * across);
            let image = part(input.get(image * stride..).unwrap_or_default(), side * side * inputs, 0);
            let corner = |tiles: usize| (tiles * tile.outputs()) as isize - conv.padding as isize;
            let (row, column) = divide(number, across);
            let (top, left) = (corner(row), corner(column));
            let image = ImageTile { image, height: side, width: side, channels: inputs, top, left };
            note(misfit, kernels.input(tile, InputTile { image, output }));
        });

        let transformed = &*transformed;
        let plane = conv.plane_len(images);
        for_each_chunk(self.parallel, products, plane, tile.planes(), |number, c| {
            let a = transformed.get(number * (inputs + PAD)..).unwrap_or_default();
            let weights = part(weights, depth * outputs, number);
            if groups == 1 {
                let product = Gemm { a, stride: conv.tile_len(), weights, depth, rows: tiles, c };
                return note(misfit, kernels.gemm(product));
            }
            // The outputs of a group are whole blocks, which lie behind those of the groups before.
            let (outputs, _) = divide(outputs, groups);
            for (group, c) in c.chunks_exact_mut((outputs * tiles).max(1)).take(groups).enumerate() {
                let a = a.get(group * depth..).unwrap_or_default();
                let weights = part(weights, depth * outputs, group);
                note(misfit, kernels.gemm(Gemm { a, stride: conv.tile_len(), weights, depth, rows: tiles, c }));
            }
        });

        let products = &*products;
        let strip = tile.outputs() * conv.output_side * outputs;
        for_each_chunk(self.parallel, output, strip, images * across, |number, output| {
            let first = number * across;
            let tiles = OutputTiles { products, plane, tiles, first, bias, width: conv.output_side, output };
            note(misfit, kernels.output(tile, tiles));
        });
    }

    /// A direct convolution, and ReLU.
    #[allow(clippy::too_many_arguments, reason = "as the other layers, and their weights")]
    fn direct(
        &self,
        direct: &Direct,
        step: &Step,
        (weights, bias): (&[f32], &[f32]),
        images: usize,
        input: &[f32],
        padded: &mut [f32],
        output: &mut [f32],
    ) {
        let (kernels, misfit) = (self.kernels, &self.misfit);
        let Grid { channels, side, pixel, len } = step.input;
        let Direct { kernel, stride, padding } = *direct;
        let (row, image_len) = (direct.padded_side(&step.input) * pixel, direct.padded_len(&step.input));
        if padding > 0 {
            let rows = direct.padded_side(&step.input);
            for_each_chunk(self.parallel, padded, row, images * rows, |number, target| {
                let (image, y) = divide(number, rows);
                let source = y.checked_sub(padding).filter(|y| *y < side);
                let source =
                    source.map_or(&[][..], |y| part(input.get(image * len..).unwrap_or_default(), side * pixel, y));
                let (left, rest) = target.split_at_mut_checked(padding * pixel).unwrap_or_default();
                let (middle, right) = rest.split_at_mut_checked(source.len()).unwrap_or_default();
                left.fill(0.0);
                copy(middle, source);
                right.fill(0.0);
            });
        }
        let (input, image_len) = if padding > 0 { (&*padded, image_len) } else { (input, len) };
        let columns = step.output.side;
        // Where no channels fill a position up, the rows of a window are each one run.
        let (segments, segment) = if pixel == channels { (1, kernel * channels) } else { (kernel, channels) };
        for_each_chunk(self.parallel, output, columns * step.output.pixel, images * columns, |number, output| {
            let (image, y) = divide(number, columns);
            let input = input.get(image * image_len + y * stride * row..).unwrap_or_default();
            note(
                misfit,
                kernels.direct(ConvRow {
                    input,
                    kernel,
                    row,
                    segments,
                    between: pixel,
                    segment,
                    step: stride * pixel,
                    weights,
                    bias,
                    columns,
                    pixel: step.output.pixel,
                    output,
                }),
            );
        });
    }

    /// Local response normalisation of `images` images.
    fn norm(&self, step: &Step, images: usize, input: &[f32], output: &mut [f32]) {
        let (kernels, misfit) = (self.kernels, &self.misfit);
        let (side, channels) = (step.output.side, step.output.pixel);
        for_each_chunk(self.parallel, output, side * channels, images * side, |row, output| {
            let (image, row) = divide(row, side);
            let input = input.get(image * step.input.len..).unwrap_or_default();
            let norm = NormRow { input: part(input, output.len(), row), channels, output };
            note(misfit, kernels.norm(norm));
        });
    }

    /// The max pool of `images` images.
    fn max_pool(
        &self,
        step: &Step,
        (kernel, stride): (usize, usize),
        images: usize,
        input: &[f32],
        output: &mut [f32],
    ) {
        let (kernels, misfit) = (self.kernels, &self.misfit);
        let (width, channels, side) = (step.input.side, step.input.pixel, step.output.side);
        for_each_chunk(self.parallel, output, side * channels, images * side, |row, output| {
            let (image, row) = divide(row, side);
            let start = image * step.input.len + stride * row * width * channels;
            let input = input.get(start..).unwrap_or_default();
            note(misfit, kernels.max_pool(PoolRow { input, width, channels, kernel, stride, output }));
        });
    }

    /// A linear layer of `rows` vectors, to `[outputs / 32][rows][32]`, without bias.
    pub(super) fn linear(&self, weights: Weights<'_>, input: &Grid, rows: usize, vectors: &[f32], output: &mut [f32]) {
        let (kernels, misfit) = (self.kernels, &self.misfit);
        let (depth, stride) = (input.depth(), input.len);
        let count = match weights {
            Weights::F32(weights) => weights.len(),
            Weights::F16(weights) => weights.len(),
        };
        let (count, _) = divide(count, BLOCK * depth);
        // Few blocks are a task each, for the sake of the other threads.
        let (beside, tasks) = if count < TASKS * BESIDE { (1, count) } else { (BESIDE, count.div_ceil(BESIDE)) };
        let block = beside * BLOCK * depth;
        for_each_chunk(self.parallel, output, beside * BLOCK * rows, tasks, |number, c| {
            note(
                misfit,
                match weights {
                    Weights::F32(weights) => {
                        let weights = chunk(weights, block, number);
                        kernels.gemm(Gemm { a: vectors, stride, weights, depth, rows, c })
                    }
                    Weights::F16(weights) => {
                        let weights = chunk(weights, block, number);
                        kernels.gemm_f16(Gemm { a: vectors, stride, weights, depth, rows, c })
                    }
                },
            );
        });
    }
}

/// Adds the bias to the products of a layer, `[outputs / 32][rows][32]`, and passes each block of each row to
/// `store(row, block, values)`.
pub(super) fn finish(products: &[f32], bias: &[f32], rows: usize, mut store: impl FnMut(usize, usize, [f32; BLOCK])) {
    let (products, _) = products.as_chunks::<BLOCK>();
    let (bias, _) = bias.as_chunks::<BLOCK>();
    for (block, (products, bias)) in products.chunks(rows.max(1)).zip(bias).enumerate() {
        for (row, products) in products.iter().enumerate() {
            let mut values = *products;
            for (value, bias) in values.iter_mut().zip(bias) {
                *value += bias;
            }
            store(row, block, values);
        }
    }
}

/// ReLU of a block.
pub(super) fn rectified(values: [f32; BLOCK]) -> [f32; BLOCK] {
    values.map(|value| if value < 0.0 { 0.0 } else { value })
}

/// Stores a block of a row of `[rows][stride]`; what is behind the row's end is left out.
pub(super) fn store(output: &mut [f32], stride: usize, row: usize, block: usize, values: [f32; BLOCK]) {
    let start = row * stride + block * BLOCK;
    let end = (start + BLOCK).min((row + 1) * stride);
    if let Some(output) = output.get_mut(start..end) {
        copy(output, &values);
    }
}
