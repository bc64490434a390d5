//! Int8 networks against the definition in `infer_core::int8`, written out in 64-bit integers, bit by bit; and against the f32
//! networks that they were made of.

use infer_core::code::Code;
use infer_core::describe::{Kind, Layer};
use infer_core::int8::{Int8Backend, Int8Error, Line, Network, Parallel, Plan, Ranges, Serial};
use infer_core::weights::Weights;
use infer_core::{alexnet, lenet5};
use proptest::prelude::*;
use std::rc::Rc;
use std::sync::LazyLock;

mod mixed {
    infer_core::network! {
        /// A network with every kind of layer: colour, stride, no padding, two pools in a row, a layer without ReLU.
        Mixed "mixed": 3 x 23;
        conv1: conv 5, kernel 3, stride 2, padding 1;
        conv2: conv 70, kernel 2, padding 1;
        pool1: max_pool kernel 3, stride 2;
        pool2: max_pool kernel 2, stride 1;
        conv3: conv 19, kernel 3, padding 1;
        linear1: linear 21, no relu;
        linear2: linear 66, dropout;
        linear3: linear 7 classes;
    }
}

mod tiled {
    infer_core::network! {
        /// A network with Winograd convolutions of both sizes: whole tiles and others, with and without padding.
        Tiled "tiled": 1 x 20;
        conv1: conv 32, kernel 2, stride 1;
        conv2: conv 64, kernel 5, padding 2;
        conv3: conv 32, kernel 3, padding 1;
        pool1: max_pool kernel 2, stride 2;
        conv4: conv 96, kernel 3;
        conv5: conv 40, kernel 3, padding 1;
        conv6: conv 32, kernel 5, padding 1;
        linear1: linear 5 classes;
    }
}

mod streams {
    infer_core::network! {
        /// A network with convolutions in groups, of which some are Winograd's, and local response normalisation.
        Streams "streams": 3 x 21;
        conv1: conv 32, kernel 3, stride 2;
        norm1: local_response_norm;
        pool1: max_pool kernel 3, stride 2;
        conv2: conv 64, kernel 5, padding 2, groups 2;
        norm2: local_response_norm;
        conv3: conv 18, kernel 3, padding 1, groups 2;
        conv4: conv 12, kernel 1, padding 1, groups 6;
        norm4: local_response_norm;
        linear1: linear 20, dropout;
        linear2: linear 5 classes;
    }
}

mod pooled {
    infer_core::network! {
        /// A network that begins with a pool.
        Pooled "pooled": 2 x 9;
        pool1: max_pool kernel 2, stride 2;
        linear1: linear 3 classes;
    }
}

mod halves {
    infer_core::network! {
        /// A network with linear layers that may have weights of 4 bits, behind maps and behind a vector, and others that may not: by their
        /// number of inputs, without ReLU, behind such a one, and the last.
        Halves "halves": 1 x 14;
        conv1: conv 32, kernel 2, stride 1;
        conv2: conv 32, kernel 3;
        pool1: max_pool kernel 3, stride 2;
        linear1: linear 96, dropout;
        linear2: linear 70;
        linear3: linear 64, no relu;
        linear4: linear 40;
        linear5: linear 50;
        linear6: linear 3 classes;
    }
}

mod flat {
    infer_core::network! {
        /// A network of linear layers alone, the first with more inputs than 16-bit values fit into sums.
        Flat "flat": 3 x 32;
        linear1: linear 30;
        linear2: linear 3 classes;
    }
}

/// `count` values, uniform from −`scale` to `scale`.
fn values(seed: u64, count: usize, scale: f64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (((state >> 40) as f64 / f64::from(1 << 23) - 1.0) * scale) as f32
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// The f32 weights of a network, by which activations keep their size.
struct Model {
    plan: &'static Plan,
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    classes: usize,
}

impl Model {
    fn new(plan: &'static Plan, classes: usize, seed: u64) -> Self {
        let layers = plan.description().layers(classes).filter(|layer| layer.tensors.is_some()).enumerate();
        let layers = layers.map(|(number, layer)| {
            let (fan_in, outputs) = (layer.fan_in(), layer.output.channels);
            let scale = (6.0 / fan_in as f64).sqrt();
            let seed = seed.wrapping_add(2 * number as u64);
            (values(seed, fan_in * outputs, scale), values(seed + 1, outputs, 0.1))
        });
        Self { plan, layers: layers.collect(), classes }
    }

    fn weights(&self) -> Weights<'_> {
        let layers: Vec<(&[f32], &[f32])> = self.layers.iter().map(|(weight, bias)| (&weight[..], &bias[..])).collect();
        Weights::new(self.plan.description(), self.classes, &layers)
    }

    /// Outputs of each layer in f64, ReLU applied: `[channel][row][column]`.
    fn outputs(&self, image: &[f32]) -> Vec<Vec<f64>> {
        let mut input: Vec<f64> = image.iter().map(|value| f64::from(*value)).collect();
        let mut weights = self.layers.iter();
        let mut outputs = Vec::new();
        for layer in self.plan.description().layers(self.classes) {
            let output: Vec<f64> = match layer.tensors {
                None if layer.kind == Kind::LocalResponseNorm => {
                    let squares = around(&layer, &input.iter().map(|value| value * value).collect::<Vec<f64>>());
                    input.iter().zip(squares).map(|(value, sum)| value / (2.0 + 1e-4 * sum).powf(0.75)).collect()
                }
                None => positions(&layer)
                    .map(|(channel, taps)| {
                        let greatest = taps.map(|(y, x)| input[place(&layer, channel, y, x).unwrap()]);
                        greatest.fold(f64::NEG_INFINITY, f64::max)
                    })
                    .collect(),
                Some(_) => {
                    let (weight, bias) = weights.next().unwrap();
                    let sums = products(&layer).map(|(output, products)| {
                        let sum: f64 = products
                            .iter()
                            .map(|&(at, k)| input[at] * f64::from(weight[output * layer.fan_in() + k]))
                            .sum();
                        sum + f64::from(bias[output])
                    });
                    sums.map(|sum| if layer.relu() { sum.max(0.0) } else { sum }).collect()
                }
            };
            outputs.push(output.clone());
            input = output;
        }
        outputs
    }

    /// The network in int8, for the ranges that these images have.
    fn pack(&self, images: &[Vec<f32>]) -> Vec<Line> {
        self.pack_for(images, &images.iter().map(|image| self.outputs(image)).collect::<Vec<_>>())
    }

    /// The same, with the outputs at hand.
    fn pack_for(&self, images: &[Vec<f32>], outputs: &[Vec<Vec<f64>>]) -> Vec<Line> {
        let greatest = |number: usize| {
            let values = outputs.iter().flat_map(|outputs| &outputs[number]);
            values.fold(0.0, |greatest: f64, value| greatest.max(value.abs())) as f32
        };
        let ranges: Vec<f32> = (0..outputs[0].len()).map(greatest).collect();
        let input = images.iter().flatten().fold(0.0, |greatest: f32, value| greatest.max(value.abs()));
        let mut packed = vec![Line::ZERO; self.plan.packed_len(self.classes)];
        let ranges = Ranges { input, outputs: &ranges };
        Network::pack(self.plan, &self.weights(), ranges, &mut packed).unwrap();
        packed
    }

    fn images(&self, seed: u64, count: usize) -> Vec<Vec<f32>> {
        let length = self.plan.description().input().values();
        (0..count).map(|i| values(seed + i as u64, length, 2.0)).collect()
    }
}

