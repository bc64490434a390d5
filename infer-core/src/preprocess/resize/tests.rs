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

/// The same operations on the same values, output by output: `outputs` of the resized columns and rows.
fn output_by_output(
    (width, height): (usize, usize),
    (columns, rows): (usize, usize),
    mut pixel: impl FnMut(usize, usize) -> f32,
) -> std::vec::Vec<f32> {
    let (across, down) = (Axis { sources: width, outputs: columns }, Axis { sources: height, outputs: rows });
    let mut output = std::vec![0.0; columns * rows];
    for y in 0..height {
        let mut line = std::vec![0.0; columns];
        for (o, value) in line.iter_mut().enumerate() {
            let (mut sum, mut total) = (0.0, 0.0);
            for x in across.sources_of(o) {
                let weight = across.weight(x, o);
                sum += weight * pixel(x, y);
                total += weight;
            }
            *value = sum / total;
        }
        for o in down.outputs_of(y) {
            let weight = down.weight(y, o);
            for (sum, value) in output[o * columns..][..columns].iter_mut().zip(&line) {
                *sum += weight * value;
            }
        }
    }
    for (o, row) in output.chunks_exact_mut(columns).enumerate() {
        let total: f32 = down.sources_of(o).map(|y| down.weight(y, o)).sum();
        row.iter_mut().for_each(|sum| *sum /= total);
    }
    output
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
    let mut output = std::vec![[f32::NAN; W]; rows];
    let mut asked = 0;
    let pixel = |x, y| {
        assert_eq!((x, y), (asked % width, asked / width));
        asked += 1;
        value(x, y, seed)
    };
    resize_bilinear(width, height, pixel, &mut output).unwrap();
    assert_eq!(asked, width * height);
    let expected = output_by_output((width, height), (W, rows), |x, y| value(x, y, seed));
    for (i, (ours, expected)) in output.as_flattened().iter().zip(&expected).enumerate() {
        let same = ours.to_bits() == expected.to_bits() || ours.is_nan() && expected.is_nan();
        assert!(same, "{width}×{height} to {W}×{rows}, seed {seed}: {ours} is not {expected} at {i}");
    }
}

/// Compares a crop of two channels with the whole resized image of each, in all bits.
fn equals_a_crop_of_all<const H: usize, const W: usize>(width: usize, height: usize, short: usize, seed: u32) {
    let long = short * width.max(height) / width.min(height);
    let (columns, rows) = if width <= height { (short, long) } else { (long, short) };
    // As torchvision: round(), whose halves become even, of a quotient.
    let begin = |side: usize, cut: usize| ((side - cut) as f64 / 2.0).round_ties_even() as usize;
    let (left, top) = (begin(columns, W), begin(rows, H));
    let seeds = [seed, seed ^ 0x5a5a];
    let mut output = [[[f32::NAN; W]; H]; 2];
    let mut last = None;
    let pixel = |x, y| {
        assert!(x < width && y < height && last < Some((y, x)), "{x}, {y} behind {last:?}");
        last = Some((y, x));
        seeds.map(|seed| value(x, y, seed))
    };
    resize_channels(Resize::ShorterSide(short), width, height, pixel, &mut output).unwrap();
    for (plane, seed) in output.iter().zip(seeds) {
        let all = output_by_output((width, height), (columns, rows), |x, y| value(x, y, seed));
        for (y, row) in plane.iter().enumerate() {
            for (x, ours) in row.iter().enumerate() {
                let expected = all[(top + y) * columns + left + x];
                let same = ours.to_bits() == expected.to_bits() || ours.is_nan() && expected.is_nan();
                assert!(
                    same,
                    "{width}×{height} by {short} to {W}×{H}, seed {seed}: {ours}, not {expected} at {x}, {y}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn a_crop_is_part_of_the_whole_in_all_bits(width in 1_usize..60, height in 1_usize..60, more in 0_usize..30, seed: u32) {
        equals_a_crop_of_all::<7, 7>(width, height, 7 + more, seed);
        equals_a_crop_of_all::<3, 10>(width, height, 10 + more, seed);
        equals_a_crop_of_all::<24, 24>(width, height, 24 + more, seed);
        equals_a_crop_of_all::<1, 1>(width, height, 1 + more, seed);
        equals_a_crop_of_all::<12, 12>(width, width, 12 + more, seed);
    }

    #[test]
    fn parts_make_up_the_whole_in_all_bits(
        width in 1_usize..60, height in 1_usize..60, columns in 6_usize..50, rows in 4_usize..50, seed: u32,
    ) {
        let all = output_by_output((width, height), (columns, rows), |x, y| value(x, y, seed));
        for (left, top) in [(0, 0), (columns - 6, rows - 4), ((columns - 6) / 2, (rows - 4) / 3)] {
            let mut part = [[[0.0; 6]; 4]];
            let pixel = |x, y| [value(x, y, seed)];
            resize_part((width, height), (columns, rows), (left, top), pixel, &mut part).unwrap();
            for (y, row) in part[0].iter().enumerate() {
                let expected = &all[(top + y) * columns + left..][..6];
                let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                prop_assert!(row.iter().zip(expected).all(same), "{row:?} is not {expected:?}");
            }
        }
    }

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
    let mut planes = [[[0.0; 4]; 6]; 1];
    let mut crop =
        |short, width, height| resize_channels(Resize::ShorterSide(short), width, height, |_, _| [0.0], &mut planes);
    assert_eq!(crop(5, 9, 9), Err(PreprocessError::Crop { expected: 6, found: 5 }));
    assert_eq!(crop(6, 0, 9), Err(PreprocessError::Empty));
    assert_eq!(crop(6, 1, side), Err(PreprocessError::TooLarge { side }));
    assert_eq!(crop(6, 1, MAX_SIDE / 2), Err(PreprocessError::TooLarge { side: 3 * MAX_SIDE }));
    assert_eq!(crop(usize::MAX, 2, 3), Err(PreprocessError::TooLarge { side: (u64::MAX / 2) as usize }));
    assert_eq!(crop(6, 3, 3), Ok(()));
    let mut part = |sides, place| resize_part((9, 9), sides, place, |_, _| [0.0], &mut planes);
    assert_eq!(part((20, 20), (16, 14)), Ok(()));
    assert_eq!(part((20, 20), (17, 0)), Err(PreprocessError::Crop { expected: 21, found: 20 }));
    assert_eq!(part((20, 20), (0, usize::MAX)), Err(PreprocessError::Crop { expected: usize::MAX, found: 20 }));
    assert_eq!(part((0, 20), (0, 0)), Err(PreprocessError::Empty));
    assert_eq!(part((20, side), (0, 0)), Err(PreprocessError::TooLarge { side }));
}
