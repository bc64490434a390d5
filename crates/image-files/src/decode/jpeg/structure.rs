//! Structure of a JPEG file by its markers (ITU-T T.81, annex B), read before anything is decoded: size, components, scans, tables,
//! and where the file ends. The decoder is chosen by it, and what no decoder here reads is refused by its name.

use crate::ImageError;
use anyhow::{bail, ensure};
use memchr::memchr;

/// The most scans that are decoded: each may go over the whole image, so that a small file could take hours.
const MOST_SCANS: usize = 500;

/// A component of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component {
    /// Its name in the file.
    pub id: u8,
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
    /// Arithmetic coding, as opposed to Huffman coding.
    pub arithmetic: bool,
    /// The frame's components.
    pub components: Vec<Component>,
    /// Number of components of each scan.
    pub scans: Vec<usize>,
    /// There are restart markers, or an interval for them is set.
    pub restarts: bool,
    /// There are bytes between the segments, which belong to none.
    pub gaps: bool,
    /// Every scan's Huffman tables are in the file, and none has a code of nothing but ones.
    pub plain_tables: bool,
    /// There is a JFIF marker.
    pub jfif: bool,
    /// The colour transform of an Adobe marker, if there is one.
    pub adobe: Option<u8>,
    /// Where the coded data of the first scan begin and the next marker stands.
    pub first_data: (usize, usize),
    /// The file goes on to its end marker.
    pub complete: bool,
}

/// The Huffman tables seen so far: by class (DC, AC) and place, whether there is one without a code of nothing but ones.
type Tables = [[bool; 4]; 2];

impl Structure {
    /// Reads a file's markers.
    ///
    /// # Errors
    /// The file has no frame, or is of a kind that is not read: 12 bits, lossless, hierarchical, or with other than 1, 3 or 4
    /// components.
    pub fn read(file: &[u8]) -> anyhow::Result<Self> {
        let mut structure = Self { plain_tables: true, ..Self::default() };
        let mut tables = Tables::default();
        let mut at = 0;
        while let Some((marker, content, next)) = segment(file, at) {
            structure.gaps |= file.get(at) != Some(&0xFF);
            at = next;
            match marker {
                0xD8 | 0x01 => {}
                0xD9 => {
                    structure.complete = true;
                    break;
                }
                0xC4 => define_tables(content, &mut tables),
                0xC0..=0xCF if !matches!(marker, 0xC8 | 0xCC) => structure.frame(marker, content)?,
                0xDD => structure.restarts |= content.first_chunk().is_some_and(|interval| *interval != [0_u8; 2]),
                0xE0 => structure.jfif |= content.starts_with(b"JFIF\0"),
                0xEE if content.starts_with(b"Adobe") => structure.adobe = content.get(11).copied().or(structure.adobe),
                0xDA => {
                    at = structure.scan(file, content, next, &tables);
                    ensure!(structure.scans.len() <= MOST_SCANS, "the JPEG file has more than {MOST_SCANS} scans");
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
        self.arithmetic = matches!(marker, 0xC9 | 0xCA);
        let components = rest.chunks_exact(3).take(usize::from(*count));
        self.components =
            components.map(|c| Component { id: c[0], horizontal: c[1] >> 4, vertical: c[1] & 15 }).collect();
        let factors = |c: &Component| (1..=4).contains(&c.horizontal) && (1..=4).contains(&c.vertical);
        ensure!(
            self.components.len() == usize::from(*count) && self.components.iter().all(factors),
            "the JPEG file is damaged: its frame header is not valid"
        );
        Ok(())
    }

    /// Reads a scan's header, passes over its data, and returns where the next marker stands.
    fn scan(&mut self, file: &[u8], content: &[u8], begin: usize, tables: &Tables) -> usize {
        let count = usize::from(content.first().copied().unwrap_or_default());
        for selectors in content.get(1..).unwrap_or_default().chunks_exact(2).take(count) {
            let [dc, ac] = [selectors[1] >> 4, selectors[1] & 15].map(usize::from);
            let known = |class: usize, place: usize| tables[class].get(place).copied().unwrap_or_default();
            self.plain_tables &= known(0, dc) && known(1, ac);
        }
        self.scans.push(count);
        let mut at = begin;
        loop {
            let Some(offset) = file.get(at..).and_then(|rest| memchr(0xFF, rest)) else {
                at = file.len();
                break;
            };
            match file.get(at + offset + 1) {
                // A byte of the data, or fill before a marker.
                Some(0) => at += offset + 2,
                Some(0xFF) => at += offset + 1,
                Some(0xD0..=0xD7) => {
                    self.restarts = true;
                    at += offset + 2;
                }
                _ => {
                    at += offset;
                    break;
                }
            }
        }
        if self.scans.len() == 1 {
            self.first_data = (begin, at);
        }
        at
    }

    /// The bytes that decoding takes: the pixels, and the coefficients of all blocks where they come in several scans.
    pub fn memory(&self) -> u64 {
        let most = |factor: fn(&Component) -> u8| self.components.iter().map(factor).max().unwrap_or(1);
        let (horizontal, vertical) = (u64::from(most(|c| c.horizontal)), u64::from(most(|c| c.vertical)));
        let (width, height) = (self.width as u64, self.height as u64);
        let units = width.div_ceil(8 * horizontal) * height.div_ceil(8 * vertical);
        let blocks: u64 = self.components.iter().map(|c| units * u64::from(c.horizontal) * u64::from(c.vertical)).sum();
        let several = self.progressive || self.scans.len() > 1;
        width * height * self.components.len() as u64 + if several { blocks * 128 } else { 0 }
    }
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

/// Notes the tables of a segment.
fn define_tables(mut content: &[u8], tables: &mut Tables) {
    while let Some((&[selector, ref counts @ ..], values)) = content.split_first_chunk::<17>() {
        let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
        // Each code of n bits is one of 2ⁿ; only when they are all there is, the last is one of nothing but ones.
        let used: u32 = counts.iter().zip(1..).map(|(count, bits)| u32::from(*count) << (16 - bits)).sum();
        let (class, place) = (usize::from(selector >> 4), usize::from(selector & 15));
        if let Some(table) = tables.get_mut(class).and_then(|class| class.get_mut(place)) {
            *table = used < 1 << 16 && values.len() >= total;
        }
        content = values.get(total..).unwrap_or_default();
    }
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
        assert!(structure.complete && !structure.plain_tables && !structure.restarts);
        assert_eq!((structure.width, structure.height, &structure.scans[..]), (16, 8, &[1][..]));
        assert_eq!(structure.first_data, (file.len() - 7, file.len() - 2));
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

    #[test]
    fn tables_with_a_code_of_ones_are_not_plain() {
        let mut tables = Tables::default();
        let mut counts = [0_u8; 16];
        counts[0] = 1;
        define_tables(&[&[0x01][..], &counts, &[5]].concat(), &mut tables);
        counts[0] = 2;
        define_tables(&[&[0x11][..], &counts, &[5, 6]].concat(), &mut tables);
        assert_eq!((tables[0], tables[1]), ([false, true, false, false], [false; 4]));
    }
}
