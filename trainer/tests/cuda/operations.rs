//! Convolutions, poolings, towers of both, and dropout's masks.

use dfdx::prelude::*;
use trainer::{
    cuda,
    ops::{Conv2d, ConvDevice, ConvOptions, MaxPool2d, Stage, Tower, Window},
};

use crate::{assert_close, gpu, values, with_all_kernels};

/// Output, and gradients of the input, the weight and the bias.
type Results = [Vec<f32>; 4];

const NAMES: [&str; 4] = ["output", "gradient of the input", "gradient of the weight", "gradient of the bias"];

type Sizes = (usize, usize, usize, usize);

fn filled<D: ConvDevice>(device: &D, shape: Sizes, seed: u64, steps: Option<u64>) -> Tensor<Sizes, f32, D> {
    device.tensor_from_vec(values(shape.0 * shape.1 * shape.2 * shape.3, seed, steps), shape)
}

fn convolve<D: ConvDevice>(device: &D, input: Sizes, filters: usize, window: Window, options: ConvOptions) -> Results {
    let weight = filled(device, (filters, input.1, window.kernel, window.kernel), 2, None);
    let bias = device.tensor_from_vec(values(filters, 3, None), (filters,));
    let input = filled(device, input, 1, None);
    let call = Conv2d::new(input.leaky_trace(), weight.clone(), bias.clone(), window, options).unwrap();
    let output = D::conv2d(call).unwrap();
    let scale = filled(device, *output.shape(), 4, None);
    let result = output.as_vec();
    let gradients = (output * scale).sum().backward();
    let input_gradient = if options.input_gradient { gradients.get(&input).as_vec() } else { Vec::new() };
    [result, input_gradient, gradients.get(&weight).as_vec(), gradients.get(&bias).as_vec()]
}

#[test]
fn convolutions_agree_with_the_processor() {
    let (gpu, cpu) = (gpu(), Cpu::default());
    for (input, filters, kernel, stride, padding) in [
        ((1, 1, 1, 1), 5, 1, 1, 0),
        ((3, 2, 9, 7), 5, 3, 1, 1),
        ((2, 3, 12, 12), 4, 5, 1, 2),
        ((2, 1, 40, 40), 6, 11, 4, 1),
        ((1, 4, 8, 11), 3, 4, 3, 5),
        ((5, 7, 6, 6), 33, 3, 2, 0),
    ] {
        let window = Window { kernel, stride, padding };
        for options in [
            ConvOptions { relu: false, input_gradient: true },
            ConvOptions { relu: true, input_gradient: true },
            ConvOptions { relu: true, input_gradient: false },
        ] {
            let found = convolve(&gpu, input, filters, window, options);
            let expected = convolve(&cpu, input, filters, window, options);
            for ((name, found), expected) in NAMES.iter().zip(&found).zip(&expected) {
                if options.input_gradient || !expected.is_empty() {
                    assert_close(found, expected, 2e-5, &format!("{name}, {input:?}, {window:?}, {options:?}"));
                }
            }
        }
    }
}

fn pool<D: ConvDevice>(device: &D, input: Sizes, window: Window) -> [Vec<f32>; 2] {
    let input = filled(device, input, 7, Some(3));
    let output = D::max_pool2d(MaxPool2d::new(input.leaky_trace(), window).unwrap()).unwrap();
    let scale = filled(device, *output.shape(), 8, None);
    let result = output.as_vec();
    [result, (output * scale).sum().backward().get(&input).as_vec()]
}

/// A NaN wins, the last one where there are several; it cannot be compared in a gradient, but where it goes can.
fn pool_of_nan<D: ConvDevice>(device: &D) -> [Vec<u32>; 2] {
    let values = [1.0, f32::NAN, 3.0, 5.0, 2.0, -f32::NAN, 7.0, 8.0, 9.0];
    let input = device.tensor_from_vec(values.to_vec(), (1, 1, 3, 3));
    let call = MaxPool2d::new(input.leaky_trace(), Window { kernel: 2, stride: 1, padding: 0 }).unwrap();
    let output = D::max_pool2d(call).unwrap();
    let result = output.as_vec().iter().map(|value| u32::from(value.is_nan())).collect();
    let gradient = output.sum().backward().get(&input).as_vec();
    [result, gradient.iter().map(|value| value.to_bits()).collect()]
}

