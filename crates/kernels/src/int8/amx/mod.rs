//! AMX: tiles of 16 × 16 sums, and products of 16 × 64 and 64 × 16 bytes in one instruction, 16 times those of a vector.
//!
//! A tile of activations is that of up to 16 positions and 64 of their values, one of weights lies in a panel as it is wanted. All else
//! is AVX-512's. The instructions are those of Intel's "Architecture Instruction Set Extensions Programming Reference", chapter 3.

mod digits;
mod outputs;
mod products;
mod tiles;

use super::table::TileKernels;
use super::winograd::Int8Products;
use super::x86_64::{AVX512_VNNI, WIDEST};
use super::{INT8_PANEL, Int8Backend, Int8Kernels, Int8Row, Int8Rows};
use crate::table::compiled;
use core::arch::asm;
use outputs::{Target, write};
use products::products;
use tiles::{Aligned, POSITIONS, ROW, SUMS, Sizes, Sums, Windows, release};

/// Positions of a row from which on tiles are faster than vectors.
const LEAST: usize = 9;

/// Positions of rows that are computed by the same tiles: each `every`-th.
struct Share {
    first: usize,
    every: usize,
    /// Tiles of a row, and the positions of each: of one size, so that the last one computes some of those before once more.
    across: usize,
    size: usize,
    /// Positions of a row.
    count: usize,
}

impl Share {
    fn new(positions: usize, first: usize, every: usize) -> Self {
        let count = (positions - first).div_ceil(every);
        let across = count.div_ceil(POSITIONS);
        Self { first, every, across, size: count.div_ceil(across), count }
    }

    /// The row of a tile, and its first position.
    fn place(&self, tile: usize) -> (usize, usize) {
        let start = (tile % self.across * self.size).min(self.count - self.size);
        (tile / self.across, self.first + start * self.every)
    }
}

/// Number of shares that positions are divided into, so that all windows of a share begin at the same place of a cache line: one, if they
/// cannot be, or would be too few.
fn shares(rows: &Int8Rows<'_, u8>) -> usize {
    let Int8Rows { first: Int8Row { rows: window, between, step, positions, .. }, count, input, .. } = *rows;
    let whole = |bytes: usize| bytes.is_multiple_of(ROW);
    // A power of two: 64 over the greatest common divisor.
    let shares = ROW >> step.trailing_zeros().min(ROW.trailing_zeros());
    let aligned = (window == 1 || whole(between)) && (count == 1 || whole(input));
    if aligned && positions >= shares * LEAST { shares } else { 1 }
}

/// A row of bytes, see [`Int8Row`].
///
/// # Safety
/// As [`rows`].
#[inline(always)]
unsafe fn row(row: Int8Row<'_, u8>) {
    // SAFETY: as the caller says.
    unsafe { rows(Int8Rows { first: row, count: 1, input: 0, output: 0 }) }
}

