//! Convolutions and towers that the CPU computes by Winograd's minimal filtering: outputs and all gradients agree with the
//! portable path's, over shapes, strides, paddings, channels, batch sizes and values, and are the same bits every time.

use dfdx::prelude::*;
use proptest::prelude::*;
use trainer::ops::{Conv2d, ConvDevice, ConvOptions, Images, MaxPool2d, Stage, Tower, Window, portable};

type Traced = Images<Cpu, OwnedTape<f32, Cpu>>;
type Convolution = fn(Conv2d<Cpu, OwnedTape<f32, Cpu>>) -> Result<Traced, CpuError>;

/// The greatest difference allowed, relative to the greatest value.
const TOLERANCE: f64 = 1e-4;

/// A first convolution with channels in sixteens (counting a stride's pixels), and a second one behind it.
#[derive(Debug, Clone)]
struct Case {
    batch: usize,
    channels: usize,
    height: usize,
    width: usize,
    stages: Vec<Layer>,
    seed: u64,
}

#[derive(Debug, Clone)]
struct Layer {
    filters: usize,
    window: Window,
    pool: Option<Window>,
}

fn pool() -> impl Strategy<Value = Option<Window>> {
    let window = |kernel, stride| Some(Window { kernel, stride, padding: 0 });
    prop_oneof![Just(None), Just(window(3, 2)), Just(window(2, 2)), Just(window(3, 3))]
}

fn case(layers: usize) -> impl Strategy<Value = Case> {
    // Kernel, stride, and the channels that go with them.
    let first = prop_oneof![
        Just((3, 1, 16)),
        Just((5, 1, 16)),
        Just((3, 1, 48)),
        Just((6, 2, 4)),
        Just((5, 2, 4)),
        Just((11, 4, 1)),
        Just((12, 4, 3)),
        Just((10, 2, 4)),
    ];
    let second = (prop_oneof![Just(3_usize), Just(5)], 1..=2_usize, pool());
    (first, 1..=3_usize, pool(), second, 1..=5_usize, any::<u64>()).prop_flat_map(
        move |((kernel, stride, channels), filters, first_pool, (taps, second, second_pool), batch, seed)| {
            let least = if layers == 1 { kernel + 3 * stride } else { kernel + 16 * stride };
            let side = least..least + 4 * stride + 3;
            let paddings = (0..=kernel / 2, 0..=taps);
            (paddings, side.clone(), side).prop_map(move |((padding, second_padding), height, width)| {
                let stages = [
                    Layer { filters: 16 * filters, window: Window { kernel, stride, padding }, pool: first_pool },
                    Layer {
                        filters: 16 * second,
                        window: Window { kernel: taps, stride: 1, padding: second_padding },
                        pool: second_pool.filter(|_| first_pool.is_none()),
                    },
                ];
                Case { batch, channels, height, width, stages: stages[..layers].to_vec(), seed }
            })
        },
    )
}