#[test]
fn poolings_agree_with_the_processor() {
    let cpu = Cpu::default();
    with_all_kernels(|kernels| {
        let gpu = gpu();
        for (input, kernel, stride, padding) in [
            ((1, 1, 2, 2), 2, 2, 0),
            ((3, 5, 12, 13), 3, 2, 0),
            ((2, 4, 7, 7), 3, 1, 1),
            ((2, 3, 10, 8), 4, 3, 2),
            ((1, 2, 9, 9), 2, 3, 0),
            ((2, 2, 4, 5), 1, 1, 0),
            ((1, 3, 20, 23), 5, 1, 2),
            // The largest window of the kernels, and one that is larger.
            ((1, 2, 21, 18), 16, 3, 0),
            ((1, 2, 21, 18), 17, 1, 0),
        ] {
            let window = Window { kernel, stride, padding };
            let (found, expected) = (pool(&gpu, input, window), pool(&cpu, input, window));
            // Values are few, so that windows have several largest ones: the gradient goes to the first of them.
            assert_eq!(found[0], expected[0], "output, {kernels} kernels, {input:?}, {window:?}");
            assert_close(&found[1], &expected[1], 1e-6, &format!("gradient, {kernels} kernels, {input:?}, {window:?}"));
        }
        assert_eq!(pool_of_nan(&gpu), pool_of_nan(&cpu), "{kernels} kernels");
    });
}

/// Output of local response normalisation, and the gradient of its input, of which another operation gives a part.
fn normalise<D: ConvDevice>(device: &D, input: Sizes, factor: f32) -> [Vec<f32>; 2] {
    let input = filled(device, input, 61, None) * factor;
    let output = D::local_response_norm(input.leaky_trace()).unwrap();
    let scale = filled(device, *output.shape(), 62, None);
    let result = output.as_vec();
    let part = (input.leaky_trace() * filled(device, *input.shape(), 63, None)).sum();
    [result, ((output * scale).sum() + part).backward().get(&input).as_vec()]
}

#[test]
fn local_response_norms_agree_with_the_processor() {
    let cpu = Cpu::default();
    with_all_kernels(|kernels| {
        let gpu = gpu();
        // Fewer channels than are normalised by, just as many, more; small values, and large ones, which hold each other down.
        for input in [(2, 1, 3, 4), (1, 2, 5, 1), (3, 4, 2, 3), (2, 5, 3, 3), (2, 9, 7, 6), (1, 6, 20, 17)] {
            for factor in [1.0, 300.0, 3000.0] {
                let (found, expected) = (normalise(&gpu, input, factor), normalise(&cpu, input, factor));
                for ((name, found), expected) in NAMES.iter().zip(&found).zip(&expected) {
                    assert_close(found, expected, 1e-5, &format!("{name}, {kernels} kernels, {input:?}, {factor}"));
                }
            }
        }
    });
}

/// Filters, groups, window and pooling of a stage.
type Outline = (usize, usize, Window, Option<Window>);

/// Output of a tower, and the gradients of all weights, and of the input where that is asked for, which other operations give a part
/// of. All values are multiples of 1/8, so that sums are exact in whatever order, and ties are common.
fn tower<D: ConvDevice>(device: &D, input: Sizes, stages: &[Outline], input_gradient: bool) -> Vec<Vec<f32>> {
    let images = filled(device, input, 31, Some(8));
    let mut tower = Tower::new(images.leaky_trace(), input_gradient);
    let (mut channels, mut weights) = (input.1, Vec::new());
    for (seed, (filters, groups, window, pool)) in (40..).step_by(2).zip(stages) {
        let weight = filled(device, (*filters, channels / groups, window.kernel, window.kernel), seed, Some(8));
        let bias = device.tensor_from_vec(values(*filters, seed + 1, Some(8)), (*filters,));
        weights.push((weight.clone(), bias.clone()));
        tower = tower.stage(Stage { weight, bias, window: *window, pool: *pool }).unwrap();
        channels = *filters;
    }
    let output = D::tower(tower).unwrap();
    let scale = filled(device, *output.shape(), 50, Some(8));
    let mut results = vec![output.as_vec()];
    let sum = (output * scale).sum();
    let gradients = if input_gradient {
        let part = (images.leaky_trace() * filled(device, input, 51, Some(8))).sum();
        let gradients = (sum + part).backward();
        results.push(gradients.get(&images).as_vec());
        gradients
    } else {
        sum.backward()
    };
    for (weight, bias) in weights {
        results.extend([gradients.get(&weight).as_vec(), gradients.get(&bias).as_vec()]);
    }
    results
}

