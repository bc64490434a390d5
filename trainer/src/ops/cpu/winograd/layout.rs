//! Ways between layouts: channels first and last, and a stride laid into channels.

use rayon::prelude::*;

use super::plan::Plan;

/// Side of the squares that a transposition goes by, so that both sides stay in the cache.
const SQUARE: usize = 16;

/// `output[c][r] = input[r][c]` for a matrix of `columns` columns.
fn transpose(input: &[f32], columns: usize, output: &mut [f32]) {
    let rows = input.len() / columns;
    for row in (0..rows).step_by(SQUARE) {
        for column in (0..columns).step_by(SQUARE) {
            for c in column..columns.min(column + SQUARE) {
                let target = &mut output[c * rows + row..][..SQUARE.min(rows - row)];
                for (r, value) in target.iter_mut().enumerate() {
                    *value = input[(row + r) * columns + c];
                }
            }
        }
    }
}

/// Images of `[channel][place]` to images of `[place][channel]`.
pub(super) fn channels_last(input: &[f32], channels: usize, places: usize, output: &mut [f32]) {
    let len = channels * places;
    output.par_chunks_mut(len).zip(input.par_chunks(len)).for_each(|(output, input)| transpose(input, places, output));
}

/// Images of `[place][channel]` to images of `[channel][place]`.
pub(super) fn channels_first(input: &[f32], channels: usize, places: usize, output: &mut [f32]) {
    let len = channels * places;
    output
        .par_chunks_mut(len)
        .zip(input.par_chunks(len))
        .for_each(|(output, input)| transpose(input, channels, output));
}

/// Calls `visit(pixel, its place in the grid)` with positions of first channels: each pixel's `channels` values go to the
/// grid `stride`² apart.
fn each_pixel(plan: &Plan, mut visit: impl FnMut(usize, usize)) {
    let (stride, padding) = (plan.window.stride, plan.window.padding);
    let (rows, columns) = plan.grid();
    for y in 0..plan.height.min((rows * stride).saturating_sub(padding)) {
        for x in 0..plan.width.min((columns * stride).saturating_sub(padding)) {
            let (row, column) = (y + padding, x + padding);
            let place = row / stride * columns + column / stride;
            let channel = row % stride * stride + column % stride;
            visit((y * plan.width + x) * plan.channels, place * plan.depth() + channel);
        }
    }
}

/// Lays an image into its grid.
pub(super) fn to_grid(plan: &Plan, image: &[f32], grid: &mut [f32]) {
    grid.fill(0.0);
    let step = plan.window.stride * plan.window.stride;
    each_pixel(plan, |pixel, place| {
        for channel in 0..plan.channels {
            grid[place + channel * step] = image[pixel + channel];
        }
    });
}

/// The transpose of [`to_grid`]: what the grid holds for each pixel; pixels that it does not hold get 0.
pub(super) fn from_grid(plan: &Plan, grid: &[f32], image: &mut [f32]) {
    image.fill(0.0);
    let step = plan.window.stride * plan.window.stride;
    each_pixel(plan, |pixel, place| {
        for channel in 0..plan.channels {
            image[pixel + channel] = grid[place + channel * step];
        }
    });
}
