//! The properties that every backend must have.

use super::*;
use std::vec;
use std::vec::Vec;

/// `n` reproducible values between −1 and 1.
pub(super) fn values(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

/// Of the shapes to be tried, all, or a few where a run is slow.
fn some<T: Copy>(all: &[T]) -> impl Iterator<Item = T> + '_ {
    all.iter().copied().step_by(if cfg!(miri) { 5 } else { 1 })
}

/// Scales of the values: ordinary, tiny down to subnormal products, huge short of overflow.
const SCALES: [f32; 3] = [1.0, 1e-20, 1e17];

/// A sum of `terms` products, computed in f32 in some order, may differ by this from the exact one, `magnitude` being the
/// sum of their absolute values: each of the operations rounds once (Higham 2002, section 3.1), or loses what is subnormal.
fn rounding(terms: usize, magnitude: f64) -> f64 {
    (terms + 2) as f64 * (f64::from(f32::EPSILON) / 2.0 * magnitude + 1e-45)
}

fn narrowed(weights: &[f32]) -> (Vec<F16>, Vec<f32>) {
    let narrow: Vec<F16> = weights.iter().map(|weight| F16::from_f32(*weight)).collect();
    let wide = narrow.iter().map(|weight| weight.to_f32()).collect();
    (narrow, wide)
}

pub(super) fn check_gemm(kernels: &Kernels) {
    let shapes = [
        (1, 1, 1),
        (1, 2, 1),
        (1, 3, 1),
        (1, 4, 2),
        (1, 5, 1),
        (1, 130, 4),
        (1, 9, 7),
        (2, 127, 1),
        (2, 128, 2),
        (3, 129, 1),
        (4, 16, 3),
        (5, 257, 1),
        (6, 31, 2),
        (7, 96, 1),
        (8, 7, 1),
        (9, 100, 2),
        (10, 33, 1),
        (11, 4, 1),
        (13, 200, 1),
        (19, 12, 2),
        (25, 6, 1),
        (32, 130, 5),
        (33, 130, 3),
    ];
    for (rows, depth, blocks) in some(&shapes) {
        for scale in some(&SCALES) {
            for (offset, gap) in [(0, 0), (1, 0), (3, 5)] {
                let stride = depth + gap;
                let seed = (rows * 1000 + depth) as u64;
                let a: Vec<f32> = values(seed, offset + rows * stride).iter().map(|value| value * scale).collect();
                let weights = values(seed + 1, offset + blocks * depth * BLOCK);
                let (narrow, wide) = narrowed(&weights);
                for half in [false, true] {
                    let mut c = vec![f32::NAN; offset + blocks * rows * BLOCK];
                    let (a, c_part) = (&a[offset..], &mut c[offset..]);
                    if half {
                        assert_eq!(
                            kernels.gemm_f16(Gemm { a, stride, weights: &narrow[offset..], depth, rows, c: c_part }),
                            Ok(())
                        );
                    } else {
                        assert_eq!(
                            kernels.gemm(Gemm { a, stride, weights: &weights[offset..], depth, rows, c: c_part }),
                            Ok(())
                        );
                    }
                    let weights = if half { &wide[offset..] } else { &weights[offset..] };
                    for (place, found) in c[offset..].iter().enumerate() {
                        let (block, row, lane) = (place / (rows * BLOCK), place / BLOCK % rows, place % BLOCK);
                        let (mut sum, mut magnitude) = (0.0, 0.0);
                        for k in 0..depth {
                            let weight = f64::from(weights[(block * depth + k) * BLOCK + lane]);
                            let product = f64::from(a[row * stride + k]) * weight;
                            sum += product;
                            magnitude += product.abs();
                        }
                        let error = (f64::from(*found) - sum).abs();
                        assert!(
                            error <= rounding(depth, magnitude),
                            "{rows}×{depth}×{blocks}, half {half}, scale {scale}: {found} is not {sum}"
                        );
                    }
                }
            }
        }
    }
    not_finite(kernels);
}