/// Deterministic values within ±1.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % (1 << 24)
    };
    (0..count).map(|_| next() as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn tensor(device: &Cpu, shape: (usize, usize, usize, usize), seed: u64) -> Images<Cpu> {
    device.tensor_from_vec(values(shape.0 * shape.1 * shape.2 * shape.3, seed), shape)
}

/// Output, then gradients of the input (where there is one) and of each weight and bias.
type Results = Vec<Vec<f64>>;

/// Climbs the tower of `case`, and down again from a loss `Σ scale · output`.
fn climb(case: &Case, input_gradient: bool, forward: impl FnOnce(Images<Cpu>, &[Stage<Cpu>]) -> Traced) -> Results {
    let device = Cpu::default();
    let input = tensor(&device, (case.batch, case.channels, case.height, case.width), case.seed);
    let mut channels = case.channels;
    let mut stages = Vec::new();
    for (number, layer) in case.stages.iter().enumerate() {
        // Every second case or so has groups, where they divide the channels.
        let groups = [1, 2, 4][(case.seed >> 17) as usize % 3];
        let group = if channels.is_multiple_of(groups) { channels / groups } else { channels };
        let shape = (layer.filters, group, layer.window.kernel, layer.window.kernel);
        let seed = case.seed.rotate_left(7 + number as u32);
        stages.push(Stage {
            weight: tensor(&device, shape, seed),
            bias: device.tensor_from_vec(values(layer.filters, seed ^ 0x1234), (layer.filters,)),
            window: layer.window,
            pool: layer.pool,
        });
        channels = layer.filters;
    }
    let output = forward(input.clone(), &stages);
    let scale = tensor(&device, *output.shape(), case.seed ^ 0x7777);
    let mut results = vec![output.as_vec()];
    let gradients = (output * scale).sum().backward();
    if input_gradient {
        results.push(gradients.get(&input).as_vec());
    }
    for Stage { weight, bias, .. } in &stages {
        results.push(gradients.get(weight).as_vec());
        results.push(gradients.get(bias).as_vec());
    }
    results.into_iter().map(|values| values.into_iter().map(f64::from).collect()).collect()
}

fn fast(case: &Case, input_gradient: bool) -> Results {
    climb(case, input_gradient, |input, stages| {
        let tower = Tower::new(input.leaky_traced(), input_gradient);
        let tower = stages.iter().cloned().try_fold(tower, Tower::stage).expect("the stages fit");
        Cpu::tower(tower).expect("memory")
    })
}

/// By the portable operations; and the least distance, relative to the greatest value, of a sum from 0 or of a maximum from
/// the next value: where that is within rounding, gradients may go another way.
fn composed(case: &Case, input_gradient: bool) -> (Results, f32) {
    let mut margin = f32::INFINITY;
    let results = climb(case, input_gradient, |input, stages| {
        let mut x = input.leaky_traced();
        for (number, Stage { weight, bias, window, pool }) in stages.iter().cloned().enumerate() {
            let options = ConvOptions { relu: false, input_gradient: input_gradient || number > 0 };
            x = portable::conv2d(Conv2d::new(x, weight, bias, window, options).expect("sizes fit")).expect("memory");
            let sums = x.as_vec();
            let largest = sums.iter().fold(0.0_f32, |largest, sum| largest.max(sum.abs()));
            margin = sums.iter().fold(margin, |margin, sum| margin.min(sum.abs() / largest));
            x = x.relu();
            if let Some(pool) = pool {
                margin = margin.min(least_lead(&x.as_vec(), *x.shape(), pool) / largest);
                x = portable::max_pool2d(MaxPool2d::new(x, pool).expect("sizes fit")).expect("memory");
            }
        }
        x
    });
    (results, margin)
}

/// By how much the greatest value of a window is greater than the next one, at the least, where it is not 0.
fn least_lead(values: &[f32], (_, _, height, width): (usize, usize, usize, usize), pool: Window) -> f32 {
    let mut least = f32::INFINITY;
    for plane in values.chunks_exact(height * width) {
        for (row, column) in (0..pool.positions(height)).flat_map(|i| (0..pool.positions(width)).map(move |j| (i, j))) {
            let (mut first, mut second) = (0.0_f32, 0.0_f32);
            for (k, l) in (0..pool.kernel).flat_map(|k| (0..pool.kernel).map(move |l| (k, l))) {
                let value = plane[(row * pool.stride + k) * width + column * pool.stride + l];
                (first, second) = if value > first { (value, first) } else { (first, second.max(value)) };
            }
            if first > 0.0 {
                least = least.min(first - second);
            }
        }
    }
    least
}

fn assert_close(found: &Results, expected: &Results) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            let difference = (found - expected).abs();
            assert!(difference <= TOLERANCE * largest, "result {index}: {found} and {expected} of {largest}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_global_rejects: 4096, ..ProptestConfig::default() })]

    #[test]
    fn one_stage_agrees(case in case(1), input_gradient: bool) {
        let (expected, margin) = composed(&case, input_gradient);
        prop_assume!(margin > 4e-6);
        assert_close(&fast(&case, input_gradient), &expected);
    }

    #[test]
    fn two_stages_agree(case in case(2), input_gradient: bool) {
        let (expected, margin) = composed(&case, input_gradient);
        prop_assume!(margin > 4e-6);
        assert_close(&fast(&case, input_gradient), &expected);
    }

    #[test]
    fn convolutions_without_relu_agree(case in case(1)) {
        let convolve = |convolution: Convolution| {
            climb(&case, true, |input, stages| {
                let Stage { weight, bias, window, .. } = stages[0].clone();
                let call = Conv2d::new(input.leaky_traced(), weight, bias, window, ConvOptions::default());
                convolution(call.expect("sizes fit")).expect("memory")
            })
        };
        assert_close(&convolve(Cpu::conv2d), &convolve(portable::conv2d));
    }
}

/// Two layers with a pooling between them, both by this path.
fn example(batch: usize) -> Case {
    let layer = |filters, kernel, pool| Layer { filters, window: Window { kernel, stride: 1, padding: 1 }, pool };
    let stages = vec![layer(32, 3, Some(Window { kernel: 3, stride: 2, padding: 0 })), layer(16, 3, None)];
    Case { batch, channels: 16, height: 25, width: 23, stages, seed: 21 }
}

#[test]
fn same_threads_same_bits() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| fast(&example(70), true))
    };
    for threads in [1, 2, 3] {
        assert!(run(threads) == run(threads));
    }
}

