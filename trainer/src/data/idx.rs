//! The IDX format, in which MNIST and its relatives are published: a magic number that names the element
//! type and the number of dimensions, the big-endian dimensions, then the elements.
//!
//! Gzipped and plain files are told apart by their first bytes. [`Idx::read`] is the gate through which all
//! training data enters: what it returns is complete and consistent, whatever the file said.
//! Format: <http://yann.lecun.com/exdb/mnist/>, "The IDX file format".

use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

/// The IDX code of unsigned bytes, the only element type that these data sets use.
const UNSIGNED_BYTE: u8 = 0x08;

/// The most elements a file may declare (1 GiB), so that a small compressed file cannot fill the memory.
pub const MAX_ELEMENTS: usize = 1 << 30;

/// Why bytes are not a usable IDX file of the wanted rank.
#[derive(Debug, thiserror::Error)]
pub enum IdxError {
    /// The bytes could not be read or decompressed.
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    /// The file ends within the magic number or the dimensions.
    #[error("truncated header: expected {expected} bytes, found {found}")]
    Header {
        /// Bytes of a whole header of the wanted rank.
        expected: usize,
        /// Bytes there were.
        found: usize,
    },
    /// The first two bytes are not zero: no IDX file at all.
    #[error("bad magic number: expected {expected:#010x}, found {found:#010x}; not an IDX file")]
    Magic {
        /// The magic number of unsigned bytes of the wanted rank.
        expected: u32,
        /// The number found.
        found: u32,
    },
    /// The elements are not unsigned bytes.
    #[error("wrong element type: expected unsigned bytes (0x08), found type {found:#04x}")]
    ElementType {
        /// The IDX type code found.
        found: u8,
    },
    /// The number of dimensions differs.
    #[error("wrong number of dimensions: expected {expected}, found {found} (are images and labels swapped?)")]
    Rank {
        /// Dimensions wanted.
        expected: usize,
        /// Dimensions found.
        found: usize,
    },
    /// A dimension is zero.
    #[error("empty: the declared dimensions are {dimensions:?}")]
    Empty {
        /// The dimensions as declared.
        dimensions: Vec<u32>,
    },
    /// The declared dimensions exceed [`MAX_ELEMENTS`].
    #[error("too large: the declared dimensions are {dimensions:?}, at most {MAX_ELEMENTS} elements are accepted")]
    TooLarge {
        /// The dimensions as declared.
        dimensions: Vec<u32>,
    },
    /// Fewer elements than declared.
    #[error("truncated: the header declares {expected} elements, found {found}")]
    Truncated {
        /// Elements declared.
        expected: usize,
        /// Elements there were.
        found: usize,
    },
    /// More bytes than declared.
    #[error("trailing bytes after the {expected} declared elements")]
    Trailing {
        /// Elements declared.
        expected: usize,
    },
}

/// Unsigned bytes in `RANK` dimensions, the last one varying fastest. No dimension is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx<const RANK: usize> {
    dimensions: [usize; RANK],
    elements: Vec<u8>,
}

impl<const RANK: usize> Idx<RANK> {
    /// Length of the header in bytes.
    const HEADER: usize = 4 + 4 * RANK;
    /// The magic number of unsigned bytes in `RANK` dimensions.
    const MAGIC: u32 = {
        assert!(RANK >= 1 && RANK <= 255);
        (UNSIGNED_BYTE as u32) << 8 | RANK as u32
    };

    /// Makes an array from its parts.
    ///
    /// # Errors
    /// As for a file with these dimensions and elements.
    pub fn new(dimensions: [u32; RANK], elements: Vec<u8>) -> Result<Self, IdxError> {
        let expected = element_count(&dimensions)?;
        match elements.len() {
            found if found < expected => Err(IdxError::Truncated { expected, found }),
            found if found > expected => Err(IdxError::Trailing { expected }),
            _ => Ok(Self { dimensions: dimensions.map(|dimension| dimension as usize), elements }),
        }
    }

