//! Arm's DSP instructions (Cortex-M4, M7 and later ones): two products of 16 bits at once, in general registers.
//!
//! Activations of two positions are widened to 16 bits into memory of 1 KB, once for all outputs of a panel; then a loop in
//! assembly sums two positions × two outputs, for which the registers just suffice. Bytes are widened as the instructions do it:
//! the even ones of a group in one word, the odd ones in another. Weights of bytes are widened on their way; those of 16-bit
//! activations, which lie in pairs, into memory, once for all positions.

mod pairs;

use super::row::hidden;
use super::{INT8_PANEL, Int8Backend, Int8Kernels, Int8Output, Int8PoolRow, Int8Row, Scaling, pool, portable};
use core::arch::asm;
use core::hint::black_box;
use core::mem::MaybeUninit;
use pairs::{Pairs, Panel, Products, Rows, Scratch, four_sums, most_groups};

/// The window of a position, and the weights of a panel.
#[derive(Clone, Copy)]
struct Window<A> {
    rows: Rows<A>,
    weights: *const i8,
    /// Pairs of outputs of the panel.
    pairs: usize,
}

impl<A: Pairs> Window<A> {
    /// The sums of two positions, `step` apart, a part of the groups after the other.
    ///
    /// # Safety
    /// The windows of both and the weights of the panel can be read. Weights are at addresses that are multiples of four.
    #[cold]
    #[inline(never)]
    unsafe fn in_parts(self, step: usize, [activations, scratch]: &mut [Scratch; 2], panel: *mut Panel) {
        let Self { rows: Rows { input, rows, between, groups }, mut weights, pairs } = self;
        let sums = panel.cast::<[i32; 2]>();
        let mut before = Panel::BIAS;
        for row in 0..rows {
            let mut group = 0;
            while group < groups {
                let count = most_groups::<A>(pairs).min(groups - group);
                // SAFETY: `count` groups fit into both memories, and they are groups of the windows.
                unsafe {
                    let input = input.add(row * between + group * A::GROUP);
                    A::widen(Rows { input, rows: 1, between, groups: count }, step, activations.as_mut_ptr().cast());
                    let (at, next) = A::weights_of(weights, pairs, count, scratch);
                    A::add(&Products::new(activations, (at, next), sums, count, pairs, before));
                    weights = weights.add(count * INT8_PANEL * A::GROUP);
                }
                group += count;
                before = 0;
            }
        }
    }
}

impl Window<u8> {
    /// The sums of one position.
    ///
    /// # Safety
    /// Its window and the weights of the panel can be read.
    #[inline(always)]
    unsafe fn one(self, panel: *mut Panel) {
        let Self { rows: Rows { input, rows, between, groups }, weights, pairs } = self;
        for number in 0..pairs.div_ceil(2) {
            // SAFETY: the panel has weights, biases and sums for as many outputs, and the rows are those of the window.
            unsafe {
                let bias = (&raw const (*panel).bias).cast::<[[i32; 2]; 4]>().add(number).read();
                let mut four = bias.map(|[bias, _]| bias);
                for row in 0..rows {
                    let weights = weights.add(row * groups * INT8_PANEL * 4 + number * 16);
                    four = four_sums(input.add(row * between), weights, groups, four);
                }
                (&raw mut (*panel).sums).cast::<[[i32; 2]; 4]>().add(number).write(four.map(|sum| [sum; 2]));
            }
        }
    }
}

/// Computes a row of bytes.
///
/// # Safety
/// The sizes of `call` hold (see [`Int8Row::fits`]).
unsafe fn bytes(call: Int8Row<'_, u8>) {
    // SAFETY: as the caller says.
    unsafe { row(call, |window, _, panel| window.one(panel)) }
}

/// Computes a row of 16-bit integers.
///
/// # Safety
/// The sizes of `call` hold (see [`Int8Row::fits`]).
unsafe fn wide(call: Int8Row<'_, i16>) {
    // SAFETY: as the caller says. A single position is taken twice.
    unsafe { row(call, |window, scratch, panel| window.in_parts(0, scratch, panel)) }
}

