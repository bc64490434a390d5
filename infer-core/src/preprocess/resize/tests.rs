//! The resize against its formula, and bit for bit against a straightforward one that computes every weight where it is used.

use super::*;
use core::ops::Range;
use proptest::prelude::*;

/// The formula of the documentation, position by position, in f64.
fn oracle(width: usize, height: usize, source: &[f32], rows: usize, columns: usize) -> std::vec::Vec<f64> {
    let weight = |s: usize, o: usize, sources: usize, outputs: usize| {
        let scale = sources as f64 / outputs as f64;
        (1.0 - ((s as f64 + 0.5) - (o as f64 + 0.5) * scale).abs() / scale.max(1.0)).max(0.0)
    };
    let mut output = std::vec::Vec::new();
    for oy in 0..rows {
        for ox in 0..columns {
            let (mut sum, mut total) = (0.0, 0.0);
            for y in 0..height {
                for x in 0..width {
                    let w = weight(y, oy, height, rows) * weight(x, ox, width, columns);
                    sum += w * f64::from(source[y * width + x]);
                    total += w;
                }
            }
            output.push(sum / total);
        }
    }
    output
}

/// The same operations on the same values, output by output.
fn output_by_output<const W: usize>(
    width: usize,
    height: usize,
    mut pixel: impl FnMut(usize, usize) -> f32,
    output: &mut [[f32; W]],
) {
    let columns = Axis { sources: width, outputs: W };
    let rows = Axis { sources: height, outputs: output.len() };

    output.as_flattened_mut().fill(0.0);
    for y in 0..height {
        let mut line = [0.0; W];
        for (o, value) in line.iter_mut().enumerate() {
            let (mut sum, mut total) = (0.0, 0.0);
            for x in columns.sources_of(o) {
                let weight = columns.weight(x, o);
                sum += weight * pixel(x, y);
                total += weight;
            }
            *value = sum / total;
        }
        for (o, row) in output.iter_mut().enumerate().take(rows.outputs_of(y).end).skip(rows.outputs_of(y).start) {
            let weight = rows.weight(y, o);
            for (sum, value) in row.iter_mut().zip(&line) {
                *sum += weight * value;
            }
        }
    }
    for (o, row) in output.iter_mut().enumerate() {
        let total: f32 = rows.sources_of(o).map(|y| rows.weight(y, o)).sum();
        for sum in row {
            *sum /= total;
        }
    }
}

/// One axis of a resize. Positions are kept as integers, in units of `1 / (2 · outputs)` source pixels, so that windows
/// and weights are exact at any size.
struct Axis {
    sources: usize,
    outputs: usize,
}

impl Axis {
    /// Half the width of the triangle filter: one pixel of whichever grid is coarser.
    fn support(&self) -> i64 {
        2 * self.sources.max(self.outputs) as i64
    }

    /// Weight of `source` in `output`, 0 to 1, before normalisation.
    fn weight(&self, source: usize, output: usize) -> f32 {
        let distance = (2 * source as i64 + 1) * self.outputs as i64 - (2 * output as i64 + 1) * self.sources as i64;
        (1.0 - distance.unsigned_abs() as f32 / self.support() as f32).max(0.0)
    }

    /// The source positions with a weight above 0 in `output`.
    fn sources_of(&self, output: usize) -> Range<usize> {
        window(self.outputs, (2 * output as i64 + 1) * self.sources as i64, self.support(), self.sources)
    }

    /// The output positions in which `source` has a weight above 0.
    fn outputs_of(&self, source: usize) -> Range<usize> {
        window(self.sources, (2 * source as i64 + 1) * self.outputs as i64, self.support(), self.outputs)
    }
}

/// The positions `p < end` with `|(2p + 1) · step − centre| < support`.
fn window(step: usize, centre: i64, support: i64, end: usize) -> Range<usize> {
    let step = (step as i64).max(1);
    let first = ((centre - support).max(0) / step + 1) / 2;
    let last = ((centre + support + step - 1) / step) / 2;
    first as usize..(last as usize).min(end)
}

/// The value of a pixel made of a seed: of an image, or of those that no image should have but a sum must not lose.
fn value(x: usize, y: usize, seed: u32) -> f32 {
    let bits = (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77) ^ seed;
    let bits = bits.wrapping_mul(0xc2b2_ae3d);
    let bits = (bits ^ bits >> 15).wrapping_mul(0x27d4_eb2f);
    match seed % 4 {
        0 => f32::from_bits(bits),
        1 => -((bits >> 30) as f32),
        2 => (bits >> 8) as f32 / 16_777_216.0,
        _ => super::super::gray((bits >> 24) as u8),
    }
}

