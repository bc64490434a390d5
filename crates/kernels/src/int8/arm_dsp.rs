//! Arm's DSP instructions (Cortex-M4, M7 and later ones): two products of 16 bits at once, in general registers.
//!
//! Activations of two positions are widened to 16 bits into memory of 1 KB, once for all outputs of a panel; then a loop in
//! assembly sums two positions × two outputs, for which the registers just suffice. Bytes are widened as the instructions do it:
//! the even ones of a group in one word, the odd ones in another. Weights of bytes are widened on their way; those of 16-bit
//! activations, which lie in pairs, into memory, once for all positions.

use super::row::hidden;
use super::vector::Activation;
use super::{INT8_PANEL, Int8Backend, Int8Kernels, Int8Output, Int8PoolRow, Int8Row, Scaling, pool, portable};
use core::arch::asm;
use core::hint::black_box;
use core::mem::MaybeUninit;

/// Words of memory for what is widened.
const SCRATCH: usize = 256;

/// Memory for what is widened, a part of as many groups as fit at a time. It is written before it is read.
type Scratch = MaybeUninit<[u32; SCRATCH]>;

/// Sums of a panel: `[output][position]`.
type PanelSums = [[i32; 2]; INT8_PANEL];

/// Memory of a panel.
#[repr(C)]
struct Panel {
    sums: PanelSums,
    /// Biases in the place of sums.
    bias: PanelSums,
}

impl Panel {
    /// Bytes from a sum to the bias in its place.
    const BIAS: usize = core::mem::offset_of!(Self, bias);
}

/// A format of activations in two positions × two outputs.
trait Pairs: Activation {
    /// Words that a group of activations of two positions takes.
    const WORDS: usize;

    /// Groups whose weights, for so many pairs of outputs, fit into memory for what is widened.
    fn most_groups(pairs: usize) -> usize;

    /// Widens rows of groups of the activations of two positions, `step` activations apart.
    ///
    /// # Safety
    /// The groups can be read, and `WORDS` words for each can be written; there is at least one.
    unsafe fn widen(rows: Rows<Self>, step: usize, target: *mut u32);

    /// The weights of some groups, for pairs of outputs, as [`add`](Self::add) takes them: where those of the first pair begin, and
    /// how far it is from their end to those of the next pair, in bytes.
    ///
    /// # Safety
    /// The weights can be read, and `groups` is at most what [`most_groups`](Self::most_groups) says.
    unsafe fn weights_of(weights: *const i8, pairs: usize, groups: usize, scratch: &mut Scratch) -> (*const i8, isize);

    /// Adds products to sums, or to biases.
    ///
    /// # Safety
    /// Activations and weights can be read, as the other functions make them; there are at least one pair and one group.
    unsafe fn add(products: &Products);
}

/// Rows of groups of activations.
#[derive(Clone, Copy)]
struct Rows<A> {
    input: *const A,
    rows: usize,
    /// From one row to the next.
    between: usize,
    /// Groups of a row.
    groups: usize,
}

/// Products of two positions and some pairs of outputs, which are added to sums.
#[repr(C)]
struct Products {
    activations: *const u32,
    /// Of the next pair of outputs, as is `sums`.
    weights: *const i8,
    sums: *mut [i32; 2],
    groups: usize,
    /// Bytes from the end of a pair's weights to those of the next one.
    next: isize,
    /// One past the last pair's sums.
    end: *const [i32; 2],
    /// Bytes from `sums` to what the products are added to.
    before: usize,
}

impl Products {
    fn new(
        activations: &Scratch,
        (weights, next): (*const i8, isize),
        sums: *mut [i32; 2],
        groups: usize,
        pairs: usize,
        before: usize,
    ) -> Self {
        let activations = activations.as_ptr().cast();
        Self { activations, weights, sums, groups, next, end: sums.wrapping_add(2 * pairs), before }
    }
}

/// Groups that fit into memory for what is widened, where there are so many pairs of outputs.
fn most_groups<A: Pairs>(pairs: usize) -> usize {
    (SCRATCH / A::WORDS).min(A::most_groups(pairs))
}

/// A loop over as many groups as a register says, at least one, two at a time; where they are odd, it begins in its middle.
macro_rules! groups {
    ($n:literal: $($step:literal),* $(,)?) => {
        concat!(
            "lsrs ", $n, ", ", $n, ", #1\nbcs 3f\nsubs ", $n, ", ", $n, ", #1\n2:\n",
            $($step, "\n",)*
            "3:\n",
            $($step, "\n",)*
            "subs ", $n, ", ", $n, ", #1\nbpl 2b",
        )
    };
}

