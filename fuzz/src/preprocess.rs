//! The resize beside its formula in f64, for images and outputs of a few sizes.

use infer_core::preprocess::{PreprocessError, gray, gray_frame, resize_bilinear};

use crate::{Input, planted_fault};

/// The longest side of an image.
const LONGEST: usize = 100;

/// Runs the target: width, height, which output, then pixels, again and again.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let [width, height, output] = input.bytes::<3>().map(usize::from);
    let [width, height] = [width, height].map(|side| side % (LONGEST + 1));
    let pixels = if input.is_empty() { &[0] } else { input.0 };
    match output % 4 {
        0 => compare::<1>(width, height, pixels, 1),
        1 => compare::<5>(width, height, pixels, 3),
        2 => compare::<12>(width, height, pixels, 17),
        _ => compare::<28>(width, height, pixels, 28),
    }
}

fn compare<const W: usize>(width: usize, height: usize, pixels: &[u8], rows: usize) {
    let pixel = |x: usize, y: usize| {
        assert!(x < width && y < height, "a pixel outside of the image");
        pixels[(y * width + x) % pixels.len()]
    };
    let mut output = vec![[f32::NAN; W]; rows];
    let mut asked = 0;
    let found = resize_bilinear(
        width,
        height,
        |x, y| {
            assert_eq!(asked, y * width + x, "pixels come in order, each once");
            asked += 1;
            gray(pixel(x, y))
        },
        &mut output,
    );
    if width == 0 || height == 0 {
        return assert_eq!(found, Err(PreprocessError::Empty));
    }
    found.expect("the sides are short");
    let (columns, lines) = (weights(width, W), weights(height, rows));
    // Each source's product is rounded, and each sum, upwards or downwards.
    let rounded = 1e-6 + f64::from(f32::EPSILON) / 2.0 * (width + height) as f64;
    // Columns first, then rows.
    let narrow: Vec<f64> = (0..height)
        .flat_map(|y| columns.iter().map(move |weights| (y, weights)))
        .map(|(y, weights)| weights.iter().map(|(x, weight)| weight * f64::from(pixel(*x, y)) / 255.0).sum())
        .collect();
    for (row, weights) in output.iter().zip(&lines) {
        for (column, value) in row.iter().enumerate() {
            let expected: f64 = weights.iter().map(|(y, weight)| weight * narrow[y * W + column]).sum();
            assert!(
                (f64::from(*value) - expected).abs() < rounded,
                "{width}×{height} to {W}×{rows}: {value}, {expected}"
            );
        }
    }
    let frame: Vec<u8> = (0..width * height).map(|place| pixels[place % pixels.len()]).collect();
    let mut direct = vec![[0.0; W]; rows];
    match gray_frame(&frame, &mut direct) {
        Ok(()) => assert!(width * height == W * rows && ((width, height) != (W, rows) || direct == output)),
        Err(error) => assert_eq!(error, PreprocessError::Frame { expected: W * rows, found: frame.len() }),
    }
    planted_fault(|| width == 3 * W && pixel(0, 0) > 200);
}

/// For each output, the sources that it is the mean of, with their weights.
fn weights(sources: usize, outputs: usize) -> Vec<Vec<(usize, f64)>> {
    let scale = sources as f64 / outputs as f64;
    let of = |output: usize| {
        let distance = |source: usize| (source as f64 + 0.5 - (output as f64 + 0.5) * scale).abs() / scale.max(1.0);
        let weights: Vec<_> = (0..sources).map(|source| (source, (1.0 - distance(source)).max(0.0))).collect();
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        weights
            .into_iter()
            .filter(|(_, weight)| *weight > 0.0)
            .map(|(source, weight)| (source, weight / total))
            .collect()
    };
    (0..outputs).map(of).collect()
}