/// Compares all bits, but for those of NaNs, and demands that each pixel was asked for once and in order.
fn equals_output_by_output<const W: usize>(width: usize, height: usize, rows: usize, seed: u32) {
    let (mut output, mut expected) = (std::vec![[f32::NAN; W]; rows], std::vec![[f32::NAN; W]; rows]);
    let mut asked = 0;
    let pixel = |x, y| {
        assert_eq!((x, y), (asked % width, asked / width));
        asked += 1;
        value(x, y, seed)
    };
    resize_bilinear(width, height, pixel, &mut output).unwrap();
    assert_eq!(asked, width * height);
    output_by_output(width, height, |x, y| value(x, y, seed), &mut expected);
    for (i, (ours, expected)) in output.as_flattened().iter().zip(expected.as_flattened()).enumerate() {
        let same = ours.to_bits() == expected.to_bits() || ours.is_nan() && expected.is_nan();
        assert!(same, "{width}×{height} to {W}×{rows}, seed {seed}: {ours} is not {expected} at {i}");
    }
}

proptest! {
    #[test]
    fn equals_output_by_output_in_all_bits(width in 1_usize..400, height in 1_usize..400, rows in 1_usize..300, seed: u32) {
        equals_output_by_output::<5>(width, height, rows, seed);
        equals_output_by_output::<23>(width, height, rows, seed);
        equals_output_by_output::<28>(width, height, 28, seed);
        equals_output_by_output::<224>(width, height, 224, seed);
    }

    #[test]
    fn equals_output_by_output_where_the_sides_are_related(side in 1_usize..40, times in 1_usize..9, seed: u32) {
        equals_output_by_output::<28>(28 * times, side, side * times, seed);
        equals_output_by_output::<224>(224 / times.next_power_of_two(), side * times, side, seed);
        equals_output_by_output::<28>(28, side, side, seed);
    }

    #[test]
    fn equals_the_formula(width in 1_usize..60, height in 1_usize..60, rows in 1_usize..40, seed: u32) {
        let source: std::vec::Vec<f32> = (0..width * height)
            .map(|i| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 16_777_216.0)
            .collect();
        let mut output = std::vec![[0.0; 23]; rows];
        resize_bilinear(width, height, |x, y| source[y * width + x], &mut output).unwrap();
        for (ours, expected) in output.as_flattened().iter().zip(oracle(width, height, &source, rows, 23)) {
            prop_assert!((f64::from(*ours) - expected).abs() < 1e-5, "{ours} is not {expected}");
        }
    }
}

#[test]
fn same_size_changes_nothing() {
    let mut output = [[0.0; 5]; 3];
    resize_bilinear(5, 3, |x, y| (x * 10 + y) as f32, &mut output).unwrap();
    for (y, row) in output.iter().enumerate() {
        for (x, value) in row.iter().enumerate() {
            assert_eq!(*value, (x * 10 + y) as f32);
        }
    }
}

#[test]
fn large_sides_equal_output_by_output_in_all_bits() {
    for seed in 0..4 {
        for width in [511, 512, 513, 1021, 4000, 3999] {
            equals_output_by_output::<5>(width, 3, 2, seed);
            equals_output_by_output::<28>(width, 7, 11, seed);
            equals_output_by_output::<224>(width, 30, 30, seed);
            equals_output_by_output::<1021>(width, 3, 4, seed);
            equals_output_by_output::<28>(width / 200, width, 9, seed);
            equals_output_by_output::<5>(3, 2, width, seed);
        }
    }
    for side in [MAX_SIDE - 1, MAX_SIDE] {
        equals_output_by_output::<28>(side, 1, 1, 2);
        equals_output_by_output::<2>(1, side, 5, 2);
    }
}

#[test]
fn an_output_without_values_asks_for_nothing() {
    assert_eq!(resize_bilinear(4, 4, |_, _| unreachable!(), &mut [[0.0; 0]; 3]), Ok(()));
    assert_eq!(resize_bilinear(4, 4, |_, _| unreachable!(), &mut [[0.0; 3]; 0]), Ok(()));
}

#[test]
fn refusals() {
    let mut output = [[0.0; 4]; 4];
    assert_eq!(resize_bilinear(0, 4, |_, _| 0.0, &mut output), Err(PreprocessError::Empty));
    assert_eq!(resize_bilinear(4, 0, |_, _| 0.0, &mut output), Err(PreprocessError::Empty));
    let side = MAX_SIDE + 1;
    assert_eq!(resize_bilinear(side, 1, |_, _| 0.0, &mut output), Err(PreprocessError::TooLarge { side }));
}
