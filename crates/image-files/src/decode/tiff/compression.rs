//! From a strip's or tile's bytes in the file to its samples' bytes.

use crate::ImageError;
use std::io::Read;

use anyhow::{Context, bail, ensure};
use flate2::read::ZlibDecoder;
use ruzstd::decoding::StreamingDecoder;
use weezl::{BitOrder, LzwStatus, decode::Configuration};

/// Compression of strips and tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// CCITT's codes, of one of its kinds.
    Fax(Fax),
    /// Lempel-Ziv-Welch.
    Lzw,
    /// JPEG files, perhaps with common tables.
    Jpeg,
    /// zlib.
    Deflate,
    /// Runs of bytes.
    PackBits,
    /// Zstandard.
    Zstd,
}

/// The kinds of CCITT's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fax {
    /// Rows of runs that begin at a byte, without anything between them.
    Runs,
    /// Group 3: rows that an end-of-line code goes before; `two_dimensional` ones may tell what differs from the row above.
    Group3 {
        /// A bit after each end-of-line code says which of the two the row is.
        two_dimensional: bool,
    },
    /// Group 4: all rows tell what differs from the row above.
    Group4,
}

impl Compression {
    /// The compression of a number in the field `Compression`; `t4` is the field `T4Options`.
    ///
    /// # Errors
    /// It is none that is read.
    pub fn of(number: u64, t4: u64) -> anyhow::Result<Self> {
        let name = match number {
            1 => return Ok(Self::None),
            2 => return Ok(Self::Fax(Fax::Runs)),
            3 => return Ok(Self::Fax(Fax::Group3 { two_dimensional: t4 & 1 != 0 })),
            4 => return Ok(Self::Fax(Fax::Group4)),
            5 => return Ok(Self::Lzw),
            7 => return Ok(Self::Jpeg),
            8 | 32946 => return Ok(Self::Deflate),
            32773 => return Ok(Self::PackBits),
            50000 => return Ok(Self::Zstd),
            6 => "old-style JPEG".to_string(),
            32766 => "NeXT".to_string(),
            32771 => "CCITT RLE with words".to_string(),
            32809 => "ThunderScan".to_string(),
            32908 | 32909 => "Pixar".to_string(),
            34661 => "JBIG".to_string(),
            34676 | 34677 => "SGI LogLuv".to_string(),
            33003 | 33005 | 34712 => "JPEG 2000".to_string(),
            34887 => "LERC".to_string(),
            34925 => "LZMA".to_string(),
            50001 => "WebP".to_string(),
            50002 | 52546 => "JPEG XL".to_string(),
            other => format!("number {other}"),
        };
        bail!(ImageError::Unsupported(format!(
            "the TIFF compression {name} is not supported: expected none, CCITT, LZW, JPEG, Deflate, PackBits or Zstandard"
        )));
    }
}

/// Decompresses `data` to `length` bytes; whatever follows them is ignored.
///
/// # Errors
/// The data are damaged or give fewer bytes.
pub fn decompress(compression: Compression, data: &[u8], length: usize) -> anyhow::Result<Vec<u8>> {
    let name = match compression {
        Compression::None => {
            let bytes = data.get(..length).with_context(|| too_few(data.len(), length))?;
            return Ok(bytes.to_vec());
        }
        Compression::PackBits => return unpack_bits(data, length),
        Compression::Lzw => return unpack_lzw(data, length),
        Compression::Deflate => "Deflate",
        Compression::Zstd => "Zstandard",
        Compression::Fax(_) | Compression::Jpeg => bail!("these data are not bytes"),
    };
    let mut bytes = Vec::with_capacity(length);
    let read = match compression {
        Compression::Deflate => ZlibDecoder::new(data).take(length as u64).read_to_end(&mut bytes).map_err(Into::into),
        _ => StreamingDecoder::new(data)
            .map_err(anyhow::Error::new)
            .and_then(|decoder| Ok(decoder.take(length as u64).read_to_end(&mut bytes)?)),
    };
    read.map_err(|error| anyhow::anyhow!("the TIFF file's {name} data are damaged: {error}"))?;
    ensure!(bytes.len() == length, too_few(bytes.len(), length));
    Ok(bytes)
}

fn too_few(found: usize, expected: usize) -> String {
    format!("the TIFF file is truncated or damaged: expected {expected} bytes in a strip or tile, found {found}")
}

/// Runs: a byte n of 0 to 127 goes before n + 1 bytes that stand as they are, one of 129 to 255 before a byte that stands for
/// 257 - n of it.
fn unpack_bits(data: &[u8], length: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    let mut rest = data;
    while bytes.len() < length {
        let Some((&count, after)) = rest.split_first() else { bail!(too_few(bytes.len(), length)) };
        let count = usize::from(count);
        rest = match (count, after) {
            (128, _) => after,
            (0..=127, _) => {
                let Some((plain, after)) = after.split_at_checked(count + 1) else {
                    bail!(too_few(bytes.len(), length))
                };
                bytes.extend_from_slice(plain);
                after
            }
            (_, [byte, after @ ..]) => {
                bytes.resize(bytes.len() + 257 - count, *byte);
                after
            }
            (_, []) => bail!(too_few(bytes.len(), length)),
        };
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// LZW as TIFF has it; or as programs before TIFF 6.0 wrote it, with the bits in the other order, which the first code tells.
fn unpack_lzw(data: &[u8], length: usize) -> anyhow::Result<Vec<u8>> {
    let old = matches!(data, [0, second, ..] if second & 1 != 0);
    let configuration =
        if old { Configuration::new(BitOrder::Lsb, 8) } else { Configuration::with_tiff_size_switch(BitOrder::Msb, 8) };
    let mut decoder = configuration.with_yield_on_full_buffer(true).build();
    let mut bytes = vec![0; length];
    let (mut read, mut written) = (0, 0);
    while written < length {
        let result = decoder.decode_bytes(&data[read..], &mut bytes[written..]);
        read += result.consumed_in;
        written += result.consumed_out;
        match result.status {
            Ok(LzwStatus::Ok) if result.consumed_in + result.consumed_out > 0 => {}
            Ok(_) => break,
            Err(error) => bail!("the TIFF file's LZW data are damaged: {error}"),
        }
    }
    ensure!(written == length, too_few(written, length));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_bits_are_runs_and_plain_bytes() {
        let packed = [0xFE, 0xAA, 0x02, 0x80, 0x00, 0x2A, 0x80, 0xFD, 0xAA];
        let plain = [0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0xAA, 0xAA, 0xAA, 0xAA];
        assert_eq!(decompress(Compression::PackBits, &packed, 10).unwrap(), plain);
        assert_eq!(decompress(Compression::PackBits, &packed, 8).unwrap(), plain[..8]);
        assert!(decompress(Compression::PackBits, &packed, 11).is_err());
    }

    #[test]
    fn compressions_that_are_not_read_are_named() {
        for (number, name) in [(6, "old-style JPEG"), (34925, "LZMA"), (34661, "JBIG"), (7777, "number 7777")] {
            let error = Compression::of(number, 0).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the TIFF compression {name} is not supported")), "{error}");
        }
    }
}
