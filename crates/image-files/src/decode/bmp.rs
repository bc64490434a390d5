//! BMP, with or without the file header that files on a clipboard lack, as Pillow reads it.

use crate::ImageError;
use anyhow::{Context, bail, ensure};
use image::{DynamicImage, RgbImage};

use super::memory_needed;

/// Bytes of the header that tells a file's kind and where its pixels begin.
const FILE_HEADER: usize = 14;

/// Fields of an image's header.
#[derive(Debug)]
struct Header {
    width: usize,
    height: usize,
    /// The first row is the topmost.
    top_down: bool,
    bits: usize,
    compression: u32,
    /// Bits of red, green and blue in a pixel of 16 or 32 bits.
    masks: [u32; 3],
    /// The colours of a pixel of 8 bits or fewer.
    palette: Vec<[u8; 3]>,
    /// Where the pixels begin.
    pixels: usize,
}

/// Whether the content begins with an image's header alone.
pub fn is_headerless(bytes: &[u8]) -> bool {
    let planes_and_bits = |at: usize| {
        let bits = number(bytes, at + 2, 2).unwrap_or_default();
        number(bytes, at, 2) == Some(1) && matches!(bits, 1 | 2 | 4 | 8 | 16 | 24 | 32)
    };
    match number(bytes, 0, 4) {
        Some(12) => planes_and_bits(8),
        Some(40 | 52 | 56 | 64 | 108 | 124) => planes_and_bits(12),
        _ => false,
    }
}

/// The image in a BMP file.
///
/// # Errors
/// The file is truncated or damaged, or of a kind that is not read, or takes too much memory.
pub fn decode(file: &[u8]) -> anyhow::Result<DynamicImage> {
    let header = Header::read(file)?;
    let Header { width, height, bits, .. } = header;
    memory_needed((width as u64).saturating_mul(height as u64).saturating_mul(4))?;
    let data = file.get(header.pixels..).unwrap_or_default();
    let rgb = match header.compression {
        0 | 3 => header.rows(data)?,
        1 if bits == 8 => header.coloured(&run_lengths(data, width, height, false)?),
        2 if bits == 4 => header.coloured(&run_lengths(data, width, height, true)?),
        other => {
            bail!(ImageError::Unsupported(format!(
                "BMP compression {other} with {bits} bits a pixel is not supported: expected none, RLE or bit fields"
            )))
        }
    };
    let mut image = RgbImage::from_raw(u32::try_from(width)?, u32::try_from(height)?, rgb).context("too few pixels")?;
    if !header.top_down {
        image::imageops::flip_vertical_in_place(&mut image);
    }
    Ok(image.into())
}