#[test]
fn gradients_accumulate() {
    let device = Cpu::default();
    let input = tensor(&device, (2, 16, 12, 12), 1);
    let weight = tensor(&device, (16, 16, 3, 3), 2);
    let bias = device.tensor_from_vec(values(16, 3), (16,));
    let stage = Stage {
        weight: weight.clone(),
        bias: bias.clone(),
        window: Window { kernel: 3, stride: 1, padding: 1 },
        pool: None,
    };
    let once = |gradients| {
        let tower = Tower::new(input.trace(gradients), true).stage(stage.clone()).expect("it fits");
        Cpu::tower(tower).expect("memory").sum().backward()
    };
    let first = once(Gradients::leaky());
    let second = once(first.clone());
    for (first, second) in [
        (first.get(&input).as_vec(), second.get(&input).as_vec()),
        (first.get(&weight).as_vec(), second.get(&weight).as_vec()),
        (first.get(&bias).as_vec(), second.get(&bias).as_vec()),
    ] {
        let doubled: Vec<f64> = first.iter().map(|value| 2.0 * f64::from(*value)).collect();
        assert_close(&vec![second.into_iter().map(f64::from).collect()], &vec![doubled]);
    }
}

#[test]
fn stages_that_do_not_fit_are_refused() {
    let device = Cpu::default();
    let stage = |channels, bias, pool| Stage {
        weight: tensor(&device, (16, channels, 3, 3), 2),
        bias: device.zeros_like(&(bias,)),
        window: Window { kernel: 3, stride: 1, padding: 0 },
        pool,
    };
    let tower = || Tower::new(tensor(&device, (2, 16, 5, 5), 1), false);
    assert!(tower().stage(stage(16, 16, None)).is_ok());
    assert!(tower().stage(stage(12, 16, None)).is_err());
    assert!(tower().stage(stage(16, 8, None)).is_err());
    assert!(tower().stage(stage(16, 16, Some(Window { kernel: 4, stride: 1, padding: 0 }))).is_err());
    // 5 → 3 → 1, and a window of 3 does not fit that.
    let two = tower().stage(stage(16, 16, None)).and_then(|tower| tower.stage(stage(16, 16, None)));
    assert!(two.is_ok());
    assert!(two.and_then(|tower| tower.stage(stage(16, 16, None))).is_err());
}