/// Index of a value of a layer's input, in channel, row, column order; none in the padding.
fn place(layer: &Layer, channel: usize, y: usize, x: usize) -> Option<usize> {
    let (side, padding) = (layer.input.side, layer.padding());
    let (y, x) = (y.checked_sub(padding)?, x.checked_sub(padding)?);
    (y < side && x < side).then_some((channel * side + y) * side + x)
}

/// For each value of maps, the sum of those of the channels around its own, which it is normalised by.
fn around<T: Copy + std::iter::Sum<T>>(layer: &Layer, values: &[T]) -> Vec<T> {
    let area = layer.output.side * layer.output.side;
    let channels = |place: usize| (place / area).saturating_sub(2)..(place / area + 3).min(layer.output.channels);
    let sum = |place: usize| channels(place).map(|channel| values[channel * area + place % area]).sum();
    (0..values.len()).map(sum).collect()
}

/// The first channel that an output of a convolution sees.
fn first_channel(layer: &Layer, output: usize) -> usize {
    output / (layer.output.channels / layer.groups()) * layer.group_channels()
}

/// For each output of a pool, its channel and the positions of its window.
fn positions(layer: &Layer) -> impl Iterator<Item = (usize, impl Iterator<Item = (usize, usize)> + use<>)> + use<'_> {
    let (side, kernel, stride) = (layer.output.side, layer.kernel(), layer.stride());
    (0..layer.output.values()).map(move |output| {
        let (channel, y, x) = (output / (side * side), output / side % side, output % side);
        (channel, (0..kernel * kernel).map(move |tap| (y * stride + tap / kernel, x * stride + tap % kernel)))
    })
}

/// For each output of a layer with weights, its channel, and the products that it sums: the places of input and weight.
fn products(layer: &Layer) -> impl Iterator<Item = (usize, Rc<[(usize, usize)]>)> + use<> {
    let (side, kernel, stride) = (layer.output.side, layer.kernel(), layer.stride());
    let (area, channels) = (side * side, layer.output.channels / layer.groups());
    // Those of a position are the same for all outputs of a group.
    let window = |group: usize, y: usize, x: usize| {
        let product = |k: usize| match layer.kind {
            Kind::Conv { .. } => {
                let (input, row, column) = (k / (kernel * kernel), k / kernel % kernel, k % kernel);
                let input = group * layer.group_channels() + input;
                Some((place(layer, input, y * stride + row, x * stride + column)?, k))
            }
            _ => Some((k, k)),
        };
        (0..layer.fan_in()).filter_map(product).collect()
    };
    let windows: Vec<Rc<[_]>> =
        (0..layer.groups() * area).map(|at| window(at / area, at / side % side, at % side)).collect();
    (0..layer.output.values()).map(move |output| {
        let channel = output / area;
        (channel, windows[channel / channels * area + output % area].clone())
    })
}

/// Whether a layer is a Winograd convolution by that plan.
fn is_tiled(plan: &Plan, layer: &Layer, wide: bool) -> bool {
    let sizes = [layer.input.channels, layer.output.channels].iter().all(|channels| channels % 32 == 0);
    let conv = matches!(layer.kind, Kind::Conv { kernel: 3 | 5, stride: 1, .. });
    plan.transformed_len() > 0 && conv && sizes && !wide
}

/// Whether a layer has weights of 4 bits by that plan.
fn is_int4(plan: &Plan, layer: &Layer, wide: bool, last: bool) -> bool {
    let linear = matches!(layer.kind, Kind::Linear { .. });
    plan.has_int4() && linear && layer.fan_in().is_multiple_of(32) && layer.relu() && !wide && !last
}

/// Matrices of a Winograd convolution with kernels of three or five rows: `Bᵀ`, `G` without fractions, and the fractions.
type Matrices = (&'static [&'static [i64]], &'static [&'static [i64]], &'static [i64]);

const THREE: Matrices = (
    &[&[-1, 0, 1, 0], &[0, 1, 1, 0], &[0, -1, 1, 0], &[0, -1, 0, 1]],
    &[&[1, 0, 0], &[1, 1, 1], &[1, -1, 1], &[0, 0, 1]],
    &[-1, 2, 2, 1],
);

const FIVE: Matrices = (
    &[
        &[4, 0, -5, 0, 1, 0],
        &[0, -4, -4, 1, 1, 0],
        &[0, 4, -4, -1, 1, 0],
        &[0, -2, -1, 2, 1, 0],
        &[0, 2, -1, -2, 1, 0],
        &[0, 4, 0, -5, 0, 1],
    ],
    &[&[1, 0, 0, 0, 0], &[1, 1, 1, 1, 1], &[1, -1, 1, -1, 1], &[1, 2, 4, 8, 16], &[1, -2, 4, -8, 16], &[0, 0, 0, 0, 1]],
    &[4, -6, -6, 24, 24, 1],
);

/// `M·x·Mᵀ`, row by row.
fn both_sides(matrix: &[&[i64]], x: impl Fn(usize, usize) -> i64) -> Vec<i64> {
    let entries = |i: usize| matrix[i].iter().enumerate().filter(|(_, factor)| **factor != 0);
    let sum = |i: usize, j: usize| -> i64 {
        entries(i).map(|(a, left)| entries(j).map(|(b, right)| left * x(a, b) * right).sum::<i64>()).sum()
    };
    (0..matrix.len() * matrix.len()).map(|place| sum(place / matrix.len(), place % matrix.len())).collect()
}

