//! Structure of a JPEG file by its markers (ITU-T T.81, annex B), read before anything is decoded: size, components, scans
//! and where the file ends. What libjpeg does not read is refused by its name.

use crate::ImageError;
use anyhow::{bail, ensure};
use memchr::memchr;

/// The most scans that are decoded: each may go over the whole image, so that a small file could take hours.
const MOST_SCANS: usize = 500;

/// A component of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component {
    /// Columns of samples, relative to the other components.
    pub horizontal: u8,
    /// Rows of samples, relative to the other components.
    pub vertical: u8,
}

/// The structure of a JPEG file.
#[derive(Debug, Default)]
pub struct Structure {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Progressive, as opposed to sequential.
    pub progressive: bool,
    /// The frame's components.
    pub components: Vec<Component>,
    /// Number of scans.
    pub scans: usize,
    /// The file goes on to its end marker.
    pub complete: bool,
}

impl Structure {
    /// Reads a file's markers.
    ///
    /// # Errors
    /// The file has no frame, or is of a kind that is not read: 12 bits, lossless, hierarchical, or with other than 1, 3 or 4
    /// components.
    pub fn read(file: &[u8]) -> anyhow::Result<Self> {
        let mut structure = Self::default();
        let mut at = 0;
        while let Some((marker, content, next)) = segment(file, at) {
            at = next;
            match marker {
                0xD8 | 0x01 => {}
                0xD9 => {
                    structure.complete = true;
                    break;
                }
                0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => structure.frame(marker, content)?,
                0xDA => {
                    structure.scans += 1;
                    at = end_of_scan(file, next);
                    ensure!(structure.scans <= MOST_SCANS, "the JPEG file has more than {MOST_SCANS} scans");
                }
                _ => {}
            }
        }
        ensure!(!structure.components.is_empty(), "the JPEG file is truncated or damaged: it has no frame header");
        Ok(structure)
    }

    /// Reads a frame header.
    fn frame(&mut self, marker: u8, content: &[u8]) -> anyhow::Result<()> {
        let kind = match marker {
            0xC0..=0xC2 | 0xC9 | 0xCA => None,
            0xC3 | 0xCB => Some("lossless JPEG"),
            _ => Some("hierarchical JPEG"),
        };
        if let Some(kind) = kind {
            bail!(ImageError::Unsupported(format!(
                "{kind} is not supported: expected baseline, sequential or progressive JPEG"
            )));
        }
        let [precision, h1, h0, w1, w0, count, rest @ ..] = content else {
            bail!("the JPEG file is damaged: its frame header is too short");
        };
        ensure!(
            *precision == 8,
            ImageError::Unsupported(format!("{precision}-bit JPEG is not supported: expected 8 bits a sample"))
        );
        ensure!(self.components.is_empty(), "the JPEG file is damaged: it has two frame headers");
        ensure!(
            matches!(count, 1 | 3 | 4),
            ImageError::Unsupported(format!(
                "JPEG with {count} components is not supported: expected 1 (gray), 3 (YCbCr or RGB) or 4 (CMYK or YCCK)"
            ))
        );
        self.height = usize::from(u16::from_be_bytes([*h1, *h0]));
        self.width = usize::from(u16::from_be_bytes([*w1, *w0]));
        ensure!(self.width > 0 && self.height > 0, "the JPEG file's size is {}×{}", self.width, self.height);
        self.progressive = matches!(marker, 0xC2 | 0xCA);
        let components = rest.chunks_exact(3).take(usize::from(*count));
        self.components = components.map(|c| Component { horizontal: c[1] >> 4, vertical: c[1] & 15 }).collect();
        let factors = |c: &Component| (1..=4).contains(&c.horizontal) && (1..=4).contains(&c.vertical);
        ensure!(
            self.components.len() == usize::from(*count) && self.components.iter().all(factors),
            "the JPEG file is damaged: its frame header is not valid"
        );
        Ok(())
    }