impl Header {
    fn read(file: &[u8]) -> anyhow::Result<Self> {
        let (begin, pixels) = match file.starts_with(b"BM") {
            true => (FILE_HEADER, number(file, 10, 4)),
            false => (0, None),
        };
        let field = |at: usize, width: usize| {
            number(file, begin + at, width).context("the BMP file is truncated: its header is not whole")
        };
        let size = field(0, 4)? as usize;
        let old = size == 12;
        ensure!(
            matches!(size, 12 | 40 | 52 | 56 | 64 | 108 | 124),
            ImageError::Unsupported(format!(
                "a BMP header of {size} bytes is not supported: expected 12, 40, 52, 56, 64, 108 or 124"
            ))
        );
        let (width, height) = if old { (field(4, 2)?, field(6, 2)?) } else { (field(4, 4)?, field(8, 4)?) };
        let top_down = !old && height >> 24 == 0xFF;
        let height = if top_down { height.wrapping_neg() } else { height };
        ensure!(width > 0 && height > 0, "the BMP file's size is {width}×{height}");
        let bits = field(if old { 10 } else { 14 }, 2)? as usize;
        ensure!(
            matches!(bits, 1 | 2 | 4 | 8 | 16 | 24 | 32),
            ImageError::Unsupported(format!("BMP of {bits} bits a pixel is not supported"))
        );
        let compression = if old { 0 } else { field(16, 4)? };

        let mut end = begin + size;
        let mut masks = if bits == 16 { [0x7C00, 0x3E0, 0x1F] } else { [0xFF_0000, 0xFF00, 0xFF] };
        if compression == 3 {
            ensure!(
                matches!(bits, 16 | 24 | 32),
                ImageError::Unsupported(format!("BMP bit fields of {bits} bits a pixel are not supported"))
            );
            let stored = [field(40, 4)?, field(44, 4)?, field(48, 4)?];
            if size == 40 {
                end += 12;
            }
            if stored != [0; 3] {
                masks = stored;
            }
            let contiguous = |mask: &u32| mask.checked_shr(mask.trailing_zeros()).is_some_and(|m| m & (m + 1) == 0);
            ensure!(masks.iter().all(contiguous), "the BMP file is damaged: its bit fields have gaps, or are empty");
        }
        let (entry, mut count) = if old { (3, 0) } else { (4, field(32, 4)? as usize) };
        if count == 0 && bits <= 8 {
            count = 1 << bits;
        }
        ensure!(bits > 8 || count <= 65_536, "the BMP file is damaged: its palette has {count} colours");
        let colours = file.get(end..).unwrap_or_default().chunks_exact(entry).take(if bits <= 8 { count } else { 0 });
        let palette = colours.map(|colour| [colour[2], colour[1], colour[0]]).collect();
        let behind = end + count.saturating_mul(entry);
        // Some programs write where the palette begins.
        let pixels = match pixels {
            Some(at) if at as usize == begin + size && bits <= 8 => behind,
            Some(at) if at > 0 => at as usize,
            _ => behind,
        };
        Ok(Self { width: width as usize, height: height as usize, top_down, bits, compression, masks, palette, pixels })
    }

    /// The pixels of rows that stand as they are, each filled up to a multiple of four bytes.
    fn rows(&self, data: &[u8]) -> anyhow::Result<Vec<u8>> {
        let used = (self.width * self.bits).div_ceil(8);
        let stride = used.next_multiple_of(4);
        let needed = stride * (self.height - 1) + used;
        ensure!(
            data.len() >= needed,
            "the BMP file is truncated: expected {needed} bytes of pixels, found {}",
            data.len()
        );
        let mut rgb = Vec::with_capacity(self.width * self.height * 3);
        for row in data.chunks(stride).take(self.height) {
            match self.bits {
                24 => rgb.extend(row[..used].as_chunks().0.iter().flat_map(|[blue, green, red]| [red, green, blue])),
                bits @ (16 | 32) => {
                    let pixels = row[..used].chunks_exact(bits / 8);
                    rgb.extend(pixels.flat_map(|pixel| {
                        let pixel = pixel.iter().rev().fold(0, |all: u32, byte| all << 8 | u32::from(*byte));
                        self.masks.map(|mask| {
                            let most = mask >> mask.trailing_zeros();
                            let value = (pixel & mask) >> mask.trailing_zeros();
                            (u64::from(value) * 255 / u64::from(most)) as u8
                        })
                    }));
                }
                bits => {
                    let (each, mask) = (8 / bits, (1_u16 << bits) - 1);
                    let index = |x: usize| u16::from(row[x / each]) >> (8 - bits * (x % each + 1)) & mask;
                    rgb.extend((0..self.width).flat_map(|x| self.colour(index(x) as u8)));
                }
            }
        }
        Ok(rgb)
    }

    fn coloured(&self, indices: &[u8]) -> Vec<u8> {
        indices.iter().flat_map(|index| self.colour(*index)).collect()
    }

    fn colour(&self, index: u8) -> [u8; 3] {
        self.palette.get(usize::from(index)).copied().unwrap_or_default()
    }
}