/// Computes a row, two positions of a panel at a time; the sums of a last, single position are those of `one`.
///
/// # Safety
/// The sizes of `call` hold (see [`Int8Row::fits`]).
#[inline(always)]
unsafe fn row<A: Pairs>(call: Int8Row<'_, A>, one: impl Fn(Window<A>, &mut [Scratch; 2], *mut Panel)) {
    let filled = call.filled();
    let Int8Row { input, rows, between, step, positions, weights, outputs, bias, mut output, .. } = call;
    let mut scratch = [Scratch::uninit(); 2];
    let mut memory = MaybeUninit::<Panel>::uninit();
    let sums = memory.as_mut_ptr();
    // The loop over two positions reads two words of weights at once, which must be aligned.
    let together = if weights.as_ptr().addr().is_multiple_of(4) { 2 } else { 1 };
    for panel in 0..outputs.div_ceil(INT8_PANEL) {
        let first = panel * INT8_PANEL;
        let count = (outputs - first).min(INT8_PANEL);
        // SAFETY: `fits` says that windows and weights can be read, that outputs and multipliers are there, and biases for
        // whole panels.
        unsafe {
            for output in 0..INT8_PANEL {
                (&raw mut (*sums).bias[output]).write([*bias.as_ptr().add(first + output); 2]);
            }
            let (pairs, groups) = (count.div_ceil(2), filled / A::GROUP);
            let mut window = Window {
                rows: Rows { input: input.as_ptr(), rows, between, groups },
                weights: weights.as_ptr().add(first * rows * filled),
                pairs,
            };
            // All is widened at once as a rule, weights for all positions.
            let all = rows * groups;
            let whole = all <= most_groups::<A>(pairs) && together == 2 && positions > 1;
            let [activations, widened] = &mut scratch;
            let at = if whole { A::weights_of(window.weights, pairs, all, widened) } else { (window.weights, 0) };
            let products = Products::new(activations, at, sums.cast(), all, pairs, Panel::BIAS);
            let mut position = 0;
            while position < positions {
                window.rows.input = input.as_ptr().add(position * step);
                let taken = together.min(positions - position);
                if taken == 1 {
                    one(window, &mut scratch, sums);
                } else if whole {
                    A::widen(window.rows, step, scratch[0].as_mut_ptr().cast());
                    A::add(&products);
                } else {
                    window.in_parts(step, &mut scratch, sums);
                }
                finish(sums.cast(), first, count, [position, position + taken - 1], &mut output);
                position += taken;
            }
        }
    }
}

/// Writes what becomes of the sums of two positions, or of one that is named twice.
///
/// # Safety
/// There are sums and multipliers of the outputs from `first` on, and memory for them at both positions.
#[inline(always)]
unsafe fn finish(
    sums: *const [i32; 2],
    first: usize,
    outputs: usize,
    [position, second]: [usize; 2],
    output: &mut Int8Output<'_>,
) {
    // SAFETY: as the caller says.
    unsafe {
        match output {
            Int8Output::Activations { values, pixel, scaling } => {
                let target = values.as_mut_ptr().add(position * *pixel + first);
                let multipliers = scaling.multipliers.as_ptr().add(first);
                activations(sums, multipliers, scaling, outputs, target, (second - position) * *pixel);
            }
            Int8Output::Hidden { values, pixel, scaling } => {
                for output in 0..outputs {
                    let sums = *sums.add(output);
                    let multiplier = *scaling.multipliers.as_ptr().add(first + output);
                    for (position, sum) in [position, second].into_iter().zip(sums) {
                        let value = hidden(sum, multiplier, scaling);
                        values.as_mut_ptr().add(position * *pixel + first + output).write(value);
                    }
                }
            }
            Int8Output::Sums { values, pixel } => {
                for output in 0..outputs {
                    let sums = *sums.add(output);
                    for (position, sum) in [position, second].into_iter().zip(sums) {
                        values.as_mut_ptr().add(position * *pixel + first + output).write(sum);
                    }
                }
            }
        }
    }
}

