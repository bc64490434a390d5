//! Transforms of every backend against their definitions, with the matrices of the literature, bit by bit.

use super::*;
use crate::int8::tests::{available, numbers};
use crate::layout::{BLOCK, Misfit};
use crate::winograd::image_tile::ImageTile;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

/// A matrix for tiles of either size.
type Matrix = &'static [&'static [i64]];

/// `Bᵀ` (Lavin & Gray 2016, section 4.1 and its F(4×4, 3×3), whose points are those of F(2×2, 5×5)).
const INPUT: [Matrix; 2] = [
    &[&[-1, 0, 1, 0], &[0, 1, 1, 0], &[0, -1, 1, 0], &[0, -1, 0, 1]],
    &[
        &[4, 0, -5, 0, 1, 0],
        &[0, -4, -4, 1, 1, 0],
        &[0, 4, -4, -1, 1, 0],
        &[0, -2, -1, 2, 1, 0],
        &[0, 2, -1, -2, 1, 0],
        &[0, 4, 0, -5, 0, 1],
    ],
];

/// `G` without its fractions.
const FILTER: [Matrix; 2] = [
    &[&[1, 0, 0], &[1, 1, 1], &[1, -1, 1], &[0, 0, 1]],
    &[&[1, 0, 0, 0, 0], &[1, 1, 1, 1, 1], &[1, -1, 1, -1, 1], &[1, 2, 4, 8, 16], &[1, -2, 4, -8, 16], &[0, 0, 0, 0, 1]],
];

/// The fractions.
const DIVISORS: [&[i64]; 2] = [&[-1, 2, 2, 1], &[4, -6, -6, 24, 24, 1]];

/// `M·x·Mᵀ`, where `x(i, j)` has as many rows and columns as the matrix has columns.
fn both_sides(matrix: Matrix, x: impl Fn(usize, usize) -> i64) -> Vec<i64> {
    let n = matrix.len();
    let sum = |i: usize, j: usize| -> i64 {
        let products = matrix[i].iter().enumerate().flat_map(|(a, left)| {
            let x = &x;
            matrix[j].iter().enumerate().map(move |(b, right)| left * x(a, b) * right)
        });
        products.sum()
    };
    (0..n * n).map(|place| sum(place / n, place % n)).collect()
}