    /// The bytes that decoding takes: the pixels, and the coefficients of all blocks where they come in several scans.
    pub fn memory(&self) -> u64 {
        let most = |factor: fn(&Component) -> u8| self.components.iter().map(factor).max().unwrap_or(1);
        let (horizontal, vertical) = (u64::from(most(|c| c.horizontal)), u64::from(most(|c| c.vertical)));
        let (width, height) = (self.width as u64, self.height as u64);
        let units = width.div_ceil(8 * horizontal) * height.div_ceil(8 * vertical);
        let blocks: u64 = self.components.iter().map(|c| units * u64::from(c.horizontal) * u64::from(c.vertical)).sum();
        let several = self.progressive || self.scans > 1;
        width * height * self.components.len() as u64 + if several { blocks * 128 } else { 0 }
    }
}

/// The Exif data among the segments before the first scan, without the name that they begin with.
pub fn exif(file: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    while let Some((marker, content, next)) = segment(file, at).filter(|(marker, ..)| !matches!(marker, 0xD9 | 0xDA)) {
        match content.strip_prefix(b"Exif\0\0") {
            Some(data) if marker == 0xE1 => return Some(data),
            _ => at = next,
        }
    }
    None
}

/// The marker at or behind `at`, its segment's content, and where that ends.
fn segment(file: &[u8], at: usize) -> Option<(u8, &[u8], usize)> {
    let mut at = at + memchr(0xFF, file.get(at..)?)?;
    while *file.get(at)? == 0xFF {
        at += 1;
    }
    let marker = file[at];
    let begin = at + 1;
    if matches!(marker, 0 | 0x01 | 0xD0..=0xD9) {
        return Some((if marker == 0 { 0x01 } else { marker }, &[], begin));
    }
    let length = usize::from(u16::from_be_bytes(*file.get(begin..)?.first_chunk()?));
    let end = begin + length.max(2);
    Some((marker, file.get(begin + 2..end)?, end))
}

/// Where the next marker stands behind a scan's data that begin here, restart markers left aside.
fn end_of_scan(file: &[u8], begin: usize) -> usize {
    let mut at = begin;
    while let Some(offset) = file.get(at..).and_then(|rest| memchr(0xFF, rest)) {
        at += offset;
        match file.get(at + 1) {
            // A byte of the data, or a restart marker.
            Some(0 | 0xD0..=0xD7) => at += 2,
            // Fill before a marker.
            Some(0xFF) => at += 1,
            _ => return at,
        }
    }
    file.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnails_end_is_not_the_files_end() {
        let frame = [0xFF, 0xC0, 0, 11, 8, 0, 8, 0, 16, 1, 1, 0x11, 0];
        let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9];
        let scan = [0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0, 1, 2, 0xFF, 0, 3];
        let file = [&[0xFF, 0xD8], &thumbnail[..], &frame, &scan, &[0xFF, 0xD9]].concat();
        let structure = Structure::read(&file).unwrap();
        assert!(structure.complete && !structure.progressive);
        assert_eq!((structure.width, structure.height, structure.scans), (16, 8, 1));
        assert!(!Structure::read(&file[..file.len() - 2]).unwrap().complete);
        assert!(Structure::read(&[&file[..], b"more"].concat()).unwrap().complete);
        assert!(Structure::read(&[0xFF, 0xD8, 0xFF, 0xE1, 0xFF]).is_err() && Structure::read(&[]).is_err());
    }

    #[test]
    fn kinds_that_are_not_read_are_named() {
        for (marker, precision, components, expected) in [
            (0xC1, 12, 1, "12-bit JPEG is not supported"),
            (0xC3, 8, 1, "lossless JPEG is not supported"),
            (0xC5, 8, 1, "hierarchical JPEG is not supported"),
            (0xC0, 8, 2, "JPEG with 2 components is not supported"),
        ] {
            let file = [0xFF, 0xD8, 0xFF, marker, 0, 11, precision, 0, 8, 0, 8, components, 1, 0x11, 0];
            let error = Structure::read(&file).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
