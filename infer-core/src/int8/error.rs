//! Reasons for which an int8 network cannot be made, opened or run.

use crate::code::Code;
use crate::safetensors::WeightsError;
use core::fmt;
use kernels::{Int8Backend, Line, Misfit};

/// Why an int8 network could not be packed, opened or run.
///
/// [`code`](Self::code) is a number for each reason: [`Code`] lists them.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Int8Error {
    /// The file is not a safetensors file of int8 weights.
    File(WeightsError),
    /// The weights do not begin at a multiple of 64 bytes in memory.
    Misaligned,
    /// The memory does not begin as it should.
    NotInt8,
    /// The memory is of another version of the layout.
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
    /// The memory holds a network of that name, but of other sizes.
    Plan {
        /// The network.
        network: &'static str,
    },
    /// A network cannot tell so many classes apart, or so few.
    Classes {
        /// Number of classes.
        found: usize,
    },
    /// The memory has another length.
    Length {
        /// In lines.
        expected: usize,
        /// In lines.
        found: usize,
    },
    /// The memory for transformed weights has another length.
    Transformed {
        /// In lines.
        expected: usize,
        /// In lines.
        found: usize,
    },
    /// The factor of the image's pixels, or a scale of the logits, is not a number greater than zero.
    Factor,
    /// A shift, bias, multiplier or scale of a layer is out of its range.
    Parameter {
        /// The layer.
        layer: &'static str,
    },
    /// A weight is −128, or −8 of those of 4 bits, a factor of those is over 18, or what fills up is not zero.
    Weight {
        /// The layer.
        layer: &'static str,
    },
    /// A range of activations is not a finite number greater than zero, or there are not as many as layers.
    Ranges {
        /// The place of the layer, or the number of ranges.
        found: usize,
    },
    /// A weight or bias of the f32 network is NaN or infinite.
    NotFinite {
        /// The layer.
        layer: &'static str,
    },
    /// The CPU lacks the instructions of the backend that was asked for.
    Unavailable {
        /// The backend.
        backend: Int8Backend,
    },
    /// The plan has Winograd convolutions, which are for targets all of whose CPUs have vectors.
    NoVectors,
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

impl Int8Error {
    /// Reason, as a variant without its data; of a file, the file's.
    #[must_use]
    pub const fn kind(&self) -> Code {
        match self {
            Self::File(error) => error.kind(),
            Self::Misaligned => Code::PackedMisaligned,
            Self::NotInt8 => Code::NotPacked,
            Self::Version { .. } => Code::PackedVersion,
            Self::Network { .. } => Code::PackedNetwork,
            Self::Plan { .. } => Code::PackedPlan,
            Self::Classes { .. } => Code::PackedClasses,
            Self::Length { .. } => Code::PackedLength,
            Self::NotFinite { .. } => Code::PackedNotFinite,
            Self::Unavailable { .. } => Code::BackendUnavailable,
            Self::Images { .. } => Code::Images,
            Self::Logits { .. } => Code::Logits,
            Self::Transformed { .. } => Code::TransformedLength,
            Self::NoVectors => Code::NoVectors,
            Self::Workspace { .. } => Code::WorkspaceLength,
            Self::Internal => Code::Internal,
            Self::Factor => Code::Int8Factor,
            Self::Parameter { .. } => Code::Int8Parameter,
            Self::Weight { .. } => Code::Int8Weight,
            Self::Ranges { .. } => Code::Int8Ranges,
        }
    }

    /// Number of the reason, the same in all versions: see [`Code`].
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.kind() as u16
    }
}

impl fmt::Display for Int8Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::File(error) => error.fmt(f),
            Self::Misaligned => write!(f, "the int8 weights do not begin at a multiple of {} bytes", Line::SIZE),
            Self::NotInt8 => f.write_str("these are not int8 weights"),
            Self::Version { expected, found } => write!(
                f,
                "int8 weights in version {found} of the layout, where this program reads version {expected}: make them again"
            ),
            Self::Network { expected } => write!(f, "int8 weights of another network than {expected}"),
            Self::Plan { network } => write!(f, "int8 weights of {network}, but of other sizes: make them again"),
            Self::Classes { found } => {
                let (least, most) = (crate::describe::CLASSES.start(), crate::describe::CLASSES.end());
                write!(f, "expected {least} to {most} classes, found {found}")
            }
            Self::Length { expected, found } => write!(
                f,
                "int8 weights of {} bytes, where {} were expected",
                found.saturating_mul(Line::SIZE),
                expected.saturating_mul(Line::SIZE)
            ),
            Self::Transformed { expected, found } => {
                write!(f, "memory of {found} lines for transformed weights, where the plan needs {expected}")
            }
            Self::Factor => {
                f.write_str("int8 weights: the factor of pixels or a scale of logits is not a number greater than zero")
            }
            Self::Parameter { layer } => {
                write!(f, "int8 weights: a shift, bias, multiplier or scale of {layer} is out of its range")
            }
            Self::Weight { layer } => {
                write!(f, "int8 weights: a weight of {layer} is out of its range, or one that fills up is not zero")
            }
            Self::Ranges { found } => write!(
                f,
                "range {found} of the activations is not a number greater than zero, or there are not as many as layers"
            ),
            Self::NotFinite { layer } => write!(f, "a weight or bias of {layer} is NaN or infinite"),
            Self::Unavailable { backend } => write!(f, "this CPU has no {backend} instructions"),
            Self::NoVectors => f.write_str(
                "int8 weights for Winograd convolutions, which this target has no vectors for: make them again with --in-place",
            ),
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

impl core::error::Error for Int8Error {}

impl From<WeightsError> for Int8Error {
    fn from(error: WeightsError) -> Self {
        Self::File(error)
    }
}

impl From<Misfit> for Int8Error {
    fn from(_: Misfit) -> Self {
        Self::Internal
    }
}
