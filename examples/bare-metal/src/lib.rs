//! Shared parts of the programs on the board, and of the workstation that checks them: the camera, the linked
//! weights, the errors.
#![no_std]

pub mod camera;

use core::fmt;
use infer_core::{
    int8::{Int8Error, Line, Network, Ranges},
    lenet5::{INT8_PLAN, LeNet5},
    preprocess::PreprocessError,
    safetensors::WeightsError,
};

/// Bytes at an address that is a multiple of four, as the floats in a weights file must be. `include_bytes!` alone
/// promises no alignment.
#[repr(C, align(4))]
struct Aligned<Bytes: ?Sized>(Bytes);

static LENET5: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/lenet5.safetensors")));

/// LeNet-5's weights file. On the board it lies in flash, and the network reads it there.
pub static LENET5_WEIGHTS: &[u8] = &LENET5.0;

/// LeNet-5's weights in 8-bit integers.
pub type Int8Weights = [Line; INT8_PLAN.packed_len(10)];

/// Quantises LeNet-5's weights. A product has them in flash, made by `trainer compress --int8`; here their instructions count.
///
/// # Errors
/// The weights are refused.
pub fn quantise(weights: &mut Int8Weights) -> Result<(), Error> {
    let network = LeNet5::<10>::from_safetensors(LENET5_WEIGHTS)?;
    Ok(Network::pack(&INT8_PLAN, &network.weights(), Ranges { input: 1.0, outputs: &[8.0; 7] }, weights)?)
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
