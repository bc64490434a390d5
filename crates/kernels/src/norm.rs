//! Local response normalisation. Plain Rust over blocks of channels, of which the compiler makes the vector instructions of each
//! backend.

use crate::layout::LANES;

/// Channels on each side of a channel that it is normalised by.
const REACH: usize = 2;

/// Channels that the values of a block are normalised by.
const WINDOW: usize = LANES + 2 * REACH;

/// Some positions of feature maps that are normalised: each value is divided by `(2 + 10⁻⁴ · Σ x²)^0.75`, with the sum over the
/// five channels around it.
#[derive(Debug)]
pub struct NormRow<'a> {
    /// `[positions][channels]`
    pub input: &'a [f32],
    /// A multiple of [`LANES`].
    pub channels: usize,
    /// `[positions][channels]`
    pub output: &'a mut [f32],
}

impl NormRow<'_> {
    #[inline]
    pub(crate) fn fits(&self) -> bool {
        self.channels > 0
            && self.channels.is_multiple_of(LANES)
            && self.output.len().is_multiple_of(self.channels)
            && self.input.len() == self.output.len()
    }
}

/// Normalises some positions, see [`NormRow`].
///
/// # Safety
/// The CPU has the instructions that it is compiled for.
#[inline(always)]
pub(crate) unsafe fn norm(row: NormRow<'_>) {
    let NormRow { input, channels, output } = row;
    let positions = input.chunks_exact(channels.max(1)).zip(output.chunks_exact_mut(channels.max(1)));
    for (input, output) in positions {
        let (blocks, _) = input.as_chunks::<LANES>();
        let (outputs, _) = output.as_chunks_mut::<LANES>();
        for (number, (block, output)) in blocks.iter().zip(outputs).enumerate() {
            let first = number * LANES;
            let within = first.checked_sub(REACH).and_then(|first| input.get(first..)?.first_chunk());
            // At the ends there are no channels around.
            let mut ends = [0.0; WINDOW];
            let window = within.unwrap_or_else(|| {
                let values = input.get(first.saturating_sub(REACH)..).unwrap_or_default();
                for (end, value) in ends.iter_mut().skip(REACH.saturating_sub(first)).zip(values) {
                    *end = *value;
                }
                &ends
            });
            let mut sums = [0.0; LANES];
            for around in window.windows(LANES) {
                for (sum, value) in sums.iter_mut().zip(around) {
                    *sum += value * value;
                }
            }
            for ((output, value), sum) in output.iter_mut().zip(block).zip(sums) {
                *output = value * power(2.0 + 1e-4 * sum);
            }
        }
    }
}

/// `x` to the power of −0.75, for `x` from 2 on: `r · r · 1/√r` with `r = 1/√x`.
#[inline(always)]
fn power(x: f32) -> f32 {
    let root = inverse_root(x);
    root * root * inverse_root(root)
}

/// `1/√x`, by Newton's method: no CPU's vectors lack what it needs.
#[inline(always)]
fn inverse_root(x: f32) -> f32 {
    // The exponent halved and its sign changed, with the constant whose result is nearest, 3.5 % off at most; each round squares
    // that. Of a NaN with a sign, which has greater bits, any number will do: the rounds make it NaN.
    let mut root = f32::from_bits(0x5F37_59DF_u32.wrapping_sub(x.to_bits() >> 1));
    for _ in 0..3 {
        root *= 1.5 - 0.5 * x * root * root;
    }
    root
}
