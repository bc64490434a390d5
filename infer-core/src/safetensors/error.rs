//! Refusals of weights files. Each is `Copy`, 32 bytes at most, and names the tensor.

use super::{Dtype, json::JsonStr, json::Unexpected};
use crate::code::Code;
use core::fmt;

/// Name of a tensor as it stands in a file: its first characters, `N` bytes at most.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TensorName<const N: usize = 29> {
    bytes: [u8; N],
    /// Bytes that are used; `CUT` is set where not all fit.
    length: u8,
}

/// Bit of the length of a name that did not fit.
const CUT: u8 = 0x80;

impl<const N: usize> TensorName<N> {
    /// The name, without what did not fit.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length & !CUT)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Whether the name in the file is longer.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.length & CUT != 0
    }
}

impl<const N: usize> From<JsonStr<'_>> for TensorName<N> {
    fn from(name: JsonStr<'_>) -> Self {
        const { assert!(N < CUT as usize, "the length has 7 bits") };
        let mut copy = Self { bytes: [0; N], length: 0 };
        for character in name.chars() {
            let mut buffer = [0; 4];
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            let start = usize::from(copy.length);
            let Some(place) = copy.bytes.get_mut(start..start + bytes.len()) else {
                copy.length |= CUT;
                break;
            };
            // Byte by byte, as compilers do not see that the lengths are equal, and link a panic.
            for (place, byte) in place.iter_mut().zip(bytes) {
                *place = *byte;
            }
            copy.length += bytes.len() as u8;
        }
        copy
    }
}

impl<const N: usize> fmt::Display for TensorName<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.as_str().escape_debug(), if self.is_cut() { "…" } else { "" })
    }
}

impl<const N: usize> fmt::Debug for TensorName<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(feature = "serde")]
impl<const N: usize> serde::Serialize for TensorName<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "defmt")]
impl<const N: usize> defmt::Format for TensorName<N> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}{=str}", self.as_str(), if self.is_cut() { "…" } else { "" });
    }
}

/// Number of bytes, or an offset in a file: less than 2⁴⁸.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ByteCount([u8; 6]);

impl ByteCount {
    /// `count`, or the greatest count where it is greater.
    #[must_use]
    pub const fn new(count: u64) -> Self {
        let most = (1 << 48) - 1;
        let [a, b, c, d, e, f, _, _] = if count < most { count } else { most }.to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for ByteCount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for ByteCount {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=u64}", self.get());
    }
}

/// Field of a tensor's entry in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Field {
    /// Data type of the values.
    Dtype,
    /// Size of each dimension.
    Shape,
    /// Place of the values in the file.
    DataOffsets,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Dtype => "dtype",
            Self::Shape => "shape",
            Self::DataOffsets => "data_offsets",
        })
    }
}

