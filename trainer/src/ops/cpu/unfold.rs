//! The two ways between an image and the matrix of its windows ("im2col" and "col2im").

use crate::ops::Plane;

/// Columns `at..at + positions` of row after row of a matrix, for one image of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// Length of the matrix's rows.
    pub(super) row: usize,
    /// The image's first column.
    pub(super) at: usize,
}

/// Writes what each tap of the window sees: row (channel, k, l) of `matrix` gets one value for each position.
pub(super) fn unfold(image: &[f32], plane: Plane, matrix: &mut [f32], block: Block) {
    each_row(plane, image.len() / (plane.height * plane.width), |tap, channel, k, l| {
        let image = &image[channel * plane.height * plane.width..][..plane.height * plane.width];
        let target = &mut matrix[tap * block.row + block.at..][..plane.positions()];
        let columns = covered(plane, l);
        for (row, target) in target.chunks_exact_mut(plane.columns).enumerate() {
            let Some(y) = plane.window.source(row, k, plane.height) else {
                target.fill(0.0);
                continue;
            };
            target[..columns.start].fill(0.0);
            target[columns.end..].fill(0.0);
            let target = &mut target[columns.clone()];
            if target.is_empty() {
                continue;
            }
            let first = columns.start * plane.window.stride + l - plane.window.padding;
            let line = &image[y * plane.width + first..(y + 1) * plane.width];
            if plane.window.stride == 1 {
                target.copy_from_slice(&line[..target.len()]);
            } else {
                for (value, source) in target.iter_mut().zip(line.iter().step_by(plane.window.stride)) {
                    *value = *source;
                }
            }
        }
    });
}

/// Adds each value of `matrix` to the value of `image` that [`unfold`] would have taken it from.
pub(super) fn fold(matrix: &[f32], plane: Plane, image: &mut [f32], block: Block) {
    let size = plane.height * plane.width;
    each_row(plane, image.len() / size, |tap, channel, k, l| {
        let image = &mut image[channel * size..][..size];
        let source = &matrix[tap * block.row + block.at..][..plane.positions()];
        let columns = covered(plane, l);
        if columns.is_empty() {
            return;
        }
        let first = columns.start * plane.window.stride + l - plane.window.padding;
        for (row, source) in source.chunks_exact(plane.columns).enumerate() {
            let Some(y) = plane.window.source(row, k, plane.height) else { continue };
            let line = &mut image[y * plane.width + first..(y + 1) * plane.width];
            let source = &source[columns.clone()];
            if plane.window.stride == 1 {
                for (sum, value) in line.iter_mut().zip(source) {
                    *sum += value;
                }
            } else {
                for (sum, value) in line.iter_mut().step_by(plane.window.stride).zip(source) {
                    *sum += value;
                }
            }
        }
    });
}

/// Calls `visit(row of the matrix, channel, k, l)` for each tap of the window.
fn each_row(plane: Plane, channels: usize, mut visit: impl FnMut(usize, usize, usize, usize)) {
    let kernel = plane.window.kernel;
    let mut tap = 0;
    for channel in 0..channels {
        for k in 0..kernel {
            for l in 0..kernel {
                visit(tap, channel, k, l);
                tap += 1;
            }
        }
    }
}

/// The window's columns at which tap column `l` lies within the image.
fn covered(plane: Plane, l: usize) -> std::ops::Range<usize> {
    let (stride, padding) = (plane.window.stride, plane.window.padding);
    let start = padding.saturating_sub(l).div_ceil(stride).min(plane.columns);
    let end = (plane.width + padding).saturating_sub(l).div_ceil(stride).min(plane.columns);
    start..end.max(start)
}
