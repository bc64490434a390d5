//! Rows of 16-bit integers: windows are copied as bytes, the low and the high ones apart, and their sums put together.

use super::outputs::{Target, write};
use super::tiles::{Aligned, POSITIONS, ROW, SUMS, Sizes, Sums, Windows, release};
use super::{LEAST, Share};
use crate::int8::x86_64::AVX512_VNNI;
use crate::int8::{INT8_PANEL, Int8Row, Int8Rows};
use core::arch::x86_64::{_mm512_mask_cvtepi16_storeu_epi8, _mm512_maskz_loadu_epi16, _mm512_srai_epi16};

/// The most bytes of a window.
const MOST: usize = 512;
/// Panels whose weights are laid out at once.
const PANELS: usize = 6;
/// Tiles of positions, each of low and of high bytes.
const TILES: usize = SUMS / 2;
/// Values of a vector.
const LANES: usize = 32;

/// The low bytes of the windows of some tiles, then the high ones: `[2][TILES][POSITIONS][depth]`. Those of the next tiles are copied
/// before these are used, since what has just been written by parts is read late.
type Digits = [Aligned<[u8; SUMS * POSITIONS * MOST]>; 2];

/// Weights of some panels: `[panel][depth / 4][16][4]`.
type Weights = Aligned<[i8; PANELS * MOST * INT8_PANEL]>;

/// Rows of 16-bit integers, see [`Int8Rows`].
///
/// # Safety
/// The sizes of `rows` hold (see [`Int8Rows::fits`]), the CPU has AMX, and its use is permitted.
#[inline(always)]
pub(super) unsafe fn rows(rows: Int8Rows<'_, i16>) {
    let depth = (rows.first.rows * rows.first.run).next_multiple_of(ROW);
    if rows.first.positions < LEAST || depth > MOST {
        // SAFETY: as the caller says; AVX-512 is there where AMX is taken.
        return unsafe { rows.each(|row| (AVX512_VNNI.wide_row)(row)) };
    }
    let Int8Rows { first, count, input: next_input, output: next_output } = rows;
    let source = Source { input: first.input.as_ptr(), rows: first.rows, between: first.between, run: first.run };
    let Int8Row { step, positions, weights, outputs, bias, mut output, .. } = first;
    let panels = outputs.div_ceil(INT8_PANEL);
    let share = Share::new(positions, 0, 1);
    let windows = Windows::new(1, depth, depth, 0);
    // Those of a group of tiles. Behind the last one, it is computed once more.
    let places = |group: usize| -> [_; TILES] {
        core::array::from_fn(|at| share.place((group * TILES + at).min(count * share.across - 1)))
    };
    let high = TILES * POSITIONS * depth;
    // What lies behind a window stays zero.
    let mut digits: Digits = [const { Aligned([0; SUMS * POSITIONS * MOST]) }; 2];
    let mut laid: Weights = Aligned([0; PANELS * MOST * INT8_PANEL]);
    let sums: &mut Aligned<[Sums; SUMS]> = &mut Aligned([[[0; INT8_PANEL]; POSITIONS]; SUMS]);
    // SAFETY: as the caller says; the tiles are released below.
    unsafe { Sizes::new(share.size, ROW, 0).set() };
    for first_panel in (0..panels).step_by(PANELS) {
        let taken = (panels - first_panel).min(PANELS);
        for (number, laid) in laid.0.chunks_exact_mut(depth * INT8_PANEL).enumerate().take(taken) {
            // SAFETY: `fits` says that there are weights for all panels.
            unsafe { source.lay(weights.as_ptr(), first_panel + number, laid) };
        }
        let groups = (count * share.across).div_ceil(TILES);
        for step_number in 0..=groups {
            if step_number < groups {
                let next = &mut digits[step_number % 2];
                for (at, (row, position)) in places(step_number).into_iter().enumerate() {
                    for number in 0..share.size {
                        let to = (at * POSITIONS + number) * depth;
                        // SAFETY: `fits` says that the windows of all positions can be read; there is room for those of two tiles.
                        unsafe {
                            let from = source.input.add(row * next_input + (position + number) * step);
                            source.split(from, next.0.as_mut_ptr().add(to), high);
                        }
                    }
                }
            }
            let Some(group) = step_number.checked_sub(1) else { continue };
            let start = digits[group % 2].0.as_ptr();
            let inputs = [0, POSITIONS * depth, high, high + POSITIONS * depth].map(|place| start.wrapping_add(place));
            let places = places(group);
            for panel in 0..taken {
                let laid = laid.0.as_ptr().wrapping_add(panel * depth * INT8_PANEL);
                // SAFETY: the digits are those of four tiles, and the weights those of a panel; `fits` says that outputs of them can be
                // written.
                unsafe {
                    windows.digits(inputs, depth, [laid; SUMS], sums);
                    for (at, (row, position)) in places.iter().enumerate() {
                        let mut output = output.from(row * next_output);
                        let (position, panel) = (*position, first_panel + panel);
                        let target = Target { position, every: 1, count: share.size, panel, outputs, bias };
                        write::<true>(&sums.0, at, &target, &mut output);
                    }
                }
            }
        }
    }
    // SAFETY: as the caller says.
    unsafe { release() };
}

/// Windows, and how their weights lie.
struct Source {
    input: *const i16,
    rows: usize,
    between: usize,
    run: usize,
}

impl Source {
    /// Copies a window's low bytes to `to`, its rows one behind the other, and its high bytes behind them.
    ///
    /// # Safety
    /// The window can be read and the bytes be written, and the CPU has AVX-512 BW.
    #[inline(always)]
    unsafe fn split(&self, from: *const i16, to: *mut u8, high: usize) {
        for row in 0..self.rows {
            for start in (0..self.run).step_by(LANES) {
                let mask = u32::MAX >> (LANES - (self.run - start).min(LANES));
                // SAFETY: as the caller says, where the mask has ones.
                unsafe {
                    let values = _mm512_maskz_loadu_epi16(mask, from.add(row * self.between + start));
                    let to = to.add(row * self.run + start).cast::<i8>();
                    _mm512_mask_cvtepi16_storeu_epi8(to, mask, values);
                    _mm512_mask_cvtepi16_storeu_epi8(to.add(high), mask, _mm512_srai_epi16::<8>(values));
                }
            }
        }
    }

    /// Lays a panel of weights out as tiles want it: by four values of the window, rather than by two of a row of it.
    ///
    /// # Safety
    /// There are weights for the panel.
    #[inline(always)]
    unsafe fn lay(&self, weights: *const i8, panel: usize, laid: &mut [i8]) {
        let pairs = self.run.div_ceil(2);
        let (groups, _) = laid.as_chunks_mut::<{ 4 * INT8_PANEL }>();
        let depth = self.rows * self.run;
        let (mut row, mut value) = (0, 0);
        for (number, group) in groups.iter_mut().enumerate() {
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
            // SAFETY: an array of as many bytes. (A closure that made bytes of a lane would be called for each.)
            unsafe { group.as_mut_ptr().cast::<[u32; INT8_PANEL]>().write_unaligned(lanes) };
        }
    }
}
