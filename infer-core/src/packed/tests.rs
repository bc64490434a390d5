//! Convolutions as a whole against their formula, with the error that each kind is documented to have, and what is refused.

use super::memory::{first_not_finite, write_header};
use super::pack::pack_conv;
use super::plan::How;
use super::winograd::Conv;
use super::*;
use crate::describe::Kind;
use crate::layers::testing::values;
use crate::lenet5;
use kernels::Tile;
use std::vec;
use std::vec::Vec;

/// The convolution's formula in f64, with ReLU: `[images][output_side][output_side][outputs]`.
fn direct(conv: &Conv, weights: &[f32], bias: &[f32], images: usize, input: &[f32]) -> Vec<f64> {
    let (taps, side) = (conv.tile.taps(), conv.input_side);
    let mut output = Vec::new();
    for image in input.chunks_exact(side * side * conv.inputs).take(images) {
        for (y, x) in (0..conv.output_side.pow(2)).map(|place| (place / conv.output_side, place % conv.output_side)) {
            for (o, bias) in bias.iter().enumerate() {
                let mut sum = f64::from(*bias);
                for (k, l) in (0..taps * taps).map(|place| (place / taps, place % taps)) {
                    let (y, x) = ((y + k).wrapping_sub(conv.padding), (x + l).wrapping_sub(conv.padding));
                    if y < side && x < side {
                        let pixel = &image[(y * side + x) * conv.inputs..][..conv.inputs];
                        let group = o / (conv.outputs / conv.groups);
                        for (i, value) in pixel[group * conv.depth()..][..conv.depth()].iter().enumerate() {
                            let weight = weights[((o * conv.depth() + i) * taps + k) * taps + l];
                            sum += f64::from(*value) * f64::from(weight);
                        }
                    }
                }
                output.push(sum.max(0.0));
            }
        }
    }
    output
}

/// The convolution by its kernels: the same layout.
fn packed(
    kernels: &'static Kernels,
    conv: &Conv,
    weights: &[f32],
    bias: &[f32],
    images: usize,
    input: &[f32],
) -> Vec<f32> {
    let taps = conv.tile.taps();
    let mut packed = vec![f32::NAN; conv.weights_len()];
    pack_conv(conv, &mut packed, |o, i, y, x| weights[((o * conv.depth() + i) * taps + y) * taps + x]);
    // Whatever is not written is NaN: nothing may depend on it.
    let (transformed, products) = conv.scratch_len(images);
    let (mut transformed, mut products) = (vec![f32::NAN; transformed], vec![f32::NAN; products]);
    let mut output = vec![f32::NAN; images * conv.output_len()];
    let engine = Engine::new(kernels, &Serial);
    let scratch = (&mut transformed[..], &mut products[..]);
    let stride = conv.input_side * conv.input_side * conv.inputs;
    engine.winograd(conv, (&packed, bias), images, (input, stride), scratch, &mut output);
    assert_eq!(engine.finish(), Ok(()));
    let valid = conv.output_side * conv.output_side * conv.outputs;
    output.chunks_exact(conv.output_len()).flat_map(|image| image[..valid].to_vec()).collect()
}

/// Root of the mean squared error, relative to the root of the mean square.
fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let error: f64 = found.iter().zip(expected).map(|(found, expected)| (f64::from(*found) - expected).powi(2)).sum();
    (error / expected.iter().map(|value| value * value).sum::<f64>()).sqrt()
}

