//! AMX: tiles of 16 × 16 sums, and products of 16 × 64 and 64 × 16 bytes in one instruction, 16 times those of a vector.
//!
//! A tile of activations is that of up to 16 positions and 64 of their values, one of weights lies in a panel as it is wanted. All else
//! is AVX-512's. The instructions are those of Intel's "Architecture Instruction Set Extensions Programming Reference", chapter 3.

use super::row::{Place, finish};
use super::winograd::Int8Products;
use super::x86_64::{AVX512_VNNI, WIDEST};
use super::{INT8_PANEL, Int8Backend, Int8Kernels, Int8Row};
use crate::layout::BLOCK;
use crate::table::compiled;
use core::arch::asm;
use core::mem::offset_of;

/// Positions of a tile.
const POSITIONS: usize = 16;
/// Bytes of a row of a tile.
const ROW: usize = 64;
/// Bytes of a tile of weights.
const TILE: usize = 16 * ROW;
/// Positions from which on tiles are faster than vectors.
const LEAST: usize = 9;

/// Values that begin a cache line: rows of tiles that lie in two lines take three times as long.
#[repr(align(64))]
struct Aligned<T>(T);

/// Products of the windows of some positions with two panels of weights, `planes` times: where they are, and the tiles' sizes.
#[repr(C, align(64))]
struct Tiles {
    /// Operand of `ldtilecfg`: 1, then the bytes of a row and the rows of each tile, as the manual says.
    sizes: [u8; 64],
    planes: usize,
    /// From the inputs, the weights, the starting values and the sums of one plane to the next, in bytes.
    next: [usize; 4],
    /// Rows of a window.
    rows: usize,
    /// From one row of a window to the next.
    between: usize,
    /// Whole tiles of a row of the window.
    steps: usize,
    /// Bytes of weights of what is left of a row of the window.
    rest: usize,
    /// From the first panel of weights to the second.
    panel: usize,
}

impl Tiles {
    /// For up to 16 positions and windows of `rows` rows, each of `filled` bytes, a multiple of 4.
    fn new(positions: usize, rows: usize, filled: usize) -> Self {
        let (steps, rest) = (filled / ROW, filled % ROW);
        let mut sizes = [0; 64];
        sizes[0] = 1;
        // Sums; inputs, and those of the rest; weights, and those of the rest.
        let tiles = [
            (0, positions, ROW),
            (1, positions, ROW),
            (2, 16, ROW),
            (3, 16, ROW),
            (4, positions, ROW),
            (5, rest / 4, if rest > 0 { ROW } else { 0 }),
            (6, rest / 4, if rest > 0 { ROW } else { 0 }),
            (7, if rest > 0 { positions } else { 0 }, rest),
        ];
        for (tile, rows, bytes) in tiles {
            sizes[16 + 2 * tile] = bytes as u8;
            sizes[48 + tile] = rows as u8;
        }
        let panel = rows * filled * INT8_PANEL;
        Self { sizes, planes: 1, next: [0; 4], rows, between: 0, steps, rest: rest * INT8_PANEL, panel }
    }
}