/// The code of [`Pairs::add`]: for each group, a step that takes activations at r4 and weights at r5, to sums in r8 and r9 of
/// one output, and in r10 and r11 of the other one. It may use r0 to r3, r6, r7 and r12, but not change flags: those of each
/// shift of the number of groups say whether one group is left over, two, and whether there are more.
macro_rules! products {
    ($products:ident: $($step:literal),* $(,)?) => {
        asm!(
            "push {{r6, r7}}", // which the compiler does not lend
            "ldm r0, {{r0, r1, r2, r3, r4, r5, r8}}",
            "push {{r0, r1, r2, r3, r4, r5, r8}}",
            "1:",
            "ldm sp, {{r4, r5, r6, lr}}",
            "ldr r1, [sp, #24]",
            "add r1, r1, r6",
            "ldm r1, {{r8, r9, r10, r11}}",
            "lsrs lr, lr, #1",
            "bcc 2f",
            $($step,)*
            "2:",
            "beq 5f",
            "lsrs lr, lr, #1",
            "bcc 3f",
            $($step,)*
            $($step,)*
            "3:",
            "beq 5f",
            "4:",
            $($step,)*
            $($step,)*
            $($step,)*
            $($step,)*
            "subs lr, lr, #1",
            "bne 4b",
            "5:",
            "ldr r6, [sp, #8]",
            "ldrd r2, r3, [sp, #16]",
            "stm r6!, {{r8, r9, r10, r11}}",
            "add r5, r5, r2",
            "strd r5, r6, [sp, #4]",
            "cmp r6, r3",
            "bne 1b",
            "add sp, sp, #28",
            "pop {{r6, r7}}",
            inout("r0") $products => _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            out("r12") _,
            out("lr") _,
        )
    };
}

impl Pairs for u8 {
    const WORDS: usize = 4;

    #[inline(always)]
    fn most_groups(_: usize) -> usize {
        SCRATCH / Self::WORDS
    }

    #[inline(always)]
    unsafe fn widen(rows: Rows<u8>, step: usize, target: *mut u32) {
        let Rows { input, rows, between, groups } = rows;
        // SAFETY: it reads and writes what the caller says.
        unsafe {
            asm!(
                "1:",
                "mov {n}, {groups}",
                "2:",
                "ldr r2, [{i}, {step}]",
                "ldr r0, [{i}], #4",
                "uxtb16 r3, r2, ror #8",
                "uxtb16 r2, r2",
                "uxtb16 r1, r0, ror #8",
                "uxtb16 r0, r0",
                "stm {t}!, {{r0, r1, r2, r3}}",
                "subs {n}, {n}, #1",
                "bne 2b",
                "add {i}, {i}, {gap}",
                "subs {rows}, {rows}, #1",
                "bne 1b",
                i = inout(reg) input => _,
                step = in(reg) step,
                t = inout(reg) target => _,
                rows = inout(reg) rows => _,
                groups = in(reg) groups,
                gap = in(reg) between.wrapping_sub(4 * groups),
                n = out(reg) _,
                out("r0") _,
                out("r1") _,
                out("r2") _,
                out("r3") _,
                options(nostack),
            );
        }
    }

    #[inline(always)]
    unsafe fn weights_of(weights: *const i8, _: usize, groups: usize, _: &mut Scratch) -> (*const i8, isize) {
        (weights, 8 - (64 * groups).cast_signed())
    }

    #[inline(never)]
    unsafe fn add(products: &Products) {
        // SAFETY: it reads and writes what the caller says.
        unsafe {
            products!(
                products:
                "ldm r4!, {{r0, r1, r2, r3}}",
                "ldrd r6, r12, [r5], #64",
                "sxtb16 r7, r6",
                "sxtb16 r6, r6, ror #8",
                "smlad r8, r0, r7, r8",
                "smlad r9, r2, r7, r9",
                "smlad r8, r1, r6, r8",
                "smlad r9, r3, r6, r9",
                "sxtb16 r7, r12",
                "sxtb16 r12, r12, ror #8",
                "smlad r10, r0, r7, r10",
                "smlad r11, r2, r7, r11",
                "smlad r10, r1, r12, r10",
                "smlad r11, r3, r12, r11",
            )
        }
    }
}

impl Pairs for i16 {
    const WORDS: usize = 2;

    #[inline(always)]
    fn most_groups(pairs: usize) -> usize {
        SCRATCH / 2 / pairs.max(1)
    }

