//! Tiles: their sizes, and the loops that compute four of them.

use crate::int8::INT8_PANEL;
use core::arch::asm;
use core::mem::offset_of;

/// Positions of a tile.
pub(super) const POSITIONS: usize = 16;
/// Bytes of a row of a tile.
pub(super) const ROW: usize = 64;
/// Tiles of sums that are computed at once, in half of the registers.
pub(super) const SUMS: usize = 4;

/// Values that begin a cache line: rows of tiles that lie in two lines take three times as long.
#[repr(align(64))]
pub(super) struct Aligned<T>(pub(super) T);

/// A tile of sums.
pub(super) type Sums = [[i32; INT8_PANEL]; POSITIONS];

/// Operand of `ldtilecfg`: the tiles' sizes.
#[repr(C, align(64))]
pub(super) struct Sizes([u8; 64]);

impl Sizes {
    /// Of sums in the first four registers, inputs in the next two, and weights in the last two, one each for `width` bytes of a position
    /// and one for `part` bytes. Both are multiples of four up to 64.
    pub(super) fn new(positions: usize, width: usize, part: usize) -> Self {
        let mut sizes = [0; 64];
        // The one palette of sizes that there is.
        sizes[0] = 1;
        for tile in 0..8 {
            let (rows, bytes) = match tile {
                0..4 => (positions, ROW),
                4 => (positions, width),
                5 => (positions, part),
                6 => (width / 4, ROW),
                _ => (part / 4, ROW),
            };
            // A tile that is not used has neither rows nor bytes.
            if rows > 0 && bytes > 0 {
                sizes[16 + 2 * tile] = bytes as u8;
                sizes[48 + tile] = rows as u8;
            }
        }
        Self(sizes)
    }

    /// Sets them.
    ///
    /// # Safety
    /// The CPU has AMX, and its use is permitted. Tiles are [released](release) before anyone else would use them.
    #[inline(always)]
    pub(super) unsafe fn set(&self) {
        // SAFETY: the operand is 64 bytes of a palette that there is.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) core::ptr::from_ref(self), options(nostack, readonly, preserves_flags))
        }
    }
}

/// Ends the use of tiles.
///
/// # Safety
/// The CPU has AMX, and its use is permitted.
#[inline(always)]
pub(super) unsafe fn release() {
    // SAFETY: as the caller says.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
}

/// The loop over windows that computes four tiles of sums: those of four tiles of positions and a panel of weights, of two and two, or of one
/// and four.
///
/// A row of a window is read by 64 bytes; what is left over may be a part before them, so that they begin cache lines, one behind them, or
/// both, of the same size.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Windows {
    /// Rows of a window.
    pub(super) rows: usize,
    /// Whether there is a part before, and one behind.
    pub(super) before: usize,
    pub(super) behind: usize,
    /// Bytes of a part.
    pub(super) part: usize,
    /// Steps of 64 bytes.
    pub(super) steps: usize,
    /// From the end of a row of a window to the next row.
    pub(super) gap: usize,
}

impl Windows {
    /// Of so many rows, `between` apart, each of `filled` bytes, a multiple of four, the first of which is so many bytes behind the
    /// beginning of a cache line.
    pub(super) fn new(rows: usize, between: usize, filled: usize, offset: usize) -> Self {
        let gap = between.wrapping_sub(filled);
        let before = offset.wrapping_neg() % ROW;
        let behind = filled.wrapping_sub(before) % ROW;
        let divided = before.is_multiple_of(4) && before < filled && (before == behind || behind == 0);
        if before > 0 && divided {
            let steps = (filled - before - behind) / ROW;
            return Self { rows, before: 1, behind: usize::from(behind > 0), part: before, steps, gap };
        }
        let part = filled % ROW;
        Self { rows, before: 0, behind: usize::from(part > 0), part, steps: filled / ROW, gap }
    }
}

/// Loads a tile of inputs or weights.
macro_rules! load {
    ($tile:literal, $from:literal, $row:literal) => {
        concat!("tileloadd ", $tile, ", [{", $from, "} + {", $row, "}]\n")
    };
}

/// Adds the products of a tile of inputs and one of weights.
macro_rules! add {
    ($instruction:literal, $sums:literal, $input:literal, $weights:literal) => {
        concat!($instruction, " ", $sums, ", ", $input, ", ", $weights, "\n")
    };
}

/// Instructions of a step: products of four tiles of inputs and one of weights, the last two by an instruction of their own.
macro_rules! four_inputs {
    ($input:literal, $weights:literal, $last:literal) => {
        concat!(
            load!($weights, "v", "line"),
            load!($input, "a", "step"),
            add!("tdpbusd", "tmm0", $input, $weights),
            load!($input, "b", "step"),
            add!("tdpbusd", "tmm1", $input, $weights),
            load!($input, "c", "step"),
            add!($last, "tmm2", $input, $weights),
            load!($input, "d", "step"),
            add!($last, "tmm3", $input, $weights)
        )
    };
}

/// Instructions of a step: products of four tiles of inputs without signs.
macro_rules! one_panel {
    ($input:literal, $weights:literal) => {
        four_inputs!($input, $weights, "tdpbusd")
    };
}

/// Instructions of a step: products of four tiles of inputs, of which the last two have signs.
macro_rules! digits {
    ($input:literal, $weights:literal) => {
        four_inputs!($input, $weights, "tdpbssd")
    };
}

