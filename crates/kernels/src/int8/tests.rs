//! Every int8 backend against the definition, in 64 bits, bit by bit.

use super::portable::{Portable, PortableShorts};
use super::table::int8_kernels;
use super::*;
use crate::backend::Backend;
use crate::layout::Misfit;
use crate::line::{Line, Number, numbers_mut};
#[cfg(target_arch = "x86_64")]
use crate::tests::called::Called;
use crate::vector;
use proptest::prelude::*;
use std::vec::Vec;
use std::{format, println, vec};

/// Sizes and values of a row, before they become slices.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    run: usize,
    positions: usize,
    step: usize,
    gap: usize,
    outputs: usize,
    pixel: usize,
    shift1: u32,
    shift2: u32,
    seed: u64,
    extreme: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    // A single position takes a way of its own.
    let positions = prop_oneof![1 => Just(1_usize), 3 => 1_usize..40];
    let sizes = (1_usize..4, 1_usize..200, positions, 1_usize..9, 0_usize..5, 1_usize..100, 0_usize..4);
    (sizes, 0_u32..=15, 1_u32..=30, any::<u64>(), any::<bool>()).prop_map(|(sizes, shift1, shift2, seed, extreme)| {
        let (rows, run, positions, step, gap, outputs, more) = sizes;
        Case { rows, run, positions, step, gap, outputs, pixel: outputs + more, shift1, shift2, seed, extreme }
    })
}

/// Numbers from `least` to `most`; of an extreme case, only those two and zero.
pub(super) fn numbers(seed: u64, extreme: bool, least: i64, most: i64) -> impl FnMut() -> i64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let random = (state >> 20) as i64;
        if extreme { [least, most, most, 0][(random & 3) as usize] } else { least + random % (most - least + 1) }
    }
}

/// Quantities of a case in the format `A`, and its sums by the definition.
struct Data<A> {
    between: usize,
    input: Vec<A>,
    weights: Vec<i8>,
    bias: Vec<i32>,
    multipliers: Vec<i16>,
    /// `[position][output]`
    sums: Vec<i64>,
}

fn data<A: Activation>(case: &Case, least: i64, most: i64, convert: impl Fn(i64) -> A) -> Data<A> {
    let group = A::GROUP;
    let filled = case.run.next_multiple_of(group);
    let between = case.run + case.gap;
    let length = (case.positions - 1) * case.step + (case.rows - 1) * between + filled;
    let mut next = numbers(case.seed, case.extreme, least, most);
    let values: Vec<i64> = (0..length).map(|_| next()).collect();
    let padded = case.outputs.next_multiple_of(INT8_PANEL);
    let mut next = numbers(case.seed ^ 1, case.extreme, -127, 127);
    let filter: Vec<i64> = (0..case.outputs * case.rows * case.run).map(|_| next()).collect();
    let mut weights = vec![0; padded * case.rows * filled];
    for output in 0..case.outputs {
        for (row, i) in (0..case.rows * case.run).map(|k| (k / case.run, k % case.run)) {
            let depth = row * filled + i;
            let panel = output / INT8_PANEL * (INT8_PANEL * case.rows * filled);
            let place = panel + depth / group * INT8_PANEL * group + output % INT8_PANEL * group + depth % group;
            weights[place] = filter[(output * case.rows + row) * case.run + i] as i8;
        }
    }
    let mut next = numbers(case.seed ^ 2, case.extreme, -(1 << 30), 1 << 30);
    let divisor = if case.seed.is_multiple_of(3) { 1 } else { 1 << 12 };
    let bias: Vec<i32> = (0..padded).map(|o| if o < case.outputs { (next() / divisor) as i32 } else { 0 }).collect();
    let mut next = numbers(case.seed ^ 3, case.extreme, 0, 32_767);
    let multipliers = (0..padded).map(|_| next() as i16).collect();
    let mut sums = Vec::new();
    for position in 0..case.positions {
        for output in 0..case.outputs {
            let products = (0..case.rows * case.run).map(|k| (k / case.run, k % case.run)).map(|(row, i)| {
                values[position * case.step + row * between + i] * filter[(output * case.rows + row) * case.run + i]
            });
            sums.push(products.sum::<i64>() + i64::from(bias[output]));
        }
    }
    Data { between, input: values.into_iter().map(convert).collect(), weights, bias, multipliers, sums }
}

