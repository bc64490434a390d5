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

use self::{directory::Directory, layout::Layout};

/// The first image of a TIFF file.
///
/// # Errors
/// The file is damaged, or of a kind that is not read, or takes too much memory.
pub fn decode(file: &[u8]) -> anyhow::Result<DynamicImage> {
    let layout = Layout::read(file, &Directory::read(file)?)?;
    let samples = samples::read(&layout)?;
    let mut image = colours::convert(&layout, samples).context("the TIFF file's image does not fit its size")?;
    if let Some(orientation) = Orientation::from_exif(layout.orientation) {
        image.apply_orientation(orientation);
    }
    Ok(image)
}
