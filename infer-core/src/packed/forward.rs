//! The forward pass: the steps of a layer, each split into tasks that write memory of their own.

use super::layout::{Conv, STRIDE};
use crate::alexnet::{Image, SIDE};
use crate::arch::{BLOCK, F16, Gemm, InputTile, Kernels, OutputTiles, PAD, Parallel, PoolRow, for_each_chunk};

/// Weights of a linear layer, `[outputs / 32][inputs][32]`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Weights<'w> {
    F32(&'w [f32]),
    F16(&'w [F16]),
}

/// Transformed filters of a convolution, `[planes][outputs / 32][inputs][32]`, and one bias an output.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConvWeights<'w> {
    pub(super) weights: &'w [f32],
    pub(super) bias: &'w [f32],
}

/// What runs the steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Engine<'p, P> {
    pub(super) kernels: &'static Kernels,
    pub(super) parallel: &'p P,
}

/// Floats of a tile of transformed inputs.
const fn tile_len(conv: &Conv) -> usize {
    conv.tile.planes() * (conv.inputs + PAD)
}

/// Floats of a plane of products.
const fn plane_len(conv: &Conv, images: usize) -> usize {
    conv.outputs * images * conv.across() * conv.across() + PAD
}

/// Floats of transformed inputs of a convolution, and of products.
pub(super) const fn scratch_len(conv: &Conv, images: usize) -> (usize, usize) {
    (images * conv.across() * conv.across() * tile_len(conv), conv.tile.planes() * plane_len(conv, images))
}

/// The part of `length` values with that number; empty where there is none.
fn part<T>(values: &[T], length: usize, number: usize) -> &[T] {
    values.get(number * length..).and_then(|rest| rest.get(..length)).unwrap_or_default()
}

/// Quotient and remainder. No divisor is zero here, but that is not for the compiler to see, which would keep a panic.
fn divide(value: usize, divisor: usize) -> (usize, usize) {
    (value.checked_div(divisor).unwrap_or_default(), value.checked_rem(divisor).unwrap_or_default())
}

/// Rows and columns of conv1's input.
const GRID: usize = SIDE / STRIDE;

impl<P: Parallel> Engine<'_, P> {
    /// Lays each 4×4 pixels of an image into the channels of one position: `[56][56][16]`. The image is moved by one row and
    /// one column, which is conv1's padding; the last ones that fall out are not looked at.
    pub(super) fn space_to_depth(&self, image: &Image, output: &mut [f32]) {
        let [plane] = image;
        for_each_chunk(self.parallel, output, GRID * STRIDE * STRIDE, GRID, |y, row| {
            for (x, position) in row.as_chunks_mut::<{ STRIDE * STRIDE }>().0.iter_mut().enumerate() {
                for (i, channels) in position.as_chunks_mut::<STRIDE>().0.iter_mut().enumerate() {
                    let pixels = (STRIDE * y + i).checked_sub(1).and_then(|y| plane.get(y));
                    *channels = match (pixels, (STRIDE * x).checked_sub(1)) {
                        (None, _) => [0.0; STRIDE],
                        (Some(pixels), None) => [0.0, pixels[0], pixels[1], pixels[2]],
                        (Some(pixels), Some(x)) => {
                            pixels.get(x..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default()
                        }
                    };
                }
            }
        });
    }

    /// A convolution and ReLU of `images` images.
    pub(super) fn conv(
        &self,
        conv: &Conv,
        ConvWeights { weights, bias }: ConvWeights<'_>,
        images: usize,
        input: &[f32],
        (transformed, products): (&mut [f32], &mut [f32]),
        output: &mut [f32],
    ) {
        let Conv { tile, inputs, outputs, input_side: side, .. } = *conv;
        let across = conv.across();
        let tiles = images * across * across;

        for_each_chunk(self.parallel, transformed, tile_len(conv), tiles, |number, output| {
            let (image, number) = divide(number, across * across);
            let image = part(input, side * side * inputs, image);
            let corner = |tiles: usize| (tiles * tile.outputs()) as isize - conv.padding as isize;
            let (row, column) = divide(number, across);
            let (top, left) = (corner(row), corner(column));
            self.kernels
                .input(tile, InputTile { image, height: side, width: side, channels: inputs, top, left, output });
        });

        let transformed = &*transformed;
        let plane = plane_len(conv, images);
        for_each_chunk(self.parallel, products, plane, tile.planes(), |number, c| {
            let a = transformed.get(number * (inputs + PAD)..).unwrap_or_default();
            let weights = part(weights, inputs * outputs, number);
            self.kernels.gemm(Gemm { a, stride: tile_len(conv), weights, depth: inputs, rows: tiles, c });
        });

        let products = &*products;
        let strip = tile.outputs() * conv.output_side * outputs;
        for_each_chunk(self.parallel, output, strip, images * across, |number, output| {
            let first = number * across;
            self.kernels
                .output(tile, OutputTiles { products, plane, tiles, first, bias, width: conv.output_side, output });
        });
    }

    /// The 3×3 max pool of stride 2 of `images` images of a convolution's output.
    pub(super) fn max_pool(&self, conv: &Conv, images: usize, input: &[f32], output: &mut [f32]) {
        let Conv { outputs: channels, output_side: width, .. } = *conv;
        let side = (width - 1) / 2;
        for_each_chunk(self.parallel, output, side * channels, images * side, |row, output| {
            let (image, row) = divide(row, side);
            let start = image * conv.output_len() + 2 * row * width * channels;
            let input = input.get(start..).unwrap_or_default();
            self.kernels.max_pool(PoolRow { input, width, channels, output });
        });
    }

    /// A linear layer of `rows` vectors, `[rows][inputs]`, to `[outputs / 32][rows][32]`, without bias.
    pub(super) fn linear(&self, weights: Weights<'_>, inputs: usize, rows: usize, input: &[f32], output: &mut [f32]) {
        let (blocks, depth) = (BLOCK * inputs, inputs);
        let count = match weights {
            Weights::F32(weights) => weights.len(),
            Weights::F16(weights) => weights.len(),
        };
        let (count, _) = divide(count, blocks);
        for_each_chunk(self.parallel, output, BLOCK * rows, count, |block, c| match weights {
            Weights::F32(weights) => {
                let weights = part(weights, blocks, block);
                self.kernels.gemm(Gemm { a: input, stride: inputs, weights, depth, rows, c });
            }
            Weights::F16(weights) => {
                let weights = part(weights, blocks, block);
                self.kernels.gemm_f16(Gemm { a: input, stride: inputs, weights, depth, rows, c });
            }
        });
    }
}

/// Adds the bias to the products of a linear layer, `[outputs / 32][rows][32]`, and passes each block of each row to
/// `store(row, block, values)`.
pub(super) fn with_bias(
    products: &[f32],
    bias: &[f32],
    rows: usize,
    mut store: impl FnMut(usize, usize, [f32; BLOCK]),
) {
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