/// `q` by the definition, in 64 bits.
fn scaled(sum: i64, multiplier: i16, case: &Case, relu: bool) -> i64 {
    let limit = (1_i64 << (if relu { 16 } else { 15 } + case.shift1)) - 1;
    let u = sum.clamp(if relu { 0 } else { -limit }, limit) >> case.shift1;
    let v = (u * i64::from(multiplier) + (1 << (case.shift2 - 1))) >> case.shift2;
    if relu { v.min(127) } else { v.clamp(-8191, 8191) }
}

/// Runs a case in all three formats of outputs, and compares every value, those between the outputs included.
fn check<A: Activation>(
    case: &Case,
    data: &Data<A>,
    run: impl Fn(Int8Row<'_, A>) -> Result<(), Misfit>,
) -> Result<(), TestCaseError> {
    let Case { rows, run: length, positions, step, outputs, pixel, shift1, shift2, .. } = *case;
    let room = (positions - 1) * pixel + outputs;
    let scaling = Scaling { multipliers: &data.multipliers, shift1, shift2 };
    let call = |output| {
        run(Int8Row {
            input: &data.input,
            rows,
            between: data.between,
            run: length,
            step,
            positions,
            weights: &data.weights,
            outputs,
            bias: &data.bias,
            output,
        })
    };
    let (mut bytes, mut hidden, mut sums) = (vec![201_u8; room], vec![-30_000_i16; room], vec![i32::MIN; room]);
    prop_assert_eq!(call(Int8Output::Activations { values: &mut bytes, pixel, scaling }), Ok(()));
    prop_assert_eq!(call(Int8Output::Hidden { values: &mut hidden, pixel, scaling }), Ok(()));
    prop_assert_eq!(call(Int8Output::Sums { values: &mut sums, pixel }), Ok(()));
    for place in 0..room {
        let (position, output) = (place / pixel, place % pixel);
        if output >= outputs {
            prop_assert_eq!((bytes[place], hidden[place], sums[place]), (201, -30_000, i32::MIN));
            continue;
        }
        let sum = data.sums[position * outputs + output];
        prop_assert_eq!(i64::from(sums[place]), sum);
        prop_assert_eq!(i64::from(bytes[place]), scaled(sum, data.multipliers[output], case, true));
        prop_assert_eq!(i64::from(hidden[place]), scaled(sum, data.multipliers[output], case, false));
    }
    Ok(())
}

/// Rows of a convolution: where they begin in the cache's lines, and how far apart things are, decides how tiles read them.
#[derive(Debug, Clone)]
struct RowsCase {
    count: usize,
    window: usize,
    run: usize,
    positions: usize,
    step: usize,
    /// Values that rows of the input have beyond those of their windows; of all rows together if it is so wanted, up to whole lines.
    gap: usize,
    whole_lines: bool,
    stride: usize,
    /// Values before the first one, of 64 that begin a line.
    offset: usize,
    outputs: usize,
    seed: u64,
}

fn rows_cases() -> impl Strategy<Value = RowsCase> {
    let step = prop_oneof![1_usize..20, (1_usize..7).prop_map(|k| 16 * k), Just(4)];
    let run = prop_oneof![1_usize..200, (1_usize..7).prop_map(|k| 32 * k)];
    let sizes = (1_usize..4, 1_usize..4, run, 1_usize..40, step, 0_usize..5);
    (sizes, any::<bool>(), 1_usize..3, prop_oneof![Just(0_usize), 0_usize..64], 1_usize..50, any::<u64>()).prop_map(
        |((count, window, run, positions, step, gap), whole_lines, stride, offset, outputs, seed)| RowsCase {
            count,
            window,
            run,
            positions,
            step,
            gap,
            whole_lines,
            stride,
            offset,
            outputs,
            seed,
        },
    )
}

/// Runs a case by `rows` of each backend, and each of its rows by `row`: all values must be the same.
fn check_rows<A: Activation + Number>(
    case: &RowsCase,
    convert: impl Fn(u8) -> A,
    row: impl Fn(Int8Row<'_, A>) -> Result<(), Misfit>,
    rows: impl Fn(&Int8Kernels, Int8Rows<'_, A>) -> Result<(), Misfit>,
) -> Result<(), TestCaseError> {
    let RowsCase { count, window, run, positions, step, gap, stride, offset, outputs, .. } = *case;
    let filled = run.next_multiple_of(A::GROUP);
    let between = (positions - 1) * step + filled + gap;
    let between = if case.whole_lines { between.next_multiple_of(64) } else { between };
    let needed = ((count - 1) * stride + window) * between;
    let mut memory = vec![Line::ZERO; (offset + needed).div_ceil(64 / size_of::<A>())];
    let values: &mut [A] = numbers_mut(&mut memory);
    let mut next = numbers(case.seed, false, 0, 127);
    values.iter_mut().for_each(|value| *value = convert(next() as u8));
    let padded = outputs.next_multiple_of(INT8_PANEL);
    let mut next = numbers(case.seed ^ 1, false, -127, 127);
    let mut weights = vec![0_i8; padded * window * filled];
    for (place, weight) in weights.iter_mut().enumerate() {
        // What fills a row of a window up is zero.
        let depth = place / (INT8_PANEL * A::GROUP) * A::GROUP + place % A::GROUP;
        *weight = if depth % filled < run { next() as i8 } else { 0 };
    }
    let bias: Vec<i32> = (0..padded).map(|output| output as i32 * 1000 - 30_000).collect();
    let multipliers = vec![20_000; padded];
    let pixel = outputs + 1;
    let mut one_by_one = vec![201; count * positions * pixel];
    let call =
        |start: usize, values: &[A], outputs_of: &mut [u8], run_call: &dyn Fn(Int8Row<'_, A>) -> Result<(), Misfit>| {
            let scaling = Scaling { multipliers: &multipliers, shift1: 4, shift2: 19 };
            run_call(Int8Row {
                input: &values[offset + start..offset + needed],
                rows: window,
                between,
                run,
                step,
                positions,
                weights: &weights,
                outputs,
                bias: &bias,
                output: Int8Output::Activations { values: outputs_of, pixel, scaling },
            })
        };
    for (number, outputs) in one_by_one.chunks_exact_mut(positions * pixel).enumerate() {
        prop_assert_eq!(call(number * stride * between, values, outputs, &row), Ok(()));
    }
    for kernels in available() {
        let mut together = vec![201; count * positions * pixel];
        let done = call(0, values, &mut together, &|first| {
            rows(kernels, Int8Rows { first, count, input: stride * between, output: positions * pixel })
        });
        prop_assert_eq!(done, Ok(()));
        prop_assert_eq!(&together, &one_by_one);
    }
    Ok(())
}

/// A linear layer with weights of 4 bits, by each backend and in all three formats of outputs; and its sums by the definition.
fn check_int4(case: &Case, groups: usize) -> Result<(), TestCaseError> {
    let Case { positions: vectors, outputs, pixel, shift1, shift2, seed, extreme, .. } = *case;
    let depth = groups * INT4_GROUP;
    let padded = outputs.next_multiple_of(INT8_PANEL);
    let mut next = numbers(seed, extreme, 0, 127);
    let input: Vec<u8> = (0..vectors * depth).map(|_| next() as u8).collect();
    let mut next = numbers(seed ^ 1, extreme, -7, 7);
    let filter: Vec<i64> = (0..padded * depth).map(|_| next()).collect();
    let mut next = numbers(seed ^ 2, extreme, 0, 18);
    let factor: Vec<i64> = (0..padded * groups).map(|_| next()).collect();
    let (mut weights, mut factors) = (vec![0_i8; padded * depth / 2], vec![0_u8; padded * groups]);
    for output in 0..padded {
        let (panel, lane) = (output / INT8_PANEL, output % INT8_PANEL);
        for i in 0..depth {
            let place = panel * INT8_PANEL * depth / 2 + i / 8 * INT8_PANEL * 4 + lane * 4 + i % 4;
            let half = (filter[output * depth + i] & 15) << (i % 8 / 4 * 4);
            weights[place] |= half as u8 as i8;
        }
        for group in 0..groups {
            factors[(panel * groups + group) * INT8_PANEL + lane] = factor[output * groups + group] as u8;
        }
    }
    let bias: Vec<i32> = (0..padded).map(|output| output as i32 * 1000 - 30_000).collect();
    let mut next = numbers(seed ^ 3, extreme, 0, 32_767);
    let multipliers: Vec<i16> = (0..padded).map(|_| next() as i16).collect();
    let scaling = Scaling { multipliers: &multipliers, shift1, shift2 };
    let expected = (0..vectors * outputs).map(|place| (place / outputs, place % outputs)).map(|(vector, output)| {
        let products = (0..depth).map(|i| {
            let weight = filter[output * depth + i] * factor[output * groups + i / INT4_GROUP];
            i64::from(input[vector * depth + i]) * weight
        });
        products.sum::<i64>() + i64::from(bias[output])
    });
    let expected: Vec<i64> = expected.collect();
    let room = (vectors - 1) * pixel + outputs;
    for kernels in available() {
        let call = |output| {
            let (input, weights, factors, bias) = (&input, &weights, &factors, &bias);
            kernels.int4(Int4Linear { input, depth, vectors, weights, factors, outputs, bias, output })
        };
        let (mut bytes, mut hidden, mut sums) = (vec![201_u8; room], vec![-30_000_i16; room], vec![i32::MIN; room]);
        prop_assert_eq!(call(Int8Output::Activations { values: &mut bytes, pixel, scaling }), Ok(()));
        prop_assert_eq!(call(Int8Output::Hidden { values: &mut hidden, pixel, scaling }), Ok(()));
        prop_assert_eq!(call(Int8Output::Sums { values: &mut sums, pixel }), Ok(()));
        for place in 0..room {
            let (vector, output) = (place / pixel, place % pixel);
            if output >= outputs {
                prop_assert_eq!((bytes[place], hidden[place], sums[place]), (201, -30_000, i32::MIN));
                continue;
            }
            let sum = expected[vector * outputs + output];
            prop_assert_eq!(i64::from(sums[place]), sum);
            prop_assert_eq!(i64::from(bytes[place]), scaled(sum, multipliers[output], case, true));
            prop_assert_eq!(i64::from(hidden[place]), scaled(sum, multipliers[output], case, false));
        }
    }
    Ok(())
}

// Plain Rust as CPUs without vectors run it, on any CPU.
int8_kernels!(narrow: Scalar, Portable<4>, PortableShorts<4>, vector::Portable<4>, panels: 1, rows: 1, unroll: 1, split: 1, int4: 1);
static NARROW: Int8Kernels = narrow::KERNELS;

// Sums of several panels, and those of a single position split, as they are with AVX-512, on any x86-64.
#[cfg(target_arch = "x86_64")]
int8_kernels!(wide: Scalar, Called<Portable<16>>, Called<PortableShorts<32>>, Called<vector::Portable<16>>, panels: 2, rows: 3, unroll: 4, split: 4, int4: 8);
#[cfg(target_arch = "x86_64")]
static WIDE: Int8Kernels = wide::KERNELS;

/// The backends of this CPU, and plain Rust in the ways of others.
pub(super) fn available() -> Vec<&'static Int8Kernels> {
    let twins = [
        &NARROW,
        #[cfg(target_arch = "x86_64")]
        &WIDE,
    ];
    Int8Backend::ALL.iter().filter_map(|backend| backend.kernels()).chain(twins).collect()
}

proptest! {
    // As many cases as PROPTEST_CASES says, or 256.
    #![proptest_config(if cfg!(miri) { ProptestConfig::with_cases(2) } else { ProptestConfig::default() })]

    #[test]
    fn rows_equal_the_definition_in_every_bit(case in cases()) {
        let bytes = data(&case, 0, 127, |value| value as u8);
        let wide = data(&case, -8191, 8191, |value| value as i16);
        for kernels in available() {
            check(&case, &bytes, |row| kernels.row(row))?;
            check(&case, &wide, |row| kernels.wide_row(row))?;
        }
    }

    #[test]
    fn weights_of_4_bits_equal_the_definition_in_every_bit(case in cases(), groups in 1_usize..5) {
        check_int4(&case, groups)?;
    }

    #[test]
    fn several_rows_are_each_of_them(case in rows_cases()) {
        check_rows(&case, |byte| byte, |row| NARROW.row(row), |kernels, rows| kernels.rows(rows))?;
        let wide = |byte: u8| (i16::from(byte) - 60) * 120;
        check_rows(&case, wide, |row| NARROW.wide_row(row), |kernels, rows| kernels.wide_rows(rows))?;
    }

    #[test]
    fn pools_are_the_greatest_of_their_windows(
        (columns, channels, kernel, stride) in (1_usize..6, 1_usize..70, 1_usize..4, 1_usize..4), seed: u64,
    ) {
        let width = (columns - 1) * stride + kernel;
        let mut next = numbers(seed, false, 0, 127);
        let input: Vec<u8> = (0..kernel * width * channels).map(|_| next() as u8).collect();
        let wide: Vec<i16> = input.iter().map(|value| i16::from(*value) * 129 - 8191).collect();
        let expected: Vec<u8> = (0..columns * channels)
            .map(|place| {
                let (column, channel) = (place / channels, place % channels);
                let taps = (0..kernel * kernel).map(|k| (k / kernel, k % kernel));
                taps.map(|(y, x)| input[(y * width + column * stride + x) * channels + channel]).max().unwrap()
            })
            .collect();
        for kernels in available() {
            let (mut output, mut wide_output) = (vec![0; columns * channels], vec![0; columns * channels]);
            let row = Int8PoolRow { input: &input, width, channels, kernel, stride, output: &mut output };
            prop_assert_eq!(kernels.max_pool(row), Ok(()));
            let row = Int8PoolRow { input: &wide, width, channels, kernel, stride, output: &mut wide_output };
            prop_assert_eq!(kernels.wide_max_pool(row), Ok(()));
            prop_assert_eq!(&output, &expected);
            prop_assert!(wide_output.iter().zip(&expected).all(|(wide, value)| *wide == i16::from(*value) * 129 - 8191));
        }
    }
}

#[test]
fn a_peak_is_measured_by_as_many_multiply_adds_as_asked_for() {
    for kernels in available() {
        for least in [1, 1000, 1_000_000] {
            let done = kernels.multiply_adds(least);
            // A round of tiles is larger than one of vectors.
            let round = if kernels.backend() == Int8Backend::Amx { 1 << 20 } else { 4096 };
            assert!((u64::from(least)..u64::from(least) + round).contains(&done));
        }
    }
}

/// Backends that `ALEXNET_EXPECT_INT8_BACKENDS` names, as `avx2,avx512-vnni`, must be there.
#[test]
fn int8_backends_are_there_where_the_cpu_has_them() {
    assert!(Int8Backend::Scalar.available() && Int8Backend::best().available());
    let names = |available: bool| -> Vec<_> {
        let backends = Int8Backend::ALL.iter().filter(|backend| backend.available() == available);
        backends.map(|backend| format!("{backend}")).collect()
    };
    println!("int8 backends tested: {}; this CPU lacks: {}", names(true).join(", "), names(false).join(", "));
    let expected = std::env::var("ALEXNET_EXPECT_INT8_BACKENDS").unwrap_or_default();
    for name in expected.split(',').filter(|name| !name.is_empty()) {
        assert!(names(true).iter().any(|found| found == name), "there is no {name}");
    }
    assert_eq!(Int8Backend::of(Backend::Scalar), Int8Backend::Scalar);
    if let (true, Ok(cpu)) = (cfg!(target_arch = "x86_64"), std::fs::read_to_string("/proc/cpuinfo")) {
        let listed = |name: &str| cpu.split_whitespace().any(|flag| flag == name);
        assert_eq!(Int8Backend::Avx2.available(), listed("avx2"));
        assert_eq!(Int8Backend::AvxVnni.available(), listed("avx_vnni"));
        assert_eq!(Int8Backend::Avx512Vnni.available(), listed("avx512_vnni") && listed("avx512bw"));
        if cfg!(target_os = "linux") {
            assert_eq!(Int8Backend::Amx.available(), listed("amx_int8"));
        }
    }
}

/// Kernels are safe to call because of these checks.
#[test]
fn sizes_that_do_not_hold_are_seen() {
    let (input, weights, bias, multipliers) = ([0_u8; 24], [0_i8; 2 * 16 * 8], [0; 32], [0; 32]);
    let mut values = [0_u8; 60];
    // Two rows of three values, filled up to four each; two positions of 20 outputs.
    let fits =
        |input: &[u8], weights: &[i8], bias: &[i32], multipliers: &[i16], values: &mut [u8], change: [usize; 6]| {
            let [rows, between, run, step, positions, pixel] = change;
            let scaling = Scaling { multipliers, shift1: 15, shift2: 30 };
            let output = Int8Output::Activations { values, pixel, scaling };
            Int8Row { input, rows, between, run, step, positions, weights, outputs: 20, bias, output }.fits()
        };
    let right = [2, 12, 3, 8, 2, 40];
    assert!(fits(&input, &weights, &bias, &multipliers, &mut values, right));
    assert!(!fits(&input[1..], &weights, &bias, &multipliers, &mut values, right));
    assert!(!fits(&input, &weights[1..], &bias, &multipliers, &mut values, right));
    assert!(!fits(&input, &weights, &bias[1..], &multipliers, &mut values, right));
    assert!(!fits(&input, &weights, &bias, &multipliers[1..], &mut values, right));
    assert!(!fits(&input, &weights, &bias, &multipliers, &mut values[1..], right));
    for (place, value) in [(0, 3), (0, 0), (0, usize::MAX), (1, 13), (1, usize::MAX), (2, 5), (2, 0), (2, usize::MAX)] {
        let mut change = right;
        change[place] = value;
        assert!(!fits(&input, &weights, &bias, &multipliers, &mut values, change), "{change:?}");
    }
    for (place, value) in [(3, 9), (3, usize::MAX), (4, 3), (4, 0), (4, usize::MAX), (5, 41), (5, usize::MAX)] {
        let mut change = right;
        change[place] = value;
        assert!(!fits(&input, &weights, &bias, &multipliers, &mut values, change), "{change:?}");
    }
    let rows = |count, next_input, next_output, values: &mut [u8]| {
        let scaling = Scaling { multipliers: &multipliers, shift1: 15, shift2: 30 };
        let output = Int8Output::Activations { values, pixel: 20, scaling };
        let (rows, between, run, step, positions) = (1, 0, 3, 4, 1);
        let first = Int8Row {
            input: &input,
            rows,
            between,
            run,
            step,
            positions,
            weights: &weights,
            outputs: 20,
            bias: &bias,
            output,
        };
        Int8Rows { first, count, input: next_input, output: next_output }.fits()
    };
    assert!(rows(3, 10, 20, &mut values) && rows(1, usize::MAX, usize::MAX, &mut values));
    assert!(!rows(3, 11, 20, &mut values) && !rows(3, 10, 21, &mut values) && !rows(0, 1, 1, &mut values));
    assert!(!rows(3, usize::MAX, 20, &mut values) && !rows(3, 10, usize::MAX, &mut values));
    let int4 = |[input, depth, vectors, weights, factors, bias, room]: [usize; 7]| {
        let (input, weights, factors, bias) =
            (&[0; 64][..input], &[0; 512][..weights], &[0; 32][..factors], &[0; 32][..bias]);
        let output = Int8Output::Sums { values: &mut [0; 60][..room], pixel: 40 };
        Int4Linear { input, depth, vectors, weights, factors, outputs: 20, bias, output }.fits()
    };
    let right = [64, 32, 2, 512, 32, 32, 60];
    assert!(int4(right));
    for (place, value) in
        [(0, 63), (1, 31), (1, 33), (1, 0), (1, 64), (1, usize::MAX - 31), (2, 0), (2, 3), (2, usize::MAX)]
    {
        let mut change = right;
        change[place] = value;
        assert!(!int4(change), "{change:?}");
    }
    for (place, value) in [(3, 511), (4, 31), (5, 31), (6, 59)] {
        let mut change = right;
        change[place] = value;
        assert!(!int4(change), "{change:?}");
    }
    for (shift1, shift2) in [(16, 30), (15, 31), (15, 0), (u32::MAX, 1)] {
        let scaling = Scaling { multipliers: &multipliers, shift1, shift2 };
        assert!(!scaling.fits(32));
    }
    let mut output = [0_u8; 6];
    let mut pool = |width, channels, kernel, stride| {
        Int8PoolRow { input: &input, width, channels, kernel, stride, output: &mut output }.fits()
    };
    assert!(pool(4, 3, 2, 2) && pool(12, 1, 2, 2));
    assert!(!pool(3, 3, 2, 2) && !pool(5, 3, 2, 2) && !pool(4, 0, 2, 2) && !pool(4, 4, 2, 2) && !pool(4, 3, 0, 2));
    assert!(!pool(4, 3, 2, usize::MAX) && !pool(usize::MAX, 3, 2, 2));
}
