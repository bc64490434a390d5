//! The layers by name, and what each one costs: for measurements.

use super::LinearWeights;
use super::layout::{CONV1, CONV2, CONV3, CONV4, CONV5, Conv};
use crate::alexnet;
use core::fmt;

/// A layer of the network, its bias and ReLU included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of the layers")]
pub enum Layer {
    Conv1,
    Pool1,
    Conv2,
    Pool2,
    Conv3,
    Conv4,
    Conv5,
    Pool5,
    Linear1,
    Linear2,
    Linear3,
}

impl Layer {
    /// All of them, from the first to the last.
    pub const ALL: [Self; 11] = [
        Self::Conv1,
        Self::Pool1,
        Self::Conv2,
        Self::Pool2,
        Self::Conv3,
        Self::Conv4,
        Self::Conv5,
        Self::Pool5,
        Self::Linear1,
        Self::Linear2,
        Self::Linear3,
    ];

    /// What an image costs: multiply-adds of the layer's formula. (A pool has none.)
    #[must_use]
    pub const fn multiply_adds(self) -> u64 {
        let count = match self {
            Self::Conv1 => alexnet::Conv1::MULTIPLY_ADDS,
            Self::Conv2 => alexnet::Conv2::MULTIPLY_ADDS,
            Self::Conv3 => alexnet::Conv3::MULTIPLY_ADDS,
            Self::Conv4 => alexnet::Conv4::MULTIPLY_ADDS,
            Self::Conv5 => alexnet::Conv5::MULTIPLY_ADDS,
            Self::Pool1 | Self::Pool2 | Self::Pool5 => 0,
            Self::Linear1 => alexnet::Linear1::MULTIPLY_ADDS,
            Self::Linear2 => alexnet::Linear2::MULTIPLY_ADDS,
            Self::Linear3 => alexnet::Linear3::MULTIPLY_ADDS,
        };
        count as u64
    }

    /// Multiply-adds of the matrix products that compute it for an image: fewer than those of the formula where Winograd's
    /// transforms spare some. (The transforms' own arithmetic is not counted.)
    #[must_use]
    pub const fn products(self) -> u64 {
        match self.conv() {
            Some(conv) => conv.products(),
            None => self.multiply_adds(),
        }
    }

    /// Bytes of packed weights that a pass reads, once for up to eight images of a convolution, once for the whole batch
    /// elsewhere.
    #[must_use]
    pub const fn weight_bytes(self, linear: LinearWeights) -> u64 {
        let size = match self {
            Self::Linear1 | Self::Linear2 | Self::Linear3 => self.multiply_adds() as usize * linear.size(),
            _ => match self.conv() {
                Some(conv) => conv.weights_len() * size_of::<f32>(),
                None => 0,
            },
        };
        size as u64
    }

    const fn conv(self) -> Option<Conv> {
        match self {
            Self::Conv1 => Some(CONV1),
            Self::Conv2 => Some(CONV2),
            Self::Conv3 => Some(CONV3),
            Self::Conv4 => Some(CONV4),
            Self::Conv5 => Some(CONV5),
            _ => None,
        }
    }
}

/// As `conv1`.
impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Conv1 => "conv1",
            Self::Pool1 => "pool1",
            Self::Conv2 => "conv2",
            Self::Pool2 => "pool2",
            Self::Conv3 => "conv3",
            Self::Conv4 => "conv4",
            Self::Conv5 => "conv5",
            Self::Pool5 => "pool5",
            Self::Linear1 => "linear1",
            Self::Linear2 => "linear2",
            Self::Linear3 => "linear3",
        })
    }
}