/// Why a file is not a safetensors file, or not the weights of a network.
///
/// [`code`](Self::code) is a number for each reason, for logs that have no room for texts: [`Code`] lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WeightsError {
    /// Too few bytes for the length of the header.
    NoHeader {
        /// Bytes in the file.
        found: usize,
    },
    /// The header is longer than [`MAX_HEADER`](super::MAX_HEADER).
    HeaderTooLong {
        /// Declared length in bytes.
        found: u64,
    },
    /// The file ends within the header.
    HeaderTruncated {
        /// Declared length in bytes.
        expected: u64,
        /// Bytes there are.
        found: usize,
    },
    /// The header is not UTF-8.
    HeaderNotUtf8 {
        /// Byte of the header where it is wrong.
        offset: usize,
    },
    /// The header is not JSON of the form that safetensors describes.
    HeaderSyntax {
        /// Byte of the header where it is wrong.
        offset: usize,
    },
    /// The header is not JSON of that form in the entry of a tensor or behind it, before the next one's name.
    EntrySyntax {
        /// The tensor.
        tensor: TensorName<22>,
        /// Byte of the header where it is wrong.
        offset: u32,
    },
    /// A name, of a tensor or of metadata, stands twice in the header.
    Duplicate {
        /// The name.
        name: TensorName,
    },
    /// More tensors than the reader has room for.
    TooManyTensors {
        /// The most there may be.
        limit: usize,
    },
    /// A tensor has more dimensions than [`MAX_RANK`](super::MAX_RANK).
    TooManyDimensions {
        /// The tensor.
        tensor: TensorName,
    },
    /// A tensor's entry lacks `dtype`, `shape` or `data_offsets`.
    MissingField {
        /// The tensor.
        tensor: TensorName,
        /// The field.
        field: Field,
    },
    /// A tensor's entry has a field that safetensors does not know, or one twice.
    UnexpectedField {
        /// The tensor.
        tensor: TensorName,
    },
    /// A data type that safetensors does not know.
    UnknownDtype {
        /// The tensor.
        tensor: TensorName,
    },
    /// A size does not fit into 32 bits, or a number of bytes or an offset into 48.
    Overflow {
        /// The tensor.
        tensor: TensorName,
    },
    /// The offsets hold another number of bytes than shape and data type need.
    Size {
        /// The tensor.
        tensor: TensorName<18>,
        /// Bytes that shape and data type need.
        expected: ByteCount,
        /// Bytes between the offsets, 0 where they are reversed.
        found: ByteCount,
    },
    /// Unused bytes lie before a tensor.
    Gap {
        /// The tensor.
        tensor: TensorName<18>,
        /// Offset where it should begin.
        expected: ByteCount,
        /// Offset where it begins.
        found: ByteCount,
    },
    /// A tensor begins inside of another.
    Overlap {
        /// The tensor.
        tensor: TensorName<18>,
        /// Offset where it should begin.
        expected: ByteCount,
        /// Offset where it begins.
        found: ByteCount,
    },
    /// The file ends within a tensor.
    Truncated {
        /// The tensor.
        tensor: TensorName<18>,
        /// Bytes of data that there should be up to its end.
        expected: ByteCount,
        /// Bytes of data there are.
        found: ByteCount,
    },
    /// Bytes follow the last tensor.
    TrailingBytes {
        /// Number of bytes.
        count: u64,
    },
    /// The network has a tensor that the file has not.
    Missing {
        /// The tensor.
        tensor: &'static str,
    },
    /// The file has a tensor that the network has not.
    Unexpected {
        /// The tensor.
        tensor: TensorName,
    },
    /// The data type is not the one that the network reads.
    Dtype {
        /// The tensor.
        tensor: &'static str,
        /// The type that the network reads.
        expected: Dtype,
        /// The type in the file.
        found: Dtype,
    },
    /// The shape has another number of dimensions than the network's.
    Rank {
        /// The tensor.
        tensor: &'static str,
        /// The network's.
        expected: u8,
        /// The file's.
        found: u8,
    },
    /// A size of the shape is not the network's.
    Shape {
        /// The tensor.
        tensor: &'static str,
        /// The first dimension whose size is another, 0 for the outermost.
        dimension: u8,
        /// The network's.
        expected: u32,
        /// The file's.
        found: u32,
    },
    /// The layer that tells the classes apart has a number of outputs that no network may have.
    Classes {
        /// Its weight.
        tensor: &'static str,
        /// Number of outputs: the outermost size of the weight's shape, 0 where it has none.
        found: u32,
    },
    /// The values do not lie at addresses that are multiples of their size, so they cannot be read in place.
    Misaligned {
        /// The tensor.
        tensor: &'static str,
    },
    /// A value is NaN or infinite.
    NotFinite {
        /// The tensor.
        tensor: &'static str,
        /// Index of the first such value, in the tensor flattened.
        index: usize,
    },
}

impl WeightsError {
    /// Reason, as a variant without its data.
    #[must_use]
    pub const fn kind(&self) -> Code {
        match self {
            Self::NoHeader { .. } => Code::NoHeader,
            Self::HeaderTooLong { .. } => Code::HeaderTooLong,
            Self::HeaderTruncated { .. } => Code::HeaderTruncated,
            Self::HeaderNotUtf8 { .. } => Code::HeaderNotUtf8,
            Self::HeaderSyntax { .. } => Code::HeaderSyntax,
            Self::EntrySyntax { .. } => Code::EntrySyntax,
            Self::Duplicate { .. } => Code::Duplicate,
            Self::TooManyTensors { .. } => Code::TooManyTensors,
            Self::TooManyDimensions { .. } => Code::TooManyDimensions,
            Self::MissingField { .. } => Code::MissingField,
            Self::UnexpectedField { .. } => Code::UnexpectedField,
            Self::UnknownDtype { .. } => Code::UnknownDtype,
            Self::Overflow { .. } => Code::Overflow,
            Self::Size { .. } => Code::Size,
            Self::Gap { .. } => Code::Gap,
            Self::Overlap { .. } => Code::Overlap,
            Self::Truncated { .. } => Code::Truncated,
            Self::TrailingBytes { .. } => Code::TrailingBytes,
            Self::Missing { .. } => Code::Missing,
            Self::Unexpected { .. } => Code::Unexpected,
            Self::Dtype { .. } => Code::Dtype,
            Self::Rank { .. } => Code::Rank,
            Self::Shape { .. } => Code::Shape,
            Self::Classes { .. } => Code::Classes,
            Self::Misaligned { .. } => Code::Misaligned,
            Self::NotFinite { .. } => Code::NotFinite,
        }
    }