/// NaN and infinity stay in their row and their output.
fn not_finite(kernels: &Kernels) {
    let (rows, depth) = (5, 9);
    let (mut a, mut weights) = (values(1, rows * depth), values(2, depth * BLOCK));
    a[2 * depth + 3] = f32::NAN;
    weights[4 * BLOCK + 31] = f32::INFINITY;
    let mut c = vec![0.0; rows * BLOCK];
    assert_eq!(kernels.gemm(Gemm { a: &a, stride: depth, weights: &weights, depth, rows, c: &mut c }), Ok(()));
    for (place, value) in c.iter().enumerate() {
        let (row, output) = (place / BLOCK, place % BLOCK);
        assert_eq!(value.is_finite(), row != 2 && output != 31);
        assert_eq!(value.is_nan(), row == 2);
    }
}

/// `Bᵀ`, `Aᵀ` of a size of convolution, in f64.
pub(super) fn matrices(tile: Tile) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    fn of<const M: usize, const R: usize, const N: usize>() -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let wide = |row: &[f32; N]| row.iter().map(|value| f64::from(*value)).collect();
        let input = Winograd::<M, R, N>::INPUT.iter().map(wide).collect();
        (input, Winograd::<M, R, N>::OUTPUT.iter().map(wide).collect())
    }
    match tile {
        Tile::F2x3 => of::<2, 3, 4>(),
        Tile::F3x3 => of::<3, 3, 5>(),
        Tile::F4x3 => of::<4, 3, 6>(),
        Tile::F5x3 => of::<5, 3, 7>(),
        Tile::F6x3 => of::<6, 3, 8>(),
        Tile::F4x5 => of::<4, 5, 8>(),
        Tile::F5x5 => of::<5, 5, 9>(),
    }
}

/// Element (i, j) of `L·x·Lᵀ`, and the same of absolute values.
fn sandwich(left: &[Vec<f64>], x: impl Fn(usize, usize) -> f64, i: usize, j: usize) -> (f64, f64) {
    let (mut sum, mut magnitude) = (0.0, 0.0);
    for (k, a) in left[i].iter().enumerate() {
        for (l, b) in left[j].iter().enumerate() {
            sum += a * x(k, l) * b;
            magnitude += (a * x(k, l) * b).abs();
        }
    }
    (sum, magnitude)
}

pub(super) fn check_input(kernels: &Kernels) {
    for tile in Tile::ALL {
        let n = tile.inputs();
        let (matrix, _) = matrices(tile);
        for (height, width, channels, top, left) in some(&[
            (1, 1, 16, 0, 0),
            (n, n, 16, 0, 0),
            (n, n + 2, 48, -1, 1),
            (3, 2, 32, -2, -3),
            (n + 1, 4, 16, 2, -1),
            (2, 2, 16, -20, 5),
            (2, 2, 16, 5, 0),
            (n, n, 384, 0, 0),
            (2, 2, 1040, -1, 1),
        ]) {
            for scale in some(&SCALES) {
                let mut image = values(n as u64, 1 + height * width * channels);
                image.iter_mut().for_each(|value| *value *= scale);
                let image = &image[1..];
                let plane = channels + PAD;
                let mut output = vec![f32::NAN; 1 + n * n * plane];
                let output = &mut output[1..];
                let tile_of_image = ImageTile { image, height, width, channels, top, left };
                assert_eq!(kernels.input(tile, InputTile { image: tile_of_image, output }), Ok(()));
                let pixel = |y: usize, x: usize, channel: usize| {
                    let (y, x) = (usize::try_from(top + y as isize), usize::try_from(left + x as isize));
                    match (y, x) {
                        (Ok(y), Ok(x)) if y < height && x < width => {
                            f64::from(image[(y * width + x) * channels + channel])
                        }
                        _ => 0.0,
                    }
                };
                for channel in (0..channels).step_by(1 + channels / 20) {
                    for (i, j) in (0..n * n).map(|place| (place / n, place % n)) {
                        let (expected, magnitude) = sandwich(&matrix, |y, x| pixel(y, x, channel), i, j);
                        let found = f64::from(output[(i * n + j) * plane + channel]);
                        let error = (found - expected).abs();
                        assert!(
                            error <= rounding(4 * n, magnitude),
                            "{tile:?} {channel} {i} {j}: {found} is not {expected}"
                        );
                    }
                }
            }
        }
    }
}

