//! Networks in 8-bit integers: a quarter of the memory, and the same answers, to the last bit, on every CPU.
//!
//! ```text
//! f32 weights, ranges of activations ── pack ─▶ packed memory (or a file, or flash) ── from_packed ─▶ Network ── forward ─▶ logits
//! ```
//!
//! # Definition
//!
//! A network is quantised as follows. All arithmetic is that of integers, but for two multiplications by constants, of pixels
//! and of logits, and the scales of Winograd convolutions, in IEEE 754 single precision; so a scalar loop, a vector unit and a
//! microcontroller without floats agree in every bit.
//!
//! **Activations** behind a ReLU are bytes `q` from 0 to 127, which stand for `scale · q`. The image, and the outputs of a
//! linear layer without ReLU, are 16-bit integers within ±8,191. **Weights** are 8-bit integers within ±127, with a scale for
//! each output. Zero is 0 in all of them.
//!
//! **The image**: `q = round(pixel · factor)`, within ±`limit`. Ties are rounded to even. `limit` is 8,191, or less where the
//! first layer sums so many products that they could exceed 2³⁰.
//!
//! **A layer** sums `acc = Σ a · w + bias` in 32 bits, which cannot overflow. Its output, with two shifts of the layer and a
//! `multiplier` from 0 to 32,767 of each output, is
//!
//! | | behind a ReLU | without one |
//! |---|---|---|
//! | `u` | `clamp(acc, 0, 2¹⁶⁺ˢ − 1) >> s` | `clamp(acc, −(2¹⁵⁺ˢ − 1), 2¹⁵⁺ˢ − 1) >> s` |
//! | `v` | `(u · multiplier + 2ᵗ⁻¹) >> t` | `(u · multiplier + 2ᵗ⁻¹) >> t` |
//! | `q` | `min(v, 127)` | `clamp(v, −8191, 8191)` |
//!
//! with `s` from 0 to 15, `t` from 1 to 30, and shifts that keep the sign. **Max pools** take the greatest of such outputs.
//! **Logits** are `acc as f32 · scale`, with a scale for each class.
//!
//! **Local response normalisation** has a table of 1,310 multipliers from 0 to 32,767. With `x` the sum of the squares of a value and
//! the two on each side of it, as far as there are some, and `e` the greatest integer for which `x >= 2⁷⁺ᵉ`, 0 at least, the output
//! is `q' = min((q · multiplier[128 · e + (x >> e)] + 2ᵗ⁻¹) >> t, 127)`.
//!
//! **Weights of 4 bits**: by a plan made by [`Plan::int4`], a weight of a linear layer whose inputs, a multiple of 32, and outputs are bytes, is the
//! product of an integer within ±7 and a factor from 0 to 18, which 32 weights of an output share, those of consecutive inputs. All else is
//! as with weights of 8 bits. The last layer has none.
//!
//! A **convolution in groups** is one whose outputs have weights of zero for the channels of other groups.
//!
//! # Winograd convolutions
//!
//! A plan made by [`Plan::winograd`] computes convolutions of 3 × 3 and 5 × 5, without stride, from and to multiples of 32 channels,
//! as F(2×2, 3×3) and F(2×2, 5×5): 2.25 and 2.8 times fewer products. With `R` rows of a kernel, `N = R + 1`, tiles of `N × N` inputs
//! `d` at every second row and column, kernels `g` and the points 0, ±1, ±2 (of which `R` are used, 0 first) and infinity:
//!
//! - **Weights**: `U = G·g·Gᵀ`, where row `j` of `G` is `1, a, a², …` for the point `a`, and `0, …, 0, 1` for infinity. At each of the
//!   `N²` positions, with `x` the greatest `|U| + |U'|` of an output's pairs of channels (the first two, the next two, …), 1 at
//!   least, the transformed weights are `round(U · (127 / x))`, and their scale `((x / 127) · scale) / (f[i] · f[j])`, where `f[j]` is
//!   the product of the differences of the point to the others, 1 for infinity, and `scale` that of the output. Two products then
//!   fit into 16 bits.
//! - **Inputs**: `V = Bᵀ·d·B`, where row `j` of `Bᵀ` has the coefficients of `Π (x − a)` over the other points, and for infinity over
//!   all. At each position, with `x` the greatest magnitude over the channels, 1 at least, and `x' = x · 2ˢ` from 8,192 to 16,383:
//!   `m = ⌊127 · 2¹⁵ / x'⌋`, the transformed inputs are `(V · 2ˢ · m + 2¹⁴) >> 15`, and their scale `2¹⁵⁻ˢ / m`.
//! - **Outputs**: the sum over the channels of transformed inputs times transformed weights, as a float, times the scale of the
//!   weights, times that of the inputs, is `m` at each position. `Y = Aᵀ·m·A`, over the rows and then over the columns, with
//!   `y₀ = (m₀ + (m₁ + m₂)) + (m₃ + m₄)` and `y₁ = ((m₁ − m₂) + 2 · (m₃ − m₄)) + m₅`, or for four positions `y₀ = m₀ + (m₁ + m₂)`
//!   and `y₁ = (m₁ − m₂) + m₃`. The output is `q = round(clamp(Y + bias, 0, 127))`, with biases that are floats.
//!
//! `U` and `V` are exact in integers; all else is single precision, one operation at a time, in the order of the formulas; `round` takes
//! ties to even. The transformed weights are made when a network is opened; the inputs' scales are each tile's own, so that none
//! has to be calibrated. The matrices are those of Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016; scales
//! for each position, of Li et al., "LoWino: towards efficient low-precision Winograd convolutions", 2021.
//!
//! # Packed memory
//!
//! A header line of 64 bytes, then a section for each layer with weights, each part of which begins a line: `s` and `t`, 32 bits
//! each; biases, 32 bits; multipliers, 16 bits (of the last layer scales, `f32`); weights. (A Winograd
//! convolution has scales and biases, `f32`, instead of all but the weights, and local response normalisation `t` and its multipliers
//! alone.) Outputs come in panels of 16, the
//! last one filled up with zeros. A panel is `[depth / g][16][g]`, where `g` is 4, or 2 where the layer's inputs are 16 bits wide,
//! and depth runs over the rows of a window, each `[column][channel]` and filled up to a multiple of `g`; in a linear layer
//! behind feature maps, over `[row][column][channel]`; in one that reads the image, over `[channel][row][column]`. Numbers are
//! little-endian.
//!
//! Where weights have 4 bits, a part before them has the factors, bytes: a panel is `[depth / 32][16]`. A panel of weights is
//! `[depth / 8][16][4]` bytes, of which the low half, in two's complement, is a weight of the first four of eight inputs, and the high half
//! that of the input four places behind.
//!
//! The scheme is that of Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
//! inference", 2018, with scales for each output, and factors of 15 bits so that 32-bit arithmetic is enough.

