//! Why a weights file is refused. Small, `Copy`, and it names the tensor.

use super::{
    Dtype, Shape,
    json::{JsonStr, Unexpected},
};
use core::fmt;

/// A tensor's name as it stood in the file: its first characters, 56 bytes at most.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TensorName {
    bytes: [u8; 56],
    length: u8,
    cut: bool,
}

impl TensorName {
    /// The name, without what did not fit.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl From<JsonStr<'_>> for TensorName {
    fn from(name: JsonStr<'_>) -> Self {
        let mut copy = Self { bytes: [0; 56], length: 0, cut: false };
        for character in name.chars() {
            let start = usize::from(copy.length);
            let Some(place) = copy.bytes.get_mut(start..start + character.len_utf8()) else {
                copy.cut = true;
                break;
            };
            character.encode_utf8(place);
            copy.length += character.len_utf8() as u8;
        }
        copy
    }
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.as_str().escape_debug(), if self.cut { "…" } else { "" })
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for TensorName {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.as_str());
    }
}

impl fmt::Debug for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Why a file is not a safetensors file, or not the weights of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        field: &'static str,
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
    /// A size or an offset does not fit into this machine's addresses.
    Overflow {
        /// The tensor.
        tensor: TensorName,
    },
    /// The offsets hold another number of bytes than shape and data type need.
    Size {
        /// The tensor.
        tensor: TensorName,
        /// Bytes that shape and data type need.
        expected: u64,
        /// Bytes between the offsets, 0 where they are reversed.
        found: u64,
    },
    /// Unused bytes lie before a tensor.
    Gap {
        /// The tensor.
        tensor: TensorName,
        /// Offset where it should begin.
        expected: u64,
        /// Offset where it begins.
        found: u64,
    },
    /// A tensor begins inside of another.
    Overlap {
        /// The tensor.
        tensor: TensorName,
        /// Offset where it should begin.
        expected: u64,
        /// Offset where it begins.
        found: u64,
    },
    /// The file ends within a tensor.
    Truncated {
        /// The tensor.
        tensor: TensorName,
        /// Bytes of data that there should be up to its end.
        expected: u64,
        /// Bytes of data there are.
        found: u64,
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
    /// The shape is not the network's.
    Shape {
        /// The tensor.
        tensor: &'static str,
        /// The network's.
        expected: Shape,
        /// The file's.
        found: Shape,
    },
    /// The layer that tells the classes apart has a number of outputs that no network may have.
    Classes {
        /// Its weight.
        tensor: &'static str,
        /// The weight's shape, which begins with the number of classes.
        found: Shape,
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
    /// The error's number, from 1 to 99, which stays the same in later versions: for programs that have no room for text.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::NoHeader { .. } => 1,
            Self::HeaderTooLong { .. } => 2,
            Self::HeaderTruncated { .. } => 3,
            Self::HeaderNotUtf8 { .. } => 4,
            Self::HeaderSyntax { .. } => 5,
            Self::Duplicate { .. } => 6,
            Self::TooManyTensors { .. } => 7,
            Self::TooManyDimensions { .. } => 8,
            Self::MissingField { .. } => 9,
            Self::UnexpectedField { .. } => 10,
            Self::UnknownDtype { .. } => 11,
            Self::Overflow { .. } => 12,
            Self::Size { .. } => 13,
            Self::Gap { .. } => 14,
            Self::Overlap { .. } => 15,
            Self::Truncated { .. } => 16,
            Self::TrailingBytes { .. } => 17,
            Self::Missing { .. } => 18,
            Self::Unexpected { .. } => 19,
            Self::Dtype { .. } => 20,
            Self::Shape { .. } => 21,
            Self::Classes { .. } => 22,
            Self::Misaligned { .. } => 23,
            Self::NotFinite { .. } => 24,
        }
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
            Self::Shape { tensor, expected, found } => {
                write!(f, "tensor {tensor}: expected shape {expected}, found {found}")
            }
            Self::Classes { tensor, found } => {
                let (least, most) = (crate::describe::CLASSES.start(), crate::describe::CLASSES.end());
                write!(
                    f,
                    "tensor {tensor}: expected an output for each of {least} to {most} classes, found shape {found}"
                )
            }
            Self::Misaligned { tensor } => {
                write!(f, "tensor {tensor}: not aligned in memory, so it cannot be read in place")
            }
            Self::NotFinite { tensor, index } => write!(f, "tensor {tensor}: value {index} is NaN or infinite"),
        }
    }
}