#[test]
fn towers_agree_with_the_processor() {
    let window = |kernel, stride, padding| Window { kernel, stride, padding };
    let cases: [(Sizes, Vec<Outline>); 13] = [
        ((1, 1, 3, 3), vec![(1, 1, window(3, 1, 0), Some(window(1, 1, 0)))]),
        // Not square, poolings that overlap and that leave out the last rows and columns.
        (
            (3, 1, 17, 12),
            vec![(5, 1, window(3, 1, 1), Some(window(3, 2, 0))), (4, 1, window(2, 1, 0), Some(window(2, 2, 0)))],
        ),
        // Steps longer than windows, so that some values are used by none.
        ((2, 1, 20, 23), vec![(3, 1, window(2, 3, 0), None), (6, 1, window(3, 2, 2), Some(window(1, 2, 0)))]),
        (
            (2, 1, 14, 14),
            vec![(3, 1, window(3, 1, 1), Some(window(2, 3, 0))), (2, 1, window(3, 1, 1), Some(window(3, 1, 0)))],
        ),
        // As much padding as window.
        ((4, 1, 6, 5), vec![(2, 1, window(3, 2, 3), None), (7, 1, window(1, 1, 0), Some(window(2, 1, 0)))]),
        ((1, 1, 31, 31), vec![(4, 1, window(11, 4, 1), Some(window(3, 2, 0)))]),
        // Every value counts, the last ones of the maps too, whose rows are no multiple of what a thread takes.
        ((3, 1, 5, 5), vec![(9, 1, window(1, 1, 0), None), (8, 1, window(1, 1, 0), Some(window(1, 1, 0)))]),
        // Images of several channels, three stages, poolings of one value and of every third.
        (
            (2, 3, 12, 15),
            vec![
                (3, 1, window(3, 1, 1), Some(window(2, 1, 0))),
                (5, 1, window(2, 1, 1), None),
                (2, 1, window(3, 2, 1), Some(window(1, 3, 0))),
            ],
        ),
        // Groups of one channel and of several, of one filter and of several.
        (
            (3, 2, 7, 9),
            vec![
                (6, 2, window(3, 1, 1), Some(window(2, 1, 0))),
                (9, 3, window(2, 1, 1), None),
                (9, 9, window(1, 1, 0), None),
                (2, 1, window(3, 1, 1), Some(window(3, 2, 0))),
            ],
        ),
        ((2, 12, 5, 5), vec![(4, 4, window(3, 2, 1), Some(window(2, 1, 0)))]),
        // Padded poolings.
        (
            (2, 2, 8, 7),
            vec![(4, 1, window(3, 1, 1), Some(window(3, 2, 1))), (3, 1, window(1, 1, 0), Some(window(4, 3, 2)))],
        ),
        // No pooling at the end.
        ((2, 3, 9, 8), vec![(6, 3, window(3, 2, 1), None)]),
        ((3, 1, 6, 7), vec![(2, 1, window(2, 1, 0), Some(window(2, 2, 0))), (3, 1, window(3, 1, 1), None)]),
    ];
    let cpu = Cpu::default();
    with_all_kernels(|kernels| {
        let gpu = gpu();
        // What convolutions unfold is kept for the backward pass, or is unfolded again.
        for (keeps, (input, stages)) in
            [true, false].into_iter().flat_map(|keeps| cases.iter().map(move |case| (keeps, case)))
        {
            cuda::keep_windows(&gpu, keeps).unwrap();
            // Of the input, too, every second time.
            let of_input = keeps == (stages.len() % 2 == 0);
            let (found, expected) = (tower(&gpu, *input, stages, of_input), tower(&cpu, *input, stages, of_input));
            let case = format!("{kernels} kernels, kept: {keeps}, of the input: {of_input}, {input:?}, {stages:?}");
            assert_eq!(found[0], expected[0], "output, {case}");
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate().skip(1) {
                let what = format!("gradient {index}, {case}");
                assert_eq!(found.len(), expected.len(), "{what}");
                let close =
                    |(found, expected): (&f32, &f32)| (found - expected).abs() <= 1e-5 * expected.abs().max(1.0);
                assert!(found.iter().zip(expected).all(close), "{what}: {found:?}, not {expected:?}");
            }
        }
    });
}

#[test]
fn dropout_drops_what_the_processor_drops() {
    let words: Vec<u64> = (1..=15_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i as u32)).collect();
    for (rows, columns) in [(15_usize, 64_usize), (5, 130), (5, 192), (1, 1), (15, 33)] {
        let words = &words[..rows * columns.div_ceil(64)];
        let expected = Cpu::default().mask(words, (rows, columns)).unwrap().as_vec();
        assert!(expected.contains(&2.0));
        with_all_kernels(|_| assert!(gpu().mask(words, (rows, columns)).unwrap().as_vec() == expected));
    }
}
