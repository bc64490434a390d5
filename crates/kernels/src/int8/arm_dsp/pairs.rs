//! Loops over groups of activations in assembly: two positions × two outputs, and one position of four outputs.

use crate::int8::INT8_PANEL;
use crate::int8::vector::Activation;
use core::arch::asm;
use core::mem::MaybeUninit;

/// Words of memory for what is widened.
const SCRATCH: usize = 256;

/// Memory for what is widened, a part of as many groups as fit at a time. It is written before it is read.
pub(super) type Scratch = MaybeUninit<[u32; SCRATCH]>;

/// Sums of a panel: `[output][position]`.
type PanelSums = [[i32; 2]; INT8_PANEL];

/// Memory of a panel.
#[repr(C)]
pub(super) struct Panel {
    pub(super) sums: PanelSums,
    /// Biases in the place of sums.
    pub(super) bias: PanelSums,
}

impl Panel {
    /// Bytes from a sum to the bias in its place.
    pub(super) const BIAS: usize = core::mem::offset_of!(Self, bias);
}

/// A format of activations in two positions × two outputs.
pub(super) trait Pairs: Activation {
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
pub(super) struct Rows<A> {
    pub(super) input: *const A,
    pub(super) rows: usize,
    /// From one row to the next.
    pub(super) between: usize,
    /// Groups of a row.
    pub(super) groups: usize,
}

/// Products of two positions and some pairs of outputs, which are added to sums.
#[repr(C)]
pub(super) struct Products {
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
    pub(super) fn new(
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
pub(super) fn most_groups<A: Pairs>(pairs: usize) -> usize {
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
pub(super) unsafe fn four_sums(activations: *const u8, weights: *const i8, groups: usize, sums: [i32; 4]) -> [i32; 4] {
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
