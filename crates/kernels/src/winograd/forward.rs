//! The transforms of a Winograd convolution: a tile of inputs before the matrix product, a row of tiles after it.
//! Channels are innermost, so each vector holds one value of as many channels and no lanes are ever exchanged.

#![allow(clippy::needless_range_loop, reason = "rows and columns of matrices go by their indices, as in the formulas")]

use crate::layout::{BLOCK, PAD};
use crate::vector::Vector;
use crate::winograd::image_tile::ImageTile;
use crate::winograd::sides::{input_1d, output_1d};

/// One tile of a Winograd convolution's input, all channels: `V = Bᵀ·d·B`.
#[derive(Debug)]
pub struct InputTile<'a> {
    /// The tile.
    pub image: ImageTile<&'a [f32]>,
    /// `[N][N][channels + PAD]`
    pub output: &'a mut [f32],
}

impl InputTile<'_> {
    /// Whether the tile lies in its image, or outside, and the output holds N·N planes.
    #[inline]
    pub(crate) fn fits(&self, n: usize) -> bool {
        let needed = self.image.channels.checked_add(PAD).and_then(|plane| plane.checked_mul(n * n));
        self.image.fits() && needed.is_some_and(|needed| needed <= self.output.len())
    }
}

/// One row of tiles of a Winograd convolution's output, all channels: `Y = max(Aᵀ·m·A + b, 0)`.
#[derive(Debug)]
pub struct OutputTiles<'a> {
    /// `[N][N][channels / 32][tiles][32]`, `plane` from one of the N·N to the next.
    pub products: &'a [f32],
    /// At least `channels · tiles`.
    pub plane: usize,
    /// Tiles in each plane.
    pub tiles: usize,
    /// The first one of this row.
    pub first: usize,
    /// One value a channel, a multiple of 32 of them.
    pub bias: &'a [f32],
    /// Columns of the output; the row has as many tiles as they need.
    pub width: usize,
    /// `[M][width][channels]`
    pub output: &'a mut [f32],
}

impl OutputTiles<'_> {
    #[inline]
    pub(crate) fn fits(&self, m: usize, n: usize) -> bool {
        let channels = self.bias.len();
        let last = self.first.checked_add(self.width.div_ceil(m));
        let values = channels.checked_mul(self.tiles);
        let products =
            self.plane.checked_mul(n * n - 1).zip(values).and_then(|(planes, last)| planes.checked_add(last));
        let output = channels.checked_mul(self.width).and_then(|row| row.checked_mul(m));
        channels.is_multiple_of(BLOCK)
            && last.is_some_and(|last| last <= self.tiles)
            && values.is_some_and(|values| values <= self.plane)
            && products.is_some_and(|products| products <= self.products.len())
            && output == Some(self.output.len())
    }
}

/// `V = Bᵀ·d·B` of one tile, for all channels, see [`InputTile`].
///
/// # Safety
/// The sizes of `tile` hold (see [`InputTile::fits`]), and the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn input<V: Vector, const M: usize, const R: usize, const N: usize>(tile: InputTile<'_>) {
    let InputTile { image, output } = tile;
    let plane = image.channels + PAD;
    for (first, channels) in image.parts() {
        let positions = image.positions::<N>(first);
        let mut channel = 0;
        while channel < channels {
            // SAFETY: each position is either one of the image's, or the zeros, and both hold `channels` values, which is a
            // multiple of the lanes, as `fits` says; the output holds N·N planes.
            unsafe {
                let mut columns = [[V::splat(0.0); N]; N];
                for j in 0..N {
                    let mut x = [V::splat(0.0); N];
                    for i in 0..N {
                        x[i] = V::load(positions[i][j].add(channel));
                    }
                    columns[j] = input_1d::<V, M, R, N>(x);
                }
                for i in 0..N {
                    let mut x = [V::splat(0.0); N];
                    for j in 0..N {
                        x[j] = columns[j][i];
                    }
                    let y = input_1d::<V, M, R, N>(x);
                    for (j, value) in y.into_iter().enumerate() {
                        value.store(output.as_mut_ptr().add((i * N + j) * plane + first + channel));
                    }
                }
            }
            channel += V::LANES;
        }
    }
}

/// `Y = max(Aᵀ·m·A + b, 0)` of a row of tiles, for all channels, see [`OutputTiles`].
///
/// # Safety
/// The sizes of `tiles` hold (see [`OutputTiles::fits`]), and the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn output<V: Vector, const M: usize, const R: usize, const N: usize>(tiles: OutputTiles<'_>) {
    let OutputTiles { products, plane, tiles, first, bias, width, output } = tiles;
    let channels = bias.len();
    for tile in 0..width.div_ceil(M) {
        let columns = M.min(width - tile * M);
        let mut channel = 0;
        while channel < channels {
            let (block, lane) = (channel / BLOCK, channel % BLOCK);
            // SAFETY: `fits` says that there are N·N planes of products with this tile and block in each, and that the
            // output holds M rows of `width` columns of `channels` values, which is a multiple of 32.
            unsafe {
                let products = products.as_ptr().add((block * tiles + first + tile) * BLOCK + lane);
                let mut rows = [[V::splat(0.0); M]; N];
                for i in 0..N {
                    let mut x = [V::splat(0.0); N];
                    for j in 0..N {
                        x[j] = V::load(products.add((i * N + j) * plane));
                    }
                    rows[i] = output_1d::<V, M, R, N>(x);
                }
                let bias = V::load(bias.as_ptr().add(channel));
                for j in 0..columns {
                    let mut x = [V::splat(0.0); N];
                    for i in 0..N {
                        x[i] = rows[i][j];
                    }
                    let y = output_1d::<V, M, R, N>(x);
                    for (i, value) in y.into_iter().enumerate() {
                        // In this order of operands a NaN stays NaN.
                        let value = V::splat(0.0).max(value.add(bias));
                        value.store(output.as_mut_ptr().add((i * width + tile * M + j) * channels + channel));
                    }
                }
            }
            channel += V::LANES;
        }
    }
}
