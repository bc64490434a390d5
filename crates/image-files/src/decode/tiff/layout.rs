//! Layout of a TIFF file by its fields: the size of the image, what its samples mean, and where they lie. What is not read is refused
//! here by its name.

use crate::ImageError;
use std::fmt;

use anyhow::{Context, bail, ensure};

use super::{compression::Compression, directory::Directory};
use crate::decode::format::{FORMATS, RAW};

/// Meaning of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Gray.
    Gray {
        /// 0 is white.
        inverted: bool,
    },
    /// Places in a table of colours.
    Palette,
    /// Red, green, blue.
    Rgb,
    /// Cyan, magenta, yellow, black: 0 for no ink.
    Cmyk,
    /// Luma and two differences of colour.
    YCbCr,
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gray { inverted: false } => "gray",
            Self::Gray { inverted: true } => "gray with white as 0",
            Self::Palette => "palette",
            Self::Rgb => "RGB",
            Self::Cmyk => "CMYK",
            Self::YCbCr => "YCbCr",
        })
    }
}

impl Colour {
    /// Samples a pixel, without transparency.
    pub fn samples(self) -> usize {
        match self {
            Self::Gray { .. } | Self::Palette => 1,
            Self::Rgb | Self::YCbCr => 3,
            Self::Cmyk => 4,
        }
    }
}

/// Where an image's samples are, and what they mean.
#[derive(Debug)]
pub struct SampleLayout<'f> {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Meaning of the samples.
    pub colour: Colour,
    /// Samples a pixel, transparency and others that nobody asks for among them.
    pub samples: usize,
    /// Bits a sample.
    pub bits: usize,
    /// Samples are floating-point numbers.
    pub float: bool,
    /// Colours were multiplied by the transparency, which is the first sample behind them.
    pub premultiplied: bool,
    /// Compression of strips and tiles.
    pub compression: Compression,
    /// The field `Predictor`: 1 for none, 2 for differences, 3 for those of floating-point numbers.
    pub predictor: u64,
    /// Each of a pixel's samples lies in a plane of its own.
    pub planar: bool,
    /// Numbers have their lowest byte first.
    pub little_endian: bool,
    /// Columns and rows of a tile, or of a strip.
    pub chunk: (usize, usize),
    /// Tiles, as opposed to strips, of which the last may be shorter.
    pub tiled: bool,
    /// Each strip's or tile's bytes, as far as the file goes.
    pub data: Vec<&'f [u8]>,
    /// The bits of bytes are in the other order.
    pub reversed: bool,
    /// Columns and rows of luma for one difference of colour.
    pub subsampling: (usize, usize),
    /// Red, green and blue of YCbCr's luma.
    pub luma: [f64; 3],
    /// Reference values of black and white in YCbCr's samples.
    pub reference: [f64; 6],
    /// A palette's red values, then green, then blue ones.
    pub palette: Vec<u64>,
    /// Common tables of JPEG data.
    pub jpeg_tables: Option<&'f [u8]>,
}

