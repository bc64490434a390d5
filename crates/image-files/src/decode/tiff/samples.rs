//! The samples of an image, from its strips or tiles: decompressed, undone of predictions, and of one width in memory.

use crate::ImageError;
use std::borrow::Cow;

use anyhow::{Context, ensure};

use super::{
    compression::{self, Compression},
    fax,
    layout::{Colour, SampleLayout},
};
use crate::decode::{
    jpeg::{self, Colours},
    memory_needed,
};

/// All samples, row by row, a pixel's together.
#[derive(Debug)]
pub enum Samples {
    /// Of 8 bits or fewer, those as the numbers that they are.
    Bytes(Vec<u8>),
    /// Of 16 bits.
    Words(Vec<u16>),
    /// Floating-point numbers.
    Floats(Vec<f32>),
}

/// A kind of number that samples are.
trait Sample: Copy + Default {
    /// Bytes of one.
    const SIZE: usize;

    /// From its bytes, the lowest first.
    fn of(bytes: &[u8]) -> Self;
}

impl Sample for u8 {
    const SIZE: usize = 1;

    fn of(bytes: &[u8]) -> Self {
        bytes[0]
    }
}

impl Sample for u16 {
    const SIZE: usize = 2;

    fn of(bytes: &[u8]) -> Self {
        Self::from_le_bytes([bytes[0], bytes[1]])
    }
}

impl Sample for f32 {
    const SIZE: usize = 4;

