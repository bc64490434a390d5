//! Fuzz targets: a file a target, each with its own oracle, and what they share.
//!
//! A target's input is no file but instructions: which network, whether the rest is the file itself or edits of a valid one. So
//! inputs are a few bytes, and what they make of a valid file reaches beyond its header.
//!
//! libFuzzer runs the targets as programs (`src/bin`, scripts/fuzz). The inputs that are kept, in `corpus`, are run by the tests too.

#[cfg(feature = "programs")]
pub mod idx;
pub mod image;
pub mod int8;
#[cfg(feature = "programs")]
pub mod lists;
pub mod networks;
#[cfg(feature = "programs")]
pub mod onnx;
pub mod packed;
pub mod preprocess;
pub mod reader;
#[cfg(feature = "programs")]
pub mod shards;
#[cfg(feature = "programs")]
pub mod state;
pub mod weights;

use std::sync::LazyLock;

use infer_core::packed::Line;

/// The environment variable that plants a fault in every target, which a fuzzer that works finds.
const FAULT: &str = "ALEXNET_FUZZ_FAULT";

/// The environment variable with which weights of the small network alone are opened and checked, and nothing runs: many times as many
/// inputs in the same time. Where each tensor lies is the plan's, so that little of what a file says reaches further.
const OPEN: &str = "ALEXNET_FUZZ_OPEN";

/// Whether weights are opened and checked only.
pub fn only_opened() -> bool {
    static ASKED: LazyLock<bool> = LazyLock::new(|| std::env::var_os(OPEN).is_some());
    *ASKED
}

/// Fails where a fault was asked for and the input is one that shows it.
pub fn planted_fault(shows: impl FnOnce() -> bool) {
    static PLANTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os(FAULT).is_some());
    assert!(!*PLANTED || !shows(), "the planted fault is found");
}

/// Bytes of an input, taken from its front; zeros behind its end.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (front, rest) = self.0.split_at(N.min(self.0.len()));
        taken[..front.len()].copy_from_slice(front);
        self.0 = rest;
        taken
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.bytes();
        byte
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The most edits of a file.
const MOST_EDITS: usize = 64;

/// Memory of a valid file after the edits that an input tells, or what the input holds itself.
pub fn edited(input: &mut Input<'_>, valid: &[u8]) -> Vec<u8> {
    if input.byte().is_multiple_of(8) {
        return std::mem::take(&mut input.0).to_vec();
    }
    let mut file = valid.to_vec();
    for _ in 0..MOST_EDITS {
        if input.is_empty() || file.is_empty() {
            break;
        }
        // Every second kind of edit is near the front, where headers are.
        let [kind, a, b, c] = input.bytes();
        let place = u32::from_le_bytes([a, b, c, 0]) as usize;
        let place = if kind & 1 == 0 { place % file.len() } else { place % file.len().min(1024) };
        let value: [u8; 4] = input.bytes();
        match kind >> 1 & 7 {
            0 => file[place] = value[0],
            1 => file[place] ^= value[0],
            2 => write(&mut file, place & !1, &value[..2]),
            3 | 4 => write(&mut file, place & !3, &value),
            5 => file.truncate(place),
            6 => {
                let more = file.len() + usize::from(value[0] % 130);
                file.resize(more, value[1]);
            }
            // Text grows and shrinks.
            _ => drop(file.splice(
                place..place + usize::from(value[3] % 2).min(file.len() - place),
                value[..usize::from(value[3] / 2 % 4)].to_vec(),
            )),
        }
    }
    file
}

/// Writes as much as there is room for.
fn write(file: &mut [u8], place: usize, value: &[u8]) {
    file[place..].iter_mut().zip(value).for_each(|(byte, value)| *byte = *value);
}

/// Bytes where weights can be read in place.
#[derive(Debug, Clone)]
pub struct Aligned {
    lines: Vec<Line>,
    length: usize,
}

impl Aligned {
    /// A copy of bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let mut lines = vec![Line::ZERO; Line::count(bytes.len())];
        Line::bytes_mut(&mut lines)[..bytes.len()].copy_from_slice(bytes);
        Self { lines, length: bytes.len() }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &Line::bytes(&self.lines)[..self.length]
    }

    /// The lines, of which the last one is filled up with zeros.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}
