//! CCITT's codes of black and white rows (ITU-T T.4 and T.6): runs of pixels, or what differs from the row above. The codes come
//! from the fax crate.

use crate::ImageError;
use std::{convert::Infallible, iter};

use anyhow::{Context, bail, ensure};
use fax::{
    BitReader, ByteReader,
    maps::{Mode, black, mode, white},
};

use super::compression::Fax;

/// Bits of zeros that an end-of-line code begins with.
const EOL_ZEROS: u8 = 11;

/// The bits of the rows, each row filled up to whole bytes: 1 for black.
///
/// # Errors
/// The data are damaged or end too early.
pub fn decode(kind: Fax, data: &[u8], width: usize, rows: usize) -> anyhow::Result<Vec<u8>> {
    let stride = width.div_ceil(8);
    let mut bits = vec![0; stride * rows];
    let mut reader = Reader::new(data)?;
    // Where the colour changes, beginning with white: of the row above, and of this one.
    let (mut above, mut changes) = (Vec::new(), Vec::new());
    for row in 0..rows {
        changes.clear();
        let decoded = match kind {
            Fax::Runs => reader.runs(width, &mut changes).map(|()| reader.skip_to_byte()),
            Fax::Group4 => reader.differences(width, &above, &mut changes),
            Fax::Group3 { two_dimensional } => {
                reader.skip_end_of_line();
                if two_dimensional && reader.bits(1) == Some(0) {
                    reader.differences(width, &above, &mut changes)
                } else {
                    reader.runs(width, &mut changes)
                }
            }
        };
        decoded
            .with_context(|| format!("the TIFF file's CCITT data are truncated or damaged in row {row} of {rows}"))?;
        for black in changes.chunks(2).filter(|pair| pair.len() == 2 || pair[0] < width) {
            let end = black.get(1).copied().unwrap_or(width);
            for x in black[0]..end {
                bits[row * stride + x / 8] |= 0x80 >> (x % 8);
            }
        }
        std::mem::swap(&mut above, &mut changes);
    }
    Ok(bits)
}

type Bytes<'d> = Box<dyn Iterator<Item = Result<u8, Infallible>> + 'd>;

/// Reads codes.
struct Reader<'d> {
    bits: ByteReader<Bytes<'d>>,
    /// Bits that are left of the data; zeros follow them, so that codes at the end can be looked up.
    left: usize,
}

impl BitReader for Reader<'_> {
    type Error = ();

    fn peek(&self, bits: u8) -> Option<u16> {
        self.bits.peek(bits)
    }

    fn consume(&mut self, bits: u8) -> Result<(), ()> {
        self.left = self.left.checked_sub(usize::from(bits)).ok_or(())?;
        self.bits.consume(bits).map_err(|_| ())
    }

    fn bits_to_byte_boundary(&self) -> u8 {
        self.bits.bits_to_byte_boundary()
    }
}

impl<'d> Reader<'d> {
    fn new(data: &'d [u8]) -> anyhow::Result<Self> {
        let bytes: Bytes<'d> = Box::new(data.iter().copied().chain(iter::repeat_n(0, 8)).map(Ok));
        Ok(Self { bits: ByteReader::new(bytes)?, left: 8 * data.len() })
    }

    /// The next bits, which are passed over.
    fn bits(&mut self, count: u8) -> Option<u16> {
        let bits = self.peek(count)?;
        self.consume(count).ok().map(|()| bits)
    }

    fn skip_to_byte(&mut self) {
        let count = (self.left % 8) as u8;
        // There are as many.
        let _ = self.consume(count);
    }

    /// Passes over an end-of-line code and the zeros that fill the space before it, if that is what follows.
    fn skip_end_of_line(&mut self) {
        if self.peek(u8::min(EOL_ZEROS, 16)) != Some(0) {
            return;
        }
        while self.peek(1) == Some(0) && self.consume(1).is_ok() {}
        // The one that ends it.
        let _ = self.consume(1);
    }

    /// The length of a run of one colour.
    fn run(&mut self, is_black: bool) -> anyhow::Result<usize> {
        let mut length = 0;
        loop {
            let code = if is_black { black::decode(self) } else { white::decode(self) };
            let code = usize::from(code.context("no such code")?);
            length += code;
            if code < 64 {
                return Ok(length);
            }
        }
    }

    /// A row of runs.
    fn runs(&mut self, width: usize, changes: &mut Vec<usize>) -> anyhow::Result<()> {
        let (mut at, mut is_black) = (0, false);
        while at < width {
            at += self.run(is_black)?;
            ensure!(at <= width, "a run goes beyond the end of the row");
            changes.push(at);
            is_black = !is_black;
        }
        Ok(())
    }

    /// A row of differences to the one above.
    fn differences(&mut self, width: usize, above: &[usize], changes: &mut Vec<usize>) -> anyhow::Result<()> {
        let (mut at, mut is_black) = (0, false);
        // The first code of a row counts the place before the first pixel.
        let mut first = true;
        let mut passed = 0;
        while at < width {
            // The first change above, behind this place, to the colour that is not this one; and the next.
            while above.get(passed).is_some_and(|change| *change < at || *change == at && !first) {
                passed += 1;
            }
            let place = if passed.is_multiple_of(2) == is_black { passed + 1 } else { passed };
            let change = |offset: usize| above.get(place + offset).copied().unwrap_or(width);
            match mode::decode(self).context("no such code")? {
                Mode::Pass => at = change(1),
                Mode::Horizontal => {
                    for colour in [is_black, !is_black] {
                        at += self.run(colour)?;
                        ensure!(at <= width, "a run goes beyond the end of the row");
                        changes.push(at);
                    }
                }
                Mode::Vertical(offset) => {
                    let to = change(0).checked_add_signed(isize::from(offset)).context("a run ends before the row")?;
                    ensure!((at..=width).contains(&to), "a run ends before it begins, or beyond the end of the row");
                    at = to;
                    changes.push(at);
                    is_black = !is_black;
                }
                Mode::Extension => {
                    bail!(ImageError::Unsupported("uncompressed pixels among the codes are not supported".into()))
                }
                Mode::EOF => bail!("the codes end"),
            }
            first = false;
        }
        Ok(())
    }
}