/// `Aᵀ·m`, in single precision, in the order that the definition states.
fn output_side(m: &[f32]) -> [f32; 2] {
    match *m {
        [a, b, c, d] => [a + (b + c), (b - c) + d],
        [a, b, c, d, e, f] => [(a + (b + c)) + (d + e), ((b - c) + 2.0 * (d - e)) + f],
        _ => unreachable!("tiles have a side of 4 or 6"),
    }
}

/// Outputs of a Winograd convolution by the definition.
fn tiled(layer: &Layer, section: &Section, input: &[i64]) -> Vec<i64> {
    let (r, channels, outputs) = (layer.kernel(), layer.input.channels, layer.output.channels);
    let (b, g, fractions) = if r == 3 { THREE } else { FIVE };
    let (n, side) = (r + 1, layer.output.side);
    // Weights, [position][output][channel], and their scales, [position][output].
    let mut weights = vec![vec![vec![0; channels]; outputs]; n * n];
    let mut scales = vec![vec![0.0; outputs]; n * n];
    for output in 0..outputs {
        // Those of the channels of other groups are zero.
        let (first, group) = (first_channel(layer, output), layer.group_channels());
        let filters: Vec<Vec<i64>> = (0..channels)
            .map(|channel| {
                let filter = channel.checked_sub(first).filter(|channel| *channel < group);
                let filter = filter.map(|channel| &section.weights[(output * group + channel) * r * r..]);
                both_sides(g, |row, column| filter.map_or(0, |filter| filter[row * r + column]))
            })
            .collect();
        for place in 0..n * n {
            let pairs = filters.chunks(2).map(|pair| pair[0][place].abs() + pair[1][place].abs());
            let greatest = pairs.max().unwrap().max(1);
            for (channel, filter) in filters.iter().enumerate() {
                let value = (filter[place] as f32 * (127.0 / greatest as f32)).round_ties_even();
                weights[place][output][channel] = value as i64;
            }
            let fraction = (fractions[place / n] * fractions[place % n]) as f32;
            scales[place][output] = greatest as f32 / 127.0 * section.scales[output] / fraction;
        }
    }
    let mut map = vec![0; outputs * side * side];
    for (top, left) in (0..side).step_by(2).flat_map(|top| (0..side).step_by(2).map(move |left| (top, left))) {
        let values: Vec<Vec<i64>> = (0..channels)
            .map(|channel| both_sides(b, |i, j| place(layer, channel, top + i, left + j).map_or(0, |at| input[at])))
            .collect();
        let mut sums = vec![vec![0.0; outputs]; n * n];
        for place in 0..n * n {
            let greatest = values.iter().map(|values| values[place].abs()).max().unwrap().max(1);
            let shift = (0..).find(|shift| greatest << shift >= 8192).unwrap();
            let multiplier = (127 << 15) / (greatest << shift);
            let tile_scale = (1_i64 << (15 - shift)) as f32 / multiplier as f32;
            let bytes: Vec<i64> =
                values.iter().map(|values| ((values[place] << shift) * multiplier + (1 << 14)) >> 15).collect();
            for (output, weights) in weights[place].iter().enumerate() {
                let sum: i64 = bytes.iter().zip(weights).map(|(byte, weight)| byte * weight).sum();
                sums[place][output] = sum as f32 * scales[place][output] * tile_scale;
            }
        }
        for output in 0..outputs {
            let sides: Vec<[f32; 2]> =
                (0..n).map(|j| output_side(&(0..n).map(|i| sums[i * n + j][output]).collect::<Vec<_>>())).collect();
            for row in 0..2.min(side - top) {
                let y = output_side(&sides.iter().map(|side| side[row]).collect::<Vec<_>>());
                for (column, y) in y.iter().enumerate().take(2.min(side - left)) {
                    let value = (y + section.float_bias[output]).clamp(0.0, 127.0).round_ties_even();
                    map[(output * side + top + row) * side + left + column] = value as i64;
                }
            }
        }
    }
    map
}

/// A layer of packed memory.
#[derive(Default)]
struct Section {
    shift1: u32,
    shift2: u32,
    bias: Vec<i64>,
    multipliers: Vec<i64>,
    /// Of logits, or of a Winograd convolution.
    scales: Vec<f32>,
    /// Of a Winograd convolution.
    float_bias: Vec<f32>,
    /// `[output][fan_in]` in the order of the f32 weights.
    weights: Vec<i64>,
}

