//! From a file to an image: read, decode. Whatever is wrong with a file ends here as an error about that file.
//!
//! Every format is read as Pillow reads it, and by these rules:
//! - The content decides which format it is, not the name.
//! - Of an animation or a file of several pages, the first is taken.
//! - 16-bit samples are 0 to 65,535, floating-point samples 0 to 1.
//! - CMYK becomes RGB without a colour profile; in JPEG files it is inverted, as Adobe writes it. Colour profiles are ignored.
//! - Transparency is ignored, not laid over anything; colours that a TIFF file says were multiplied by it are divided again.
//! - Exif orientation is followed where [`Options::orient`] asks for it, and else ignored; the one that a TIFF file has among its own
//!   fields is always followed.

mod bmp;
mod cmyk;
mod format;
mod gif;
mod jpeg;
mod tiff;

use crate::ImageError;
use std::{
    fs::File,
    io::{Cursor, Read},
    path::Path,
};

use anyhow::{anyhow, ensure};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, metadata::Orientation};
use infer_core::preprocess::PreprocessError;

use self::format::Format;
pub use self::format::{FORMATS, unread_extension};
use crate::panics::quietly;

/// The largest file that is read, and the most memory that decoding may take, in bytes: for photographs of 170
/// megapixels, but not for a few kilobytes that claim to be a gigapixel.
pub const MOST_BYTES: u64 = 512 << 20;

/// Options of decoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Damaged JPEG files are read as libjpeg reads them, what is missing being its guess, instead of refused.
    pub accept_damaged: bool,
    /// Images are turned and mirrored as their Exif orientation says.
    pub orient: bool,
}

/// The image in a file, and the file's bytes.
///
/// # Errors
/// As [`read`] and [`decode`]; and the name is that of a camera's raw file, of which a TIFF reader would see the preview.
pub fn open(path: &Path, options: Options) -> Result<(DynamicImage, Vec<u8>), ImageError> {
    let bytes = read(path)?;
    if let Some(kind) = unread_extension(path).filter(|kind| *kind == format::RAW && format::is_tiff(&bytes)) {
        return Err(ImageError::Unsupported(format!("{kind} is not read: expected {FORMATS}")));
    }
    Ok((decode(&bytes, options)?, bytes))
}

/// The bytes of a file, of any kind that can be read to its end.
///
/// # Errors
/// The file cannot be read, is empty, or is too large.
pub fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    let mut file = File::open(path).map_err(ImageError::Read)?;
    let length = file.metadata().map_err(ImageError::Read)?.len();
    let most = MOST_BYTES >> 20;
    if length > MOST_BYTES {
        let found = length.div_ceil(1 << 20);
        return Err(ImageError::TooLarge(format!("the file has {found} MiB, and at most {most} MiB are read")));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.by_ref().take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(ImageError::Read)?;
    if bytes.is_empty() {
        return Err(ImageError::Damaged("the file is empty".to_string()));
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ImageError::TooLarge(format!("the file has more than the {most} MiB that are read at most")));
    }
    Ok(bytes)
}

/// The image in a file's bytes.
///
/// # Errors
/// It is none, is of a kind that is not read, is damaged, has no pixels, or takes too much memory. A decoder's panic is an error too.
pub fn decode(bytes: &[u8], options: Options) -> Result<DynamicImage, ImageError> {
    let image = decode_any(bytes, options).map_err(ImageError::of)?;
    // PNM headers may say so.
    if image.width() == 0 || image.height() == 0 {
        return Err(ImageError::Damaged(PreprocessError::Empty.to_string()));
    }
    Ok(image)
}

fn decode_any(bytes: &[u8], options: Options) -> anyhow::Result<DynamicImage> {
    match Format::of(bytes)? {
        Format::Jpeg => guarded("JPEG", || {
            let mut image = jpeg::decode(bytes, options.accept_damaged)?;
            if let Some(orientation) =
                jpeg::exif(bytes).filter(|_| options.orient).and_then(Orientation::from_exif_chunk)
            {
                image.apply_orientation(orientation);
            }
            Ok(image)
        }),
        Format::Tiff => guarded("TIFF", || tiff::decode(bytes)),
        Format::Bmp => bmp::decode(bytes),
        Format::Gif => guarded("GIF", || gif::decode(bytes)),
        Format::Other(format) => decode_other(bytes, format, options.orient),
    }
}

