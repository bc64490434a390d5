//! Classifies a picture with the weights that the trainer or PyTorch has written.
//!
//! ```sh
//! cargo run --release -p alexnet-infer-core --example classify -- runs/quickstart/alexnet.safetensors picture.pgm
//! ```
//!
//! The picture is a binary PGM file of 8 bits, of any size. `infer-cli` reads every usual format, and is faster by its packed
//! weights.

use std::{env, error::Error, fs};

use infer_core::{
    alexnet::{AlexNet, Image, SIDE, Workspace},
    classify::top_k,
    preprocess::{gray, resize_bilinear},
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let [_, weights, picture] = &arguments[..] else { return Err("expected a weights file and a PGM picture".into()) };
    let (weights, picture) = (fs::read(weights)?, fs::read(picture)?);
    let (width, height, pixels) = pgm(&picture).ok_or("expected a binary PGM file of 8 bits")?;

    let network: AlexNet = AlexNet::from_safetensors(&weights)?;
    let mut image: Box<Image> = Box::new([[[0.0; SIDE]; SIDE]]);
    resize_bilinear(width, height, |x, y| gray(pixels[width * y + x]), &mut image[0])?;
    let mut workspace = Box::new(Workspace::new());
    for answer in top_k::<3, 10>(&network.forward(&image, &mut workspace)) {
        println!("class {}: {:.1} %", answer.class, 100.0 * answer.probability);
    }
    Ok(())
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