/// Reads packed memory as its documentation says.
fn sections(plan: &Plan, classes: usize, bytes: &[u8]) -> (f32, Vec<Section>) {
    let description = plan.description();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut at = 64;
    let mut take = |length: usize| {
        let start = at;
        at += length.next_multiple_of(64);
        start
    };
    let count = description.layers.len();
    let mut sections = Vec::new();
    let mut wide = true;
    for (number, layer) in description.layers(classes).enumerate() {
        if layer.kind == Kind::LocalResponseNorm {
            let (shift, table) = (take(4), take(2 * 1310));
            let multiplier = |i: usize| i64::from(u16::from_le_bytes([bytes[table + 2 * i], bytes[table + 2 * i + 1]]));
            let multipliers = (0..1310).map(multiplier).collect();
            sections.push(Section { shift2: word(shift), multipliers, ..Section::default() });
        }
        if layer.tensors.is_some() {
            let outputs = layer.output.channels;
            let padded = outputs.next_multiple_of(16);
            let last = number + 1 == count;
            let tiled = is_tiled(plan, &layer, wide);
            let shifts = if tiled { 0 } else { take(8) };
            let (mut bias, mut factors) = (0, 0);
            let (float_scales, float_bias) = if tiled { (take(4 * padded), take(4 * padded)) } else { (0, 0) };
            if !tiled {
                bias = take(4 * padded);
                factors = take(if last { 4 } else { 2 } * padded);
            }
            let halves = is_int4(plan, &layer, wide, last);
            let groups = if halves { take(padded * layer.fan_in() / 32) } else { 0 };
            let group = if wide { 2 } else { 4 };
            let (kernel, channels) = (layer.kernel(), layer.input.channels);
            let (rows, run) = match layer.kind {
                Kind::Conv { .. } => (kernel, kernel * channels),
                _ => (1, layer.input.values()),
            };
            let filled = run.next_multiple_of(group);
            let weights = take(padded * rows * filled / if halves { 2 } else { 1 });
            let weight = |output: usize, k: usize| {
                // From channel, row, column to rows of `[column][channel]`.
                let (row, i) = match layer.kind {
                    Kind::Conv { .. } => {
                        let (input, row, column) = (k / (kernel * kernel), k / kernel % kernel, k % kernel);
                        (row, column * channels + first_channel(&layer, output) + input)
                    }
                    _ if number == 0 => (0, k),
                    _ => {
                        let side = layer.input.side * layer.input.side;
                        (0, k % side * channels + k / side)
                    }
                };
                let depth = row * filled + i;
                if halves {
                    let factor = bytes[groups + (output / 16 * (filled / 32) + depth / 32) * 16 + output % 16];
                    let byte = bytes[weights + output / 16 * 8 * filled + depth / 8 * 64 + output % 16 * 4 + depth % 4];
                    let half = if depth % 8 < 4 { byte << 4 } else { byte & 0xF0 };
                    return i64::from(half as i8 >> 4) * i64::from(factor);
                }
                let panel = output / 16 * 16 * rows * filled;
                let place = panel + depth / group * 16 * group + output % 16 * group + depth % group;
                i64::from(bytes[weights + place] as i8)
            };
            let fan_in = layer.fan_in();
            sections.push(Section {
                shift1: word(shifts),
                shift2: word(shifts + 4),
                bias: (0..outputs).map(|o| i64::from(word(bias + 4 * o) as i32)).collect(),
                float_bias: (0..if tiled { outputs } else { 0 })
                    .map(|o| f32::from_bits(word(float_bias + 4 * o)))
                    .collect(),
                multipliers: (0..if last || tiled { 0 } else { outputs })
                    .map(|o| i64::from(u16::from_le_bytes([bytes[factors + 2 * o], bytes[factors + 2 * o + 1]]) as i16))
                    .collect(),
                scales: (0..if last || tiled { outputs } else { 0 })
                    .map(|o| f32::from_bits(word(if tiled { float_scales } else { factors } + 4 * o)))
                    .collect(),
                weights: (0..outputs * fan_in).map(|k| weight(k / fan_in, k % fan_in)).collect(),
            });
            wide = !layer.relu();
        }
    }
    assert_eq!(at, bytes.len());
    (f32::from_bits(word(40)), sections)
}

/// Logits by the definition.
fn definition(plan: &Plan, classes: usize, packed: &[Line], image: &[f32]) -> Vec<f32> {
    let description = plan.description();
    let (factor, sections) = sections(plan, classes, Line::bytes(packed));
    let fan_in = description.layers(classes).map(|layer| layer.fan_in()).find(|fan_in| *fan_in > 0).unwrap();
    let limit = ((1_usize << 30) / (127 * fan_in)).min(8191) as f64;
    let pixel = |value: &f32| f64::from(value * factor).round_ties_even().clamp(-limit, limit) as i64;
    let mut input: Vec<i64> = image.iter().map(pixel).collect();
    let mut sections = sections.into_iter();
    for layer in description.layers(classes) {
        input = if layer.kind == Kind::LocalResponseNorm {
            let Section { shift2, multipliers, .. } = sections.next().unwrap();
            let sums = around(&layer, &input.iter().map(|value| value * value).collect::<Vec<i64>>());
            let normalised = input.iter().zip(sums).map(|(value, sum)| {
                let exponent = (0..).take_while(|exponent| sum >= 1 << (7 + exponent)).last().unwrap_or(0);
                let multiplier = multipliers[(128 * exponent + (sum >> exponent)) as usize];
                ((value * multiplier + (1 << (shift2 - 1))) >> shift2).min(127)
            });
            normalised.collect()
        } else if layer.tensors.is_none() {
            let windows = positions(&layer);
            windows.map(|(c, taps)| taps.map(|(y, x)| input[place(&layer, c, y, x).unwrap()]).max().unwrap()).collect()
        } else {
            let section = sections.next().unwrap();
            if !section.float_bias.is_empty() {
                input = tiled(&layer, &section, &input);
                continue;
            }
            let Section { shift1, shift2, bias, multipliers, scales, weights, .. } = section;
            let sums: Vec<(usize, i64)> = products(&layer)
                .map(|(output, products)| {
                    let sum: i64 =
                        products.iter().map(|&(at, k)| input[at] * weights[output * layer.fan_in() + k]).sum();
                    (output, sum + bias[output])
                })
                .collect();
            assert!(sums.iter().all(|(_, sum)| i32::try_from(*sum).is_ok()));
            if !scales.is_empty() {
                return sums.iter().map(|(output, sum)| *sum as f32 * scales[*output]).collect();
            }
            let scaled = |(output, sum): &(usize, i64)| {
                let relu = layer.relu();
                let limit = (1_i64 << (if relu { 16 } else { 15 } + shift1)) - 1;
                let u = sum.clamp(&if relu { 0 } else { -limit }, &limit) >> shift1;
                let v = (u * multipliers[*output] + (1 << (shift2 - 1))) >> shift2;
                if relu { v.min(127) } else { v.clamp(-8191, 8191) }
            };
            sums.iter().map(scaled).collect()
        };
    }
    unreachable!("the last layer has scales")
}

/// The backends of this CPU.
fn backends() -> impl Iterator<Item = Int8Backend> {
    Int8Backend::ALL.iter().copied().filter(|backend| backend.available())
}

/// Each task on one of four threads.
struct Threads;

impl Parallel for Threads {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|thread| scope.spawn(move || (thread..tasks).step_by(4).for_each(task)));
            // One by one, which ThreadSanitizer sees: scripts/sanitize-threads.
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}

/// Bits of the logits of some images, from a workspace full of ones.
fn forward(network: &Network<'_>, images: &[Vec<f32>], parallel: &impl Parallel) -> Vec<u32> {
    let mut workspace = vec![Line::ZERO; network.workspace_len(images.len())];
    Line::bytes_mut(&mut workspace).fill(0xFF);
    let mut logits = vec![f32::NAN; images.len() * network.classes()];
    network.forward(&images.concat(), &mut logits, &mut workspace, parallel).unwrap();
    let pixels: Vec<i16> = images.iter().flatten().map(|pixel| network.quantise(*pixel)).collect();
    let mut again = vec![f32::NAN; logits.len()];
    network.forward_quantised(&pixels, &mut again, &mut workspace, parallel).unwrap();
    let bits = |logits: Vec<f32>| logits.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let logits = bits(logits);
    assert_eq!(logits, bits(again));
    logits
}