    /// Number of the reason, the same in all versions: see [`Code`].
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.kind() as u16
    }
}

impl From<Unexpected> for WeightsError {
    fn from(Unexpected(offset): Unexpected) -> Self {
        Self::HeaderSyntax { offset }
    }
}

impl core::error::Error for WeightsError {}

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader { found } => {
                write!(f, "not a safetensors file: {found} bytes, expected at least 8 for the header's length")
            }
            Self::HeaderTooLong { found } => write!(
                f,
                "not a safetensors file: its first 8 bytes declare a header of {found} bytes, expected at most {}",
                super::MAX_HEADER
            ),
            Self::HeaderTruncated { expected, found } => {
                write!(f, "truncated: expected a header of {expected} bytes, found {found}")
            }
            Self::HeaderNotUtf8 { offset } => write!(f, "the header is not UTF-8 at byte {offset}"),
            Self::HeaderSyntax { offset } => write!(f, "the header is not a safetensors header at byte {offset}"),
            Self::EntrySyntax { tensor, offset } => {
                write!(
                    f,
                    "tensor {tensor}: the header is not a safetensors header at byte {offset}, in this entry or behind it"
                )
            }
            Self::Duplicate { name } => write!(f, "the header names {name} twice"),
            Self::TooManyTensors { limit } => write!(f, "more than {limit} tensors"),
            Self::TooManyDimensions { tensor } => {
                write!(f, "tensor {tensor}: more than {} dimensions", super::MAX_RANK)
            }
            Self::MissingField { tensor, field } => write!(f, "tensor {tensor}: the header gives no {field}"),
            Self::UnexpectedField { tensor } => {
                write!(f, "tensor {tensor}: expected dtype, shape and data_offsets in the header, once each")
            }
            Self::UnknownDtype { tensor } => write!(f, "tensor {tensor}: unknown dtype"),
            Self::Overflow { tensor } => write!(f, "tensor {tensor}: its size or offsets are too large"),
            Self::Size { tensor, expected, found } => {
                write!(f, "tensor {tensor}: shape and dtype need {expected} bytes, data_offsets hold {found}")
            }
            Self::Gap { tensor, expected, found } => {
                write!(f, "tensor {tensor}: begins at byte {found}, expected {expected}: unused bytes lie before it")
            }
            Self::Overlap { tensor, expected, found } => {
                write!(f, "tensor {tensor}: begins at byte {found}, expected {expected}: it overlaps another")
            }
            Self::Truncated { tensor, expected, found } => {
                write!(f, "tensor {tensor}: truncated: expected {expected} bytes of data, found {found}")
            }
            Self::TrailingBytes { count } => write!(f, "{count} bytes follow the last tensor"),
            Self::Missing { tensor } => write!(f, "tensor {tensor} is missing"),
            Self::Unexpected { tensor } => write!(f, "tensor {tensor} does not belong to this network"),
            Self::Dtype { tensor, expected, found } => {
                write!(f, "tensor {tensor}: expected dtype {expected}, found {found}")
            }
            Self::Rank { tensor, expected, found } => {
                write!(f, "tensor {tensor}: expected a shape of {expected} dimensions, found {found}")
            }
            Self::Shape { tensor, dimension, expected, found } => {
                write!(f, "tensor {tensor}: expected shape[{dimension}] to be {expected}, found {found}")
            }
            Self::Classes { tensor, found } => {
                let (least, most) = (crate::describe::CLASSES.start(), crate::describe::CLASSES.end());
                write!(f, "tensor {tensor}: expected an output for each of {least} to {most} classes, found {found}")
            }
            Self::Misaligned { tensor } => {
                write!(f, "tensor {tensor}: not aligned in memory, so it cannot be read in place")
            }
            Self::NotFinite { tensor, index } => write!(f, "tensor {tensor}: value {index} is NaN or infinite"),
        }
    }
}
