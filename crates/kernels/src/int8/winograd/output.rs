//! Transform of the sums of a tile to outputs.

#![allow(clippy::needless_range_loop, reason = "rows and columns of matrices go by their indices, as in the formulas")]

use crate::layout::BLOCK;
use crate::vector::Vector;

/// One tile of a Winograd convolution's output, 32 channels of it.
///
/// A sum of a position, `m = (sum as f32 · scale of the output) · scale of the tile`, is transformed by `Aᵀ`, over the rows and then
/// over the columns: `y₀ = (m₀ + (m₁ + m₂)) + (m₃ + m₄)` and `y₁ = ((m₁ − m₂) + 2 · (m₃ − m₄)) + m₅`, and without the second pair
/// `y₀ = m₀ + (m₁ + m₂)` and `y₁ = (m₁ − m₂) + m₃`. The output is `y + bias`, at least 0 and at most 127, rounded to the nearest
/// integer, ties to even. Each operation is one of single precision.
#[derive(Debug)]
pub struct Int8OutputTile<'a> {
    /// `[N²][plane]`, of which the first 32 of each plane are the tile's sums, each within ±2²⁴.
    pub products: &'a [i32],
    /// From one position to the next.
    pub plane: usize,
    /// Scales of the tile: `[N²]`.
    pub tile_scales: &'a [f32],
    /// Scales of the outputs: `[N²][outputs]`, of which the first 32 of each plane are used.
    pub scales: &'a [f32],
    /// From the scales of one position to the next.
    pub outputs: usize,
    /// 32 values.
    pub bias: &'a [f32],
    /// The outputs: `rows` of `columns` of 32 bytes.
    pub output: &'a mut [u8],
    /// From one row of outputs to the next.
    pub stride: usize,
    /// Rows that the map has: one or two.
    pub rows: usize,
    /// Columns that the map has: one or two.
    pub columns: usize,
}

impl Int8OutputTile<'_> {
    #[inline]
    pub(crate) fn fits(&self, planes: usize) -> bool {
        let last = |plane: usize| plane.checked_mul(planes - 1).and_then(|last| last.checked_add(BLOCK));
        let row = self.columns * BLOCK;
        (1..=2).contains(&self.rows)
            && (1..=2).contains(&self.columns)
            && last(self.plane).is_some_and(|needed| needed <= self.products.len())
            && last(self.outputs).is_some_and(|needed| needed <= self.scales.len())
            && self.tile_scales.len() >= planes
            && self.bias.len() >= BLOCK
            && self.stride >= row
            && self
                .stride
                .checked_mul(self.rows - 1)
                .and_then(|last| last.checked_add(row))
                .is_some_and(|needed| needed <= self.output.len())
    }
}

/// Transforms the sums of a tile, see [`Int8OutputTile`].
///
/// # Safety
/// The sizes of `tile` hold (see [`Int8OutputTile::fits`]), and the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn output<V: Vector, const R: usize, const N: usize>(tile: Int8OutputTile<'_>) {
    let Int8OutputTile { products, plane, tile_scales, scales, outputs, bias, output, stride, rows, columns } = tile;
    for lane in (0..BLOCK).step_by(V::LANES) {
        // SAFETY: `fits` says that there are N·N planes of 32 sums and of 32 scales, as many scales of the tile, 32 biases, and
        // room for the rows and columns.
        unsafe {
            let mut sides = [[V::splat(0.0); N]; 2];
            for j in 0..N {
                let mut m = [V::splat(0.0); N];
                for i in 0..N {
                    let place = i * N + j;
                    let sums = V::load_i32(products.as_ptr().add(place * plane + lane));
                    let scale = V::load(scales.as_ptr().add(place * outputs + lane));
                    m[i] = sums.mul(scale).mul(V::splat(*tile_scales.as_ptr().add(place)));
                }
                let [first, second] = line::<V, N>(m);
                (sides[0][j], sides[1][j]) = (first, second);
            }
            let bias = V::load(bias.as_ptr().add(lane));
            for (row, side) in sides.into_iter().enumerate().take(rows) {
                for (column, value) in line::<V, N>(side).into_iter().enumerate().take(columns) {
                    let value = value.add(bias).max(V::splat(0.0)).min(V::splat(127.0));
                    value.store_bytes(output.as_mut_ptr().add(row * stride + column * BLOCK + lane));
                }
            }
        }
    }
}

/// `Aᵀ·m`.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn line<V: Vector, const N: usize>(m: [V; N]) -> [V; 2] {
    // SAFETY: as the caller says.
    unsafe {
        let (first, second) = (m[0].add(m[1].add(m[2])), m[1].sub(m[2]));
        if N == 4 {
            return [first, second.add(m[N - 1])];
        }
        let difference = m[3].sub(m[4]);
        [first.add(m[3].add(m[4])), second.add(difference.add(difference)).add(m[N - 1])]
    }
}