impl<'f> SampleLayout<'f> {
    /// Reads the fields of a file's first directory.
    ///
    /// # Errors
    /// What is missing or is not read.
    pub fn read(file: &'f [u8], directory: &Directory<'f>) -> anyhow::Result<Self> {
        refuse_raw(directory)?;
        let number = |tag: u16, otherwise: u64| directory.first(tag).unwrap_or(otherwise);
        let size = |tag: u16| usize::try_from(number(tag, 0)).ok().filter(|size| *size > 0);
        let (width, height) = size(256).zip(size(257)).context("the TIFF file does not say how large its image is")?;
        let compression = Compression::of(number(259, 1), number(292, 0))?;
        ensure!(
            number(292, 0) & 2 == 0 && number(293, 0) & 2 == 0,
            ImageError::Unsupported("uncompressed CCITT rows are not supported".into())
        );

        let samples = usize::try_from(number(277, 1))?;
        let colour = colour(directory, samples)?;
        let bits = directory.numbers(258);
        let bits =
            bits.first().map_or(Some(1), |first| bits.iter().take(samples).all(|b| b == first).then_some(*first));
        let bits = bits
            .context(ImageError::Unsupported("TIFF samples of different numbers of bits are not supported".into()))?;
        let formats = directory.numbers(339);
        let format = formats.first().copied().unwrap_or(1);
        ensure!(
            formats.iter().take(samples).all(|f| *f == format),
            ImageError::Unsupported("TIFF samples of different types are not supported".into())
        );
        let kind = match format {
            1 | 4 => "unsigned",
            // Every program reads these as they stand.
            2 if bits == 8 => "unsigned",
            2 => "signed",
            3 => "floating-point",
            _ => "complex",
        };
        let colour = match colour {
            // Nothing says that these are inverted.
            Colour::Gray { .. } if kind == "floating-point" && !directory.has(262) => Colour::Gray { inverted: false },
            other => other,
        };
        let good = match (colour, kind) {
            (Colour::Gray { .. }, "unsigned") => matches!(bits, 1 | 2 | 4 | 8 | 16),
            (Colour::Palette, "unsigned") => matches!(bits, 1 | 2 | 4 | 8),
            (Colour::Rgb | Colour::Cmyk, "unsigned") => matches!(bits, 8 | 16),
            (Colour::YCbCr, "unsigned") => bits == 8,
            (Colour::Gray { inverted }, "floating-point") => bits == 32 && !inverted,
            (Colour::Rgb, "floating-point") => bits == 32,
            _ => false,
        };
        ensure!(
            good,
            ImageError::Unsupported(format!("{colour} TIFF with {kind} samples of {bits} bits is not supported"))
        );
        let extra = directory.numbers(338);
        ensure!(
            (colour.samples()..=colour.samples() + 8).contains(&samples),
            ImageError::Unsupported(format!("{colour} TIFF with {samples} samples a pixel is not supported"))
        );
        if matches!(compression, Compression::Fax(_)) {
            ensure!(
                bits == 1 && samples == 1,
                ImageError::Unsupported(format!("CCITT data of {samples} samples of {bits} bits are not supported"))
            );
        }

        let planar = samples > 1 && number(284, 1) == 2;
        let premultiplied = extra.first() == Some(&1) && samples > colour.samples();
        // Planes that nobody asks for need not be read.
        let samples = if planar { colour.samples() + usize::from(premultiplied) } else { samples };
        let tiled = directory.has(322);
        let chunk = if tiled {
            size(322).zip(size(323)).context("the TIFF file does not say how large its tiles are")?
        } else {
            (width, size(278).unwrap_or(height).min(height))
        };
        let data = data(file, directory, tiled);
        let planes = if planar { samples } else { 1 };
        let expected =
            width.div_ceil(chunk.0).checked_mul(height.div_ceil(chunk.1)).and_then(|n| n.checked_mul(planes));
        ensure!(
            expected.is_some_and(|expected| data.len() >= expected),
            "the TIFF file is truncated or damaged: it has only {} of its strips or tiles",
            data.len()
        );

        let subsampling = match directory.numbers(530)[..] {
            [horizontal, vertical, ..] => (horizontal, vertical),
            _ => (2, 2),
        };
        let (horizontal, vertical) = (usize::try_from(subsampling.0)?, usize::try_from(subsampling.1)?);
        if colour == Colour::YCbCr && compression != Compression::Jpeg {
            ensure!(
                [horizontal, vertical].iter().all(|factor| matches!(factor, 1 | 2 | 4)) && samples == 3,
                ImageError::Unsupported(format!(
                    "YCbCr of {samples} samples, {horizontal}×{vertical} of luma for each colour, is not supported"
                ))
            );
        }
        if colour == Colour::YCbCr && planar {
            let whole = (horizontal, vertical) == (1, 1) && compression != Compression::Jpeg;
            ensure!(
                whole,
                ImageError::Unsupported(
                    "YCbCr in planes that are not all of one size, or JPEG, is not supported".into()
                )
            );
        }
        let compressed = matches!(compression, Compression::Lzw | Compression::Deflate | Compression::Zstd);
        let predictor = if compressed { number(317, 1) } else { 1 };
        let predictable = match predictor {
            1 => true,
            2 => bits >= 8,
            3 => kind == "floating-point",
            _ => false,
        };
        ensure!(
            predictable,
            ImageError::Unsupported(format!(
                "predictor {predictor} for {kind} samples of {bits} bits is not supported"
            ))
        );
        let palette = directory.numbers(320);
        if colour == Colour::Palette {
            ensure!(palette.len() >= 3 << bits, "the TIFF file's palette is missing or too short");
        }
        let three = |tag: u16, otherwise: [f64; 3]| directory.fractions(tag).try_into().unwrap_or(otherwise);
        let reference = directory.fractions(532).try_into().unwrap_or([0.0, 255.0, 128.0, 255.0, 128.0, 255.0]);
        Ok(Self {
            width,
            height,
            colour,
            samples,
            bits: usize::try_from(bits)?,
            float: kind == "floating-point",
            premultiplied,
            compression,
            predictor,
            planar,
            little_endian: directory.little_endian,
            chunk,
            tiled,
            data,
            reversed: number(266, 1) == 2,
            subsampling: (horizontal, vertical),
            luma: three(529, [0.299, 0.587, 0.114]),
            reference,
            palette,
            jpeg_tables: directory.bytes(347),
        })
    }
}