/// For every backend of this CPU.
fn for_each_backend(check: impl Fn(&'static Kernels)) {
    let kernels: Vec<_> = Backend::ALL.iter().copied().filter_map(Backend::kernels).collect();
    assert!(!kernels.is_empty());
    kernels.into_iter().for_each(check);
}

#[test]
fn convolutions_are_within_their_stated_error() {
    let shapes = [
        (16, 32, 1, 1, 1, 1),
        (16, 64, 7, 2, 1, 1),
        (32, 32, 12, 1, 3, 1),
        (48, 32, 13, 0, 2, 1),
        (96, 64, 9, 3, 1, 1),
        (48, 96, 5, 1, 3, 3),
        (16, 64, 8, 2, 1, 2),
    ];
    for (number, (inputs, outputs, input_side, padding, images, groups)) in
        shapes.into_iter().enumerate().take(if cfg!(miri) { 1 } else { shapes.len() })
    {
        for tile in Tile::ALL {
            let output_side = usize::saturating_sub(input_side + 2 * padding + 1, tile.taps());
            if output_side == 0 {
                continue;
            }
            let conv = Conv { tile, inputs, outputs, groups, input_side, output_side, padding };
            let seed = number as u64;
            // As after a ReLU: positive, half of them zero.
            let input: Vec<f32> =
                values(seed, images * input_side * input_side * inputs).iter().map(|value| value.max(0.0)).collect();
            let weights = values(seed + 10, outputs * conv.depth() * tile.taps().pow(2));
            let bias = values(seed + 20, outputs);
            let expected = direct(&conv, &weights, &bias, images, &input);
            for_each_backend(|kernels| {
                let found = packed(kernels, &conv, &weights, &bias, images, &input);
                let error = relative_error(&found, &expected);
                assert!(error < tile.error(), "{kernels:?} {conv:?}: {error:e}");
                // Scaled by a power of two, every number is: the transforms depend on no magnitude.
                let scaled = |values: &[f32], scale: f32| values.iter().map(|v| v * scale).collect::<Vec<f32>>();
                let (input, bias) = (scaled(&input, 2_f32.powi(60)), scaled(&bias, 2_f32.powi(20)));
                let huge = packed(kernels, &conv, &scaled(&weights, 2_f32.powi(-40)), &bias, images, &input);
                assert_eq!(huge, scaled(&found, 2_f32.powi(20)));
            });
        }
    }
}

/// Packed memory for no images: a header, and zeros.
fn empty(plan: &Plan, classes: usize, linear: LinearWeights) -> Vec<Line> {
    let mut lines = vec![Line::ZERO; plan.packed_len(classes, linear)];
    write_header(&mut lines, plan, classes, linear);
    lines
}

#[test]
fn alexnets_layers_are_computed_as_documented() {
    let tiles = [(Tile::F6x3, 4), (Tile::F5x5, 1), (Tile::F4x3, 1), (Tile::F4x3, 1), (Tile::F4x3, 1)];
    let found = crate::alexnet::PLAN.steps().iter().filter_map(|step| match step.how {
        How::Winograd { conv, stride } => Some((conv.tile, stride)),
        _ => None,
    });
    assert!(found.eq(tiles));
    for plan in [&crate::alexnet_imagenet::PLAN, &crate::alexnet_2012::PLAN] {
        let mut convolutions = plan.steps().iter().filter(|step| matches!(step.layer.kind, Kind::Conv { .. }));
        assert!(convolutions.all(|step| matches!(step.how, How::Winograd { .. })), "{}", plan.description().name);
    }
    // LeNet-5's filters are too few for Winograd's transforms to pay.
    assert!(lenet5::PLAN.steps().iter().all(|step| !matches!(step.how, How::Winograd { .. })));
}

#[test]
fn wrong_memory_is_refused() {
    let plan = &lenet5::PLAN;
    let mut packed = empty(plan, 37, LinearWeights::F16);
    let open = |lines: &[Line]| Network::from_packed(plan, lines, Backend::Scalar).map(|network| network.classes());
    assert_eq!(open(&[]), Err(PackedError::NotPacked));
    assert_eq!(open(&vec![Line::ZERO; packed.len()]), Err(PackedError::NotPacked));
    assert_eq!(open(&packed), Ok(37));
    let (expected, found) = (packed.len(), packed.len() - 1);
    assert_eq!(open(&packed[..found]), Err(PackedError::Length { expected, found }));
    let mut changed = |word: usize, value: u32| {
        let before = core::mem::replace(&mut numbers_mut::<u32>(&mut packed)[word], value);
        let result = open(&packed);
        numbers_mut::<u32>(&mut packed)[word] = before;
        result
    };
    assert_eq!(changed(2, 2), Err(PackedError::Version { expected: 3, found: 2 }));
    assert_eq!(changed(3, 1), Err(PackedError::Classes { found: 1 }));
    assert_eq!(changed(3, 10_001), Err(PackedError::Classes { found: 10_001 }));
    assert!(matches!(changed(3, 10_000), Err(PackedError::Length { found, .. }) if found == expected));
    assert_eq!(changed(4, 1), Err(PackedError::Plan { network: "lenet5" }));
    assert_eq!(changed(5, 1), Err(PackedError::Network { expected: "lenet5" }));
    assert_eq!(changed(10, 0x0303_0303), Err(PackedError::Storage));
    assert_eq!(
        Network::from_packed(&crate::alexnet::PLAN, &packed, Backend::Scalar).map(|_| ()),
        Err(PackedError::Network { expected: "alexnet" })
    );
    // What version 0.1.0 packed.
    let words = numbers_mut::<u32>(&mut packed);
    words[..3].copy_from_slice(&[u32::from_le_bytes(*b"Alex"), u32::from_le_bytes(*b"Pack"), 2]);
    assert_eq!(open(&packed), Err(PackedError::Version { expected: 3, found: 2 }));
}

#[test]
fn a_backend_of_another_cpu_is_refused() {
    let lines = empty(&lenet5::PLAN, 10, LinearWeights::F16);
    for &backend in Backend::ALL {
        match Network::from_packed(&lenet5::PLAN, &lines, backend) {
            Ok(network) => assert!(backend.available() && network.backend() == backend),
            Err(error) => assert!(!backend.available() && error == PackedError::Unavailable { backend }),
        }
    }
}

#[test]
fn what_does_not_fit_the_batch_is_refused() {
    let lines = empty(&lenet5::PLAN, 10, LinearWeights::F16);
    let network = Network::from_packed(&lenet5::PLAN, &lines, Backend::Scalar).unwrap();
    let images = [0.0; 2 * 784];
    let expected = lenet5::PLAN.workspace_len(10, 2);
    let mut workspace = vec![Line::ZERO; expected - 1];
    let found = expected - 1;
    assert_eq!(
        network.forward(&images, &mut [0.0; 20], &mut workspace, &Serial),
        Err(PackedError::Workspace { expected, found })
    );
    assert_eq!(
        network.forward(&images, &mut [0.0; 30], &mut workspace, &Serial),
        Err(PackedError::Logits { expected: 20, found: 30 })
    );
    assert_eq!(
        network.forward(&images[1..], &mut [0.0; 20], &mut workspace, &Serial),
        Err(PackedError::Images { image: 784, found: 1567 })
    );
    assert_eq!(network.forward(&[], &mut [], &mut [], &Serial), Ok(()));
}

/// A safetensors file of one tensor, which begins at a multiple of 64 plus `shift`, in memory that does too.
fn file(name: &str, dtype: &str, data: &[u8], shift: usize) -> (Vec<Line>, std::ops::Range<usize>) {
    let mut header =
        std::format!(r#"{{"{name}":{{"dtype":"{dtype}","shape":[{0}],"data_offsets":[0,{0}]}}}}"#, data.len());
    while (8 + header.len()) % Line::SIZE != shift {
        header.push(' ');
    }
    let length = 8 + header.len() + data.len();
    let mut lines = vec![Line::ZERO; Line::count(length)];
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
    for (place, bytes) in numbers_mut::<u32>(&mut lines).iter_mut().zip(bytes.chunks(4)) {
        let mut four = [0; 4];
        four[..bytes.len()].copy_from_slice(bytes);
        *place = u32::from_le_bytes(four);
    }
    (lines, 0..length)
}

#[test]
fn files_of_packed_weights_are_used_in_place_or_refused() {
    let mut packed = empty(&lenet5::PLAN, 10, LinearWeights::F16);
    let open = |(lines, range): (Vec<Line>, std::ops::Range<usize>)| {
        Network::from_safetensors(&lenet5::PLAN, &Line::bytes(&lines)[range], Backend::Scalar)
            .map(|network| network.linear_weights())
    };
    let name = lenet5::DESCRIPTION.packed_tensor;
    let bytes = Line::bytes(&packed);
    assert_eq!(open(file(name, "U8", bytes, 0)), Ok(LinearWeights::F16));
    assert_eq!(open(file(name, "U8", bytes, 8)), Err(PackedError::Misaligned));
    assert_eq!(open(file(name, "U8", &bytes[..bytes.len() - 1], 0)), Err(PackedError::NotPacked));
    assert!(matches!(open(file(name, "U8", &bytes[..640], 0)), Err(PackedError::Length { found: 10, .. })));
    assert_eq!(
        open(file(name, "I8", bytes, 0)),
        Err(PackedError::File(WeightsError::Dtype { tensor: name, expected: Dtype::U8, found: Dtype::I8 }))
    );
    assert_eq!(open(file("other", "U8", bytes, 0)), Err(PackedError::File(WeightsError::Missing { tensor: name })));
    // The first weights are conv1's, the last bias is linear3's.
    for (line, tensor, value) in [(1, "conv1.weight", f32::NAN), (packed.len() - 1, "linear3.bias", f32::INFINITY)] {
        let before = packed[line];
        numbers_mut::<f32>(&mut packed[line..=line])[3] = value;
        assert_eq!(open(file(name, "U8", Line::bytes(&packed), 0)), Err(PackedError::NotFinite { tensor }));
        packed[line] = before;
    }
    assert!(matches!(open((packed, 0..7)), Err(PackedError::File(WeightsError::NoHeader { found: 7 }))));
}

#[test]
fn values_that_are_not_finite_are_found_wherever_they_are() {
    for length in [1, 3, 1023, 1024, 1025, 5000] {
        let mut values = vec![1.0_f32; length];
        assert_eq!(first_not_finite(&values), None);
        values[length - 1] = f32::NEG_INFINITY;
        assert_eq!(first_not_finite(&values), Some(length - 1));
        values[length / 2] = f32::NAN;
        assert_eq!(first_not_finite(&values), Some(length / 2));
    }
}

#[test]
fn weights_that_overflow_when_transformed_are_named() {
    mod wide {
        crate::network! {
            /// Wide enough for Winograd.
            Wide "wide": 16 x 12;
            conv1: conv 32, kernel 3, padding 1;
            conv2: conv 32, kernel 3, padding 1;
            linear1: linear 2 classes;
        }
    }
    let (zeros, mut huge) = (vec![0.0; 32 * 144 * 32], vec![0.0; 32 * 32 * 9]);
    huge[9..18].fill(f32::MAX);
    let weights = |conv2| {
        let layers = [(&zeros[..32 * 16 * 9], &zeros[..32]), (conv2, &zeros[..32]), (&zeros[..9216], &zeros[..2])];
        Weights::new(&wide::DESCRIPTION, 2, &layers)
    };
    let mut packed = vec![Line::ZERO; wide::PLAN.packed_len(2, LinearWeights::F32)];
    assert!(wide::PLAN.steps()[..2].iter().all(|step| matches!(step.how, How::Winograd { .. })));
    let mut pack = |weights| Network::pack(&wide::PLAN, &weights, LinearWeights::F32, &mut packed);
    assert_eq!(pack(weights(&zeros[..32 * 32 * 9])), Ok(()));
    assert_eq!(pack(weights(&huge)), Err(PackedError::Overflow { tensor: "conv2.weight" }));
    assert_eq!(pack(weights(&zeros[..9])), Err(WeightsError::Missing { tensor: "conv2.weight" }.into()));
    // Nothing but the network is looked at before it is found to be another one.
    let other = Weights::new(&lenet5::DESCRIPTION, 2, &[]);
    assert_eq!(pack(other), Err(PackedError::Network { expected: "wide" }));
}

#[test]
fn multiply_adds_are_counted() {
    for &backend in Backend::ALL {
        match backend.multiply_adds(100_000) {
            Some(count) => assert!(count >= 100_000 && backend.available()),
            None => assert!(!backend.available()),
        }
    }
    // 33,872,256 + 415,334,400 + 127,401,984 + 191,102,976 + 127,401,984 + 26,214,400 + 16,777,216, and linear3.
    assert_eq!(crate::alexnet::DESCRIPTION.multiply_adds(10), 938_105_216 + 40_960);
    assert_eq!(crate::alexnet::DESCRIPTION.parameters(10), 46_764_746);
    assert_eq!(crate::alexnet::DESCRIPTION.parameters(1000), 46_764_746 + 990 * 4097);
    assert_eq!(crate::alexnet_imagenet::DESCRIPTION.parameters(1000), 61_100_840);
    assert_eq!(crate::alexnet_2012::DESCRIPTION.parameters(1000), 60_965_224);
    let costs: Vec<Cost> = crate::alexnet::PLAN.costs(37, LinearWeights::F16).collect();
    assert_eq!(costs.iter().map(|cost| cost.layer.multiply_adds()).sum::<usize>(), 938_105_216 + 37 * 4096);
    assert!(costs[..5].iter().all(|cost| cost.products <= cost.layer.multiply_adds()));
    assert_eq!(costs[8].weight_bytes, 2 * 6400 * 4096);
}