pub(super) fn check_output(kernels: &Kernels) {
    for tile in Tile::ALL {
        let (m, n) = (tile.outputs(), tile.inputs());
        let (_, matrix) = matrices(tile);
        for (channels, width, tiles, first, gap) in
            some(&[(32, m, 1, 0, 0), (64, 2 * m - 1, 5, 2, 16), (96, 3 * m, 3, 0, 3), (32, 1, 2, 1, 0)])
        {
            let plane = channels * tiles + gap;
            let products = values(plane as u64, 1 + n * n * plane);
            let products = &products[1..];
            let bias = values(7, channels);
            let mut output = vec![f32::NAN; 1 + m * width * channels];
            let output = &mut output[1..];
            assert_eq!(
                kernels.output(tile, OutputTiles { products, plane, tiles, first, bias: &bias, width, output }),
                Ok(())
            );
            for (place, found) in output.iter().enumerate() {
                let (y, x, channel) = (place / (width * channels), place / channels % width, place % channels);
                let start = ((channel / BLOCK * tiles) + first + x / m) * BLOCK + channel % BLOCK;
                let product = |i: usize, j: usize| f64::from(products[(i * n + j) * plane + start]);
                let (sum, magnitude) = sandwich(&matrix, product, y, x % m);
                let expected = (sum + f64::from(bias[channel])).max(0.0);
                let error = (f64::from(*found) - expected).abs();
                assert!(
                    error <= rounding(4 * n, magnitude + 1.0),
                    "{tile:?} {y} {x} {channel}: {found} is not {expected}"
                );
            }
        }
        // ReLU passes NaN on.
        let mut output = vec![0.0; m * BLOCK];
        let products = vec![f32::NAN; n * n * BLOCK];
        let bias = &[0.0; BLOCK];
        let tiles =
            OutputTiles { products: &products, plane: BLOCK, tiles: 1, first: 0, bias, width: 1, output: &mut output };
        assert_eq!(kernels.output(tile, tiles), Ok(()));
        assert!(output.iter().all(|value| value.is_nan()));
    }
}

pub(super) fn check_pool(kernels: &Kernels) {
    let windows = [(3, 2), (2, 2), (1, 1), (3, 1), (2, 3), (5, 4)];
    for (kernel, stride) in some(&windows) {
        for (width, channels) in some(&[(1, 16), (2, 16), (3, 16), (4, 48), (12, 32), (25, 16), (54, 96)]) {
            let columns = if width < kernel { 0 } else { (width - kernel) / stride + 1 };
            let mut input = values(width as u64, 1 + kernel * width * channels);
            for (place, value) in [f32::INFINITY, -1e-45, f32::MAX, f32::NEG_INFINITY, -0.0].into_iter().enumerate() {
                input[1 + place * 3] = value;
            }
            let input = &input[1..];
            let mut output = vec![f32::NAN; 1 + columns * channels];
            let row = PoolRow { input, width, channels, kernel, stride, output: &mut output[1..] };
            assert_eq!(kernels.max_pool(row), Ok(()));
            for (place, found) in output[1..].iter().enumerate() {
                let (column, channel) = (place / channels, place % channels);
                let value = |i: usize| (i / kernel * width + stride * column + i % kernel) * channels + channel;
                let window = (0..kernel * kernel).map(|i| input[value(i)]);
                assert_eq!(*found, window.fold(f32::NEG_INFINITY, f32::max));
            }
        }
    }
}

