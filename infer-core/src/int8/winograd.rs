//! A Winograd convolution of one image: tiles of inputs, blocks of outputs, and the map of them.

use super::TILES;
use super::forward::{Engine, note};
use super::memory::{Factors, Section, Transformed};
use super::plan::{Grid, Step, Tiling};
use crate::number::divide;
use kernels::{
    BLOCK, ImageTile, Int8InputTile, Int8Kernels, Int8OutputTile, Int8Products, Int8Tile, Line, Misfit, Parallel,
    for_each_chunk, numbers, numbers_mut,
};

impl<P: Parallel> Engine<'_, P> {
    /// A Winograd convolution and ReLU. `tiles` holds the transformed inputs, by chunks of tiles, and `blocks` the outputs, by
    /// blocks of 32, each computed by a task that writes memory of its own.
    pub(super) fn winograd(
        &self,
        step: &Step,
        section: &Section<'_>,
        tiling: Tiling,
        input: &[Line],
        output: &mut [Line],
        (tiles, blocks): (&mut [Line], &mut [Line]),
    ) {
        let Factors::Winograd(weights) = section.factors else {
            return note(&self.misfit, Err(Misfit));
        };
        let layer = Layer { step, tiling };
        let (misfit, kernels) = (&self.misfit, self.kernels);
        let Tiling { chunks, inputs, scales, map, .. } = tiling;
        for_each_chunk(self.parallel, tiles, inputs + scales, chunks, |chunk, memory| {
            note(misfit, layer.transform(kernels, chunk, numbers(input), memory));
        });
        let tiles: &[Line] = tiles;
        for_each_chunk(self.parallel, blocks, map, step.output.channels / BLOCK, |block, memory| {
            let memory = numbers_mut(memory);
            let result = match tiling.tile {
                Int8Tile::F2x3 => layer.block::<{ sums(Int8Tile::F2x3) }>(kernels, block, weights, tiles, memory),
                Int8Tile::F2x5 => layer.block::<{ sums(Int8Tile::F2x5) }>(kernels, block, weights, tiles, memory),
            };
            note(misfit, result);
        });
        let blocks: &[Line] = blocks;
        let rows = step.output.rows();
        let output: &mut [u8] = numbers_mut(output);
        for_each_chunk(self.parallel, output, step.output.row_len(), rows, |row, output| {
            layer.place(row, blocks, output)
        });
    }
}

/// Lines for the sums of a chunk of tiles and a block of outputs: `[N²][TILES][32]`.
const fn sums(tile: Int8Tile) -> usize {
    Line::count(tile.planes() * TILES * BLOCK * size_of::<i32>())
}

/// A Winograd convolution.
#[derive(Clone, Copy)]
struct Layer<'a> {
    step: &'a Step,
    tiling: Tiling,
}

