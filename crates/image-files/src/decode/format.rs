//! Which format a file's content is in; and the formats that are known, but not read.

use crate::ImageError;
use std::{ffi::OsStr, path::Path};

use anyhow::bail;
use image::ImageFormat;

use super::bmp;

/// The formats that are read, for messages.
pub const FORMATS: &str = "PNG, JPEG, BMP, GIF, WebP, PNM or TIFF";

/// Raw files of cameras.
pub const RAW: &str = "a camera's raw format";

const HEIC: &str = "HEIC";
const AVIF: &str = "AVIF";
const JPEG_2000: &str = "JPEG 2000";
const JPEG_XL: &str = "JPEG XL";

/// Extensions of formats that are not read, in lower case.
const UNREAD: [(&str, &[&str]); 5] = [
    (HEIC, &["heic", "heif", "hif", "heics", "heifs"]),
    (AVIF, &["avif", "avifs"]),
    (JPEG_2000, &["jp2", "j2k", "j2c", "jpc", "jpf", "jpx", "jpm", "jph", "jhc"]),
    (JPEG_XL, &["jxl"]),
    (
        RAW,
        &[
            "3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff", "gpr", "iiq", "k25", "kdc", "mef", "mos",
            "mrw", "nef", "nrw", "orf", "pef", "raf", "raw", "rw2", "rwl", "sr2", "srf", "srw", "x3f",
        ],
    ),
];

/// Decoder of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// By this crate's choice of decoders.
    Jpeg,
    /// By this crate's reader.
    Tiff,
    /// By this crate's reader.
    Bmp,
    /// By the gif crate.
    Gif,
    /// By the image crate.
    Other(ImageFormat),
}

impl Format {
    /// The format of a file's content.
    ///
    /// # Errors
    /// It is none that is read, which is named if it is known.
    pub fn of(bytes: &[u8]) -> anyhow::Result<Self> {
        if is_tiff(bytes) {
            return Ok(Self::Tiff);
        }
        if let Some(kind) = unread(bytes) {
            bail!(ImageError::Unsupported(format!("{kind} is not read: expected {FORMATS}")));
        }
        let format = image::guess_format(bytes).ok().filter(ImageFormat::reading_enabled);
        match format.filter(|format| *format != ImageFormat::Pnm || is_pnm(bytes)) {
            Some(ImageFormat::Jpeg) => Ok(Self::Jpeg),
            Some(ImageFormat::Bmp) => Ok(Self::Bmp),
            Some(ImageFormat::Gif) => Ok(Self::Gif),
            Some(format) => Ok(Self::Other(format)),
            None if bmp::is_headerless(bytes) => Ok(Self::Bmp),
            None => bail!(ImageError::Unsupported(format!("not an image: expected {FORMATS}"))),
        }
    }
}

/// The name of the format, none that is read, that a file's extension stands for.
pub fn unread_extension(path: &Path) -> Option<&'static str> {
    let extension = path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase();
    UNREAD.iter().find(|(_, extensions)| extensions.contains(&&*extension)).map(|(name, _)| *name)
}

/// Whether the content begins as a TIFF or BigTIFF file's.
pub fn is_tiff(bytes: &[u8]) -> bool {
    [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| bytes.starts_with(*magic))
}

/// Whether a PNM file's two letters end there, which texts begin with too ("P12 to P15").
fn is_pnm(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b'#')
}

/// The name of the format, none that is read, of a file's content.
fn unread(bytes: &[u8]) -> Option<&'static str> {
    const MAGIC: [(&[u8], &str); 9] = [
        (b"\0\0\0\x0cjP  ", JPEG_2000),
        (b"\xff\x4f\xff\x51", JPEG_2000),
        (b"\0\0\0\x0cJXL ", JPEG_XL),
        (b"\xff\x0a", JPEG_XL),
        (b"FUJIFILMCCD-RAW", RAW),
        (b"IIU\0", RAW),
        (b"IIRO", RAW),
        (b"IIRS", RAW),
        (b"MMOR", RAW),
    ];
    if let Some((_, name)) = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(name);
    }
    // ISO base media: the brand follows the type of the first box.
    let brands = bytes.get(8..bytes.len().min(64)).unwrap_or_default();
    match (bytes.get(4..8)?, bytes.get(8..12)?) {
        (b"ftyp", b"mif1" | b"msf1") if brands.windows(4).any(|brand| brand == b"avif") => Some(AVIF),
        (b"ftyp", b"avif" | b"avis") => Some(AVIF),
        (b"ftyp", b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1") => Some(HEIC),
        (b"ftyp", b"crx ") => Some(RAW),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_are_not_read_are_named() {
        for (bytes, name) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0"[..], "HEIC"),
            (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
            (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
            (b"\xff\x0a\xfa\x1f", "JPEG XL"),
            (b"FUJIFILMCCD-RAW 0201", "a camera's raw format"),
        ] {
            let error = Format::of(bytes).unwrap_err().to_string();
            assert_eq!(error, format!("{name} is not read: expected PNG, JPEG, BMP, GIF, WebP, PNM or TIFF"));
        }
        for bytes in [&b"text"[..], b"P12 to P15", b"P5"] {
            assert_eq!(Format::of(bytes).unwrap_err().to_string(), format!("not an image: expected {FORMATS}"));
        }
        assert_eq!(Format::of(b"MM\0+\0\x08").unwrap(), Format::Tiff);
        for (path, name) in [("a.HEIC", Some(HEIC)), ("b.dng", Some(RAW)), ("c.jpg", None), ("jxl", None)] {
            assert_eq!(unread_extension(Path::new(path)), name, "{path}");
        }
    }
}
