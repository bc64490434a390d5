//! JPEG, decoded by libjpeg, by which every other program reads it, with vectors where libjpeg's arithmetic is slow.
//!
//! structure (what is refused) ─▶ libjpeg (codes to coefficients) ─▶ idct (to planes) ─▶ pixels

mod idct;
mod libjpeg;
mod pixels;
mod structure;

use anyhow::{Context, bail, ensure};
use image::{DynamicImage, GrayImage, RgbImage};

pub use self::libjpeg::{Colours, Samples};
use self::structure::Structure;
use super::{cmyk, memory_needed};

/// The image in a JPEG file. What is missing from a damaged one is libjpeg's guess if it is accepted.
///
/// # Errors
/// The file is of a kind that is not read, takes too much memory, or is damaged and that is not accepted.
pub fn decode(file: &[u8], accept_damaged: bool) -> anyhow::Result<DynamicImage> {
    let structure = Structure::read(file)?;
    ensure!(structure.complete || accept_damaged, "the JPEG file is truncated: it has no end marker");
    memory_needed(structure.memory())?;
    let decoded = libjpeg::decode(None, file, Colours::Converted)?;
    if !accept_damaged {
        refuse_damage(&decoded)?;
    }
    into_image(decoded)
}

/// The Exif data of a JPEG file, if it has some.
pub fn exif(file: &[u8]) -> Option<&[u8]> {
    structure::exif(file)
}

/// The samples of JPEG data within a file of another kind, in at most the memory that images may take; see [`libjpeg::decode`].
///
/// # Errors
/// The data are of a kind that is not read, or damaged.
pub fn decode_embedded(tables: Option<&[u8]>, data: &[u8], colours: Colours) -> anyhow::Result<Samples> {
    memory_needed(Structure::read(data)?.memory())?;
    let decoded = libjpeg::decode(tables, data, colours)?;
    refuse_damage(&decoded)?;
    Ok(decoded)
}

/// An old-style TIFF file's image: a whole JPEG file in YCbCr.
///
/// # Errors
/// As [`decode_embedded`].
pub fn decode_old_style(file: &[u8]) -> anyhow::Result<DynamicImage> {
    into_image(decode_embedded(None, file, Colours::YCbCrRepeated)?)
}

/// Columns and rows of a JPEG file in YCbCr that begins here and goes on to its end marker.
pub fn size_of_whole(file: &[u8]) -> Option<(usize, usize)> {
    let structure = file.starts_with(&[0xFF, 0xD8]).then(|| Structure::read(file).ok()).flatten()?;
    (structure.complete && structure.components.len() == 3).then_some((structure.width, structure.height))
}

fn refuse_damage(samples: &Samples) -> anyhow::Result<()> {
    match &samples.damage {
        Some(damage) => bail!("the JPEG data are damaged: {damage}"),
        None => Ok(()),
    }
}

/// An image of gray, RGB or CMYK samples. Those of CMYK are inverted, as Adobe writes them and every program reads them.
fn into_image(Samples { width, height, components, samples, .. }: Samples) -> anyhow::Result<DynamicImage> {
    let (width, height) = (u32::try_from(width)?, u32::try_from(height)?);
    let image = match components {
        1 => GrayImage::from_raw(width, height, samples).map(DynamicImage::from),
        3 => RgbImage::from_raw(width, height, samples).map(DynamicImage::from),
        4 => {
            let pixels =
                samples.as_chunks().0.iter().flat_map(|ink: &[u8; 4]| cmyk::to_rgb(ink.map(|value| 255 - value)));
            RgbImage::from_raw(width, height, pixels.collect()).map(DynamicImage::from)
        }
        other => bail!("the JPEG decoder gives {other} samples a pixel"),
    };
    image.context("the JPEG decoder gives too few samples")
}
