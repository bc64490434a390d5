//! GIF: the first frame on its canvas, as Pillow reads it. The gif crate reads the file; the image crate, which lays the frame over
//! nothing, would lose the colours of transparent pixels.

use std::{borrow::Cow, io::Cursor};

use anyhow::{anyhow, ensure};
use gif::{ColorOutput, DecodeOptions, MemoryLimit};
use image::{DynamicImage, RgbImage};

use super::{MOST_BYTES, memory_needed};

/// The first frame of a GIF file. Around it the canvas has its transparent colour, else the palette's first.
///
/// # Errors
/// The file is truncated or damaged, or takes too much memory.
pub fn decode(file: &[u8]) -> anyhow::Result<DynamicImage> {
    let said = |error: gif::DecodingError| anyhow!("the GIF file is truncated or damaged: {error}");
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(MemoryLimit::Bytes(MOST_BYTES.try_into()?));
    let file = with_palette(file);
    let mut decoder = options.read_info(Cursor::new(&file)).map_err(said)?;
    let frame = decoder.next_frame_info().map_err(said)?.ok_or_else(|| anyhow!("the GIF file has no image"))?.clone();
    let [left, top, columns, rows] = [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    ensure!(columns > 0 && rows > 0, "the GIF file's first frame is of the size {columns}×{rows}");
    let width = usize::from(decoder.width()).max(left + columns);
    let height = usize::from(decoder.height()).max(top + rows);
    memory_needed((width * height * 4) as u64)?;

    let mut indices = vec![0; columns * rows];
    decoder.read_into_buffer(&mut indices).map_err(said)?;
    let palette = frame.palette.as_deref().or_else(|| decoder.global_palette());
    let palette: &[[u8; 3]] = palette.unwrap_or_default().as_chunks().0;
    let colour = |index: u8| palette.get(usize::from(index)).copied().unwrap_or_default();
    let mut pixels = colour(frame.transparent.unwrap_or(0)).repeat(width * height);
    for (row, indices) in indices.chunks_exact(columns).enumerate() {
        let begin = 3 * ((top + row) * width + left);
        for (pixel, index) in pixels[begin..].as_chunks_mut().0.iter_mut().zip(indices) {
            *pixel = colour(*index);
        }
    }
    let image = RgbImage::from_raw(u32::try_from(width)?, u32::try_from(height)?, pixels);
    image.map(DynamicImage::from).ok_or_else(|| anyhow!("the GIF file has too few pixels"))
}

/// The file, with a palette of grays for all frames where it has none: the gif crate refuses frames without any.
fn with_palette(file: &[u8]) -> Cow<'_, [u8]> {
    /// Where the header's flags stand, of which the highest tells of a palette and the lowest three how large it is; and where it
    /// ends.
    const FLAGS: usize = 10;
    const HEADER: usize = 13;
    match file.get(FLAGS) {
        Some(flags) if flags & 0x80 == 0 && file.len() > HEADER => {
            let mut changed = file[..HEADER].to_vec();
            changed[FLAGS] |= 0x87;
            changed.extend((0..=255_u8).flat_map(|gray| [gray; 3]));
            changed.extend(&file[HEADER..]);
            changed.into()
        }
        _ => file.into(),
    }
}
