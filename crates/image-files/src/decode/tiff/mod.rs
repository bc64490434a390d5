//! TIFF: the first image of a file, as Pillow (libtiff) reads it.
//!
//! ```text
//! directory ─▶ layout ─▶ strips and tiles (compression, fax, jpeg) ─▶ samples ─▶ colours
//! ```

mod colours;
mod compression;
mod directory;
mod fax;
mod layout;
mod samples;

use anyhow::Context;
use image::{DynamicImage, metadata::Orientation};

use self::{directory::Directory, layout::SampleLayout};
use super::jpeg;

/// The first image of a TIFF file.
///
/// # Errors
/// The file is damaged, or of a kind that is not read, or takes too much memory.
pub fn decode(file: &[u8]) -> anyhow::Result<DynamicImage> {
    let directory = Directory::read(file)?;
    let mut image = match old_style_jpeg(file, &directory) {
        Some(jpeg) => jpeg::decode_old_style(jpeg)?,
        None => {
            let layout = SampleLayout::read(file, &directory)?;
            let samples = samples::read(&layout)?;
            colours::convert(&layout, samples).context("the TIFF file's image does not fit its size")?
        }
    };
    if let Some(orientation) = directory.first(274).and_then(|number| Orientation::from_exif(number.try_into().ok()?)) {
        image.apply_orientation(orientation);
    }
    Ok(image)
}

/// The one kind of old-style JPEG (TIFF 6.0, section 22) that is read: a whole JPEG file of the image's size. The layout refuses
/// the others.
fn old_style_jpeg<'f>(file: &'f [u8], directory: &Directory<'f>) -> Option<&'f [u8]> {
    let begin = directory.first(513).filter(|_| directory.first(259) == Some(6))?;
    let jpeg = file.get(usize::try_from(begin).ok()?..)?;
    let (width, height) = jpeg::size_of_whole(jpeg)?;
    let wanted = [256, 257].map(|tag| directory.first(tag).and_then(|size| usize::try_from(size).ok()));
    (wanted == [Some(width), Some(height)]).then_some(jpeg)
}
