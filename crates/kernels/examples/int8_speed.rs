//! Speed of the int8 kernels in the shapes of AlexNet's layers, and the CPU's peak:
//! `cargo run --release -p alexnet-kernels --example int8_speed [backend]`.

use kernels::{INT8_PANEL, Int8Backend, Int8Kernels, Int8Output, Int8Row, Misfit, Scaling};
use std::time::Instant;

/// A layer and its sizes. A linear layer is a line of a convolution whose kernel is one.
struct Layer {
    name: &'static str,
    /// Rows of the output, and positions of a row.
    rows: usize,
    positions: usize,
    outputs: usize,
    channels: usize,
    kernel: usize,
    /// Whether inputs are bytes.
    bytes: bool,
}

const fn conv(name: &'static str, side: usize, outputs: usize, channels: usize, kernel: usize, bytes: bool) -> Layer {
    Layer { name, rows: side, positions: side, outputs, channels, kernel, bytes }
}

const fn linear(name: &'static str, batch: usize) -> Layer {
    Layer { name, rows: 1, positions: batch, outputs: 4096, channels: 6400, kernel: 1, bytes: true }
}

/// Those of AlexNet, of which conv1 has had 4×4 pixels laid into channels.
const LAYERS: [Layer; 8] = [
    conv("conv1", 54, 96, 16, 3, false),
    conv("conv2", 26, 256, 96, 5, true),
    conv("conv3", 12, 384, 256, 3, true),
    conv("conv4", 12, 384, 384, 3, true),
    conv("conv5", 12, 256, 384, 3, true),
    linear("linear1, a vector", 1),
    linear("linear1, 8 vectors", 8),
    linear("linear1, 32 vectors", 32),
];

/// Outputs of a call, whose weights the second cache holds for all rows.
const GROUP: usize = 4 * INT8_PANEL;

fn main() {
    let only = std::env::args().nth(1);
    println!("G multiply-adds a second, of one thread");
    for backend in Int8Backend::ALL {
        let Some(kernels) = backend.kernels() else { continue };
        if only.as_ref().is_some_and(|only| *only != backend.to_string()) {
            continue;
        }
        let mut count = 0;
        let seconds = least_seconds(99, |_| count = kernels.multiply_adds(1 << 23));
        let peak = 99.0 * count as f64 / seconds;
        println!("{backend:<12} {:<20} {:8.1}", "peak", peak / 1e9);
        for layer in &LAYERS {
            let (products, seconds) = measure(kernels, layer);
            let speed = products / seconds;
            let (name, share) = (layer.name, 100.0 * speed / peak);
            println!("{backend:<12} {name:<20} {:8.1} {share:5.0} % {:9.3} ms", speed / 1e9, seconds * 1e3);
        }
    }
}

/// The sum of the least times that parts of a run took in twenty runs after a first one: other programs that want the same
/// processor seldom disturb every one of so short a time.
fn least_seconds(parts: usize, mut run: impl FnMut(usize)) -> f64 {
    let mut least = vec![f64::INFINITY; parts];
    (0..parts).for_each(&mut run);
    for _ in 0..20 {
        for (part, least) in least.iter_mut().enumerate() {
            let start = Instant::now();
            run(part);
            *least = least.min(start.elapsed().as_secs_f64());
        }
    }
    least.iter().sum()
}

/// Multiply-adds of a layer, and seconds that they take.
fn measure(kernels: &Int8Kernels, layer: &Layer) -> (f64, f64) {
    let Layer { rows, positions, outputs, channels, kernel, bytes, .. } = *layer;
    let filled = (kernel * channels).next_multiple_of(4);
    let row = (positions + kernel - 1) * channels;
    let input: Vec<u8> = (0..row * kernel + 4).map(|i| (i % 128) as u8).collect();
    let wide: Vec<i16> = input.iter().map(|value| i16::from(*value)).collect();
    let weights: Vec<i8> = (0..outputs * kernel * filled).map(|i| (i % 255) as i8).collect();
    let (bias, multipliers) = (vec![0; outputs], vec![1; outputs]);
    let mut values = vec![0; positions * outputs];
    let seconds = least_seconds(outputs.div_ceil(GROUP) * rows, |part| {
        let first = part / rows * GROUP;
        let scaling = Scaling { multipliers: &multipliers[first..], shift1: 0, shift2: 8 };
        let output = Int8Output::Activations { values: &mut values[first..], pixel: outputs, scaling };
        let call = Int8Row {
            input: &input[..],
            rows: kernel,
            between: row,
            run: kernel * channels,
            step: channels,
            positions,
            weights: &weights[first * kernel * filled..],
            outputs: (outputs - first).min(GROUP),
            bias: &bias[first..],
            output,
        };
        let done = if bytes { kernels.row(call) } else { wide_row(kernels, &wide, call) };
        assert_eq!(done, Ok(()));
    });
    ((rows * positions * outputs * kernel * kernel * channels) as f64, seconds)
}

/// The same row of activations of 16 bits.
fn wide_row(kernels: &Int8Kernels, input: &[i16], row: Int8Row<'_, u8>) -> Result<(), Misfit> {
    let Int8Row { rows, between, run, step, positions, weights, outputs, bias, output, .. } = row;
    kernels.wide_row(Int8Row { input, rows, between, run, step, positions, weights, outputs, bias, output })
}