impl Layer<'_> {
    /// Transforms the inputs of a chunk of tiles: `[N²][TILES][channels]`, then scales, `[TILES][N²]`.
    fn transform(&self, kernels: &Int8Kernels, chunk: usize, input: &[u8], memory: &mut [Line]) -> Result<(), Misfit> {
        let Self { step, tiling } = *self;
        let (grid, planes) = (step.input, tiling.tile.planes());
        let (bytes, scales) = memory.split_at_mut_checked(tiling.inputs).ok_or(Misfit)?;
        let (bytes, scales) = (numbers_mut::<u8>(bytes), numbers_mut::<f32>(scales));
        let image = input.get(..grid.len()).ok_or(Misfit)?;
        let (first, count) = tiling.chunk(chunk);
        for at in 0..count {
            let (row, column) = divide(first + at, tiling.across);
            let [top, left] = [row, column].map(|place| (place * Int8Tile::OUTPUTS) as isize);
            let image =
                ImageTile { image, height: grid.rows(), width: grid.rows(), channels: grid.channels, top, left };
            let tile = Int8InputTile {
                image,
                output: bytes.get_mut(at * grid.channels..).ok_or(Misfit)?,
                plane: TILES * grid.channels,
                scales: scales.get_mut(at * planes..).ok_or(Misfit)?,
            };
            kernels.input(tiling.tile, tile)?;
        }
        Ok(())
    }

    /// Computes a block of outputs with its sums on the stack, where they stay in the first caches. (That is not inlined, so that other
    /// layers do without as much of it.)
    #[inline(never)]
    fn block<const SUMS: usize>(
        &self,
        kernels: &Int8Kernels,
        block: usize,
        weights: Transformed<'_>,
        tiles: &[Line],
        map: &mut [u8],
    ) -> Result<(), Misfit> {
        self.compute(kernels, block, weights, tiles, numbers_mut(&mut [Line::ZERO; SUMS]), map)
    }

    /// Computes a block of outputs, `[rows][columns][32]`, from one chunk of tiles after the other.
    fn compute(
        &self,
        kernels: &Int8Kernels,
        block: usize,
        weights: Transformed<'_>,
        tiles: &[Line],
        sums: &mut [i32],
        map: &mut [u8],
    ) -> Result<(), Misfit> {
        let Self { step, tiling } = *self;
        let (channels, side) = (step.input.channels, step.output.side);
        let planes = tiling.tile.planes();
        // The block's first weight of a channel, sum and scale.
        let first = block * planes * BLOCK;
        for (chunk, tiles) in tiles.chunks_exact((tiling.inputs + tiling.scales).max(1)).take(tiling.chunks).enumerate()
        {
            let (first_tile, count) = tiling.chunk(chunk);
            let (inputs, tile_scales) = tiles.split_at_checked(tiling.inputs).ok_or(Misfit)?;
            let (inputs, tile_scales) = (numbers::<u8>(inputs), numbers::<f32>(tile_scales));
            let products = Int8Products {
                planes,
                inputs,
                inputs_plane: TILES * channels,
                channels,
                tiles: count,
                weights: weights.weights.get(first * channels..).ok_or(Misfit)?,
                weights_plane: BLOCK * channels,
                ahead: chunk == 0,
                start: weights.sums.get(first..).ok_or(Misfit)?,
                start_plane: BLOCK,
                sums,
                sums_plane: TILES * BLOCK,
            };
            kernels.products(products)?;
            for at in 0..count {
                let (row, column) = divide(first_tile + at, tiling.across);
                let [row, column] = [row, column].map(|place| place * Int8Tile::OUTPUTS);
                kernels.output(
                    tiling.tile,
                    Int8OutputTile {
                        products: sums.get(at * BLOCK..).ok_or(Misfit)?,
                        plane: TILES * BLOCK,
                        tile_scales: tile_scales.get(at * planes..).ok_or(Misfit)?,
                        scales: weights.scales.get(first..).ok_or(Misfit)?,
                        outputs: BLOCK,
                        bias: weights.bias.get(block * BLOCK..).ok_or(Misfit)?,
                        output: map.get_mut((row * side + column) * BLOCK..).ok_or(Misfit)?,
                        stride: side * BLOCK,
                        rows: side.saturating_sub(row).min(Int8Tile::OUTPUTS),
                        columns: side.saturating_sub(column).min(Int8Tile::OUTPUTS),
                    },
                )?;
            }
        }
        Ok(())
    }

    /// Puts the outputs of all blocks beside each other, in a row of the layer's output.
    fn place(&self, row: usize, blocks: &[Line], output: &mut [u8]) {
        let Self { step, tiling } = *self;
        let Grid { channels, side, border, .. } = step.output;
        let Some(y) = row.checked_sub(border).filter(|y| *y < side) else { return output.fill(0) };
        let (left, inner) = output.split_at_mut_checked(border * channels).unwrap_or_default();
        let (inner, right) = inner.split_at_mut_checked(side * channels).unwrap_or_default();
        left.fill(0);
        right.fill(0);
        for (block, memory) in blocks.chunks_exact(tiling.map.max(1)).enumerate() {
            let (map, _) = numbers::<u8>(memory).as_chunks::<BLOCK>();
            let pixels = map.iter().skip(y * side).take(side);
            for (target, pixel) in inner.chunks_exact_mut(channels.max(1)).zip(pixels) {
                if let Some(target) = target.get_mut(block * BLOCK..).and_then(|target| target.first_chunk_mut()) {
                    *target = *pixel;
                }
            }
        }
    }
}