/// Runs a network of random weights on every backend, and compares with the definition, and with the f32 network within
/// `tolerance` of the greatest logit.
fn check(plan: &'static Plan, classes: usize, seed: u64, count: usize, tolerance: f64) {
    check_scaled(plan, classes, seed, count, tolerance, 1.0);
}

/// The same for images whose values are `scale` times as large.
fn check_scaled(plan: &'static Plan, classes: usize, seed: u64, count: usize, tolerance: f64, scale: f32) {
    let model = Model::new(plan, classes, seed);
    let mut images = model.images(seed ^ 77, count);
    images.iter_mut().flatten().for_each(|value| *value *= scale);
    let outputs: Vec<_> = images.iter().map(|image| model.outputs(image)).collect();
    let packed = model.pack_for(&images, &outputs);
    let expected: Vec<Vec<f32>> = images.iter().map(|image| definition(plan, classes, &packed, image)).collect();
    let bits: Vec<u32> = expected.iter().flatten().map(|logit| logit.to_bits()).collect();
    for backend in backends() {
        let mut transformed = vec![Line::ZERO; plan.transformed_len()];
        Line::bytes_mut(&mut transformed).fill(0xFF);
        let network = Network::from_packed(plan, &packed, &mut transformed, backend).unwrap();
        assert_eq!(network.check_weights(), Ok(()));
        assert_eq!(forward(&network, &images, &Serial), bits, "{backend}");
        assert_eq!(forward(&network, &images, &Threads), bits, "{backend}, threads");
        assert_eq!(forward(&network, &images[..1], &Serial), bits[..classes], "{backend}, one image");
    }
    for (logits, outputs) in expected.into_iter().zip(&outputs) {
        let real = outputs.last().unwrap();
        let greatest = real.iter().fold(0.0, |greatest: f64, value| greatest.max(value.abs()));
        for (logit, real) in logits.iter().zip(real) {
            let error = (f64::from(*logit) - real).abs() / greatest;
            assert!(error < tolerance, "{} is {error} of the greatest logit off", plan.description().name);
        }
    }
}

/// Networks of random weights that a test makes: fewer than `usual` where `ALEXNET_SEEDS` says so, as in an emulator.
fn seeds(usual: u64) -> u64 {
    std::env::var("ALEXNET_SEEDS").map_or(usual, |most| usual.min(most.parse().expect("a number in ALEXNET_SEEDS")))
}

#[test]
fn every_kind_of_layer_equals_the_definition_in_every_bit() {
    for seed in 0..seeds(6) {
        check(&mixed::INT8_PLAN, 7, seed, 3, 0.06);
        check(&mixed::INT8_PLAN, 40, seed, 2, 0.06);
        check(&pooled::INT8_PLAN, 3, seed, 4, 0.02);
        check(&flat::INT8_PLAN, 3, seed, 2, 0.06);
    }
}

#[test]
fn lenet5_equals_the_definition_in_every_bit() {
    check(&lenet5::INT8_PLAN, 10, 1, 9, 0.06);
    check(&lenet5::INT8_PLAN, 2, 2, 2, 0.06);
}

#[test]
fn weights_of_4_bits_equal_the_definition_in_every_bit() {
    // Random weights have no favourites among them, and three such layers follow each other: only the bits say much here.
    for seed in 0..seeds(3) {
        check(&halves::INT4_PLAN, 3, seed, 3, 1.5);
    }
    check(&halves::INT4_PLAN, 3, 3, 11, 1.5);
    check(&halves::INT4_WINOGRAD_PLAN, 30, 4, 1, 1.5);
    assert!(halves::INT4_PLAN.has_int4() && !halves::INT8_PLAN.has_int4() && !lenet5::INT4_PLAN.has_int4());
    assert!(halves::INT4_PLAN.packed_len(3) < halves::INT8_PLAN.packed_len(3));
}

#[test]
fn weights_of_4_bits_are_the_nearest_multiples_of_their_factors() {
    let model = Model::new(&halves::INT4_PLAN, 3, 4);
    let packed = model.pack(&model.images(9, 1));
    let (_, sections) = sections(model.plan, 3, Line::bytes(&packed));
    // linear1, behind maps of 5 × 5 with 32 channels, whose values lie channel by channel in memory.
    let ((weight, _), section) = (&model.layers[2], &sections[2]);
    for (real, found) in weight.chunks(800).zip(section.weights.chunks(800)) {
        let scale = real.iter().fold(0.0, |greatest: f64, value| greatest.max(f64::from(value.abs()))) / 126.0;
        for position in 0..25 {
            let group = || (0..32).map(|channel| channel * 25 + position);
            let greatest = group().fold(0.0, |greatest: f64, k| greatest.max(f64::from(real[k].abs()) / scale));
            let factor = (greatest / 7.0 - 1e-9).ceil().max(1.0);
            for k in group() {
                let (real, found) = (f64::from(real[k]) / scale, found[k] as f64);
                assert!(
                    found % factor == 0.0 && (real - found).abs() <= factor / 2.0 + 1e-6,
                    "{real}: {found}, {factor}"
                );
            }
        }
    }
}

#[test]
fn weights_of_4_bits_out_of_range_are_refused() {
    let model = Model::new(&halves::INT4_PLAN, 3, 5);
    let packed = model.pack(&model.images(9, 2));
    let refused = |at: usize, byte: u8| {
        let mut packed = packed.clone();
        Line::bytes_mut(&mut packed)[at] = byte;
        let network = Network::from_packed(model.plan, &packed, &mut [], Int8Backend::Scalar).unwrap();
        network.check_weights()
    };
    let padded =
        [32, 32].map(|outputs: usize| 64 + (4 * outputs).next_multiple_of(64) + (2 * outputs).next_multiple_of(64));
    // Behind the header and two convolutions, of 4 weights in two groups and of 288 in 72.
    let linear1 = 64 + padded[0] + 32 * 4 + padded[1] + 32 * 288;
    let depth = 32 * 5 * 5;
    let groups = linear1 + 64 + 4 * 96 + 2 * 96;
    let weights = groups + (96 * depth / 32_usize).next_multiple_of(64);
    let linear2 =
        weights + 96 * depth / 2 + 64 + (4_usize * 80).next_multiple_of(64) + (2_usize * 80).next_multiple_of(64);
    let (groups2, weights2) = (linear2, linear2 + (80 * 96 / 32_usize).next_multiple_of(64));
    let (first, second) = (Err(Int8Error::Weight { layer: "linear1" }), Err(Int8Error::Weight { layer: "linear2" }));
    assert_eq!(refused(weights, 0x97), Ok(()));
    for byte in [0x08, 0x80, 0x88, 0x8F] {
        assert_eq!(refused(weights + 5, byte), first);
        assert_eq!(refused(weights + 96 * depth / 2 - 1, byte), first);
    }
    assert_eq!(
        (refused(groups, 18), refused(groups, 19), refused(groups + 96 * depth / 32 - 1, 255)),
        (Ok(()), first, first)
    );
    // The last panel of 70 outputs has 6.
    let (panel_groups, panel_weights) = (groups2 + 64 * 96 / 32, weights2 + 64 * 96 / 2);
    assert_eq!((refused(panel_groups + 5, 3), refused(panel_groups + 6, 1)), (Ok(()), second));
    assert_eq!((refused(panel_weights + 4 * 6 - 1, 0x11), refused(panel_weights + 4 * 6, 0x10)), (Ok(()), second));
    assert_eq!(refused(panel_weights + 64 + 63, 1), second);
}