/// `Aᵀ·m` as the documentation says.
fn side(m: &[f32]) -> [f32; 2] {
    match *m {
        [a, b, c, d] => [a + (b + c), (b - c) + d],
        [a, b, c, d, e, f] => [(a + (b + c)) + (d + e), ((b - c) + 2.0 * (d - e)) + f],
        _ => unreachable!("tiles have a side of 4 or 6"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

    #[test]
    fn tiles_of_inputs_equal_the_definition_in_every_bit(
        five: bool, seed: u64, extreme: bool, limit in 0_i64..=127, blocks in 1_usize..20,
        (height, width, top, left) in (1_usize..8, 1_usize..8, -3_isize..8, -3_isize..8),
    ) {
        let tile = Int8Tile::ALL[usize::from(five)];
        let (n, channels) = (tile.inputs(), 32 * blocks);
        let mut next = numbers(seed, extreme, 0, limit);
        let image: Vec<u8> = (0..height * width * channels).map(|_| next() as u8).collect();
        let pixel = |i: usize, j: usize, channel: usize| {
            let (y, x) = (top + i as isize, left + j as isize);
            let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
            if inside { i64::from(image[(y as usize * width + x as usize) * channels + channel]) } else { 0 }
        };
        let values: Vec<Vec<i64>> = (0..channels)
            .map(|channel| both_sides(INPUT[usize::from(five)], |i, j| pixel(i, j, channel)))
            .collect();
        let plane = channels + 5;
        for kernels in available() {
            let (mut output, mut scales) = (vec![200; n * n * plane], vec![0.0; n * n]);
            let image = ImageTile { image: &image[..], height, width, channels, top, left };
            let call = Int8InputTile { image, output: &mut output, plane, scales: &mut scales };
            prop_assert_eq!(kernels.input(tile, call), Ok(()));
            for place in 0..n * n {
                let greatest = values.iter().map(|values| values[place].abs()).max().unwrap().max(1);
                let mut shift = 0;
                while greatest << shift < 8192 {
                    shift += 1;
                }
                let multiplier = (127 << 15) / (greatest << shift);
                prop_assert_eq!(scales[place], (1_i64 << (15 - shift)) as f32 / multiplier as f32);
                for channel in 0..plane {
                    let found = output[place * plane + channel];
                    let expected = values.get(channel).map_or(200, |values| {
                        let value = ((values[place] << shift) * multiplier + (1 << 14)) >> 15;
                        assert!(value.abs() <= 127);
                        (value + i64::from(kernels.offset())) as u8
                    });
                    prop_assert_eq!(found, expected, "position {}, channel {}", place, channel);
                }
            }
        }
    }

    #[test]
    fn filters_equal_the_definition_in_every_bit(
        five: bool, seed: u64, extreme: bool, limit in 0_i64..=127, quads in 1_usize..9,
    ) {
        let tile = Int8Tile::ALL[usize::from(five)];
        let (r, n, channels) = (tile.kernel(), tile.inputs(), 4 * quads);
        let mut next = numbers(seed, extreme, -limit, limit);
        let weights: Vec<i8> = (0..r * r * channels * 16).map(|_| next() as i8).collect();
        let weight = |row: usize, column: usize, channel: usize, output: usize| {
            i64::from(weights[(((row * r + column) * quads + channel / 4) * 16 + output) * 4 + channel % 4])
        };
        let mut next = numbers(seed ^ 1, false, 1, 1 << 30);
        let output_scales: Vec<f32> = (0..16).map(|_| next() as f32 * 1e-12).collect();
        let (plane, outputs) = (channels * 16 + 64, 19);
        for kernels in available() {
            let mut transformed = vec![-128; n * n * plane];
            let (mut sums, mut scales) = (vec![i32::MAX; n * n * outputs], vec![-1.0; n * n * outputs]);
            let call = Int8Filters {
                weights: &weights,
                channels,
                output_scales: &output_scales,
                transformed: &mut transformed,
                plane,
                sums: &mut sums,
                scales: &mut scales,
                outputs,
            };
            prop_assert_eq!(kernels.filters(tile, call), Ok(()));
            for output in 0..16 {
                let values: Vec<Vec<i64>> = (0..channels)
                    .map(|channel| both_sides(FILTER[usize::from(five)], |row, column| weight(row, column, channel, output)))
                    .collect();
                for place in 0..n * n {
                    let pairs = values.chunks(2).map(|pair| pair[0][place].abs() + pair[1][place].abs());
                    let greatest = pairs.max().unwrap().max(1);
                    let mut sum = 0;
                    for (channel, values) in values.iter().enumerate() {
                        let expected = (values[place] as f32 * (127.0 / greatest as f32)).round_ties_even() as i64;
                        let found = transformed[place * plane + (channel / 4 * 16 + output) * 4 + channel % 4];
                        prop_assert_eq!(i64::from(found), expected);
                        sum += expected;
                    }
                    let divisor = DIVISORS[usize::from(five)][place / n] * DIVISORS[usize::from(five)][place % n];
                    let scale = greatest as f32 / 127.0 * output_scales[output] / divisor as f32;
                    prop_assert_eq!(scales[place * outputs + output], scale);
                    prop_assert_eq!(i64::from(sums[place * outputs + output]), -i64::from(kernels.offset()) * sum);
                }
            }
            let rest = |place: usize, used: usize, all: usize| place % all >= used;
            prop_assert!(transformed.iter().enumerate().all(|(i, value)| *value == -128 || !rest(i, plane - 64, plane)));
            prop_assert!(scales.iter().enumerate().all(|(i, value)| *value == -1.0 || !rest(i, 16, outputs)));
        }
    }

    #[test]
    fn products_equal_the_definition_in_every_bit(
        five: bool, seed: u64, extreme: bool, quads in 1_usize..40, tiles in 1_usize..30, gap in 0_usize..40,
    ) {
        let tile = Int8Tile::ALL[usize::from(five)];
        let (planes, channels) = (tile.planes(), 4 * quads);
        let (inputs_plane, weights_plane) = (tiles * channels + gap, BLOCK * channels + gap);
        let (start_plane, sums_plane) = (BLOCK + gap, tiles * BLOCK + gap);
        let mut next = numbers(seed, extreme, -127, 127);
        let values: Vec<i64> = (0..planes * inputs_plane).map(|_| next()).collect();
        let mut next = numbers(seed ^ 1, extreme, -127, 127);
        let mut weights: Vec<i8> = (0..planes * weights_plane).map(|_| next() as i8).collect();
        for pair in weights.chunks_mut(weights_plane).flat_map(|plane| plane.chunks_exact_mut(2)) {
            let most = (128 - i32::from(pair[0]).abs()).min(127) as i8;
            pair[1] = pair[1].clamp(-most, most);
        }
        let mut next = numbers(seed ^ 2, extreme, -(1 << 30), 1 << 30);
        let start: Vec<i32> = (0..planes * start_plane).map(|_| next() as i32).collect();
        for kernels in available() {
            let offset = i64::from(kernels.offset());
            let inputs: Vec<u8> = values.iter().map(|value| (value + offset) as u8).collect();
            let mut sums = vec![i32::MIN; planes * sums_plane];
            let call = Int8Products {
                planes,
                inputs: &inputs,
                inputs_plane,
                channels,
                tiles,
                weights: &weights,
                weights_plane,
                ahead: gap % 2 == 0,
                start: &start,
                start_plane,
                sums: &mut sums,
                sums_plane,
            };
            prop_assert_eq!(kernels.products(call), Ok(()));
            for (place, sum) in sums.iter().enumerate() {
                let (plane, at, output) = (place / sums_plane, place % sums_plane / BLOCK, place % sums_plane % BLOCK);
                if at >= tiles {
                    prop_assert_eq!(*sum, i32::MIN);
                    continue;
                }
                let products = (0..channels).map(|channel| {
                    let weight = (output / 16 * quads + channel / 4) * 64 + output % 16 * 4 + channel % 4;
                    let input = values[plane * inputs_plane + at * channels + channel] + offset;
                    input * i64::from(weights[plane * weights_plane + weight])
                });
                prop_assert_eq!(i64::from(*sum), products.sum::<i64>() + i64::from(start[plane * start_plane + output]));
            }
        }
    }

    #[test]
    fn tiles_of_outputs_equal_the_definition_in_every_bit(
        five: bool, seed: u64, rows in 1_usize..=2, columns in 1_usize..=2, gap in 0_usize..40, exponent in -4_i32..24,
    ) {
        let tile = Int8Tile::ALL[usize::from(five)];
        let n = tile.inputs();
        let (plane, outputs, stride) = (BLOCK + gap, BLOCK + gap / 2, columns * BLOCK + gap);
        let mut next = numbers(seed, false, -(1 << 24), 1 << 24);
        let mut floats = |count: usize, scale: f32| -> Vec<f32> { (0..count).map(|_| next() as f32 * scale).collect() };
        let (tile_scales, scales) = (floats(n * n, 2.0_f32.powi(-24)), floats(n * n * outputs, 2.0_f32.powi(-24 - exponent)));
        let bias = floats(BLOCK, 2.0_f32.powi(-18));
        let products: Vec<i32> = (0..n * n * plane).map(|_| next() as i32).collect();
        for kernels in available() {
            let mut output = vec![201; (rows - 1) * stride + columns * BLOCK];
            let call = Int8OutputTile {
                products: &products,
                plane,
                tile_scales: &tile_scales,
                scales: &scales,
                outputs,
                bias: &bias,
                output: &mut output,
                stride,
                rows,
                columns,
            };
            prop_assert_eq!(kernels.output(tile, call), Ok(()));
            let mut expected = vec![201; output.len()];
            for channel in 0..BLOCK {
                let m = |i: usize, j: usize| {
                    let place = i * n + j;
                    products[place * plane + channel] as f32 * scales[place * outputs + channel] * tile_scales[place]
                };
                let sides: Vec<[f32; 2]> =
                    (0..n).map(|j| side(&(0..n).map(|i| m(i, j)).collect::<Vec<_>>())).collect();
                for row in 0..rows {
                    let y = side(&sides.iter().map(|side| side[row]).collect::<Vec<_>>());
                    for column in 0..columns {
                        let value = (y[column] + bias[channel]).clamp(0.0, 127.0).round_ties_even();
                        expected[row * stride + column * BLOCK + channel] = value as u8;
                    }
                }
            }
            prop_assert_eq!(&output, &expected);
        }
    }
}

/// Kernels are safe to call because of these checks.
#[test]
fn sizes_of_tiles_that_do_not_hold_are_seen() {
    let kernels = available()[0];
    let image = [0_u8; 4 * 4 * 32];
    let input = |length: usize, channels: usize, plane: usize, room: usize, scales: usize| {
        let image = ImageTile { image: &image[..length], height: 4, width: 4, channels, top: 0, left: 0 };
        let call = Int8InputTile { image, output: &mut vec![0; room], plane, scales: &mut vec![0.0; scales] };
        kernels.input(Int8Tile::F2x3, call)
    };
    assert_eq!(input(512, 32, 32, 512, 16), Ok(()));
    for (length, channels, plane, room, scales) in [
        (511, 32, 32, 512, 16),
        (256, 16, 16, 512, 16),
        (0, 0, 32, 512, 16),
        (512, 32, 33, 512, 16),
        (512, 32, usize::MAX, 512, 16),
        (512, 32, 32, 511, 16),
        (512, 32, 32, 512, 15),
    ] {
        assert_eq!(input(length, channels, plane, room, scales), Err(Misfit));
    }
    let filters = |weights: usize, channels: usize, room: usize, plane: usize, numbers: usize, output_scales: usize| {
        let call = Int8Filters {
            weights: &vec![0; weights],
            channels,
            output_scales: &vec![1.0; output_scales],
            transformed: &mut vec![0; room],
            plane,
            sums: &mut vec![0; numbers],
            scales: &mut vec![0.0; numbers],
            outputs: 16,
        };
        kernels.filters(Int8Tile::F2x3, call)
    };
    assert_eq!(filters(9 * 64, 4, 16 * 64, 64, 256, 16), Ok(()));
    for (weights, channels, room, plane, numbers, scales) in [
        (9 * 64 - 1, 4, 1024, 64, 256, 16),
        (9 * 64, 5, 1024, 64, 256, 16),
        (9 * 64, usize::MAX - 3, 1024, 64, 256, 16),
        (9 * 64, 4, 1023, 64, 256, 16),
        (9 * 64, 4, 1024, 65, 256, 16),
        (9 * 64, 4, 1024, usize::MAX, 256, 16),
        (9 * 64, 4, 1024, 64, 255, 16),
        (9 * 64, 4, 1024, 64, 256, 15),
    ] {
        assert_eq!(filters(weights, channels, room, plane, numbers, scales), Err(Misfit));
    }
    let output =
        |products: usize, numbers: usize, tiles: usize, bias: usize, room: usize, rows: usize, stride: usize| {
            let call = Int8OutputTile {
                products: &vec![0; products],
                plane: 32,
                tile_scales: &vec![1.0; tiles],
                scales: &vec![1.0; numbers],
                outputs: 32,
                bias: &vec![0.0; bias],
                output: &mut vec![0; room],
                stride,
                rows,
                columns: 2,
            };
            kernels.output(Int8Tile::F2x3, call)
        };
    assert_eq!(output(512, 512, 16, 32, 128, 2, 64), Ok(()));
    for (products, numbers, tiles, bias, room, rows, stride) in [
        (511, 512, 16, 32, 128, 2, 64),
        (512, 511, 16, 32, 128, 2, 64),
        (512, 512, 15, 32, 128, 2, 64),
        (512, 512, 16, 31, 128, 2, 64),
        (512, 512, 16, 32, 127, 2, 64),
        (512, 512, 16, 32, 128, 3, 64),
        (512, 512, 16, 32, 128, 0, 64),
        (512, 512, 16, 32, 128, 2, 63),
        (512, 512, 16, 32, 128, 2, 65),
        (512, 512, 16, 32, 128, 2, usize::MAX),
    ] {
        assert_eq!(output(products, numbers, tiles, bias, room, rows, stride), Err(Misfit));
    }
    let products = |[planes, inputs, channels, tiles, weights, plane, start, sums]: [usize; 8]| {
        let call = Int8Products {
            planes,
            inputs: &vec![0; inputs],
            inputs_plane: 8,
            channels,
            tiles,
            weights: &vec![0; weights],
            weights_plane: plane,
            ahead: true,
            start: &vec![0; start],
            start_plane: 32,
            sums: &mut vec![0; sums],
            sums_plane: 64,
        };
        kernels.products(call)
    };
    assert_eq!(products([16, 128, 4, 2, 2048, 128, 512, 1024]), Ok(()));
    for sizes in [
        [0, 128, 4, 2, 2048, 128, 512, 1024],
        [17, 128, 4, 2, 2048, 128, 512, 1024],
        [16, 127, 4, 2, 2048, 128, 512, 1024],
        [16, 128, 5, 2, 2048, 128, 512, 1024],
        [16, 128, usize::MAX - 3, 2, 2048, 128, 512, 1024],
        [16, 128, 4, 3, 2048, 128, 512, 1024],
        [16, 128, 4, usize::MAX, 2048, 128, 512, 1024],
        [16, 128, 4, 2, 2047, 128, 512, 1024],
        [16, 128, 4, 2, 2048, 129, 512, 1024],
        [16, 128, 4, 2, 2048, usize::MAX, 512, 1024],
        [16, 128, 4, 2, 2048, 128, 511, 1024],
        [16, 128, 4, 2, 2048, 128, 512, 1023],
    ] {
        assert_eq!(products(sizes), Err(Misfit));
    }
}
