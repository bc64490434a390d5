//! From a file to a network's input: read, decode, make gray, resize. Whatever is wrong with a file ends here as an error
//! about that file.

use std::{
    fs::File,
    io::{Cursor, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use anyhow::{Context, anyhow, bail, ensure};
use image::{DynamicImage, ImageBuffer, ImageFormat, ImageReader, Limits, Pixel};
use infer_core::preprocess::{gray, luma, resize_bilinear};

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
    // The reader is not used again, so that nothing half done can be seen.
    match catch_unwind(AssertUnwindSafe(|| reader.decode())) {
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

/// Writes the image as a network's input: gray, 0 to 1, resized to `input.len()` rows of `W` columns. `invert` makes black
/// white.
///
/// # Errors
/// It has no pixels, or values outside of 0 to 1, which floating-point images may.
pub fn preprocess<const W: usize>(image: &DynamicImage, invert: bool, input: &mut [[f32; W]]) -> anyhow::Result<()> {
    use DynamicImage as I;
    match image {
        I::ImageLuma8(image) => resize(image, |p| gray(p.0[0]), input),
        I::ImageLumaA8(image) => resize(image, |p| gray(p.0[0]), input),
        I::ImageRgb8(image) => resize(image, |p| luma(p.0), input),
        I::ImageRgba8(image) => resize(image, |p| luma(p.to_rgb().0), input),
        I::ImageLuma16(image) => resize(image, |p| gray16(p.0[0]), input),
        I::ImageLumaA16(image) => resize(image, |p| gray16(p.0[0]), input),
        I::ImageRgb16(image) => resize(image, |p| luma_of(p.0.map(gray16)), input),
        I::ImageRgba16(image) => resize(image, |p| luma_of(p.to_rgb().0.map(gray16)), input),
        I::ImageRgb32F(image) => resize(image, |p| luma_of(p.0), input),
        I::ImageRgba32F(image) => resize(image, |p| luma_of(p.to_rgb().0), input),
        other => Err(anyhow!("pixels of the type {:?} are not supported", other.color())),
    }?;
    let values = input.as_flattened_mut();
    // Rounding may leave a weighted mean of ones just above 1.
    if let Some(value) = values.iter().find(|value| !(-1e-5..=1.0 + 1e-5).contains(*value)) {
        bail!("expected pixel values of 0 to 1, found {value}");
    }
    if invert {
        values.iter_mut().for_each(|value| *value = 1.0 - *value);
    }
    Ok(())
}

fn resize<P: Pixel, const W: usize>(
    image: &ImageBuffer<P, Vec<P::Subpixel>>,
    value: impl Fn(&P) -> f32,
    input: &mut [[f32; W]],
) -> anyhow::Result<()> {
    let pixel = |x: usize, y: usize| value(image.get_pixel(x as u32, y as u32));
    Ok(resize_bilinear(image.width() as usize, image.height() as usize, pixel, input)?)
}

/// Value of a 16-bit gray pixel, 0 to 1.
fn gray16(value: u16) -> f32 {
    f32::from(value) / 65_535.0
}

/// Luma of a pixel with values of 0 to 1 (ITU-R BT.601).
fn luma_of([red, green, blue]: [f32; 3]) -> f32 {
    0.299 * red + 0.587 * green + 0.114 * blue
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, GrayImage, ImageFormat, Luma, LumaA, Rgb, Rgb32FImage, RgbImage, Rgba, RgbaImage};

    fn input(image: impl Into<DynamicImage>, invert: bool) -> anyhow::Result<[[f32; 2]; 2]> {
        let mut input = [[0.0; 2]; 2];
        preprocess(&image.into(), invert, &mut input).map(|()| input)
    }

    #[test]
    fn gray_values_are_exact_and_transparency_is_ignored() {
        let image = GrayImage::from_fn(2, 2, |x, y| Luma([if (x, y) == (1, 0) { 51 } else { 255 }]));
        assert_eq!(input(image.clone(), false).unwrap(), [[1.0, 51.0 / 255.0], [1.0, 1.0]]);
        assert_eq!(input(image, true).unwrap(), [[0.0, 1.0 - 51.0 / 255.0], [0.0, 0.0]]);
        let transparent = GrayAlphaImage::from_pixel(2, 2, LumaA([51, 0]));
        assert_eq!(input(transparent, false).unwrap(), [[51.0 / 255.0; 2]; 2]);
        let deep = ImageBuffer::<Luma<u16>, _>::from_pixel(2, 2, Luma([257]));
        assert_eq!(input(deep, false).unwrap(), [[257.0 / 65_535.0; 2]; 2]);
    }

    #[test]
    fn colour_becomes_luma() {
        let red = RgbImage::from_pixel(2, 2, Rgb([255, 0, 0]));
        assert!((input(red, false).unwrap()[0][0] - 0.299).abs() < 1e-6);
        let green = RgbaImage::from_pixel(2, 2, Rgba([0, 255, 0, 7]));
        assert!((input(green, false).unwrap()[1][1] - 0.587).abs() < 1e-6);
        let blue = ImageBuffer::<Rgb<u16>, _>::from_pixel(2, 2, Rgb([0, 0, 65_535]));
        assert!((input(blue, false).unwrap()[1][0] - 0.114).abs() < 1e-6);
    }

    #[test]
    fn floating_point_values_out_of_range_are_refused() {
        let of = |value| input(Rgb32FImage::from_pixel(2, 2, Rgb([value; 3])), false);
        assert!((of(0.5).unwrap()[0][0] - 0.5).abs() < 1e-6);
        assert_eq!(of(200.0).unwrap_err().to_string(), "expected pixel values of 0 to 1, found 200");
        assert_eq!(of(f32::NAN).unwrap_err().to_string(), "expected pixel values of 0 to 1, found NaN");
        assert_eq!(input(GrayImage::new(0, 3), false).unwrap_err().to_string(), "the image has no pixels");
    }

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
}
