//! Convolutions as a whole against their formula, with the error that each kind is documented to have, and what is refused.

use super::layout::{Conv, SectionsMut};
use super::pack::pack_conv;
use super::*;
use crate::arch::{Tile, numbers};
use crate::layers::testing::values;
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
                        for (i, value) in pixel.iter().enumerate() {
                            let weight = weights[((o * conv.inputs + i) * taps + k) * taps + l];
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
    let mut lines = vec![Line::ZERO; Line::count((conv.weights_len() + conv.outputs) * 4) + 1];
    pack_conv(&mut SectionsMut(&mut lines), conv, bias, |o, i, y, x| {
        weights[((o * conv.inputs + i) * taps + y) * taps + x]
    });
    let packed = numbers(&lines);
    // Whatever is not written is NaN: nothing may depend on it.
    let (transformed, products) = scratch_len(conv, images);
    let (mut transformed, mut products) = (vec![f32::NAN; transformed], vec![f32::NAN; products]);
    let mut output = vec![f32::NAN; images * conv.output_len()];
    let engine = Engine { kernels, parallel: &Serial };
    let scratch = (&mut transformed[..], &mut products[..]);
    engine.conv(
        conv,
        ConvWeights { weights: &packed[..conv.weights_len()], bias },
        images,
        input,
        scratch,
        &mut output,
    );
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
    let kernels: Vec<_> = Backend::ALL.into_iter().filter_map(Backend::kernels).collect();
    assert!(!kernels.is_empty());
    kernels.into_iter().for_each(check);
}

#[test]
fn convolutions_are_within_their_stated_error() {
    let shapes = [(16, 32, 1, 1, 1), (16, 64, 7, 2, 1), (32, 32, 12, 1, 3), (48, 32, 13, 0, 2), (96, 64, 9, 3, 1)];
    for (number, (inputs, outputs, input_side, padding, images)) in
        shapes.into_iter().enumerate().take(if cfg!(miri) { 1 } else { 5 })
    {
        for tile in Tile::ALL {
            let output_side = usize::saturating_sub(input_side + 2 * padding + 1, tile.taps());
            if output_side == 0 {
                continue;
            }
            let conv = Conv { tile, inputs, outputs, input_side, output_side, padding };
            let seed = number as u64;
            // As after a ReLU: positive, half of them zero.
            let input: Vec<f32> =
                values(seed, images * input_side * input_side * inputs).iter().map(|value| value.max(0.0)).collect();
            let weights = values(seed + 10, outputs * inputs * tile.taps().pow(2));
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

#[test]
fn wrong_memory_is_refused() {
    let len = PackedAlexNet::packed_len(LinearWeights::F16);
    let open = |lines: &[Line]| PackedAlexNet::from_packed(lines, Backend::Scalar).map(|_| ()).unwrap_err();
    assert_eq!(open(&[]), PackedError::NotPacked);
    assert_eq!(open(&vec![Line::ZERO; len]), PackedError::NotPacked);

    let mut header = [Line::ZERO; 2];
    layout::write_header(&mut header, LinearWeights::F16);
    assert_eq!(open(&header), PackedError::Length { expected: len, found: 2 });
    numbers_mut::<u32>(&mut header)[3] = 3;
    assert_eq!(open(&header), PackedError::NotPacked);
    numbers_mut::<u32>(&mut header)[4] = 7;
    assert_eq!(open(&header), PackedError::Classes { expected: CLASSES as u32, found: 7 });
    numbers_mut::<u32>(&mut header)[2] = 99;
    assert!(matches!(open(&header), PackedError::Version { found: 99, .. }));
}

#[test]
fn a_backend_of_another_cpu_is_refused() {
    let mut lines = vec![Line::ZERO; PackedAlexNet::packed_len(LinearWeights::F16)];
    layout::write_header(&mut lines, LinearWeights::F16);
    for backend in Backend::ALL {
        match PackedAlexNet::from_packed(&lines, backend) {
            Ok(network) => assert!(backend.available() && network.backend() == backend),
            Err(error) => assert!(!backend.available() && error == PackedError::Unavailable { backend }),
        }
    }
}

#[test]
fn what_does_not_fit_the_batch_is_refused() {
    let mut lines = vec![Line::ZERO; PackedAlexNet::packed_len(LinearWeights::F16)];
    layout::write_header(&mut lines, LinearWeights::F16);
    let network = PackedAlexNet::from_packed(&lines, Backend::Scalar).unwrap();
    let images = vec![[[[0.0; 224]; 224]]; 2];
    let expected = PackedAlexNet::workspace_len(2);
    let mut workspace = vec![Line::ZERO; expected - 1];
    assert_eq!(
        network.forward(&images, &mut [[0.0; CLASSES]; 2], &mut workspace, &Serial),
        Err(PackedError::Workspace { expected, found: expected - 1 })
    );
    assert_eq!(
        network.forward(&images, &mut [[0.0; CLASSES]; 3], &mut workspace, &Serial),
        Err(PackedError::Batch { images: 2, logits: 3 })
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
    let mut packed = vec![Line::ZERO; PackedAlexNet::packed_len(LinearWeights::F16)];
    layout::write_header(&mut packed, LinearWeights::F16);
    let open = |(lines, range): (Vec<Line>, std::ops::Range<usize>)| {
        PackedAlexNet::from_safetensors(&Line::bytes(&lines)[range], Backend::Scalar)
            .map(|network| network.linear_weights())
    };
    let bytes = Line::bytes(&packed);
    let name = PackedAlexNet::TENSOR;
    assert_eq!(open(file(name, "U8", bytes, 0)), Ok(LinearWeights::F16));
    assert_eq!(open(file(name, "U8", bytes, 8)), Err(PackedError::Misaligned));
    assert_eq!(open(file(name, "U8", &bytes[..bytes.len() - 1], 0)), Err(PackedError::NotPacked));
    assert!(matches!(open(file(name, "U8", &bytes[..640], 0)), Err(PackedError::Length { found: 10, .. })));
    assert_eq!(
        open(file(name, "I8", bytes, 0)),
        Err(PackedError::File(WeightsError::Dtype { tensor: name, expected: Dtype::U8, found: Dtype::I8 }))
    );
    assert_eq!(open(file("other", "U8", bytes, 0)), Err(PackedError::File(WeightsError::Missing { tensor: name })));
    assert!(matches!(open((packed, 0..7)), Err(PackedError::File(WeightsError::NoHeader { found: 7 }))));
}

#[test]
fn multiply_adds_are_counted() {
    for backend in Backend::ALL {
        match backend.multiply_adds(100_000) {
            Some(count) => assert!(count >= 100_000 && backend.available()),
            None => assert!(!backend.available()),
        }
    }
    // 33,872,256 + 415,334,400 + 127,401,984 + 191,102,976 + 127,401,984 + 26,214,400 + 16,777,216, and linear3.
    let linear3 = 4096 * CLASSES as u64;
    assert_eq!(Layer::ALL.map(Layer::multiply_adds).iter().sum::<u64>(), 938_105_216 + linear3);
    for layer in Layer::ALL {
        assert!(layer.products() <= layer.multiply_adds());
    }
}