#[test]
fn winograd_convolutions_equal_the_definition_in_every_bit() {
    for seed in 0..seeds(3) {
        check(&tiled::INT8_WINOGRAD_PLAN, 5, seed, 3, 0.2);
        check(&tiled::INT8_PLAN, 5, seed, 1, 0.2);
    }
    assert!(tiled::INT8_PLAN.transformed_len() == 0 && tiled::INT8_WINOGRAD_PLAN.transformed_len() > 0);
}

#[test]
fn groups_and_normalisation_equal_the_definition_in_every_bit() {
    for seed in 0..seeds(4) {
        // Of images so bright that normalisation matters, or makes the smallest values, of one or two levels, the largest ones, so
        // that little is left of the f32 network.
        check_scaled(&streams::INT8_PLAN, 5, seed, 2, 0.12, 100.0);
        check_scaled(&streams::INT8_WINOGRAD_PLAN, 5, seed, 2, 0.12, 100.0);
        check_scaled(&streams::INT8_PLAN, 5, seed, 2, f64::INFINITY, 1e4);
    }
    assert!(streams::INT8_WINOGRAD_PLAN.transformed_len() > 0);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes a minute with checks: CI runs it in the release profile")]
fn alexnet_by_winograd_equals_the_definition_in_every_bit() {
    check(&alexnet::INT8_WINOGRAD_PLAN, 10, 3, 1, 0.08);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes a minute with checks: CI runs it in the release profile")]
fn alexnet_equals_the_definition_in_every_bit() {
    check(&alexnet::INT8_PLAN, 10, 3, 1, 0.08);
}

#[test]
fn pixels_are_rounded_to_even_and_clipped() {
    let model = Model::new(&pooled::INT8_PLAN, 3, 0);
    let outputs = [1.0; 2];
    let mut packed = vec![Line::ZERO; model.plan.packed_len(3)];
    // A factor of one.
    let ranges = Ranges { input: 8191.0, outputs: &outputs };
    Network::pack(model.plan, &model.weights(), ranges, &mut packed).unwrap();
    let network = Network::from_packed(model.plan, &packed, &mut [], Int8Backend::Scalar).unwrap();
    let cases = [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (-2.5, -2), (8190.5, 8190), (0.499_999_97, 0)];
    let ends = [(8192.0, 8191), (-1e9, -8191), (f32::INFINITY, 8191), (f32::NEG_INFINITY, -8191), (f32::NAN, 0)];
    for (pixel, expected) in cases.into_iter().chain(ends) {
        assert_eq!(network.quantise(pixel), expected, "{pixel}");
    }
}

/// LeNet-5, packed.
static LENET5_PACKED: LazyLock<Vec<Line>> = LazyLock::new(|| {
    let model = Model::new(&lenet5::INT8_PLAN, 10, 5);
    model.pack(&model.images(9, 2))
});

/// A network of Winograd convolutions, packed.
static TILED_PACKED: LazyLock<Vec<Line>> = LazyLock::new(|| {
    let model = Model::new(&tiled::INT8_WINOGRAD_PLAN, 5, 1);
    model.pack(&model.images(9, 1))
});

#[test]
fn what_is_not_right_is_refused_by_name() {
    let plan = &lenet5::INT8_PLAN;
    let packed = &*LENET5_PACKED;
    let changed = |at: usize, bytes: &[u8]| {
        let mut packed = packed.clone();
        Line::bytes_mut(&mut packed)[at..at + bytes.len()].copy_from_slice(bytes);
        let network = Network::from_packed(plan, &packed, &mut [], Int8Backend::Scalar);
        network.and_then(|network| network.check_weights()).unwrap_err()
    };
    assert_eq!(changed(0, b"X"), Int8Error::NotInt8);
    assert_eq!(changed(8, &[2]), Int8Error::Version { expected: 1, found: 2 });
    assert_eq!(changed(12, &[1]), Int8Error::Classes { found: 1 });
    assert!(matches!(changed(12, &[200]), Int8Error::Length { .. }));
    assert_eq!(changed(16, &[0x55]), Int8Error::Plan { network: "lenet5" });
    assert_eq!(changed(20, b"m"), Int8Error::Network { expected: "lenet5" });
    assert_eq!(changed(40, &f32::NAN.to_le_bytes()), Int8Error::Factor);
    assert_eq!(changed(40, &0.0_f32.to_le_bytes()), Int8Error::Factor);
    assert_eq!(changed(63, &[1]), Int8Error::Plan { network: "lenet5" });
    // The first section: shifts, then biases, multipliers and weights of 6 outputs, filled up to 16.
    let conv1 = Int8Error::Parameter { layer: "conv1" };
    assert_eq!(changed(64, &[16]), conv1);
    assert_eq!(changed(68, &[0]), conv1);
    assert_eq!(changed(68, &[31]), conv1);
    assert_eq!(changed(128, &(1_i32 << 30 | 1).to_le_bytes()), conv1);
    assert_eq!(changed(128, &i32::MIN.to_le_bytes()), conv1);
    assert_eq!(changed(192, &(-1_i16).to_le_bytes()), conv1);
    let weight = Int8Error::Weight { layer: "conv1" };
    assert_eq!(changed(256, &[0x80]), weight);
    // The seventh output, and the sixth column of a row of five.
    assert_eq!(changed(256 + 12, &[1]), weight);
    assert_eq!(changed(256 + 2 * 32 + 1, &[1]), weight);
    assert_eq!(Network::from_packed(plan, &[], &mut [], Int8Backend::Scalar).unwrap_err(), Int8Error::NotInt8);
    let short = Network::from_packed(plan, &packed[1..], &mut [], Int8Backend::Scalar).unwrap_err();
    assert_eq!(short.kind(), Code::NotPacked);
    for backend in Int8Backend::ALL.iter().copied().filter(|backend| !backend.available()) {
        let found = Network::from_packed(plan, packed, &mut [], backend).unwrap_err();
        assert_eq!(found, Int8Error::Unavailable { backend });
    }
}

#[test]
fn normalisation_that_is_not_right_is_refused_by_name() {
    let plan = &streams::INT8_PLAN;
    let model = Model::new(plan, 5, 1);
    let packed = model.pack(&model.images(9, 2));
    let changed = |at: usize, bytes: &[u8]| {
        let mut packed = packed.clone();
        Line::bytes_mut(&mut packed)[at..at + bytes.len()].copy_from_slice(bytes);
        Network::from_packed(plan, &packed, &mut [], Int8Backend::Scalar).map(|_| ())
    };
    // The header, then conv1: shifts, 32 biases, 32 multipliers, two panels of three rows of nine values and one that fills up.
    let shift = 64 + 64 + 128 + 64 + 3 * 10 * 32;
    let refused = Err(Int8Error::Parameter { layer: "norm1" });
    assert_eq!(changed(shift, &[0]), refused);
    assert_eq!(changed(shift, &[31]), refused);
    assert_eq!(changed(shift + 64, &(-1_i16).to_le_bytes()), refused);
    assert_eq!(changed(shift + 64 + 2 * 1309, &(-1_i16).to_le_bytes()), refused);
    assert_eq!(changed(shift, &[1]), Ok(()));
    assert_eq!(changed(shift + 64, &i16::MAX.to_le_bytes()), Ok(()));
}

#[test]
fn winograd_weights_that_are_not_right_are_refused_by_name() {
    let plan = &tiled::INT8_WINOGRAD_PLAN;
    let model = Model::new(plan, 5, 1);
    let packed = model.pack(&model.images(9, 2));
    let mut transformed = vec![Line::ZERO; plan.transformed_len()];
    let mut changed = |at: usize, value: f32| {
        let mut packed = packed.clone();
        Line::bytes_mut(&mut packed)[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Network::from_packed(plan, &packed, &mut transformed, Int8Backend::Scalar).map(|_| ())
    };
    // The header, then conv1: shifts, 32 biases, 32 multipliers, two panels of two rows of a pair. Then 64 scales and biases.
    let scales = 64 + 64 + 128 + 64 + 2 * 2 * 32;
    let biases = scales + 256;
    let limit = 2.0_f32.powi(64);
    let refused = Err(Int8Error::Parameter { layer: "conv2" });
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 2.0 * limit, 0.5 / limit, f32::from_bits(1)] {
        assert_eq!(changed(scales, scale), refused, "{scale}");
        assert_eq!(changed(scales + 252, scale), refused, "{scale}");
    }
    for bias in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0 * limit, -2.0 * limit] {
        assert_eq!(changed(biases, bias), refused, "{bias}");
    }
    for (at, value) in [(scales, limit), (scales, 1.0 / limit), (biases, limit), (biases, -limit), (biases, 0.0)] {
        assert_eq!(changed(at, value), Ok(()), "{value}");
    }
    let length = transformed.len();
    let open = |lines: usize| {
        let mut transformed = vec![Line::ZERO; lines];
        Network::from_packed(plan, &packed, &mut transformed, Int8Backend::Scalar).map(|_| ())
    };
    assert_eq!(open(length - 1), Err(Int8Error::Transformed { expected: length, found: length - 1 }));
    assert_eq!(open(length + 1), Err(Int8Error::Transformed { expected: length, found: length + 1 }));
    // Weights of one plan are not those of the other.
    let other = Network::from_packed(&tiled::INT8_PLAN, &packed, &mut [], Int8Backend::Scalar).map(|_| ());
    assert_eq!(other, Err(Int8Error::Plan { network: "tiled" }));
}

#[test]
fn the_plan_of_a_file_is_found_by_its_weights() {
    for plan in [&alexnet::INT8_PLAN, &alexnet::INT8_WINOGRAD_PLAN, &lenet5::INT8_PLAN] {
        let model = Model::new(plan, 10, 1);
        let mut packed = vec![Line::ZERO; plan.packed_len(10)];
        let ranges = vec![1.0; plan.description().layers.len()];
        Network::pack(plan, &model.weights(), Ranges { input: 1.0, outputs: &ranges }, &mut packed).unwrap();
        let mut file = safetensors(plan.description().int8_tensor, Line::bytes(&packed));
        let found = infer_core::int8::plan_of(Line::bytes(&file)).unwrap();
        assert!(std::ptr::eq(found, plan));
        // Another fingerprint, behind the header of the file.
        Line::bytes_mut(&mut file)[128 + 16] ^= 1;
        let error = infer_core::int8::plan_of(Line::bytes(&file)).unwrap_err();
        assert_eq!(error, Int8Error::Plan { network: plan.description().name });
    }
    let other = safetensors("something", &[0; 64]);
    assert!(matches!(infer_core::int8::plan_of(Line::bytes(&other)), Err(Int8Error::File(_))));
    assert!(matches!(infer_core::int8::plan_of(b"nothing"), Err(Int8Error::File(_))));
}

/// A file with one tensor of bytes, behind a header of 128 bytes.
fn safetensors(name: &str, bytes: &[u8]) -> Vec<Line> {
    let length = bytes.len();
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[{length}],"data_offsets":[0,{length}]}}}}"#);
    let mut file = 120_u64.to_le_bytes().to_vec();
    file.extend(format!("{header:<120}").bytes().chain(bytes.iter().copied()));
    let mut lines = vec![Line::ZERO; Line::count(file.len())];
    Line::bytes_mut(&mut lines).copy_from_slice(&file);
    lines
}