    fn of(bytes: &[u8]) -> Self {
        Self::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// Reads all samples.
///
/// # Errors
/// The data are damaged, or take too much memory.
pub fn read(layout: &SampleLayout<'_>) -> anyhow::Result<Samples> {
    let total = |width: usize, height: usize| {
        let bytes = [width, height, layout.samples, layout.bits.div_ceil(8)];
        memory_needed(bytes.iter().fold(1, |product: u64, factor| product.saturating_mul(*factor as u64)))
    };
    total(layout.width, layout.height)?;
    total(layout.chunk.0, layout.chunk.1)?;
    Ok(match (layout.bits, layout.float) {
        (32, true) => Samples::Floats(assemble(layout)?),
        (16, _) => Samples::Words(assemble(layout)?),
        _ => Samples::Bytes(assemble(layout)?),
    })
}

/// Puts strips or tiles together.
fn assemble<S: Sample>(layout: &SampleLayout<'_>) -> anyhow::Result<Vec<S>> {
    let SampleLayout { width, height, samples, chunk: (columns, rows), .. } = *layout;
    let planes = if layout.planar { samples } else { 1 };
    let together = samples / planes;
    let (across, down) = (width.div_ceil(columns), height.div_ceil(rows));
    let mut image = vec![S::default(); width * height * samples];
    for (index, data) in layout.data.iter().enumerate().take(across * down * planes) {
        let (plane, place) = (index / (across * down), index % (across * down));
        let (left, top) = (place % across * columns, place / across * rows);
        let rows = if layout.tiled { rows } else { rows.min(height - top) };
        let bytes = chunk(layout, data, columns, rows, together)
            .with_context(|| format!("{} {index}", if layout.tiled { "tile" } else { "strip" }))?;
        for row in 0..rows.min(height - top) {
            let count = columns.min(width - left) * together;
            let from = bytes[row * columns * together * S::SIZE..][..count * S::SIZE].chunks_exact(S::SIZE).map(S::of);
            let to = &mut image[((top + row) * width + left) * samples..][..columns.min(width - left) * samples];
            if planes == 1 {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = from);
            } else {
                to.chunks_exact_mut(samples).zip(from).for_each(|(to, from)| to[plane] = from);
            }
        }
    }
    Ok(image)
}

/// The samples of a strip or tile: one in its byte, or in two or four, the lowest first.
fn chunk(
    layout: &SampleLayout<'_>,
    data: &[u8],
    columns: usize,
    rows: usize,
    together: usize,
) -> anyhow::Result<Vec<u8>> {
    if layout.compression == Compression::Jpeg {
        return embedded(layout, data, (columns, rows), together);
    }
    let data = match layout.reversed {
        true => Cow::Owned(data.iter().map(|byte| byte.reverse_bits()).collect::<Vec<_>>()),
        false => Cow::Borrowed(data),
    };
    if let Compression::Fax(kind) = layout.compression {
        return Ok(spread(&fax::decode(kind, &data, columns, rows)?, columns, 1));
    }
    if layout.colour == Colour::YCbCr && !layout.planar {
        return subsampled(layout, &data, columns, rows);
    }
    let stride = (columns * together * layout.bits).div_ceil(8);
    let mut bytes = compression::decompress(layout.compression, &data, stride * rows)?;
    if layout.bits < 8 {
        return Ok(spread(&bytes, columns * together, layout.bits));
    }
    let size = layout.bits / 8;
    if layout.predictor == 3 {
        bytes.chunks_exact_mut(stride).for_each(|row| undo_float_differences(row, together));
        return Ok(bytes);
    }
    if !layout.little_endian {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    if layout.predictor == 2 {
        bytes.chunks_exact_mut(stride).for_each(|row| undo_differences(row, together * size, size));
    }
    Ok(bytes)
}

/// A strip or tile of JPEG data.
fn embedded(layout: &SampleLayout<'_>, data: &[u8], size: (usize, usize), together: usize) -> anyhow::Result<Vec<u8>> {
    let (columns, rows) = size;
    ensure!(
        layout.bits == 8,
        ImageError::Unsupported(format!("JPEG data of {} bits a sample are not supported", layout.bits))
    );
    let colours = if layout.colour == Colour::YCbCr { Colours::YCbCrToRgb } else { Colours::Kept };
    let decoded = jpeg::decode_embedded(layout.jpeg_tables, data, colours)?;
    ensure!(
        decoded.width == columns && decoded.height >= rows && decoded.components == together,
        "expected {columns}×{rows} pixels of {together} samples in JPEG data, found {}×{} of {}",
        decoded.width,
        decoded.height,
        decoded.components
    );
    Ok(decoded.samples)
}

/// YCbCr whose colour differences stand for several pixels: blocks of lumas, each with its two differences behind them.
fn subsampled(layout: &SampleLayout<'_>, data: &[u8], columns: usize, rows: usize) -> anyhow::Result<Vec<u8>> {
    let (horizontal, vertical) = layout.subsampling;
    let (across, down) = (columns.div_ceil(horizontal), rows.div_ceil(vertical));
    let lumas = horizontal * vertical;
    let block = lumas + 2;
    let mut bytes = compression::decompress(layout.compression, data, across * down * block)?;
    if layout.predictor == 2 {
        bytes.chunks_exact_mut(across * block).for_each(|row| undo_differences(row, block, 1));
    }
    let mut samples = vec![0; columns * rows * 3];
    for (index, pixel) in samples.chunks_exact_mut(3).enumerate() {
        let (x, y) = (index % columns, index / columns);
        let block = &bytes[(y / vertical * across + x / horizontal) * block..][..block];
        pixel.copy_from_slice(&[block[y % vertical * horizontal + x % horizontal], block[lumas], block[lumas + 1]]);
    }
    Ok(samples)
}

/// Samples of fewer than 8 bits, each into its own byte; rows begin at a byte.
fn spread(packed: &[u8], columns: usize, bits: usize) -> Vec<u8> {
    let each = 8 / bits;
    let mask = ((1_u16 << bits) - 1) as u8;
    let rows = packed.chunks_exact(columns.div_ceil(each).max(1));
    let row =
        |row: &[u8]| -> Vec<u8> { (0..columns).map(|x| row[x / each] >> (8 - bits * (x % each + 1)) & mask).collect() };
    rows.flat_map(row).collect()
}

/// Adds to each number of `size` bytes the one `distance` bytes before it.
fn undo_differences(row: &mut [u8], distance: usize, size: usize) {
    for at in (distance..row.len()).step_by(size) {
        let mut carry = 0;
        for byte in at..at + size {
            let sum = u16::from(row[byte]) + u16::from(row[byte - distance]) + carry;
            row[byte] = sum as u8;
            carry = sum >> 8;
        }
    }
}

/// The same for floating-point numbers, whose first bytes lie together, then the second ones, and so on, the highest first.
fn undo_float_differences(row: &mut [u8], together: usize) {
    for at in together..row.len() {
        row[at] = row[at].wrapping_add(row[at - together]);
    }
    let (planes, count) = (row.to_vec(), row.len() / 4);
    for (index, number) in row.chunks_exact_mut(4).enumerate() {
        for (byte, place) in number.iter_mut().rev().zip(0..) {
            *byte = planes[place * count + index];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_samples_are_spread_row_by_row() {
        assert_eq!(spread(&[0b1011_0000, 0b0100_0000], 3, 1), [1, 0, 1, 0, 1, 0]);
        assert_eq!(spread(&[0b1101_1000, 0b0100_0000], 5, 2), [3, 1, 2, 0, 1]);
        assert_eq!(spread(&[0x1F, 0x20], 3, 4), [1, 15, 2]);
    }

    #[test]
    fn differences_are_undone() {
        let mut bytes = [1, 2, 250, 10];
        undo_differences(&mut bytes, 2, 1);
        assert_eq!(bytes, [1, 2, 251, 12]);
        let mut words = [0xFF, 0x00, 0x02, 0x01];
        undo_differences(&mut words, 2, 2);
        assert_eq!(words, [0xFF, 0x00, 0x01, 0x02]);
        let mut floats: Vec<u8> = Vec::new();
        let numbers = [1.5_f32, -2.25];
        for place in 0..4 {
            floats.extend(numbers.map(|number| number.to_be_bytes()[place]));
        }
        for at in (1..floats.len()).rev() {
            floats[at] = floats[at].wrapping_sub(floats[at - 1]);
        }
        undo_float_differences(&mut floats, 1);
        assert_eq!(floats, numbers.map(f32::to_le_bytes).concat());
    }
}