/// Rows of bytes, see [`Int8Rows`].
///
/// # Safety
/// The sizes of `rows` hold (see [`Int8Rows::fits`]), the CPU has AMX, and its use is permitted.
#[inline(always)]
unsafe fn rows(rows: Int8Rows<'_, u8>) {
    let filled = rows.first.filled();
    if rows.first.positions < LEAST || filled < ROW / 2 {
        // SAFETY: as the caller says; AVX-512 is there where AMX is taken.
        return unsafe { rows.each(|row| (AVX512_VNNI.row)(row)) };
    }
    let shares = shares(&rows);
    let Int8Rows { first, count, input: next_input, output: next_output } = rows;
    let Int8Row { input, rows, between, step, positions, weights, outputs, bias, mut output, .. } = first;
    let (panels, depth) = (outputs.div_ceil(INT8_PANEL), rows * filled * INT8_PANEL);
    let sums = &mut Aligned([[[0; INT8_PANEL]; POSITIONS]; SUMS]);
    for share in (0..shares).map(|number| Share::new(positions, number, shares)) {
        let windows = Windows::new(rows, between, filled, (input.as_ptr().addr() + share.first * step) % ROW);
        // SAFETY: as the caller says; the tiles are released below.
        unsafe { Sizes::new(share.size, ROW, windows.part).set() };
        let mut tile = 0;
        while tile < count * share.across {
            // A panel is read once for four tiles of positions; where there are fewer, a tile of them is for several panels. The last tile
            // may be several times the same.
            let left = count * share.across - tile;
            // (Linear layers have two at most, which read their weights ahead.)
            let most = if rows == 1 { SUMS / 2 } else { SUMS };
            let tiles = if left <= SUMS / 2 { left } else { most };
            let beside = SUMS / tiles;
            let places: [_; SUMS] = core::array::from_fn(|at| share.place(tile + at.min(left - 1)));
            let inputs = places.map(|(row, position)| input.as_ptr().wrapping_add(row * next_input + position * step));
            for panel in (0..panels).step_by(beside) {
                // The last panel may be several times the same, too.
                let taken = (panels - panel).min(beside);
                let weights: [_; SUMS] =
                    core::array::from_fn(|side| weights.as_ptr().wrapping_add((panel + side.min(taken - 1)) * depth));
                // SAFETY: `fits` says that the windows of all positions and the weights of all panels can be read, and outputs of
                // them written.
                unsafe {
                    match tiles {
                        1 => windows.four_panels(inputs, step * shares, weights, sums),
                        2 => windows.two_panels(inputs, step * shares, weights, sums),
                        _ => windows.one_panel(inputs, step * shares, weights, sums),
                    }
                    for side in 0..taken {
                        for (at, (row, position)) in places.iter().enumerate().take(left.min(tiles)) {
                            let mut output = output.from(row * next_output);
                            let (position, panel) = (*position, panel + side);
                            let target = Target { position, every: shares, count: share.size, panel, outputs, bias };
                            write::<false>(&sums.0, side * tiles + at, &target, &mut output);
                        }
                    }
                }
            }
            tile += tiles;
        }
    }
    // SAFETY: as the caller says.
    unsafe { release() };
}

/// Multiply-adds of bytes that lie in the first cache, at least `least`; how many they were.
///
/// # Safety
/// The CPU has AMX, and its use is permitted.
unsafe fn multiply_adds(least: usize) -> u64 {
    const DEPTH: usize = 16;
    let Aligned(input) = &Aligned([1_u8; POSITIONS * ROW]);
    let Aligned(weights) = &Aligned([3_i8; DEPTH * ROW * INT8_PANEL]);
    let sums: &mut Aligned<[Sums; SUMS]> = &mut Aligned([[[0; INT8_PANEL]; POSITIONS]; SUMS]);
    // Inputs are the same in each row of the window.
    let windows = Windows::new(DEPTH, 0, ROW, 0);
    let each = DEPTH * SUMS * POSITIONS * INT8_PANEL * ROW;
    let rounds = least.div_ceil(each).max(1);
    // SAFETY: the tiles are those of the arrays.
    unsafe {
        Sizes::new(POSITIONS, ROW, 0).set();
        for _ in 0..rounds {
            windows.one_panel([input.as_ptr(); SUMS], ROW, [weights.as_ptr(); SUMS], sums);
        }
        release();
    }
    core::hint::black_box(&sums.0);
    (rounds * each) as u64
}

compiled! { ["avx512f,avx512bw,avx512vnni"]
    fn bytes(call: Int8Row<'_, u8>) = row;
    fn rows_of_bytes(call: Int8Rows<'_, u8>) = rows;
    fn wide_rows(call: Int8Rows<'_, i16>) = digits::rows;
    fn tile_products(call: Int8Products<'_>) = products;
}

/// The kernels of AMX.
pub(super) static AMX: Int8Kernels = Int8Kernels {
    backend: Int8Backend::Amx,
    row: bytes,
    rows: Some(rows_of_bytes),
    wide_rows: Some(wide_rows),
    tiles: match WIDEST.tiles {
        Some(tiles) => Some(TileKernels { products: tile_products, ..tiles }),
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
