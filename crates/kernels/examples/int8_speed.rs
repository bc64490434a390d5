//! Speed of the int8 kernels in the shapes of AlexNet's layers: `cargo run --release -p alexnet-kernels --example int8_speed`.

use kernels::{INT8_PANEL, Int8Backend, Int8Output, Int8Row, Scaling};
use std::time::Instant;

/// A layer: its name, side and channels of its output and channels of its input, kernel, whether its inputs are bytes.
const LAYERS: [(&str, usize, usize, usize, usize, bool); 6] = [
    ("conv1", 54, 96, 16, 3, false),
    ("conv2", 26, 256, 96, 5, true),
    ("conv3", 12, 384, 256, 3, true),
    ("conv4", 12, 384, 384, 3, true),
    ("linear1, a vector", 1, 4096, 6400, 1, true),
    ("linear1, 8 vectors", 8, 4096, 6400, 1, true),
];

fn main() {
    println!("G multiply-adds a second, of one thread");
    for backend in Int8Backend::ALL {
        let Some(kernels) = backend.kernels() else { continue };
        for (name, side, outputs, channels, kernel, bytes) in LAYERS {
            let run = (kernel * channels).next_multiple_of(4);
            let row = (side + kernel - 1) * channels;
            let input: Vec<u8> = (0..row * kernel + 4).map(|i| (i % 128) as u8).collect();
            let wide: Vec<i16> = input.iter().map(|value| i16::from(*value)).collect();
            let weights: Vec<i8> = (0..outputs * kernel * run).map(|i| (i % 255) as i8).collect();
            let (bias, multipliers) = (vec![0; outputs], vec![1; outputs]);
            let mut values = vec![0; side * outputs];
            let rows = if name.starts_with("linear") { 1 } else { side };
            let mut pass = || {
                for first in (0..outputs).step_by(4 * INT8_PANEL) {
                    let count = (outputs - first).min(4 * INT8_PANEL);
                    for _ in 0..rows {
                        let scaling = Scaling { multipliers: &multipliers[first..], shift1: 0, shift2: 8 };
                        let output = Int8Output::Activations { values: &mut values[first..], pixel: outputs, scaling };
                        let (weights, bias) = (&weights[first * kernel * run..], &bias[first..]);
                        let (between, run, positions) = (row, kernel * channels, side);
                        let done = if bytes {
                            let (input, step) = (&input[..], channels);
                            kernels.row(Int8Row {
                                input,
                                rows: kernel,
                                between,
                                run,
                                step,
                                positions,
                                weights,
                                outputs: count,
                                bias,
                                output,
                            })
                        } else {
                            let (input, step) = (&wide[..], channels);
                            kernels.wide_row(Int8Row {
                                input,
                                rows: kernel,
                                between,
                                run,
                                step,
                                positions,
                                weights,
                                outputs: count,
                                bias,
                                output,
                            })
                        };
                        assert_eq!(done, Ok(()));
                    }
                }
            };
            pass();
            let products = (rows * side * outputs * kernel * kernel * channels) as f64;
            let best = (0..12).map(|_| {
                let start = Instant::now();
                pass();
                start.elapsed().as_secs_f64()
            });
            let seconds = best.fold(f64::INFINITY, f64::min);
            println!("{backend:<12} {name:<20} {:8.1} {:8.3} ms", products / seconds / 1e9, seconds * 1e3);
        }
    }
}