    /// Reads a whole file, gzipped or plain, to its end.
    ///
    /// Memory grows with what the file really holds, never with what its header promises.
    ///
    /// # Errors
    /// [`IdxError`] where the file is not exactly one well-formed array of this rank.
    pub fn read(reader: impl Read) -> Result<Self, IdxError> {
        let mut reader = decompressed(reader)?;
        let mut header = Vec::with_capacity(Self::HEADER);
        reader.by_ref().take(4).read_to_end(&mut header)?;
        if header.len() == 4 {
            check_magic(&header, Self::MAGIC)?;
            let dimensions = Self::HEADER as u64 - 4;
            reader.by_ref().take(dimensions).read_to_end(&mut header)?;
        }
        if header.len() < Self::HEADER {
            return Err(IdxError::Header { expected: Self::HEADER, found: header.len() });
        }
        let dimensions = std::array::from_fn(|i| big_endian(&header[4 + 4 * i..]));
        let expected = element_count(&dimensions)?;
        let mut elements = Vec::new();
        reader.take(expected as u64 + 1).read_to_end(&mut elements)?;
        elements.shrink_to_fit();
        Self::new(dimensions, elements)
    }

    /// The dimensions, slowest first; none is zero.
    pub fn dimensions(&self) -> [usize; RANK] {
        self.dimensions
    }

    /// The elements in row-major order.
    pub fn elements(&self) -> &[u8] {
        &self.elements
    }

    /// The elements in row-major order.
    pub fn into_elements(self) -> Vec<u8> {
        self.elements
    }

    /// The file's bytes, uncompressed.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.header()[..], &self.elements].concat()
    }

    /// SHA-256 of the uncompressed file in hexadecimal: the same however the file was compressed.
    pub fn sha256(&self) -> String {
        hexadecimal(&Sha256::new().chain_update(self.header()).chain_update(&self.elements).finalize())
    }

    fn header(&self) -> Vec<u8> {
        let mut header = Self::MAGIC.to_be_bytes().to_vec();
        for dimension in self.dimensions {
            // `new` took every dimension from a u32.
            header.extend_from_slice(&(dimension as u32).to_be_bytes());
        }
        header
    }
}