/// Decodes what the image crate reads.
fn decode_other(bytes: &[u8], format: ImageFormat, orient: bool) -> anyhow::Result<DynamicImage> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    guarded(&format!("{format:?}"), || {
        // An error's own words hold those of its causes.
        let said_once = |error: image::ImageError| anyhow!("{error}");
        let mut decoder = reader.into_decoder().map_err(said_once)?;
        memory_needed(decoder.total_bytes())?;
        let orientation = if orient { decoder.orientation().map_err(said_once)? } else { Orientation::NoTransforms };
        let mut image = DynamicImage::from_decoder(decoder).map_err(said_once)?;
        image.apply_orientation(orientation);
        Ok(image)
    })
}

/// Runs a decoder, whose panic is an error.
fn guarded(name: &str, decoder: impl FnOnce() -> anyhow::Result<DynamicImage>) -> anyhow::Result<DynamicImage> {
    quietly(decoder).unwrap_or_else(|_| Err(anyhow!("the {name} decoder failed on this file")))
}

/// Refuses what needs too much memory.
fn memory_needed(bytes: u64) -> anyhow::Result<()> {
    let (needed, most) = (bytes.div_ceil(1 << 20), MOST_BYTES >> 20);
    ensure!(
        bytes <= MOST_BYTES,
        ImageError::TooLarge(format!("decoding needs {needed} MiB of memory, more than the limit of {most} MiB"))
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    #[test]
    fn every_format_is_decoded_and_a_truncated_file_refused() {
        // Noise does not compress: a file cut short lacks pixels in every format.
        let noise = RgbImage::from_fn(40, 40, |x, y| {
            let hash = (x * 40 + y).wrapping_mul(2_654_435_761);
            Rgb([(hash >> 24) as u8, (hash >> 16) as u8, (hash >> 8) as u8])
        });
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::Bmp,
            ImageFormat::Gif,
            ImageFormat::WebP,
            ImageFormat::Pnm,
        ] {
            let mut file = Cursor::new(Vec::new());
            noise.write_to(&mut file, format).unwrap();
            let bytes = file.into_inner();
            let image = decode(&bytes, Options::default()).unwrap_or_else(|e| panic!("{format:?}: {e:#}"));
            assert_eq!((image.width(), image.height()), (40, 40), "{format:?}");
            for length in [1, 10, 30, bytes.len() / 2, bytes.len() - 40] {
                assert!(
                    decode(&bytes[..length], Options::default()).is_err(),
                    "{format:?} cut to {length} of {} bytes",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn what_claims_to_be_huge_is_refused_before_memory_is_taken() {
        let huge = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x60\xea\0\0\x60\xea\0\0\x01\0\x18\0\0\0\0\0";
        for file in [&b"P5 60000 60000 255 x"[..], &[&huge[..], &[0; 40]].concat()] {
            let error = decode(file, Options::default()).unwrap_err().to_string();
            assert!(
                error.starts_with("decoding needs ") && error.ends_with("more than the limit of 512 MiB"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(
            decode(b"just text", Options::default()).unwrap_err().to_string().starts_with("not an image: expected PNG")
        );
    }

    #[test]
    fn an_image_without_pixels_is_refused() {
        for file in [&b"P1 0 1\n"[..], b"P4 0 1\n", b"P5 1 0 255\n", b"P6 0 0 255\n"] {
            let error = decode(file, Options::default()).unwrap_err().to_string();
            assert_eq!(error, "the image has no pixels", "{}", file.escape_ascii());
        }
        assert_eq!(decode(b"P5 1 1 255\nx", Options::default()).unwrap().to_luma8().into_raw(), [b'x']);
    }

    #[test]
    fn a_decoders_panic_is_an_error() {
        assert!(quietly(|| panic!("damaged")).is_err());
        assert_eq!(quietly(|| 1).unwrap(), 1);
        assert!(!crate::panics::CAUGHT.get());
    }
}
