//! Compares the int8 kernels of the CPU's DSP instructions with those of plain Rust, bit by bit, on sizes and values at random.
#![no_std]
#![no_main]

#[path = "../board/mod.rs"]
mod board;

use board::println;
use kernels::{Activation, Int8Backend, Int8Kernels, Int8Output, Int8PoolRow, Int8Row, Misfit, Scaling};

/// Cases of each kernel.
const CASES: u32 = 400;

/// Bounds of sizes: rows and length of a window, positions, activations between them, outputs.
const ROWS: u32 = 3;
const RUN: u32 = 150;
const POSITIONS: u32 = 7;
const STEP: u32 = 9;
const OUTPUTS: u32 = 40;

/// Room for the largest case.
const ROOM: usize = 48 * 3 * 152 + 4;

/// A linear congruential generator with the constants of *Numerical Recipes*.
struct Random(u32);

impl Random {
    /// A number from 0 to `most`; of an extreme case, only those two.
    fn next(&mut self, most: u32, extreme: bool) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = self.0 >> 8;
        if extreme { most * (value & 1) } else { value % (most + 1) }
    }

    /// A number from 1 to `most`.
    fn size(&mut self, most: u32) -> usize {
        1 + self.next(most - 1, false) as usize
    }
}

board::start!(run);

fn run() -> Result<(), firmware::Error> {
    let mut weights = [0; ROOM];
    let dsp = Int8Backend::ArmDsp.kernels().expect("the CPU has DSP instructions");
    let plain = Int8Backend::Scalar.kernels().expect("plain Rust is for every CPU");
    assert_eq!(Int8Backend::best(), Int8Backend::ArmDsp);
    let mut random = Random(1);
    for _ in 0..CASES {
        let bytes = |value: u32| (value & 0x7F) as u8;
        row(&mut random, 4, bytes, &mut weights, [dsp, plain], |kernels, row| kernels.row(row));
        let wide = |value: u32| (value % 16_383) as i16 - 8191;
        row(&mut random, 2, wide, &mut weights, [dsp, plain], |kernels, row| kernels.wide_row(row));
        pool(&mut random, [dsp, plain]);
    }
    println!("kernels: {} cases have plain Rust's bits", 3 * CASES);
    Ok(())
}

/// A row at random, whose windows begin at any address.
fn row<A: Activation + Default>(
    random: &mut Random,
    group: usize,
    value: impl Fn(u32) -> A,
    weights: &mut [i8; ROOM],
    kernels: [&Int8Kernels; 2],
    run_row: impl Fn(&Int8Kernels, Int8Row<'_, A>) -> Result<(), Misfit>,
) {
    let extreme = random.next(3, false) == 0;
    // Small windows are widened at once, large ones in parts.
    let most = if random.size(2) == 1 { 10 } else { RUN };
    let (rows, run, positions) = (random.size(ROWS), random.size(most), random.size(POSITIONS));
    let (step, outputs) = (random.size(STEP), random.size(OUTPUTS));
    let (between, pixel) = (run + random.size(5) - 1, outputs + random.size(4) - 1);
    let mut input = [A::default(); 6 * 9 + 2 * 154 + 152 + 1];
    input.iter_mut().for_each(|input| *input = value(random.next(u32::MAX >> 8, extreme)));
    let depth = rows * run.next_multiple_of(group);
    let length = outputs.next_multiple_of(16) * depth;
    let start = random.size(4) - 1;
    let weights = &mut weights[start..start + length];
    weights.iter_mut().for_each(|weight| *weight = (random.next(254, extreme) as i16 - 127) as i8);
    let bias: [i32; 48] = core::array::from_fn(|_| random.next(1 << 21, extreme) as i32 - (1 << 20));
    let multipliers: [i16; 48] = core::array::from_fn(|_| random.next(32_767, extreme) as i16);
    let scaling =
        Scaling { multipliers: &multipliers, shift1: random.next(15, false), shift2: 1 + random.next(29, false) };
    let start = random.size(2) - 1;
    let call = |kernels, output| {
        let input = &input[start..];
        let row = Int8Row { input, rows, between, run, step, positions, weights, outputs, bias: &bias, output };
        assert_eq!(run_row(kernels, row), Ok(()));
    };
    let (mut bytes, mut hidden, mut sums) = ([[201; 310]; 2], [[-30_000; 310]; 2], [[i32::MIN; 310]; 2]);
    let outputs = bytes.iter_mut().zip(&mut hidden).zip(&mut sums);
    for (kernels, ((bytes, hidden), sums)) in kernels.into_iter().zip(outputs) {
        call(kernels, Int8Output::Activations { values: bytes, pixel, scaling });
        call(kernels, Int8Output::Hidden { values: hidden, pixel, scaling });
        call(kernels, Int8Output::Sums { values: sums, pixel });
    }
    assert_eq!(sums[0], sums[1]);
    assert_eq!(bytes[0], bytes[1]);
    assert_eq!(hidden[0], hidden[1]);
    assert!(sums[0].iter().any(|sum| *sum != i32::MIN));
}

/// A max pool at random.
fn pool(random: &mut Random, kernels: [&Int8Kernels; 2]) {
    let (columns, channels) = (random.size(5), random.size(20));
    let (kernel, stride) = (random.size(3), random.size(3));
    let width = (columns - 1) * stride + kernel;
    let input: [u8; 3 * 15 * 20] = core::array::from_fn(|_| random.next(127, false) as u8);
    let mut outputs = [[201; 5 * 20]; 2];
    for (kernels, output) in kernels.into_iter().zip(&mut outputs) {
        let output = &mut output[..columns * channels];
        assert_eq!(kernels.max_pool(Int8PoolRow { input: &input, width, channels, kernel, stride, output }), Ok(()));
    }
    assert_eq!(outputs[0], outputs[1]);
}
