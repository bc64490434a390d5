//! Shared parts of the programs on the board, and of the workstation that checks them: the camera, the linked
//! weights, the errors.
#![no_std]

pub mod camera;

use core::fmt;
use infer_core::{
    include_aligned,
    int8::{Int8Backend, Int8Error, Line, Network, Serial},
    lenet5::{INT8_PLAN, LeNet5, SIDE, Workspace},
    preprocess::PreprocessError,
    safetensors::WeightsError,
};

/// LeNet-5's weights file in f32. On the board it lies in flash, and the network reads it there.
pub static LENET5_WEIGHTS: &[u8] = include_aligned!(concat!(env!("OUT_DIR"), "/lenet5.safetensors"));

/// LeNet-5's weights file in 8-bit integers, in flash as well.
pub static LENET5_INT8_WEIGHTS: &[u8] = include_aligned!(concat!(env!("OUT_DIR"), "/lenet5-int8.safetensors"));

/// Classes that both tell apart.
pub const CLASSES: usize = 10;

/// Names of the classes, where the weights are those in `model/`: the kinds of clothing of Fashion-MNIST.
pub const NAMES: Option<[&str; CLASSES]> = match (option_env!("WEIGHTS"), option_env!("INT8_WEIGHTS")) {
    (None, None) => {
        Some(["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"])
    }
    _ => None,
};

/// LeNet-5 in 8-bit integers, whose weights stay in flash.
///
/// # Errors
/// The weights are refused.
pub fn lenet5_int8() -> Result<Network<'static>, Error> {
    Ok(Network::from_safetensors(&INT8_PLAN, LENET5_INT8_WEIGHTS, &mut [], Int8Backend::best())?)
}

/// LeNet-5's logits of the camera's picture, in f32.
///
/// # Errors
/// The weights or the picture are refused.
pub fn logits() -> Result<[f32; CLASSES], Error> {
    let mut image = [[[0.0; SIDE]; SIDE]; 1];
    camera::take_picture(&mut image[0])?;
    let network: LeNet5<'_> = LeNet5::from_safetensors(LENET5_WEIGHTS)?;
    Ok(network.forward(&image, &mut Workspace::new()))
}

/// Those in 8-bit integers, by the fastest kernels of this machine.
///
/// # Errors
/// As [`logits`].
pub fn int8_logits() -> Result<[f32; CLASSES], Error> {
    let mut image = [[0.0; SIDE]; SIDE];
    camera::take_picture(&mut image)?;
    let (mut workspace, mut logits) = ([Line::ZERO; INT8_PLAN.workspace_len(CLASSES, 1)], [0.0; CLASSES]);
    lenet5_int8()?.forward(image.as_flattened(), &mut logits, &mut workspace, &Serial)?;
    Ok(logits)
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
