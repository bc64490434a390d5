//! Networks in 8-bit integers, opened: of weights that were just made, and of a file's.

use infer_core::{
    int8::{self, Int8Backend, Int8Error, Network},
    packed::Line,
};

use super::int8::Quantised;
use crate::export::StoredFile;

/// Memory for transformed weights.
pub type Transformed = Vec<Line>;

/// The network of int8 weights. `transformed` may hold anything.
///
/// # Errors
/// The weights are not valid.
pub fn network<'w>(weights: &'w Quantised, transformed: &'w mut Transformed) -> Result<Network<'w>, Int8Error> {
    transformed.resize(weights.plan.transformed_len(), Line::ZERO);
    Network::from_packed(weights.plan, &weights.lines, transformed, Int8Backend::best())
}

/// A file of int8 weights in memory, where they can be used in place.
#[derive(Debug)]
pub struct Int8File {
    lines: Vec<Line>,
    length: usize,
}

impl Int8File {
    /// A copy of a file that holds int8 weights.
    pub fn new(file: &StoredFile) -> Self {
        let bytes = file.bytes();
        let mut lines = vec![Line::ZERO; bytes.len().div_ceil(Line::SIZE)];
        let copy = Line::bytes_mut(&mut lines);
        copy[..bytes.len()].copy_from_slice(bytes);
        Self { lines, length: bytes.len() }
    }

    /// The network, of weights that are all checked. `transformed` may hold anything.
    ///
    /// # Errors
    /// The file is malformed, or that of no network.
    pub fn network<'w>(&'w self, transformed: &'w mut Transformed) -> Result<Network<'w>, Int8Error> {
        let file = &Line::bytes(&self.lines)[..self.length];
        let plan = int8::plan_of(file)?;
        transformed.resize(plan.transformed_len(), Line::ZERO);
        Network::from_safetensors(plan, file, transformed, Int8Backend::best())
    }
}