mod error;
mod forward;
mod memory;
mod network;
mod pack;
mod plan;
mod winograd;

pub use error::Int8Error;
pub use kernels::{Int8Backend, Line, Parallel, Serial};
pub use network::{Network, plan_of};
pub use pack::Ranges;
pub use plan::Plan;

/// Plans of the int8 networks that come with this crate; of a network, the one that the weights were packed by is found by
/// [`plan_of`].
pub static NETWORKS: &[&Plan] = &[
    &crate::alexnet::INT8_PLAN,
    &crate::alexnet::INT8_WINOGRAD_PLAN,
    &crate::alexnet::INT4_PLAN,
    &crate::alexnet::INT4_WINOGRAD_PLAN,
    &crate::alexnet_imagenet::INT8_PLAN,
    &crate::alexnet_imagenet::INT8_WINOGRAD_PLAN,
    &crate::alexnet_imagenet::INT4_PLAN,
    &crate::alexnet_imagenet::INT4_WINOGRAD_PLAN,
    &crate::alexnet_2012::INT8_PLAN,
    &crate::alexnet_2012::INT8_WINOGRAD_PLAN,
    &crate::alexnet_2012::INT4_PLAN,
    &crate::alexnet_2012::INT4_WINOGRAD_PLAN,
    &crate::alexnet_low_rank::rank64::INT8_PLAN,
    &crate::alexnet_low_rank::rank64::INT8_WINOGRAD_PLAN,
    &crate::alexnet_low_rank::rank128::INT8_PLAN,
    &crate::alexnet_low_rank::rank128::INT8_WINOGRAD_PLAN,
    &crate::alexnet_low_rank::rank256::INT8_PLAN,
    &crate::alexnet_low_rank::rank256::INT8_WINOGRAD_PLAN,
    &crate::lenet5::INT8_PLAN,
];

/// Outputs of a panel of weights.
const PANEL: usize = 16;

/// Tiles of a Winograd convolution that are computed at once.
const TILES: usize = 12;

/// Outputs that a task computes of a layer.
const GROUP: usize = 64;

/// The greatest magnitude of a pixel.
const INPUT: i16 = 8191;

/// The greatest magnitude of an output of a linear layer without ReLU.
const HIDDEN: i16 = 8191;

/// The greatest output of a ReLU.
const ACTIVATION: u8 = 127;

/// The greatest magnitude of a weight.
const WEIGHT: i8 = 127;

/// The greatest magnitude of a weight of 4 bits.
const INT4_WEIGHT: i8 = 7;

/// The greatest factor of a group of weights of 4 bits: products with it are weights.
const INT4_FACTOR: u8 = 18;

/// Bound of a sum of products, and of a bias.
const LARGEST_SUM: usize = 1 << 30;

/// Multipliers of local response normalisation: those of the sums of five squares.
const NORM_MULTIPLIERS: usize = norm_index(5 * (ACTIVATION as u32).pow(2)) + 1;

/// The multiplier for a sum of squares: the seven bits behind the first one say which, and how many there are.
const fn norm_index(sum: u32) -> usize {
    let exponent = norm_exponent(sum);
    ((exponent << 7) + (sum >> exponent)) as usize
}

/// The lowest bits of a sum of squares that make no difference.
const fn norm_exponent(sum: u32) -> u32 {
    (sum | 1 << 7).ilog2() - 7
}

/// Bound of the first shift.
const MOST_SHIFT: u32 = 15;

/// Bound of the second shift.
const MOST_SECOND_SHIFT: u32 = 30;
