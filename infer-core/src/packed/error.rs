//! Reasons for which packed weights cannot be made, opened or run.

use crate::code::Code;
use crate::safetensors::WeightsError;
use core::fmt;
use kernels::{Backend, Line, Misfit};

/// Why a network could not be packed, opened or run.
///
/// [`code`](Self::code) is a number for each reason: [`Code`] lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PackedError {
    /// The file is not a safetensors file of packed weights.
    File(WeightsError),
    /// The packed weights in the file do not begin at a multiple of 64 bytes in memory.
    Misaligned,
    /// The packed memory does not begin as it should.
    NotPacked,
    /// The memory was packed by another version of this crate.
    Version {
        /// This crate's.
        expected: u32,
        /// The memory's.
        found: u32,
    },
    /// The memory holds another network.
    Network {
        /// The one that was to be opened.
        expected: &'static str,
    },
    /// The memory holds a network of that name, but of other sizes, or packed in another way.
    Plan {
        /// The network.
        network: &'static str,
    },
    /// The weights are stored in a way that this crate does not know.
    Storage,
    /// A network cannot tell so many classes apart, or so few.
    Classes {
        /// Number of classes.
        found: usize,
    },
    /// The packed memory has another length.
    Length {
        /// In lines.
        expected: usize,
        /// In lines.
        found: usize,
    },
    /// A weight is beyond the range of half-width floats, 65,504.
    TooLarge {
        /// Its tensor.
        tensor: &'static str,
        /// Its place there, row-major.
        index: usize,
    },
    /// The values of a tensor are so large that they overflow when they are packed.
    Overflow {
        /// The tensor.
        tensor: &'static str,
    },
    /// A packed weight is NaN or infinite.
    NotFinite {
        /// The tensor that it was packed from.
        tensor: &'static str,
    },
    /// The CPU lacks the instructions of the backend that was asked for.
    Unavailable {
        /// The backend.
        backend: Backend,
    },
    /// The images are no whole number of images.
    Images {
        /// Values of one image.
        image: usize,
        /// Values in all.
        found: usize,
    },
    /// There is not as much room for logits as there are logits.
    Logits {
        /// Logits of all images.
        expected: usize,
        /// Room for so many.
        found: usize,
    },
    /// The workspace is too small for the batch.
    Workspace {
        /// In lines.
        expected: usize,
        /// In lines.
        found: usize,
    },
    /// The plan gave a kernel sizes that do not fit each other: a fault of this crate. The logits mean nothing.
    Internal,
}

impl PackedError {
    /// Reason, as a variant without its data; of a file, the file's.
    #[must_use]
    pub const fn kind(&self) -> Code {
        match self {
            Self::File(error) => error.kind(),
            Self::Misaligned => Code::PackedMisaligned,
            Self::NotPacked => Code::NotPacked,
            Self::Version { .. } => Code::PackedVersion,
            Self::Network { .. } => Code::PackedNetwork,
            Self::Plan { .. } => Code::PackedPlan,
            Self::Storage => Code::PackedStorage,
            Self::Classes { .. } => Code::PackedClasses,
            Self::Length { .. } => Code::PackedLength,
            Self::TooLarge { .. } => Code::PackedTooLarge,
            Self::Overflow { .. } => Code::PackedOverflow,
            Self::NotFinite { .. } => Code::PackedNotFinite,
            Self::Unavailable { .. } => Code::BackendUnavailable,
            Self::Images { .. } => Code::Images,
            Self::Logits { .. } => Code::Logits,
            Self::Workspace { .. } => Code::WorkspaceLength,
            Self::Internal => Code::Internal,
        }
    }

    /// Number of the reason, the same in all versions: see [`Code`].
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.kind() as u16
    }
}

impl fmt::Display for PackedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::File(error) => error.fmt(f),
            Self::Misaligned => {
                write!(f, "the packed weights do not begin at a multiple of {} bytes", Line::SIZE)
            }
            Self::NotPacked => f.write_str("these are not packed weights"),
            Self::Version { expected, found } => {
                write!(
                    f,
                    "packed in version {found} of the layout, where this program reads version {expected}: pack again"
                )
            }
            Self::Network { expected } => write!(f, "packed weights of another network than {expected}"),
            Self::Plan { network } => {
                write!(f, "packed weights of {network}, but of other sizes or packed in another way: pack again")
            }
            Self::Storage => f.write_str("packed weights, stored in a way that this program does not know"),
            Self::Classes { found } => {
                let (least, most) = (crate::describe::CLASSES.start(), crate::describe::CLASSES.end());
                write!(f, "expected {least} to {most} classes, found {found}")
            }
            Self::Length { expected, found } => write!(
                f,
                "packed weights of {} bytes, where {} were expected",
                found.saturating_mul(Line::SIZE),
                expected.saturating_mul(Line::SIZE)
            ),
            Self::TooLarge { tensor, index } => {
                write!(f, "{tensor}: value {index} is beyond the range of half-width floats")
            }
            Self::Overflow { tensor } => write!(f, "{tensor}: its values are so large that they overflow when packed"),
            Self::NotFinite { tensor } => write!(f, "packed weights: a value of {tensor} is NaN or infinite"),
            Self::Unavailable { backend } => write!(f, "this CPU has no {backend} instructions"),
            Self::Images { image, found } => {
                write!(f, "{found} values, which are no whole number of images of {image} values")
            }
            Self::Logits { expected, found } => write!(f, "room for {found} logits, where the images have {expected}"),
            Self::Workspace { expected, found } => {
                write!(f, "a workspace of {found} lines, where the batch needs {expected}")
            }
            Self::Internal => {
                f.write_str("a kernel was given sizes that do not fit each other, which is a fault of infer-core")
            }
        }
    }
}

impl core::error::Error for PackedError {}

impl From<WeightsError> for PackedError {
    fn from(error: WeightsError) -> Self {
        Self::File(error)
    }
}

impl From<Misfit> for PackedError {
    fn from(_: Misfit) -> Self {
        Self::Internal
    }
}