/// Instructions of a step: products of two tiles of inputs and two of weights.
macro_rules! two_panels {
    ($input:literal, $weights:literal) => {
        concat!(
            load!($input, "a", "step"),
            load!($weights, "v", "line"),
            add!("tdpbusd", "tmm0", $input, $weights),
            load!($weights, "w", "line"),
            add!("tdpbusd", "tmm2", $input, $weights),
            load!($input, "b", "step"),
            add!("tdpbusd", "tmm3", $input, $weights),
            load!($weights, "v", "line"),
            add!("tdpbusd", "tmm1", $input, $weights)
        )
    };
}

/// Instructions of a step: products of a tile of inputs and four of weights.
macro_rules! four_panels {
    ($input:literal, $weights:literal) => {
        concat!(
            load!($input, "a", "step"),
            load!($weights, "v", "line"),
            add!("tdpbusd", "tmm0", $input, $weights),
            load!($weights, "w", "line"),
            add!("tdpbusd", "tmm1", $input, $weights),
            load!($weights, "x", "line"),
            add!("tdpbusd", "tmm2", $input, $weights),
            load!($weights, "y", "line"),
            add!("tdpbusd", "tmm3", $input, $weights)
        )
    };
}

/// Instructions that fetch a tile of weights ahead, a line each.
macro_rules! ahead {
    ($from:literal) => { ahead!(@ $from 0 64 128 192 256 320 384 448 512 576 640 704 768 832 896 960) };
    (@ $from:literal $($line:literal)*) => { concat!($("prefetcht0 [{", $from, "} + 8192 + ", $line, "]\n"),*) };
}

/// A method that computes four tiles of sums by the instructions of a step, which read inputs and weights at the addresses named.
macro_rules! method {
    ($(#[doc = $doc:literal])* $name:ident, $step:ident, [$($input:ident $i:literal),*], [$($weights:ident $w:literal),*], [$($ahead:literal),*]) => {
        impl Windows {
            $(#[doc = $doc])*
            ///
            /// # Safety
            /// The CPU has AMX, its use is permitted, and the tiles' [sizes](Sizes) are set, for 64 bytes and the part. Windows of as many
            /// positions as they say, `step` bytes apart, can be read at each input, and a panel of weights at each address of those.
            #[inline(always)]
            pub(super) unsafe fn $name(
                &self,
                inputs: [*const u8; SUMS],
                step: usize,
                weights: [*const i8; SUMS],
                sums: &mut Aligned<[Sums; SUMS]>,
            ) {
                // SAFETY: as the caller says. There is room for four tiles of sums.
                unsafe {
                    asm!(
                        "tilezero tmm0",
                        "tilezero tmm1",
                        "tilezero tmm2",
                        "tilezero tmm3",
                        "2:", // a row of the window
                        "cmp qword ptr [{windows} + {before}], 0",
                        "je 3f",
                        $step!("tmm5", "tmm7"),
                        $(concat!("add {", stringify!($input), "}, [{windows} + {part}]"),)*
                        "mov {steps}, [{windows} + {part}]",
                        "shl {steps}, 4", // bytes of its weights
                        $(concat!("add {", stringify!($weights), "}, {steps}"),)*
                        "3:",
                        "mov {steps}, [{windows} + {whole}]",
                        "test {steps}, {steps}",
                        "jz 5f",
                        "4:", // 64 bytes of it
                        $(ahead!($ahead),)*
                        $step!("tmm4", "tmm6"),
                        $(concat!("add {", stringify!($input), "}, 64"),)*
                        $(concat!("add {", stringify!($weights), "}, 1024"),)*
                        "dec {steps}",
                        "jnz 4b",
                        "5:",
                        "cmp qword ptr [{windows} + {behind}], 0",
                        "je 6f",
                        $step!("tmm5", "tmm7"),
                        $(concat!("add {", stringify!($input), "}, [{windows} + {part}]"),)*
                        "mov {steps}, [{windows} + {part}]",
                        "shl {steps}, 4",
                        $(concat!("add {", stringify!($weights), "}, {steps}"),)*
                        "6:",
                        $(concat!("add {", stringify!($input), "}, [{windows} + {gap}]"),)*
                        "dec {rows}",
                        "jnz 2b",
                        "tilestored [{sums} + {line}], tmm0",
                        "tilestored [{sums} + {line} + 1024], tmm1",
                        "tilestored [{sums} + {line} + 2048], tmm2",
                        "tilestored [{sums} + {line} + 3072], tmm3",
                        before = const offset_of!(Windows, before),
                        behind = const offset_of!(Windows, behind),
                        part = const offset_of!(Windows, part),
                        whole = const offset_of!(Windows, steps),
                        gap = const offset_of!(Windows, gap),
                        windows = in(reg) core::ptr::from_ref(self),
                        $($input = inout(reg) inputs[$i] => _,)*
                        $($weights = inout(reg) weights[$w] => _,)*
                        step = in(reg) step,
                        line = in(reg) ROW,
                        rows = inout(reg) self.rows => _,
                        steps = out(reg) _,
                        sums = in(reg) core::ptr::from_mut(sums),
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack)
                    );
                }
            }
        }
    };
}

method! {
    /// The sums of four tiles of positions and the first panel.
    one_panel, one_panel, [a 0, b 1, c 2, d 3], [v 0], []
}

method! {
    /// The sums of the first two tiles of positions and two panels, those of a panel one behind the other.
    two_panels, two_panels, [a 0, b 1], [v 0, w 1], ["v", "w"]
}

method! {
    /// The sums of the first tile of positions and four panels.
    four_panels, four_panels, [a 0], [v 0, w 1, x 2, y 3], ["v", "w", "x", "y"]
}

method! {
    /// The sums of two tiles of bytes without sign, two with one, and the first panel.
    digits, digits, [a 0, b 1, c 2, d 3], [v 0], []
}
