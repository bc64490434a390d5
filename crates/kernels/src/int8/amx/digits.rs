//! Rows of 16-bit integers: windows are copied as bytes, the low and the high ones apart, and their sums put together.

use super::outputs::{Target, write};
use super::tiles::{Aligned, POSITIONS, ROW, SUMS, Sizes, Sums, Windows, release};
use super::{LEAST, Share};
use crate::int8::x86_64::AVX512_VNNI;
use crate::int8::{INT8_PANEL, Int8Row, Int8Rows};
use core::arch::x86_64::{
    _mm_loadu_si128, _mm_storeu_si128, _mm512_loadu_si512, _mm512_mask_cvtepi16_storeu_epi8, _mm512_maskz_loadu_epi16,
    _mm512_srai_epi16, _mm512_storeu_si512,
};
use core::mem::MaybeUninit;

/// The most bytes of a window, and of the windows of a row of outputs, which overlap; the most positions of such a row.
const WINDOW: usize = 384;
const LINES: usize = 1 << 13;
const WIDEST: usize = 64;
/// Panels whose weights are laid out at once.
const PANELS: usize = 6;
/// Tiles of positions, each of low and of high bytes.
const TILES: usize = SUMS / 2;
/// Values of a vector.
const LANES: usize = 32;

/// Weights for four values of a window: of each output, four bytes.
type Group = [u32; INT8_PANEL];

/// Memory of a row of outputs: bytes of its input, the low and the high ones, and its windows, each with room for what vectors write beyond;
/// weights of some panels.
struct Memory {
    lines: [[u8; LINES + ROW]; 2],
    windows: Aligned<[[MaybeUninit<u8>; WIDEST * WINDOW + ROW]; 2]>,
    weights: Aligned<[MaybeUninit<Group>; PANELS * WINDOW / 4]>,
}

/// Rows of 16-bit integers, see [`Int8Rows`].
///
/// # Safety
/// The sizes of `rows` hold (see [`Int8Rows::fits`]), the CPU has AMX, and its use is permitted.
#[inline(always)]
pub(super) unsafe fn rows(rows: Int8Rows<'_, i16>) {
    let Int8Row { rows: window, run, positions, step, .. } = rows.first;
    let source = Source { rows: window, run, line: (positions - 1) * step + run };
    let depth = (window * run).next_multiple_of(ROW);
    if !(LEAST..=WIDEST).contains(&positions) || depth > WINDOW || window * source.line > LINES {
        // SAFETY: as the caller says; AVX-512 is there where AMX is taken.
        return unsafe { rows.each(|row| (AVX512_VNNI.wide_row)(row)) };
    }
    let Int8Rows { first, count, input: next_input, output: next_output } = rows;
    let Int8Row { input, between, weights, outputs, bias, mut output, .. } = first;
    let panels = outputs.div_ceil(INT8_PANEL);
    let share = Share::new(positions, 0, 1);
    let call = Windows::new(1, depth, depth, 0);
    let mut memory = Memory {
        lines: [[0; LINES + ROW]; 2],
        windows: Aligned([[MaybeUninit::uninit(); _]; 2]),
        weights: Aligned([MaybeUninit::uninit(); _]),
    };
    let sums: &mut Aligned<[Sums; SUMS]> = &mut Aligned([[[0; INT8_PANEL]; POSITIONS]; SUMS]);
    // SAFETY: as the caller says; the tiles are released below.
    unsafe { Sizes::new(share.size, ROW, 0).set() };
    for first_panel in (0..panels).step_by(PANELS) {
        let taken = (panels - first_panel).min(PANELS);
        for (number, laid) in memory.weights.0.chunks_exact_mut(depth / 4).enumerate().take(taken) {
            // SAFETY: `fits` says that there are weights for all panels.
            unsafe { source.lay(weights.as_ptr(), first_panel + number, laid) };
        }
        for row in 0..count {
            // SAFETY: `fits` says that the rows of all windows can be read; there is room for their bytes, and for the windows.
            unsafe {
                source.split(input.as_ptr().add(row * next_input), between, &mut memory.lines);
                for (lines, windows) in memory.lines.iter().zip(&mut memory.windows.0) {
                    for position in 0..positions {
                        source.copy(
                            lines.as_ptr().add(position * step),
                            windows.as_mut_ptr().cast::<u8>().add(position * depth),
                        );
                    }
                }
            }
            for tile in (0..share.across).step_by(TILES) {
                let places: [_; TILES] = core::array::from_fn(|at| share.place((tile + at).min(share.across - 1)).1);
                let [low, high] = memory.windows.0.each_ref().map(|windows| windows.as_ptr().cast::<u8>());
                let inputs = [(low, 0), (low, 1), (high, 0), (high, 1)];
                let inputs = inputs.map(|(start, at)| start.wrapping_add(places[at] * depth));
                for panel in 0..taken {
                    let laid = memory.weights.0.as_ptr().wrapping_add(panel * depth / 4).cast();
                    // SAFETY: these are windows of as many positions and weights of a panel; `fits` says that outputs of them can be
                    // written.
                    unsafe {
                        call.digits(inputs, depth, [laid; SUMS], sums);
                        let mut output = output.from(row * next_output);
                        for (at, position) in places.into_iter().enumerate().take(share.across - tile) {
                            let panel = first_panel + panel;
                            let target = Target { position, every: 1, count: share.size, panel, outputs, bias };
                            write::<true>(&sums.0, at, &target, &mut output);
                        }
                    }
                }
            }
        }
    }
    // SAFETY: as the caller says.
    unsafe { release() };
}