pub(super) fn check_norm(kernels: &Kernels) {
    for (positions, channels) in some(&[(1, 16), (3, 32), (2, 48), (27, 96), (5, 256)]) {
        for factor in [1e-3, 1.0, 300.0, 1e7] {
            let input = values(channels as u64, 1 + positions * channels);
            let input: Vec<f32> = input.iter().map(|value| value * factor).collect();
            let mut output = vec![f32::NAN; 1 + input.len()];
            let row = NormRow { input: &input[1..], channels, output: &mut output[2..] };
            assert_eq!(kernels.norm(row), Ok(()));
            assert!(output[..2].iter().all(|value| value.is_nan()));
            for (place, found) in output[2..].iter().enumerate() {
                let (first, channel) = (place - place % channels, place % channels);
                let around = channel.saturating_sub(2)..channels.min(channel + 3);
                let sum: f64 = around.map(|channel| f64::from(input[1 + first + channel]).powi(2)).sum();
                let expected = f64::from(input[1 + place]) / (2.0 + 1e-4 * sum).powf(0.75);
                assert!((f64::from(*found) - expected).abs() <= 1e-6 * expected.abs(), "{place}: {found}, {expected}");
            }
        }
    }
}

/// NaN of either sign, infinity, and values whose squares are beyond the range of floats spoil those around them and no others.
pub(super) fn check_norm_of_no_numbers(kernels: &Kernels) {
    for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let mut input = [1.0; 32];
        input[20] = value;
        let mut output = [0.0; 32];
        assert_eq!(kernels.norm(NormRow { input: &input, channels: 32, output: &mut output }), Ok(()));
        assert!(output[..18].iter().chain(&output[23..]).all(|value| value.is_finite() && *value > 0.0));
        assert!(!output[20].is_finite());
    }
}

pub(super) fn check_direct(kernels: &Kernels) {
    // Rows and runs of a window, values of a run, what lies between two runs, positions and the step from one to the next,
    // channels.
    let shapes = [
        (1, 1, 1, 1, 1, 1, 16_usize),
        (5, 1, 5, 7, 28, 1, 16),
        (3, 1, 9, 9, 13, 6, 32),
        (3, 3, 6, 16, 10, 16, 48),
        (2, 2, 33, 48, 7, 96, 64),
        (1, 1, 16, 16, 19, 16, 80),
        (4, 2, 3, 4, 9, 8, 96),
    ];
    for (kernel, segments, segment, between, columns, step, pixel) in some(&shapes) {
        let row = (segments - 1) * between + segment + (columns - 1) * step + 3;
        let depth = kernel * segments * segment;
        let seed = (depth * 100 + columns) as u64;
        let input = values(seed, 1 + kernel * row);
        let input = &input[1..];
        let blocks = pixel.div_ceil(BLOCK);
        let weights = values(seed + 1, blocks * depth * BLOCK);
        let bias = values(seed + 2, blocks * BLOCK);
        let direct = |input: &[f32], output: &mut [f32]| {
            let (weights, bias) = (&weights[..], &bias[..]);
            let call =
                ConvRow { input, kernel, row, segments, between, segment, step, weights, bias, columns, pixel, output };
            assert_eq!(kernels.direct(call), Ok(()));
        };
        let mut output = vec![f32::NAN; columns * pixel];
        direct(input, &mut output);
        for (place, found) in output.iter().enumerate() {
            let (column, channel) = (place / pixel, place % pixel);
            let (mut sum, mut magnitude) = (f64::from(bias[channel]), 1.0);
            for i in 0..depth {
                let (k, l, c) = (i / segment / segments, i / segment % segments, i % segment);
                let weight = f64::from(weights[(channel / BLOCK * depth + i) * BLOCK + channel % BLOCK]);
                let product = weight * f64::from(input[k * row + l * between + c + column * step]);
                sum += product;
                magnitude += product.abs();
            }
            let error = (f64::from(*found) - sum.max(0.0)).abs();
            assert!(error <= rounding(depth, magnitude), "{kernel} {segments} {segment}: {found} is not {sum}");
        }
        // ReLU passes NaN on, and a NaN stays in the windows that have it.
        let mut spoilt = input.to_vec();
        spoilt[0] = f32::NAN;
        let mut second = vec![0.0; columns * pixel];
        direct(&spoilt, &mut second);
        assert!(second[..pixel].iter().all(|value| value.is_nan()));
        let rest = (segment.max(segments * between).div_ceil(step) * pixel).min(output.len());
        assert_eq!(second[rest..], output[rest..]);
    }
}