/// The places in the palette of run-length encoded pixels, of 8 bits or of 4 (`nibbles`). Those that are passed over are 0.
fn run_lengths(data: &[u8], width: usize, height: usize, nibbles: bool) -> anyhow::Result<Vec<u8>> {
    let mut pixels = vec![0; width * height];
    let (mut x, mut y) = (0, 0);
    let mut rest = data;
    let damaged = "the BMP file is truncated or damaged: its run lengths do not fit the image";
    while y < height {
        let [count, value, after @ ..] = rest else { bail!(damaged) };
        rest = after;
        let (count, value) = (usize::from(*count), *value);
        let run: Vec<u8> = match (count, value) {
            (0, 0) => {
                (x, y) = (0, y + 1);
                continue;
            }
            (0, 1) => break,
            (0, 2) => {
                let [right, up, after @ ..] = rest else { bail!(damaged) };
                rest = after;
                (x, y) = (x + usize::from(*right), y + usize::from(*up));
                ensure!(x <= width, damaged);
                continue;
            }
            (0, count) => {
                let count = usize::from(count);
                let bytes = if nibbles { count.div_ceil(2) } else { count };
                let plain = rest.get(..bytes).context(damaged)?;
                // They end at a multiple of two bytes.
                rest = rest.get(bytes.next_multiple_of(2)..).unwrap_or_default();
                let halves = plain.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(count);
                if nibbles { halves.collect() } else { plain.to_vec() }
            }
            (count, value) if nibbles => [value >> 4, value & 15].into_iter().cycle().take(count).collect(),
            (count, value) => vec![value; count],
        };
        // What goes beyond the end of the row is dropped, as every program does.
        let length = run.len().min(width - x);
        pixels[y * width + x..][..length].copy_from_slice(&run[..length]);
        x += length;
    }
    Ok(pixels)
}

/// The whole number of `width` bytes, the lowest first, at a place.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of 40 bytes and what follows it.
    fn file(width: i32, height: i32, bits: u16, compression: u32, rest: &[u8]) -> Vec<u8> {
        let mut file = 40_u32.to_le_bytes().to_vec();
        file.extend([width, height].map(i32::to_le_bytes).concat());
        file.extend([1_u16, bits].map(u16::to_le_bytes).concat());
        file.extend(compression.to_le_bytes());
        file.extend([0; 20]);
        file.extend(rest);
        file
    }

    fn pixels(file: &[u8]) -> Vec<u8> {
        decode(file).unwrap().into_rgb8().into_raw()
    }

    #[test]
    fn rows_are_read_in_either_direction_and_bits_by_their_masks() {
        let upright = file(1, 2, 24, 0, &[1, 2, 3, 0, 4, 5, 6, 0]);
        assert!(is_headerless(&upright));
        assert_eq!(pixels(&upright), [6, 5, 4, 3, 2, 1]);
        assert_eq!(pixels(&file(1, -2, 24, 0, &[1, 2, 3, 0, 4, 5, 6, 0])), [3, 2, 1, 6, 5, 4]);
        let masks = [0xF800_u32, 0x7E0, 0x1F].map(u32::to_le_bytes).concat();
        assert_eq!(pixels(&file(1, 1, 16, 3, &[&masks[..], &[0xE0, 0xFF]].concat())), [255, 255, 0]);
        assert!(decode(&upright[..upright.len() - 4]).unwrap_err().to_string().contains("truncated"));
    }

    #[test]
    fn runs_end_with_the_row_and_none_may_be_missing() {
        assert_eq!(run_lengths(&[2, 7, 0, 3, 1, 2, 3, 0, 0, 1], 5, 1, false).unwrap(), [7, 7, 1, 2, 3]);
        assert_eq!(run_lengths(&[3, 0x12, 0, 0, 0, 2, 1, 0, 2, 0x34, 0, 1], 3, 2, true).unwrap(), [1, 2, 1, 0, 3, 4]);
        assert_eq!(run_lengths(&[6, 7, 0, 1], 5, 1, false).unwrap(), [7; 5]);
        assert!(run_lengths(&[5, 7, 0], 5, 2, false).is_err());
    }
}
