//! Compression of shards, known by the first bytes.

use std::io::{self, BufRead, BufReader, Cursor, Error, ErrorKind, Read};

use anyhow::bail;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

const GZIP: &[u8] = &[0x1F, 0x8B];
const ZSTANDARD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
/// Beginning of a Zstandard frame to be skipped, without its lowest four bits.
const ZSTANDARD_SKIPPED: [u8; 4] = [0x50, 0x2A, 0x4D, 0x18];
const OTHERS: [(&[u8], &str); 4] = [
    (b"BZh", "bzip2"),
    (&[0xFD, b'7', b'z', b'X', b'Z', 0], "xz"),
    (&[0x04, 0x22, 0x4D, 0x18], "LZ4"),
    (b"PK\x03\x04", "a ZIP archive"),
];

/// The decompressed bytes of a file.
///
/// # Errors
/// It cannot be read, or its compression is not known.
pub fn decompressed(mut file: impl Read + Send + 'static) -> anyhow::Result<Box<dyn Read + Send>> {
    let mut start = Vec::new();
    file.by_ref().take(6).read_to_end(&mut start)?;
    for (magic, name) in OTHERS {
        if start.starts_with(magic) {
            bail!("it is {name}, which is not read: expected tar, or tar compressed by gzip or Zstandard");
        }
    }
    let (gzip, zstandard) = (start.starts_with(GZIP), is_zstandard(&start));
    let whole = BufReader::with_capacity(1 << 16, Cursor::new(start).chain(file));
    Ok(match (gzip, zstandard) {
        (true, _) => Box::new(MultiGzDecoder::new(whole)),
        (_, true) => Box::new(Frames { source: whole, decoder: FrameDecoder::new(), begun: false }),
        _ => Box::new(whole),
    })
}

/// Whether a file that begins so is decompressed.
pub fn is_compressed(start: &[u8]) -> bool {
    start.starts_with(GZIP) || is_zstandard(start)
}

fn is_zstandard(start: &[u8]) -> bool {
    let skipped = start.first().is_some_and(|byte| byte & 0xF0 == ZSTANDARD_SKIPPED[0])
        && start.get(1..4) == Some(&ZSTANDARD_SKIPPED[1..]);
    start.starts_with(ZSTANDARD) || skipped
}

/// The content of Zstandard frames, one behind the other.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    /// Within a frame.
    begun: bool,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            if !self.begun {
                if self.source.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin()?;
                continue;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(Error::other)?;
            }
            let count = self.decoder.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            self.begun = false;
            let expected = self.decoder.get_checksum_from_data();
            if expected.is_some() && self.decoder.get_calculated_checksum() != expected {
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    "the Zstandard data are damaged: their checksum is another",
                ));
            }
        }
        Ok(0)
    }
}

impl<R: BufRead> Frames<R> {
    /// Begins the next frame, or skips it if it holds nothing.
    fn begin(&mut self) -> io::Result<()> {
        match self.decoder.init(&mut self.source) {
            Ok(()) => self.begun = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let skipped = io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                if skipped < length.into() {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            Err(error) => return Err(Error::other(error)),
        }
        Ok(())
    }
}
