//! JPEG. The header chooses between two decoders: a fast one for what most files are, and libjpeg, by which every other program
//! reads JPEG, for what the fast one reads wrongly or not at all, and for files that are read in spite of their damage.

mod libjpeg;
mod structure;

use anyhow::{Context, anyhow, bail, ensure};
use image::{DynamicImage, GrayImage, RgbImage};
use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

pub use self::libjpeg::{Colours, Samples};
use self::structure::Structure;
use super::{cmyk, memory_needed};

/// Bytes of ones, as the data of a scan have them: no code begins so where [`Structure::plain_tables`].
const NO_CODE: [u8; 32] = {
    let mut bytes = [0; 32];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = 0xFF;
        i += 2;
    }
    bytes
};

/// The image in a JPEG file. What is missing from a damaged one is libjpeg's guess if it is accepted.
///
/// # Errors
/// The file is of a kind that is not read, takes too much memory, or is damaged and that is not accepted.
pub fn decode(file: &[u8], accept_damaged: bool) -> anyhow::Result<DynamicImage> {
    let structure = Structure::read(file)?;
    ensure!(structure.complete || accept_damaged, "the JPEG file is truncated: it has no end marker");
    memory_needed(structure.memory())?;
    if !accept_damaged && is_plain(&structure) {
        return decode_fast(file, &structure);
    }
    let decoded = libjpeg::decode(None, file, Colours::Converted)?;
    if !accept_damaged {
        refuse_damage(&decoded)?;
    }
    into_image(decoded)
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

/// Whether the fast decoder reads such a file as libjpeg does: gray or YCbCr, its chroma no finer than half and no coarser than
/// that, in one sequential scan without restart markers, with its own Huffman tables.
fn is_plain(structure: &Structure) -> bool {
    let factors: Vec<_> = structure.components.iter().map(|c| (c.horizontal, c.vertical)).collect();
    let ids: Vec<_> = structure.components.iter().map(|c| c.id).collect();
    let colours = match factors[..] {
        [(1, 1)] => true,
        [(1 | 2, 1 | 2), (1, 1), (1, 1)] => match structure.adobe {
            Some(transform) => transform == 1,
            None => structure.jfif || ids == [1, 2, 3],
        },
        _ => false,
    };
    colours
        && structure.scans == [factors.len()]
        && structure.plain_tables
        && !structure.progressive
        && !structure.arithmetic
        && !structure.restarts
        && !structure.gaps
}

/// Decodes by the fast decoder. It reads zeros where the data end too early, and says nothing; so ones are put behind them, which
/// it takes for an error as soon as it needs them.
fn decode_fast(file: &[u8], structure: &Structure) -> anyhow::Result<DynamicImage> {
    let (_, end) = structure.first_data;
    let data = [&file[..end], &NO_CODE, &[0xFF, 0xD9]].concat();
    let space = if structure.components.len() == 1 { ColorSpace::Luma } else { ColorSpace::RGB };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(space);
    let decoded = JpegDecoder::new_with_options(ZCursor::new(&data), options).decode();
    let pixels =
        decoded.map_err(|error| anyhow!("the JPEG data are damaged: {}", error.to_string().trim_matches('"')))?;
    let (width, height) = (structure.width, structure.height);
    into_image(Samples { width, height, components: structure.components.len(), samples: pixels, damage: None })
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
