//! Classifies a picture with the weights that the trainer or PyTorch has written.
//!
//! ```sh
//! cargo run --release -p alexnet-infer-core --example classify -- runs/quickstart/alexnet.safetensors picture.pgm
//! ```
//!
//! The picture is a binary PGM file of 8 bits, of any size. `infer-cli` reads every usual format, and is faster by its packed
//! weights.

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::Read,
    path::Path,
};

use infer_core::{
    alexnet::{AlexNet, Image, SIDE, Workspace},
    classify::{Prediction, top_k},
    packed::Line,
    preprocess::{gray, resize_bilinear},
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args_os().collect();
    let [_, weights, picture] = &arguments[..] else { return Err("expected a weights file and a PGM picture".into()) };
    for Prediction { class, probability } in classify(weights.as_ref(), picture.as_ref())? {
        println!("class {class}: {:.1} %", 100.0 * probability);
    }
    Ok(())
}

/// The three most likely classes.
fn classify(weights: &Path, picture: &Path) -> Result<Vec<Prediction>, Box<dyn Error>> {
    let picture = fs::read(picture)?;
    let (width, height, pixels) = pgm(&picture).ok_or("expected a binary PGM file of 8 bits")?;

    // Weights are read in place, so that they must be aligned: lines of memory are, a vector of bytes need not be.
    let mut file = File::open(weights)?;
    let length = usize::try_from(file.metadata()?.len())?;
    let mut lines = vec![Line::ZERO; Line::count(length)];
    let weights = &mut Line::bytes_mut(&mut lines)[..length];
    file.read_exact(weights)?;
    let network: AlexNet = AlexNet::from_safetensors(weights)?;
    let mut image: Box<Image> = Box::new([[[0.0; SIDE]; SIDE]]);
    resize_bilinear(width, height, |x, y| gray(pixels[width * y + x]), &mut image[0])?;
    let mut workspace = Box::new(Workspace::new());
    Ok(top_k::<3, 10>(&network.forward(&image, &mut workspace)).to_vec())
}

/// Width, height and pixels of a PGM file: `P5`, three numbers, one byte of space, the pixels.
fn pgm(file: &[u8]) -> Option<(usize, usize, &[u8])> {
    let mut rest = file.strip_prefix(b"P5")?;
    let mut number = || {
        rest = rest.trim_ascii_start();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, after) = rest.split_at(digits);
        rest = after;
        std::str::from_utf8(number).ok()?.parse::<usize>().ok()
    };
    let (width, height, most) = (number()?, number()?, number()?);
    let pixels = rest.get(1..)?;
    (most == 255 && pixels.len() == width.checked_mul(height)?).then_some((width, height, pixels))
}

#[test]
fn a_picture_is_classified_and_bad_files_are_refused() {
    use infer_core::alexnet::LAYERS;
    use safetensors::{Dtype, serialize_to_file, tensor::TensorView};
    let folder = env::temp_dir().join(format!("classify-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (weights, picture) = (folder.join("alexnet.safetensors"), folder.join("picture.pgm"));
    // Zeros, but for a bias: class 7 is the best, whatever the picture.
    let zeros = vec![0; LAYERS.iter().map(|layer| 4 * layer.parameters()).max().unwrap()];
    let mut last = vec![0; 40];
    last[28..32].copy_from_slice(&3_f32.to_le_bytes());
    let layers = LAYERS.iter().filter_map(|layer| layer.tensors.map(|names| (names, layer)));
    let tensors = layers.flat_map(|([weight, bias], layer)| {
        let outputs = layer.output.channels;
        let shape = layer.weight_sizes()[..layer.weight_rank()].to_vec();
        let values = &zeros[..4 * shape.iter().product::<usize>()];
        let biases = if bias == "linear3.bias" { &last } else { &zeros[..4 * outputs] };
        [(weight, shape, values), (bias, vec![outputs], biases)]
    });
    let tensors = tensors.map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape, bytes).unwrap()));
    serialize_to_file(tensors, None, &weights).unwrap();
    fs::write(&picture, [&b"P5\n3 2\n255\n"[..], &[0, 50, 100, 150, 200, 250]].concat()).unwrap();

    let best = classify(&weights, &picture).unwrap();
    assert_eq!(best.iter().map(|best| best.class).collect::<Vec<_>>(), [7, 0, 1]);
    let exact = 3_f64.exp() / (3_f64.exp() + 9.0);
    assert!((f64::from(best[0].probability) - exact).abs() < 1e-6);
    fs::write(&picture, b"P5 3 2 255 short").unwrap();
    assert!(classify(&weights, &picture).is_err());
    assert!(classify(&picture, &picture).is_err());
    fs::remove_dir_all(&folder).unwrap();
}