/// The method that computes sums, with instructions of its own for every 64 bytes of weights.
macro_rules! compute {
    ($(#[doc = $doc:literal])* $name:ident, [$($ahead:expr),*]) => {
        impl Tiles {
            $(#[doc = $doc])*
            ///
            /// # Safety
            /// The CPU has AMX and its use is permitted. In each plane, the windows of as many positions as [`new`](Self::new) was
            /// told, `step` bytes apart, two panels of weights and 32 starting values can be read, and 32 sums of each position
            /// written.
            #[inline(always)]
            unsafe fn $name(&mut self, input: *const u8, step: usize, weights: *const i8, start: *const i32, sums: *mut i32) {
                // SAFETY: as the caller says. Tiles are not in use, neither before nor behind.
                unsafe {
                    asm!(
                        "ldtilecfg [{tiles}]",
                        "2:", // a plane
                        "xor {steps:e}, {steps:e}", // from one row of starting values to the next: none
                        "tileloadd tmm0, [{start} + {steps}]",
                        "tileloadd tmm1, [{start} + {steps} + 64]",
                        "mov {b}, {weights}",
                        "mov {c}, {weights}",
                        "add {c}, [{tiles} + {panel}]",
                        "mov {row}, {input}",
                        "mov {rows}, [{tiles} + {row_count}]",
                        "3:", // a row of the window
                        "mov {a}, {row}",
                        "mov {steps}, [{tiles} + {whole}]",
                        "test {steps}, {steps}",
                        "jz 5f",
                        "4:", // 64 bytes of it
                        $($ahead,)*
                        "tileloadd tmm4, [{a} + {step}]",
                        "tileloadd tmm2, [{b} + {line}]",
                        "tileloadd tmm3, [{c} + {line}]",
                        "tdpbusd tmm0, tmm4, tmm2",
                        "tdpbusd tmm1, tmm4, tmm3",
                        "add {a}, 64",
                        "add {b}, 1024",
                        "add {c}, 1024",
                        "dec {steps}",
                        "jnz 4b",
                        "5:", // what is left of it
                        "cmp qword ptr [{tiles} + {rest}], 0",
                        "je 6f",
                        "tileloadd tmm7, [{a} + {step}]",
                        "tileloadd tmm5, [{b} + {line}]",
                        "tileloadd tmm6, [{c} + {line}]",
                        "tdpbusd tmm0, tmm7, tmm5",
                        "tdpbusd tmm1, tmm7, tmm6",
                        "add {b}, [{tiles} + {rest}]",
                        "add {c}, [{tiles} + {rest}]",
                        "6:",
                        "add {row}, [{tiles} + {between}]",
                        "dec {rows}",
                        "jnz 3b",
                        "mov {a:e}, {stride}",
                        "tilestored [{sums} + {a}], tmm0",
                        "tilestored [{sums} + {a} + 64], tmm1",
                        "add {input}, [{tiles} + {input_next}]",
                        "add {weights}, [{tiles} + {weights_next}]",
                        "add {start}, [{tiles} + {start_next}]",
                        "add {sums}, [{tiles} + {sums_next}]",
                        "dec qword ptr [{tiles} + {planes}]",
                        "jnz 2b",
                        "tilerelease",
                        planes = const offset_of!(Tiles, planes),
                        input_next = const offset_of!(Tiles, next),
                        weights_next = const offset_of!(Tiles, next) + size_of::<usize>(),
                        start_next = const offset_of!(Tiles, next) + 2 * size_of::<usize>(),
                        sums_next = const offset_of!(Tiles, next) + 3 * size_of::<usize>(),
                        row_count = const offset_of!(Tiles, rows),
                        between = const offset_of!(Tiles, between),
                        whole = const offset_of!(Tiles, steps),
                        rest = const offset_of!(Tiles, rest),
                        panel = const offset_of!(Tiles, panel),
                        stride = const BLOCK * size_of::<i32>(),
                        tiles = in(reg) core::ptr::from_mut(self),
                        input = inout(reg) input => _,
                        step = in(reg) step,
                        weights = inout(reg) weights => _,
                        start = inout(reg) start => _,
                        sums = inout(reg) sums => _,
                        line = in(reg) ROW,
                        row = out(reg) _,
                        rows = out(reg) _,
                        steps = out(reg) _,
                        a = out(reg) _,
                        b = out(reg) _,
                        c = out(reg) _,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack)
                    );
                }
            }
        }
    };
}

compute! {
    /// The sums of all planes: those of a position are 32 beside each other.
    compute, []
}

/// Fetches the weights 8 KB ahead, a line of both panels.
macro_rules! ahead {
    ($($line:literal)*) => {
        compute! {
            /// The same, of weights that come from far.
            compute_ahead,
            [$(concat!("prefetcht0 [{b} + 8192 + ", $line, "]"), concat!("prefetcht0 [{c} + 8192 + ", $line, "]")),*]
        }
    };
}
ahead! { 0 64 128 192 256 320 384 448 512 576 640 704 768 832 896 960 }

/// Products of a Winograd convolution, see [`Int8Products`].
///
/// # Safety
/// The sizes of `products` hold for `N`·`N` planes (see [`Int8Products::fits`]), the CPU has AMX, and its use is permitted.
#[inline(always)]
unsafe fn products<const N: usize>(products: Int8Products<'_>) {
    let Int8Products { inputs, inputs_plane, channels, tiles, weights, weights_plane, start, start_plane, .. } =
        products;
    let (sums, sums_plane) = (products.sums, products.sums_plane);
    for first in (0..tiles).step_by(POSITIONS) {
        let count = (tiles - first).min(POSITIONS);
        let mut call = Tiles::new(count, 1, channels);
        call.planes = N * N;
        call.next = [inputs_plane, weights_plane, start_plane * 4, sums_plane * 4];
        // SAFETY: `fits` says that each plane has the inputs of all tiles, the weights and starting values of two panels, and room for
        // the sums of all tiles and panels.
        unsafe {
            let (inputs, sums) = (inputs.as_ptr().add(first * channels), sums.as_mut_ptr().add(first * BLOCK));
            call.compute(inputs, channels, weights.as_ptr(), start.as_ptr(), sums);
        }
    }
}

/// A row of bytes, see [`Int8Row`].
///
/// # Safety
/// The sizes of `row` hold (see [`Int8Row::fits`]), the CPU has AMX, and its use is permitted.
#[inline(always)]
unsafe fn row(row: Int8Row<'_, u8>) {
    if row.positions < LEAST || row.run < ROW / 2 {
        // SAFETY: as the caller says; AVX-512 is there where AMX is taken.
        return unsafe { (AVX512_VNNI.row)(row) };
    }
    let filled = row.filled();
    let Int8Row { input, rows, between, step, positions, weights, outputs, bias, mut output, .. } = row;
    let panels = outputs.div_ceil(INT8_PANEL);
    let Aligned(start) = &Aligned([0; BLOCK]);
    let Aligned(sums) = &mut Aligned([[[0_i32; INT8_PANEL]; 2]; POSITIONS]);
    let groups = positions.div_ceil(POSITIONS);
    let (small, larger) = (positions / groups, positions % groups);
    for panel in (0..panels).step_by(2) {
        let taken = (panels - panel).min(2);
        let mut position = 0;
        for group in 0..groups {
            let count = small + usize::from(group < larger);
            let mut call = Tiles::new(count, rows, filled);
            call.between = between;
            let depth = call.panel;
            if taken == 1 {
                // The second panel is the first once more, and its sums are left.
                call.panel = 0;
            }
            // SAFETY: `fits` says that the windows of all positions and the weights of all panels can be read, and `count` positions
            // from `position` and `taken` panels from `panel` on are among them. `sums` has room for as many.
            unsafe {
                let (input, weights) = (input.as_ptr().add(position * step), weights.as_ptr().add(panel * depth));
                // A linear layer uses its weights here for the first time since the last batch.
                if rows == 1 && group == 0 {
                    call.compute_ahead(input, step, weights, start.as_ptr(), sums.as_mut_ptr().cast());
                } else {
                    call.compute(input, step, weights, start.as_ptr(), sums.as_mut_ptr().cast());
                }
                for (at, sums) in sums.iter().enumerate().take(count) {
                    for (side, sums) in sums.iter().enumerate().take(taken) {
                        let place = Place { position: position + at, panel: panel + side, outputs };
                        finish(sums, bias, &place, &mut output);
                    }
                }
            }
            position += count;
        }
    }
}

/// Multiply-adds of bytes that lie in the first cache, at least `least`; how many they were.
///
/// # Safety
/// The CPU has AMX, and its use is permitted.
unsafe fn multiply_adds(least: usize) -> u64 {
    const DEPTH: usize = 16;
    let Aligned(input) = &Aligned([1_u8; POSITIONS * ROW]);
    let Aligned(weights) = &Aligned([3_i8; 2 * DEPTH * TILE]);
    let Aligned(start) = &Aligned([0; BLOCK]);
    let Aligned(sums) = &mut Aligned([0_i32; POSITIONS * BLOCK]);
    let mut call = Tiles::new(POSITIONS, DEPTH, ROW);
    call.panel = DEPTH * TILE;
    let rounds = least.div_ceil(DEPTH * POSITIONS * BLOCK * ROW).max(1);
    for _ in 0..rounds {
        call.planes = 1;
        // SAFETY: the tiles are those of the arrays.
        unsafe { call.compute(input.as_ptr(), ROW, weights.as_ptr(), start.as_ptr(), sums.as_mut_ptr()) };
    }
    core::hint::black_box(sums);
    (rounds * DEPTH * POSITIONS * BLOCK * ROW) as u64
}

compiled! { ["avx512f,avx512bw,avx512vnni"]
    fn bytes(call: Int8Row<'_, u8>) = row;
    fn products_of[N](call: Int8Products<'_>) = products::<N>;
}

/// The kernels of AMX.
pub(super) static AMX: Int8Kernels = Int8Kernels {
    backend: Int8Backend::Amx,
    row: bytes,
    tiles: match WIDEST.tiles {
        Some(tiles) => Some(super::table::TileKernels { products: [products_of::<4>, products_of::<6>], ..tiles }),
        None => None,
    },
    multiply_adds,
    ..WIDEST
};

/// Whether the operating system lets this process use AMX's registers, which it is asked for.
pub(super) fn permitted() -> bool {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        /// `arch_prctl`, of which `ARCH_REQ_XCOMP_PERM` asks for a state of registers (Linux's Documentation/arch/x86/xstate.rst).
        const ARCH_PRCTL: usize = 158;
        const ASK: usize = 0x1023;
        const TILE_DATA: usize = 18;
        let result: isize;
        // SAFETY: a system call that reads and writes no memory of this process; it may write these registers.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") ASK,
                in("rsi") TILE_DATA,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack)
            );
        }
        result == 0
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    false
}
