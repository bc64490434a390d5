//! Values that PyTorch and torchvision made, see `tests/pytorch/golden.py` and `preprocessing.py`.

use infer_core::preprocess::{Resize, normalise_channels, resize_channels, rgb};
use infer_core::tensor::FloatArray;
use infer_core::{alexnet, lenet5, preprocess};
use serde_json::Value;
use tests::{file, formula};

fn golden(name: &str) -> Value {
    let path = format!("{}/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).expect(&path)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// Both within 1e-4 of the largest logit, by contract; the f64 logits within much less.
fn assert_logits(name: &str, logits: &[f32]) {
    let golden = golden(name);
    for key in ["logits_f32", "logits_f64"] {
        let expected = numbers(&golden[key]);
        let largest = expected.iter().fold(0.0_f64, |max, v| max.max(v.abs()));
        assert!((1.0..20.0).contains(&largest), "logits of that size would prove nothing: {largest}");
        assert_eq!(logits.len(), expected.len());
        for (found, expected) in logits.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5 * largest, "{name}: {found} is not {expected}");
        }
    }
}

#[test]
fn alexnet_gives_pytorchs_logits() {
    let file = file::by_formula(&alexnet::DESCRIPTION);
    let network = alexnet::AlexNet::<10>::from_safetensors(file.bytes()).unwrap();
    let image = formula::image(alexnet::SIDE);
    let image = alexnet::Image::slice(&image).first().unwrap();
    // The workspace is too large for the stack of a test's thread in a debug build.
    let workspace: &mut alexnet::Workspace = Box::leak(Box::default());
    assert_logits("alexnet.json", &network.forward(image, workspace));
}

#[test]
fn lenet5_gives_pytorchs_logits() {
    let file = file::by_formula(&lenet5::DESCRIPTION);
    let network = lenet5::LeNet5::<10>::from_safetensors(file.bytes()).unwrap();
    let image = formula::image(lenet5::SIDE);
    let image = lenet5::Image::slice(&image).first().unwrap();
    assert_logits("lenet5.json", &network.forward(image, &mut lenet5::Workspace::new()));
}

#[test]
fn the_file_tables_are_complete() {
    for (name, network) in [("alexnet.json", &alexnet::DESCRIPTION), ("lenet5.json", &lenet5::DESCRIPTION)] {
        let tensors = file::tensors(network, network.classes());
        let count: usize = tensors.iter().map(|(_, sizes)| sizes.iter().product::<usize>()).sum();
        assert_eq!(golden(name)["parameters"], count);
        assert!(tensors.iter().map(|(name, _)| *name).eq(network.tensors.iter().copied()));
    }
}

#[test]
fn resize_gives_torchvisions_values() {
    let golden = golden("resize.json");
    let cases = golden["cases"].as_array().expect("cases");
    assert!(cases.len() >= 7);
    for (stream, case) in cases.iter().enumerate() {
        let size = |key: &str| usize::try_from(case[key].as_u64().expect(key)).expect(key);
        let (height, width, side, step) = (size("height"), size("width"), size("side"), size("step"));
        let source = formula::unit(2000 + stream as u64, height * width);
        let pixel = |x: usize, y: usize| source[y * width + x];
        let resized = match side {
            28 => resize::<28>(width, height, pixel),
            224 => resize::<224>(width, height, pixel),
            _ => panic!("no such network"),
        };
        let found: Vec<_> = resized.iter().step_by(step).collect();
        let expected = numbers(&case["values"]);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            // A hundredth of a gray level: torchvision rounds its positions to f32.
            assert!(
                (f64::from(**found) - expected).abs() < 0.01 / 255.0,
                "{width}×{height}: {found} is not {expected}"
            );
        }
    }
}

fn resize<const SIDE: usize>(width: usize, height: usize, pixel: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let mut output = vec![[0.0; SIDE]; SIDE];
    preprocess::resize_bilinear(width, height, pixel, &mut output).unwrap();
    output.into_flattened()
}

/// Resizes bytes of three channels, and keeps some values: those of [0, 1], and what is left of them by `normalised`.
fn photograph<const SIDE: usize>(
    resize: Resize,
    (width, height): (usize, usize),
    pixels: &[u8],
    normalised: Option<&[[f32; 3]; 2]>,
) -> Vec<f32> {
    let mut planes = vec![[[0.0; SIDE]; SIDE]; 3];
    let planes: &mut [_; 3] = planes.as_mut_slice().try_into().unwrap();
    let pixel = |x: usize, y: usize| rgb(pixels.as_chunks().0[y * width + x]);
    resize_channels(resize, width, height, pixel, planes).unwrap();
    if let Some([mean, std]) = normalised {
        normalise_channels(planes, mean, std);
    }
    planes.as_flattened().as_flattened().to_vec()
}

#[test]
fn photographs_become_torchvisions_inputs() {
    let golden = golden("preprocessing.json");
    let cases = golden["cases"].as_array().expect("cases");
    assert!(cases.len() >= 14);
    let channels =
        |key: &str| <[f32; 3]>::try_from(numbers(&golden[key]).iter().map(|v| *v as f32).collect::<Vec<_>>());
    let preset = ["mean", "std"].map(|key| channels(key).expect(key));
    let mut normalised = 0;
    for (stream, case) in cases.iter().enumerate() {
        let size = |key: &str| case[key].as_u64().map(|size| size as usize);
        let (size_of, short) = (|key: &str| size(key).expect(key), size("short"));
        let (sizes, side, step) = ((size_of("width"), size_of("height")), size_of("side"), size_of("step"));
        let unit = formula::values(3000 + stream as u64, sizes.0 * sizes.1 * 3).map(|v| (v + 1.0) / 2.0);
        let pixels: Vec<u8> = unit.map(|v| (v * 256.0) as u8).collect();
        let resize = short.map_or(Resize::Exact, Resize::ShorterSide);
        let found = |preset| match side {
            28 => photograph::<28>(resize, sizes, &pixels, preset),
            224 => photograph::<224>(resize, sizes, &pixels, preset),
            _ => panic!("no such input"),
        };
        let compare = |found: &[f32], key: &str, white: f64, bound: f64| {
            let (found, expected) = (found.iter().step_by(step), numbers(&case[key]));
            assert_eq!(found.len(), expected.len());
            let errors = found.zip(expected).map(|(found, expected)| (f64::from(*found) - expected / white).abs());
            let worst = errors.fold(0.0, f64::max);
            assert!(worst <= bound, "{sizes:?}, {resize:?} to {side}: off by {worst} from {key}");
        };
        let values = found(None);
        compare(&values, "tensor_f32", 1.0, 1e-5);
        compare(&values, "tensor_f64", 1.0, 1e-6);
        compare(&values, "pillow", 255.0, 1.0 / 255.0);
        if !case["normalised"].is_null() {
            compare(&found(Some(&preset)), "normalised", 1.0, 1e-5 / 0.224);
            normalised += 1;
        }
    }
    assert!(normalised >= 5);
}