/// The colours of the field `PhotometricInterpretation`.
fn colour(directory: &Directory<'_>, samples: usize) -> anyhow::Result<Colour> {
    let name = match directory.first(262).unwrap_or(0) {
        0 => return Ok(Colour::Gray { inverted: true }),
        1 => return Ok(Colour::Gray { inverted: false }),
        2 => return Ok(Colour::Rgb),
        3 => return Ok(Colour::Palette),
        5 => {
            ensure!(
                directory.first(332).unwrap_or(1) == 1,
                ImageError::Unsupported("TIFF images of other inks than CMYK are not supported".into())
            );
            return Ok(Colour::Cmyk);
        }
        6 if samples == 1 => return Ok(Colour::Gray { inverted: false }),
        6 => return Ok(Colour::YCbCr),
        4 => "transparency masks".to_string(),
        8..=10 => "LAB colours".to_string(),
        32844 | 32845 => "LogLuv colours".to_string(),
        other => format!("the colours of number {other}"),
    };
    bail!(ImageError::Unsupported(format!(
        "TIFF images with {name} are not supported: expected gray, palette, RGB, CMYK or YCbCr"
    )))
}

/// Refuses cameras' raw files, of which the first directory is a preview, or pixels of a sensor.
fn refuse_raw(directory: &Directory<'_>) -> anyhow::Result<()> {
    let reduced = directory.first(254).unwrap_or(0) & 1 != 0;
    let sensor = matches!(directory.first(262), Some(32803 | 34892));
    ensure!(
        !(directory.has(50706) || sensor || reduced && directory.has(330)),
        ImageError::Unsupported(format!("{RAW} is not read: expected {FORMATS}"))
    );
    Ok(())
}

/// The bytes of the strips or tiles. Where the file does not say how many they are, all that follow.
fn data<'f>(file: &'f [u8], directory: &Directory<'f>, tiled: bool) -> Vec<&'f [u8]> {
    let (offsets, counts) = if tiled { (324, 325) } else { (273, 279) };
    let counts = directory.numbers(counts);
    let strip = |(index, offset): (usize, u64)| {
        let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
        let count = counts.get(index).filter(|count| **count > 0).and_then(|count| usize::try_from(*count).ok());
        &rest[..count.unwrap_or(rest.len()).min(rest.len())]
    };
    directory.numbers(offsets).into_iter().enumerate().map(strip).collect()
}
