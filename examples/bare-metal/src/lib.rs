//! Shared parts of the programs on the board, and of the workstation that checks them: the camera, the linked
//! weights, the errors.
#![no_std]

pub mod camera;

use core::fmt;
use infer_core::{
    include_aligned,
    int8::{Int8Backend, Int8Error, Network},
    lenet5::INT8_PLAN,
    preprocess::PreprocessError,
    safetensors::WeightsError,
};

/// LeNet-5's weights file in f32. On the board it lies in flash, and the network reads it there.
pub static LENET5_WEIGHTS: &[u8] = include_aligned!(concat!(env!("OUT_DIR"), "/lenet5.safetensors"));

/// LeNet-5's weights file in 8-bit integers, in flash as well.
pub static LENET5_INT8_WEIGHTS: &[u8] = include_aligned!(concat!(env!("OUT_DIR"), "/lenet5-int8.safetensors"));

/// Names of the classes of both, in order: the ten kinds of clothing of Fashion-MNIST.
pub const CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// LeNet-5 in 8-bit integers, whose weights stay in flash.
///
/// # Errors
/// The weights are refused.
pub fn lenet5_int8() -> Result<Network<'static>, Error> {
    Ok(Network::from_safetensors(&INT8_PLAN, LENET5_INT8_WEIGHTS, &mut [], Int8Backend::best())?)
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy)]
pub enum Error {
    /// The weights are refused.
    Weights(WeightsError),
    /// The picture is refused.
    Picture(PreprocessError),
    /// The weights cannot be quantised or run as integers.
    Int8(Int8Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights(error) => write!(f, "weights: {error}"),
            Self::Picture(error) => write!(f, "picture: {error}"),
            Self::Int8(error) => write!(f, "integers: {error}"),
        }
    }
}

impl core::error::Error for Error {}

impl From<WeightsError> for Error {
    fn from(error: WeightsError) -> Self {
        Self::Weights(error)
    }
}

impl From<PreprocessError> for Error {
    fn from(error: PreprocessError) -> Self {
        Self::Picture(error)
    }
}

impl From<Int8Error> for Error {
    fn from(error: Int8Error) -> Self {
        Self::Int8(error)
    }
}