/// The input of a row of outputs.
#[derive(Clone, Copy)]
struct Source {
    /// Rows of a window, and their values.
    rows: usize,
    run: usize,
    /// Values of a row of all windows.
    line: usize,
}

impl Source {
    /// Writes the low bytes of the rows of all windows, one row behind the other, and the high bytes.
    ///
    /// # Safety
    /// The rows can be read, there is room for their bytes, and the CPU has AVX-512 BW.
    #[inline(always)]
    unsafe fn split(self, from: *const i16, between: usize, lines: &mut [[u8; LINES + ROW]; 2]) {
        let [low, high] = lines.each_mut().map(|lines| lines.as_mut_ptr().cast::<i8>());
        for row in 0..self.rows {
            for start in (0..self.line).step_by(LANES) {
                let mask = u32::MAX >> (LANES - (self.line - start).min(LANES));
                let to = row * self.line + start;
                // SAFETY: as the caller says, where the mask has ones.
                unsafe {
                    let values = _mm512_maskz_loadu_epi16(mask, from.add(row * between + start));
                    _mm512_mask_cvtepi16_storeu_epi8(low.add(to), mask, values);
                    _mm512_mask_cvtepi16_storeu_epi8(high.add(to), mask, _mm512_srai_epi16::<8>(values));
                }
            }
        }
    }

    /// Copies the rows of a window, one behind the other. What is written behind it has weights that are zero, or is written next.
    ///
    /// # Safety
    /// The window is one of `lines`, and there is room for it and a vector behind it.
    #[inline(always)]
    unsafe fn copy(self, lines: *const u8, window: *mut u8) {
        const SHORT: usize = 16;
        for row in 0..self.rows {
            // SAFETY: as the caller says.
            unsafe {
                let (from, to) = (lines.add(row * self.line), window.add(row * self.run));
                if self.run <= SHORT {
                    _mm_storeu_si128(to.cast(), _mm_loadu_si128(from.cast()));
                } else {
                    for start in (0..self.run).step_by(ROW) {
                        _mm512_storeu_si512(to.add(start).cast(), _mm512_loadu_si512(from.add(start).cast()));
                    }
                }
            }
        }
    }

    /// Lays a panel of weights out as tiles want it: by four values of the window, rather than by two of a row of it.
    ///
    /// # Safety
    /// There are weights for the panel.
    #[inline(always)]
    unsafe fn lay(&self, weights: *const i8, panel: usize, laid: &mut [MaybeUninit<Group>]) {
        let pairs = self.run.div_ceil(2);
        let depth = self.rows * self.run;
        let (mut row, mut value) = (0, 0);
        for (number, group) in laid.iter_mut().enumerate() {
            let mut lanes = [0_u32; INT8_PANEL];
            for byte in (0..4).take(depth.saturating_sub(4 * number)) {
                let pair = (panel * self.rows + row) * pairs + value / 2;
                // SAFETY: as the caller says.
                let source = unsafe { weights.add(pair * 2 * INT8_PANEL).cast::<[[u8; 2]; INT8_PANEL]>().read() };
                for (lane, source) in lanes.iter_mut().zip(source) {
                    let two = u32::from(u16::from_le_bytes(source));
                    *lane |= (two >> (8 * (value & 1)) & 255) << (8 * byte);
                }
                value += 1;
                if value == self.run {
                    (row, value) = (row + 1, 0);
                }
            }
            group.write(lanes);
        }
    }
}
