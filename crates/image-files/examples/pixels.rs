//! Decodes images to raw pixels, to compare them with what other programs read.
//!
//! `pixels OUT FILE…` prints a line for each file: its number, and width, height and kind of pixels, or `error` and why; the
//! pixels are written to `OUT/NUMBER.raw`, each RGB (of 8 or 16 bits, or 32-bit floating point) and little-endian.

use std::{env, fs, path::PathBuf};

use anyhow::Context;
use image::DynamicImage;
use image_files::decode::{self, Options};

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let out = PathBuf::from(arguments.next().context("usage: pixels OUT FILE...")?);
    let [accept_damaged, orient] = ["ACCEPT_DAMAGED", "ORIENT"].map(|name| env::var_os(name).is_some());
    for (number, path) in arguments.enumerate() {
        match decode::open(path.as_ref(), Options { accept_damaged, orient }) {
            Ok((image, _)) => {
                let (width, height) = (image.width(), image.height());
                let (kind, pixels) = rgb(image);
                fs::write(out.join(format!("{number}.raw")), pixels)?;
                println!("{number} {width} {height} {kind}");
            }
            Err(error) => println!("{number} error {error:#}"),
        }
    }
    Ok(())
}

fn rgb(image: DynamicImage) -> (&'static str, Vec<u8>) {
    use DynamicImage as I;
    match image {
        I::ImageLuma16(_) | I::ImageLumaA16(_) | I::ImageRgb16(_) | I::ImageRgba16(_) => {
            ("u16", image.into_rgb16().into_raw().into_iter().flat_map(u16::to_le_bytes).collect())
        }
        I::ImageRgb32F(_) | I::ImageRgba32F(_) => {
            ("f32", image.into_rgb32f().into_raw().into_iter().flat_map(f32::to_le_bytes).collect())
        }
        image => ("u8", image.into_rgb8().into_raw()),
    }
}
