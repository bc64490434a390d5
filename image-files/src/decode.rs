//! From a file to an image: read, decode. Whatever is wrong with a file ends here as an error about that file.

use std::{
    cell::Cell,
    fs::File,
    io::{Cursor, Read},
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::Once,
    thread,
};

use anyhow::{Context, bail, ensure};
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

/// The largest file that is read, and the most memory that decoding may take, in bytes: for photographs of 170
/// megapixels, but not for a few kilobytes that claim to be a gigapixel.
const MOST_BYTES: u64 = 512 << 20;

/// The bytes of a file, of any kind that can be read to its end.
///
/// # Errors
/// The file cannot be read, is empty, or is too large.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(length.min(MOST_BYTES) as usize);
    file.by_ref().take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    ensure!(!bytes.is_empty(), "the file is empty");
    ensure!(bytes.len() as u64 <= MOST_BYTES, "the file is larger than {} MiB", MOST_BYTES >> 20);
    Ok(bytes)
}

/// The image in a file's bytes.
///
/// # Errors
/// It is none, is damaged, or takes too much memory. A decoder's panic is an error too.
pub fn decode(bytes: &[u8]) -> anyhow::Result<DynamicImage> {
    let format = image::guess_format(bytes)
        .ok()
        .filter(ImageFormat::reading_enabled)
        .context("not an image: expected PNG, JPEG, BMP, GIF, WebP, PNM or TIFF")?;
    // The decoder fills what is missing with gray, and a gray half would be classified as if it were the image's.
    ensure!(format != ImageFormat::Jpeg || has_jpeg_end(bytes), "the JPEG file is truncated: it has no end marker");
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    match quietly(|| reader.decode()) {
        Ok(image) => Ok(image?),
        Err(_) => bail!("the {format:?} decoder failed on this file"),
    }
}

/// Whether a JPEG file (ITU-T T.81, annex B) goes on to its end marker. Whatever follows that, as with some cameras, is
/// ignored.
fn has_jpeg_end(file: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xD9;
    let mut rest = file;
    loop {
        // To the next marker: in the data of a scan, FF stands for itself if 00 follows, and restart markers (D0 to D7)
        // belong to the scan; FF may also fill the space before a marker. The start of the image (D8) has no content.
        let is_marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xD0..=0xD8 | 0xFF);
        let Some(at) = rest.windows(2).position(is_marker) else { return false };
        if rest[at + 1] == END_OF_IMAGE {
            return true;
        }
        // All other markers begin a segment: two bytes of length, which count themselves, and content, to be passed over
        // because it may hold a thumbnail with an end marker of its own.
        let segment = &rest[at + 2..];
        let Some(after) =
            segment.first_chunk().and_then(|length| segment.get(usize::from(u16::from_be_bytes(*length))..))
        else {
            return false;
        };
        rest = after;
    }
}

thread_local! {
    /// Whether this thread is within a decoder.
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder, whose panic is a result like another and is not printed.
fn quietly<T>(decoder: impl FnOnce() -> T) -> thread::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !DECODING.get() {
                others(panic);
            }
        }));
    });
    DECODING.set(true);
    // What a decoder works on is not used again, so that nothing half done can be seen.
    let result = panic::catch_unwind(AssertUnwindSafe(decoder));
    DECODING.set(false);
    result
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
            ImageFormat::Tiff,
        ] {
            let mut file = Cursor::new(Vec::new());
            noise.write_to(&mut file, format).unwrap();
            let bytes = file.into_inner();
            let image = decode(&bytes).unwrap_or_else(|e| panic!("{format:?}: {e:#}"));
            assert_eq!((image.width(), image.height()), (40, 40), "{format:?}");
            for length in [1, 10, 30, bytes.len() / 2, bytes.len() - 40] {
                assert!(decode(&bytes[..length]).is_err(), "{format:?} cut to {length} of {} bytes", bytes.len());
            }
        }
    }

    #[test]
    fn a_thumbnails_end_is_not_the_jpegs_end_and_trailing_bytes_are_ignored() {
        let mut file = Cursor::new(Vec::new());
        RgbImage::new(8, 8).write_to(&mut file, ImageFormat::Jpeg).unwrap();
        let plain = file.into_inner();
        // After the start marker, a segment of six bytes with an end marker in it.
        let with_thumbnail = [&plain[..2], &[0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9], &plain[2..]].concat();
        assert!(has_jpeg_end(&with_thumbnail));
        assert!(!has_jpeg_end(&with_thumbnail[..with_thumbnail.len() - 2]));
        assert!(decode(&[&with_thumbnail[..], b"more"].concat()).is_ok());
        assert!(!has_jpeg_end(&[0xFF, 0xD8, 0xFF, 0xE1, 0xFF]) && !has_jpeg_end(&[]));
    }

    #[test]
    fn what_claims_to_be_huge_is_refused_before_memory_is_taken() {
        let error = decode(b"P5 60000 60000 255 x").unwrap_err();
        assert!(format!("{error:#}").contains("limit"), "{error:#}");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(decode(b"just text").unwrap_err().to_string().starts_with("not an image: expected PNG"));
    }

    #[test]
    fn a_decoders_panic_is_an_error() {
        assert!(quietly(|| panic!("damaged")).is_err());
        assert_eq!(quietly(|| 1).unwrap(), 1);
        assert!(!DECODING.get());
    }
}