/// The reader's bytes, decompressed where they begin as gzip does.
///
/// # Errors
/// Where the first two bytes cannot be read.
pub fn decompressed<'a>(mut reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = Vec::with_capacity(2);
    reader.by_ref().take(2).read_to_end(&mut start)?;
    let gzipped = start == [0x1f, 0x8b];
    let whole = Cursor::new(start).chain(reader);
    Ok(if gzipped { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_magic(header: &[u8], expected: u32) -> Result<(), IdxError> {
    let found = big_endian(header);
    let [zero, zero_too, element_type, rank] = found.to_be_bytes();
    if zero != 0 || zero_too != 0 {
        Err(IdxError::Magic { expected, found })
    } else if element_type != UNSIGNED_BYTE {
        Err(IdxError::ElementType { found: element_type })
    } else if u32::from(rank) != expected & 0xff {
        Err(IdxError::Rank { expected: (expected & 0xff) as usize, found: usize::from(rank) })
    } else {
        Ok(())
    }
}

fn element_count(dimensions: &[u32]) -> Result<usize, IdxError> {
    if dimensions.contains(&0) {
        return Err(IdxError::Empty { dimensions: dimensions.to_vec() });
    }
    dimensions
        .iter()
        .try_fold(1_usize, |product, &dimension| product.checked_mul(dimension.try_into().ok()?))
        .filter(|&count| count <= MAX_ELEMENTS)
        .ok_or_else(|| IdxError::TooLarge { dimensions: dimensions.to_vec() })
}

/// The number in the first four bytes; callers have checked that there are four.
fn big_endian(bytes: &[u8]) -> u32 {
    bytes[..4].iter().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn arrays() -> impl Strategy<Value = Idx<3>> {
        (1_u32..6, 1_u32..6, 1_u32..6).prop_flat_map(|(count, height, width)| {
            proptest::collection::vec(any::<u8>(), (count * height * width) as usize)
                .prop_map(move |elements| Idx::new([count, height, width], elements).unwrap())
        })
    }

    fn error(bytes: &[u8]) -> String {
        Idx::<3>::read(bytes).unwrap_err().to_string()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(array in arrays()) {
            let bytes = array.to_bytes();
            prop_assert_eq!(&Idx::<3>::read(&bytes[..]).unwrap(), &array);
            prop_assert_eq!(&Idx::<3>::read(&gzip(&bytes)[..]).unwrap(), &array);
            prop_assert_eq!(array.sha256(), hexadecimal(&Sha256::digest(&bytes)));
        }

        #[test]
        fn every_cut_and_every_addition_is_refused(array in arrays(), cut in any::<prop::sample::Index>()) {
            let mut bytes = array.to_bytes();
            let end = cut.index(bytes.len());
            prop_assert!(Idx::<3>::read(&bytes[..end]).is_err());
            let compressed = gzip(&bytes);
            let end = cut.index(compressed.len());
            prop_assert!(Idx::<3>::read(&compressed[..end]).is_err());
            bytes.push(0);
            let trailing = matches!(Idx::<3>::read(&bytes[..]), Err(IdxError::Trailing { .. }));
            prop_assert!(trailing);
        }

        #[test]
        fn a_changed_header_is_refused_or_the_same_size(
            array in arrays(),
            position in 0_usize..16,
            value in any::<u8>(),
        ) {
            let mut bytes = array.to_bytes();
            bytes[position] = value;
            // Reading must end in a value or an error, and a value must hold what its header says.
            if let Ok(read) = Idx::<3>::read(&bytes[..]) {
                prop_assert_eq!(read.dimensions().iter().product::<usize>(), read.elements().len());
                prop_assert_eq!(read.to_bytes(), bytes);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Idx::<1>::read(&bytes[..]);
            let _ = Idx::<3>::read(&[&[0x1f, 0x8b], &bytes[..]].concat()[..]);
        }
    }

    #[test]
    fn each_refusal_says_what_was_expected_and_found() {
        assert_eq!(error(b""), "truncated header: expected 16 bytes, found 0");
        assert_eq!(error(&[0, 0, 8, 3, 0, 0]), "truncated header: expected 16 bytes, found 6");
        assert_eq!(
            error(b"\x89PNG1234567890123456"),
            "bad magic number: expected 0x00000803, found 0x89504e47; not an IDX file"
        );
        assert_eq!(
            error(&[0, 0, 0x0d, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0]),
            "wrong element type: expected unsigned bytes (0x08), found type 0x0d"
        );
        assert_eq!(
            error(&[0, 0, 8, 1, 0, 0, 0, 1, 0]),
            "wrong number of dimensions: expected 3, found 1 (are images and labels swapped?)"
        );
        assert_eq!(
            error(&[0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
            "empty: the declared dimensions are [0, 1, 1]"
        );
        assert_eq!(
            error(&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 7]),
            "truncated: the header declares 4 elements, found 1"
        );
        assert_eq!(
            error(&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7, 7]),
            "trailing bytes after the 1 declared elements"
        );
    }

    #[test]
    fn huge_declarations_are_refused_before_any_allocation() {
        let mut bytes = vec![0, 0, 8, 3];
        bytes.extend([0xff; 12]);
        assert!(matches!(Idx::<3>::read(&bytes[..]), Err(IdxError::TooLarge { .. })));
        // The largest accepted declaration over an empty body costs nothing.
        let mut bytes = vec![0, 0, 8, 1];
        bytes.extend((MAX_ELEMENTS as u32).to_be_bytes());
        assert!(matches!(Idx::<1>::read(&bytes[..]), Err(IdxError::Truncated { found: 0, .. })));
    }

    #[test]
    fn damaged_compression_is_refused() {
        let mut bytes = gzip(&Idx::new([2, 3, 4], (0..24).collect()).unwrap().to_bytes());
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        assert!(Idx::<3>::read(&bytes[..]).is_err());
    }
}