/// Writes outputs of a ReLU of two positions, those of the second one `pixel` bytes behind those of the first, or of one
/// position, where `pixel` is 0. (To shift before clamping, as the instruction for clamping wants it, comes to the same.)
///
/// # Safety
/// There are as many sums and multipliers, and memory for as many outputs at both positions; `outputs` is at least one.
#[inline(always)]
unsafe fn activations(
    sums: *const [i32; 2],
    multipliers: *const i16,
    scaling: &Scaling<'_>,
    outputs: usize,
    target: *mut u8,
    pixel: usize,
) {
    // SAFETY: it reads and writes what the caller says.
    unsafe {
        asm!(
            "2:",
            "ldrd r0, r1, [{sums}], #8",
            "ldrh {m}, [{multipliers}], #2",
            "asr r0, r0, {shift1}",
            "asr r1, r1, {shift1}",
            "usat r0, #16, r0",
            "usat r1, #16, r1",
            "mla r0, r0, {m}, {half}",
            "mla r1, r1, {m}, {half}",
            "lsr r0, r0, {shift2}",
            "lsr r1, r1, {shift2}",
            "usat r0, #7, r0",
            "usat r1, #7, r1",
            "strb r1, [{target}, {pixel}]",
            "strb r0, [{target}], #1",
            "subs {n}, {n}, #1",
            "bne 2b",
            sums = inout(reg) sums => _,
            multipliers = inout(reg) multipliers => _,
            target = inout(reg) target => _,
            n = inout(reg) outputs => _,
            m = out(reg) _,
            shift1 = in(reg) scaling.shift1,
            shift2 = in(reg) scaling.shift2,
            half = in(reg) 1_u32 << scaling.shift2 >> 1,
            pixel = in(reg) pixel,
            out("r0") _,
            out("r1") _,
            options(nostack),
        );
    }
}

/// Computes a row of a max pool of bytes, four channels at a time, of which the last ones may be computed twice.
///
/// # Safety
/// The sizes of `call` hold (see [`Int8PoolRow::fits`]).
unsafe fn max_pool(call: Int8PoolRow<'_, u8>) {
    let Int8PoolRow { input, width, channels, kernel, stride, output } = call;
    if channels < 4 {
        // SAFETY: as the caller says.
        return unsafe { pool::max_pool(Int8PoolRow { input, width, channels, kernel, stride, output }) };
    }
    for (column, output) in output.chunks_exact_mut(channels).enumerate() {
        for group in 0..channels.div_ceil(4) {
            let channel = (4 * group).min(channels - 4);
            let mut greatest = 0_u32;
            // SAFETY: `fits` says that the input holds `kernel` rows with columns up to `stride · column + kernel`, and
            // `channels` values at each; as many are in `output`.
            unsafe {
                asm!(
                    "1:",
                    "mov {n}, {kernel}",
                    "2:",
                    "ldr {v}, [{p}]",
                    "add {p}, {p}, {channels}",
                    "uqsub8 {v}, {v}, {m}",
                    "uadd8 {m}, {m}, {v}",
                    "subs {n}, {n}, #1",
                    "bne 2b",
                    "add {p}, {p}, {gap}",
                    "subs {rows}, {rows}, #1",
                    "bne 1b",
                    p = inout(reg) input.as_ptr().add(stride * column * channels + channel) => _,
                    rows = inout(reg) kernel => _,
                    kernel = in(reg) kernel,
                    n = out(reg) _,
                    m = inout(reg) greatest,
                    v = out(reg) _,
                    channels = in(reg) channels,
                    gap = in(reg) (width - kernel) * channels,
                    options(readonly, nostack),
                );
                output.as_mut_ptr().add(channel).cast::<u32>().write_unaligned(greatest);
            }
        }
    }
}

/// Multiply-adds of bytes that lie in memory next to the CPU, at least `least`; how many they were.
///
/// # Safety
/// The CPU has the instructions.
unsafe fn multiply_adds(least: usize) -> u64 {
    const GROUPS: usize = 16;
    let rounds = least.div_ceil(GROUPS * 16);
    let (activations, weights) = (black_box([1_u8; 4 * GROUPS]), black_box([3_i8; 64 * GROUPS]));
    let mut sums = [0; 4];
    for _ in 0..rounds {
        // SAFETY: there are as many groups.
        sums = unsafe { four_sums(activations.as_ptr(), weights.as_ptr(), GROUPS, sums) };
    }
    black_box(sums);
    (rounds * GROUPS * 16) as u64
}

/// The kernels of the DSP instructions.
pub(super) static ARM_DSP: Int8Kernels = Int8Kernels {
    backend: Int8Backend::ArmDsp,
    row: bytes,
    wide_row: wide,
    max_pool,
    wide_max_pool: pool::max_pool::<i16>,
    multiply_adds,
    // Winograd convolutions are those of plain Rust.
    ..portable::KERNELS
};