    #[inline(always)]
    unsafe fn widen(rows: Rows<i16>, step: usize, target: *mut u32) {
        let Rows { input, rows, between, groups } = rows;
        // SAFETY: it reads and writes what the caller says.
        unsafe {
            asm!(
                "1:",
                "mov {n}, {groups}",
                "2:",
                "ldr r1, [{i}, {step}]",
                "ldr r0, [{i}], #4",
                "stm {t}!, {{r0, r1}}",
                "subs {n}, {n}, #1",
                "bne 2b",
                "add {i}, {i}, {gap}",
                "subs {rows}, {rows}, #1",
                "bne 1b",
                i = inout(reg) input => _,
                step = in(reg) 2 * step,
                t = inout(reg) target => _,
                rows = inout(reg) rows => _,
                groups = in(reg) groups,
                gap = in(reg) (2 * between).wrapping_sub(4 * groups),
                n = out(reg) _,
                out("r0") _,
                out("r1") _,
                options(nostack),
            );
        }
    }

    #[inline(always)]
    unsafe fn weights_of(weights: *const i8, pairs: usize, groups: usize, scratch: &mut Scratch) -> (*const i8, isize) {
        let target = scratch.as_mut_ptr().cast::<u32>();
        for pair in 0..pairs {
            // SAFETY: the weights of two outputs are four bytes of each group; memory has room for two words for each pair and group.
            unsafe {
                asm!(
                    "2:",
                    "ldr {w}, [{p}], #32",
                    "sxtb16 {a}, {w}",
                    "sxtb16 {b}, {w}, ror #8",
                    "pkhbt r0, {a}, {b}, lsl #16",
                    "pkhtb r1, {b}, {a}, asr #16",
                    "stm {t}!, {{r0, r1}}",
                    "subs {n}, {n}, #1",
                    "bne 2b",
                    p = inout(reg) weights.add(4 * pair) => _,
                    n = inout(reg) groups => _,
                    t = inout(reg) target.add(2 * groups * pair) => _,
                    w = out(reg) _,
                    a = out(reg) _,
                    b = out(reg) _,
                    out("r0") _,
                    out("r1") _,
                    options(nostack),
                );
            }
        }
        (scratch.as_ptr().cast(), 0)
    }

    #[inline(never)]
    unsafe fn add(products: &Products) {
        // SAFETY: it reads and writes what the caller says.
        unsafe {
            products!(
                products:
                "ldrd r0, r1, [r5], #8",
                "ldrd r2, r3, [r4], #8",
                "smlad r8, r2, r0, r8",
                "smlad r10, r2, r1, r10",
                "smlad r9, r3, r0, r9",
                "smlad r11, r3, r1, r11",
            )
        }
    }
}

/// Adds the products of at least one group of a single position's bytes to the sums of four outputs.
///
/// # Safety
/// The activations and, 64 bytes apart, the weights of as many groups can be read.
#[inline(always)]
unsafe fn four_sums(activations: *const u8, weights: *const i8, groups: usize, sums: [i32; 4]) -> [i32; 4] {
    let [mut s0, mut s1, mut s2, mut s3] = sums;
    // SAFETY: it reads what the caller says can be read.
    unsafe {
        asm!(
            groups!("{n}":
                "ldr {a}, [{i}], #4",
                "uxtb16 {b}, {a}",
                "uxtb16 {a}, {a}, ror #8",
                "ldr {w}, [{p}, #4]",
                "sxtb16 {t}, {w}",
                "sxtb16 {w}, {w}, ror #8",
                "smlad {s1}, {b}, {t}, {s1}",
                "smlad {s1}, {a}, {w}, {s1}",
                "ldr {w}, [{p}, #8]",
                "sxtb16 {t}, {w}",
                "sxtb16 {w}, {w}, ror #8",
                "smlad {s2}, {b}, {t}, {s2}",
                "smlad {s2}, {a}, {w}, {s2}",
                "ldr {w}, [{p}, #12]",
                "sxtb16 {t}, {w}",
                "sxtb16 {w}, {w}, ror #8",
                "smlad {s3}, {b}, {t}, {s3}",
                "smlad {s3}, {a}, {w}, {s3}",
                "ldr {w}, [{p}], #64",
                "sxtb16 {t}, {w}",
                "sxtb16 {w}, {w}, ror #8",
                "smlad {s0}, {b}, {t}, {s0}",
                "smlad {s0}, {a}, {w}, {s0}",
            ),
            i = inout(reg) activations => _,
            p = inout(reg) weights => _,
            n = inout(reg) groups => _,
            a = out(reg) _,
            b = out(reg) _,
            w = out(reg) _,
            t = out(reg) _,
            s0 = inout(reg) s0,
            s1 = inout(reg) s1,
            s2 = inout(reg) s2,
            s3 = inout(reg) s3,
            options(readonly, nostack),
        );
    }
    [s0, s1, s2, s3]
}

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
            // As a rule, all is widened at once, weights for all positions.
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
