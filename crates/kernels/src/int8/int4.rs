//! Linear layers whose weights have 4 bits: half of the memory that a batch of one waits for.

use super::row::{AHEAD, Int8Output, Place, finish};
use super::vector::Sums;
use super::{INT4_GROUP, INT8_PANEL};

/// The vectors of a linear layer with weights of 4 bits.
///
/// An output is `bias + Σ over i < depth of input[vector · depth + i] · weight[i] · factor[⌊i / 32⌋]`, in 32 bits.
#[derive(Debug)]
pub struct Int4Linear<'a> {
    /// Activations, bytes from 0 to 127, one vector behind the other.
    pub input: &'a [u8],
    /// Activations of a vector, a multiple of 32.
    pub depth: usize,
    /// Vectors, at least one.
    pub vectors: usize,
    /// `[panels][depth / 8][16][4]`. The low half of a byte is a weight from −7 to 7 of the first four of eight activations, the high
    /// half that of the activation four places behind.
    pub weights: &'a [i8],
    /// Factors of groups of 32 activations, from 0 to 18: `[panels][depth / 32][16]`.
    pub factors: &'a [u8],
    /// Outputs of a vector.
    pub outputs: usize,
    /// A value for each output, filled up to whole panels.
    pub bias: &'a [i32],
    /// Where outputs go.
    pub output: Int8Output<'a>,
}

impl Int4Linear<'_> {
    /// Whether the vectors are whole groups, and all else has as many values as there are outputs.
    #[inline]
    pub(crate) fn fits(&self) -> bool {
        let padded = self.outputs.checked_next_multiple_of(INT8_PANEL).unwrap_or(usize::MAX);
        let holds = |length: usize, count: usize, each: usize| count.checked_mul(each).is_some_and(|all| all <= length);
        self.depth > 0
            && self.depth.is_multiple_of(INT4_GROUP)
            && self.vectors > 0
            && self.outputs > 0
            && holds(self.input.len(), self.vectors, self.depth)
            && holds(self.weights.len(), padded, self.depth / 2)
            && holds(self.factors.len(), padded, self.depth / INT4_GROUP)
            && padded <= self.bias.len()
            && self.output.fits(self.vectors, self.outputs, padded, 0)
    }
}

/// Computes the vectors, see [`Int4Linear`], up to `ROWS` of them at once for each panel, `VECTORS` vectors of sums wide.
///
/// # Safety
/// The sizes of `call` hold (see [`Int4Linear::fits`]), and the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn linear<V: Sums, const VECTORS: usize, const ROWS: usize>(call: Int4Linear<'_>) {
    const { assert!(VECTORS * V::LANES == INT8_PANEL && ROWS <= 8) };
    let Int4Linear { input, depth, vectors, weights, factors, outputs, bias, mut output } = call;
    for panel in 0..outputs.div_ceil(INT8_PANEL) {
        let mut position = 0;
        while position < vectors {
            let mut sums = [[0_i32; INT8_PANEL]; ROWS];
            let left = vectors - position;
            // SAFETY: `fits` says that there are as many activations, and weights and factors for whole panels; `sums` has room
            // for as many positions as are computed.
            let count = unsafe {
                let operands = Operands {
                    input: input.as_ptr().add(position * depth),
                    depth,
                    weights: weights.as_ptr().add(panel * INT8_PANEL * depth / 2),
                    factors: factors.as_ptr().add(panel * INT8_PANEL * (depth / INT4_GROUP)),
                    ahead: position == 0,
                };
                let sums = sums.as_mut_ptr();
                match left {
                    8.. if ROWS >= 8 => operands.compute::<V, VECTORS, 8>(sums),
                    4.. if ROWS >= 4 => operands.compute::<V, VECTORS, 4>(sums),
                    2.. if ROWS >= 2 => operands.compute::<V, VECTORS, 2>(sums),
                    _ => operands.compute::<V, VECTORS, 1>(sums),
                }
            };
            for (place, sums) in sums.iter().enumerate().take(count) {
                let place = Place { position: position + place, panel, outputs };
                // SAFETY: `fits` says the rest, and there are this position and this panel.
                unsafe { finish(sums, bias, &place, &mut output) };
            }
            position += count;
        }
    }
}

/// Operands of some positions and a panel.
#[derive(Clone, Copy)]
struct Operands {
    input: *const u8,
    /// From one position to the next.
    depth: usize,
    weights: *const i8,
    factors: *const u8,
    /// Whether weights come from far, and are to be fetched ahead.
    ahead: bool,
}

impl Operands {
    /// The sums of `COUNT` positions; their number.
    ///
    /// # Safety
    /// The activations of as many positions and the weights and factors of the panel can be read, and as many panels of sums can be
    /// written; the CPU has the instructions of `V`.
    #[inline(always)]
    unsafe fn compute<V: Sums, const VECTORS: usize, const COUNT: usize>(
        self,
        target: *mut [i32; INT8_PANEL],
    ) -> usize {
        let Self { mut input, depth, mut weights, mut factors, ahead } = self;
        // SAFETY: all offsets are within what the caller says can be read and written.
        unsafe {
            let mut totals = [[V::zero(); VECTORS]; COUNT];
            for _ in 0..depth / INT4_GROUP {
                let mut sums = [[V::zero(); VECTORS]; COUNT];
                for _ in 0..INT4_GROUP / 8 {
                    if ahead {
                        V::prefetch(weights.wrapping_add(AHEAD));
                    }
                    let lanes: [_; VECTORS] = core::array::from_fn(|v| V::load_halves(weights.add(v * V::LANES * 4)));
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let input = input.add(r * depth);
                        let (first, second) = (V::splat_quad(input), V::splat_quad(input.add(4)));
                        for (sum, [low, high]) in sums.iter_mut().zip(lanes) {
                            *sum = sum.dot_quads(first, low).dot_quads(second, high);
                        }
                    }
                    input = input.add(8);
                    weights = weights.add(INT8_PANEL * 4);
                }
                for (totals, sums) in totals.iter_mut().zip(sums) {
                    for (v, (total, sum)) in totals.iter_mut().zip(sums).enumerate() {
                        *total = total.add_scaled(sum, factors.add(v * V::LANES));
                    }
                }
                factors = factors.add(INT8_PANEL);
            }
            for (r, totals) in totals.iter().enumerate() {
                for (v, total) in totals.iter().enumerate() {
                    total.store(target.add(r).cast::<i32>().add(v * V::LANES));
                }
            }
        }
        COUNT
    }
}