#[test]
fn memory_of_the_wrong_size_is_refused() {
    let packed = &*LENET5_PACKED;
    let network = Network::from_packed(&lenet5::INT8_PLAN, packed, &mut [], Int8Backend::best()).unwrap();
    let mut workspace = vec![Line::ZERO; network.workspace_len(2)];
    let run = |image: usize, logits: usize, lines: &mut [Line]| {
        network.forward(&vec![0.0; image], &mut vec![0.0; logits], lines, &Serial)
    };
    let length = workspace.len();
    assert_eq!(run(2 * 784, 20, &mut workspace), Ok(()));
    assert_eq!(run(0, 0, &mut []), Ok(()));
    assert_eq!(run(785, 10, &mut workspace), Err(Int8Error::Images { image: 784, found: 785 }));
    assert_eq!(run(784, 9, &mut workspace), Err(Int8Error::Logits { expected: 10, found: 9 }));
    let found = run(2 * 784, 20, &mut workspace[1..]);
    assert_eq!(found, Err(Int8Error::Workspace { expected: length, found: length - 1 }));
}

#[test]
fn what_cannot_be_quantised_is_refused() {
    let plan = &lenet5::INT8_PLAN;
    let mut model = Model::new(plan, 10, 5);
    let pack = |model: &Model, input: f32, outputs: &[f32], lines: usize| {
        let mut packed = vec![Line::ZERO; lines];
        Network::pack(plan, &model.weights(), Ranges { input, outputs }, &mut packed)
    };
    let (lines, ranges) = (plan.packed_len(10), [1.0; 7]);
    assert_eq!(pack(&model, 1.0, &ranges, lines), Ok(()));
    assert_eq!(pack(&model, 1.0, &ranges, lines - 1), Err(Int8Error::Length { expected: lines, found: lines - 1 }));
    assert_eq!(pack(&model, 1.0, &ranges[1..], lines), Err(Int8Error::Ranges { found: 6 }));
    assert_eq!(pack(&model, f32::NAN, &ranges, lines), Err(Int8Error::Ranges { found: 7 }));
    assert_eq!(pack(&model, 1e-45, &ranges, lines), Err(Int8Error::Factor));
    assert_eq!(pack(&model, 1.0, &[1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0], lines), Err(Int8Error::Ranges { found: 2 }));
    // Ranges of pools and of the last layer are not looked at.
    assert_eq!(pack(&model, 1.0, &[1.0, 0.0, 1.0, f32::NAN, 1.0, 1.0, -1.0], lines), Ok(()));
    model.layers[2].1[3] = f32::INFINITY;
    assert_eq!(pack(&model, 1.0, &ranges, lines), Err(Int8Error::NotFinite { layer: "linear1" }));
    let other = Model::new(&mixed::INT8_PLAN, 7, 0);
    let mut packed = vec![Line::ZERO; lines];
    let found = Network::pack(plan, &other.weights(), Ranges { input: 1.0, outputs: &ranges }, &mut packed);
    assert_eq!(found, Err(Int8Error::Network { expected: "lenet5" }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_memory_is_refused_or_gives_the_same_bits_everywhere(seed: u64, damages in 1_usize..6) {
        let mut packed = LENET5_PACKED.clone();
        let length = packed.len() * Line::SIZE;
        let places = values(seed, 2 * damages, 1.0);
        for damage in places.chunks(2) {
            // Half of them where the header and the first sections are.
            let end = if seed % 2 == 0 { length } else { 4096 };
            let at = ((f64::from(damage[0]) + 1.0) / 2.0 * (end - 1) as f64) as usize;
            Line::bytes_mut(&mut packed)[at] = (f64::from(damage[1]) * 127.0) as i8 as u8;
        }
        let image = values(seed, 784, 2.0);
        let mut all = Vec::new();
        for backend in backends() {
            let Ok(network) = Network::from_packed(&lenet5::INT8_PLAN, &packed, &mut [], backend) else { continue };
            if network.check_weights().is_ok() {
                all.push(forward(&network, std::slice::from_ref(&image), &Serial));
            }
        }
        prop_assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn damaged_winograd_weights_are_refused_or_give_the_same_bits_everywhere(seed: u64, damages in 1_usize..6) {
        let plan = &tiled::INT8_WINOGRAD_PLAN;
        let mut packed = TILED_PACKED.clone();
        // Half of them where the scales of the first Winograd convolution are.
        let length = packed.len() * Line::SIZE;
        let (start, end) = if seed % 2 == 0 { (64, length) } else { (448, 448 + 512) };
        for damage in values(seed, 2 * damages, 1.0).chunks(2) {
            let at = start + ((f64::from(damage[0]) + 1.0) / 2.0 * (end - start - 1) as f64) as usize;
            Line::bytes_mut(&mut packed)[at] = (f64::from(damage[1]) * 127.0) as i8 as u8;
        }
        let image = values(seed, 400, 2.0);
        let mut all = Vec::new();
        for backend in backends() {
            let mut transformed = vec![Line::ZERO; plan.transformed_len()];
            let Ok(network) = Network::from_packed(plan, &packed, &mut transformed, backend) else { continue };
            if network.check_weights().is_ok() {
                all.push(forward(&network, std::slice::from_ref(&image), &Serial));
            }
        }
        prop_assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn any_weights_and_ranges_make_a_network_that_opens(seed: u64, exponent in -30_i32..30, spread in -8_i32..8) {
        let mut model = Model::new(&mixed::INT8_PLAN, 7, seed);
        // Some outputs far larger or smaller than the others, and some that are zero.
        for (weight, bias) in &mut model.layers {
            let fan_in = weight.len() / bias.len();
            for (output, bias) in bias.iter_mut().enumerate() {
                let factor = [1.0, 2.0_f32.powi(spread), 0.0][output % 3];
                weight[output * fan_in..(output + 1) * fan_in].iter_mut().for_each(|value| *value *= factor);
                *bias *= [1.0, 0.0, 1e6][output % 5 % 3];
            }
        }
        let ranges = [2.0_f32.powi(exponent); 8];
        let mut packed = vec![Line::ZERO; model.plan.packed_len(7)];
        let packing = Network::pack(model.plan, &model.weights(), Ranges { input: 2.0, outputs: &ranges }, &mut packed);
        prop_assert_eq!(packing, Ok(()));
        let image = values(seed, 3 * 23 * 23, 2.0);
        let expected = definition(model.plan, 7, &packed, &image);
        let bits: Vec<u32> = expected.iter().map(|logit| logit.to_bits()).collect();
        for backend in backends() {
            let network = Network::from_packed(model.plan, &packed, &mut [], backend).unwrap();
            prop_assert_eq!(network.check_weights(), Ok(()));
            prop_assert_eq!(&forward(&network, std::slice::from_ref(&image), &Serial), &bits);
        }
    }
}
