//! Networks in 8-bit integers, opened: of weights that were just made, and of a file's.

use infer_core::{
    describe::Description,
    int8::{self, Int8Backend, Plan},
    packed::Line,
};

use super::{CompressError, int8::plan};
use crate::export::StoredFile;

/// The network of int8 weights.
///
/// # Errors
/// [`CompressError::Int8`]: they are not this network's.
pub fn network<'w>(description: &Description, lines: &'w [Line]) -> Result<int8::Network<'w>, CompressError> {
    Ok(int8::Network::from_packed(plan(description)?, lines, Int8Backend::best())?)
}

/// A file of int8 weights in memory, where they can be used in place.
#[derive(Debug)]
pub struct Int8File {
    plan: &'static Plan,
    lines: Vec<Line>,
    length: usize,
}

impl Int8File {
    /// A copy of a file that holds int8 weights of a network.
    ///
    /// # Errors
    /// [`CompressError::Network`]: there is no such network of integers.
    pub(crate) fn new(description: &Description, file: &StoredFile) -> Result<Self, CompressError> {
        let bytes = file.bytes();
        let mut lines = vec![Line::ZERO; bytes.len().div_ceil(Line::SIZE)];
        let copy = Line::bytes_mut(&mut lines);
        copy[..bytes.len()].copy_from_slice(bytes);
        Ok(Self { plan: plan(description)?, lines, length: bytes.len() })
    }

    /// The network, of weights that are all checked.
    ///
    /// # Errors
    /// [`CompressError::Int8`]: the file is malformed, or another network's.
    pub fn network(&self) -> Result<int8::Network<'_>, CompressError> {
        let file = &Line::bytes(&self.lines)[..self.length];
        Ok(int8::Network::from_safetensors(self.plan, file, Int8Backend::best())?)
    }
}
