//! A row of a direct convolution, or the vectors of a linear layer: the products, and what becomes of their sums.

use super::INT8_PANEL;
use super::vector::{Activation, Format, Sums};

/// A row of outputs of a direct convolution, or those of a batch of vectors of a linear layer.
///
/// An output is `bias + Σ over r < rows, i < run of input[position · step + r · between + i] · weight`, in 32 bits.
#[derive(Debug)]
pub struct Int8Row<'a, A> {
    /// Activations: bytes from 0 to 127, or 16-bit integers.
    pub input: &'a [A],
    /// Rows of a window, 1 for a linear layer.
    pub rows: usize,
    /// From one row of a window to the next.
    pub between: usize,
    /// Activations of a row of a window.
    pub run: usize,
    /// From one position to the next.
    pub step: usize,
    /// Positions, at least one.
    pub positions: usize,
    /// `[panels][rows][⌈run / g⌉][16][g]`, where `g` is 4 for bytes and 2 for 16-bit integers. Those that fill up are zero.
    pub weights: &'a [i8],
    /// Outputs of a position.
    pub outputs: usize,
    /// A value for each output, filled up to whole panels.
    pub bias: &'a [i32],
    /// Where outputs go.
    pub output: Int8Output<'a>,
}

/// Where the outputs of a row go: those of a position beside each other, `pixel` from one position to the next.
#[derive(Debug)]
pub enum Int8Output<'a> {
    /// Bytes from 0 to 127: `min((u · multiplier + 2ᵗ⁻¹) >> t, 127)` with `u = clamp(sum, 0, 2¹⁶⁺ˢ − 1) >> s`.
    Activations {
        /// The outputs.
        values: &'a mut [u8],
        /// From one position to the next.
        pixel: usize,
        /// Factor of the sums.
        scaling: Scaling<'a>,
    },
    /// 16-bit integers within ±8191: `clamp((u · multiplier + 2ᵗ⁻¹) >> t, −8191, 8191)` with
    /// `u = clamp(sum, −(2¹⁵⁺ˢ − 1), 2¹⁵⁺ˢ − 1) >> s`.
    Hidden {
        /// The outputs.
        values: &'a mut [i16],
        /// From one position to the next.
        pixel: usize,
        /// Factor of the sums.
        scaling: Scaling<'a>,
    },
    /// The sums themselves.
    Sums {
        /// The outputs.
        values: &'a mut [i32],
        /// From one position to the next.
        pixel: usize,
    },
}

/// Factor of a layer's sums: a multiplier for each output, and two shifts.
#[derive(Debug, Clone, Copy)]
pub struct Scaling<'a> {
    /// From 0 to 32,767, filled up to whole panels. (No more is lost of negative ones than their meaning.)
    pub multipliers: &'a [i16],
    /// `s`, from 0 to 15.
    pub shift1: u32,
    /// `t`, from 1 to 30.
    pub shift2: u32,
}

impl Scaling<'_> {
    pub(super) fn fits(&self, padded: usize) -> bool {
        self.shift1 <= 15 && (1..=30).contains(&self.shift2) && padded <= self.multipliers.len()
    }
}

impl Int8Output<'_> {
    /// Whether there is room for the outputs of all positions, `behind` values behind the first one, and a multiplier for each output,
    /// filled up to `padded`.
    #[inline]
    pub(super) fn fits(&self, positions: usize, outputs: usize, padded: usize, behind: usize) -> bool {
        let (length, pixel, scaled) = match self {
            Self::Activations { values, pixel, scaling } => (values.len(), *pixel, scaling.fits(padded)),
            Self::Hidden { values, pixel, scaling } => (values.len(), *pixel, scaling.fits(padded)),
            Self::Sums { values, pixel } => (values.len(), *pixel, true),
        };
        let end = last(positions, pixel).and_then(|last| last.checked_add(outputs)?.checked_add(behind));
        scaled && end.is_some_and(|end| end <= length)
    }
}

/// Where the last of `count` things begins that are `step` apart; none where there is no last one.
#[inline]
fn last(count: usize, step: usize) -> Option<usize> {
    count.checked_sub(1)?.checked_mul(step)
}

impl<A: Activation> Int8Row<'_, A> {
    /// Activations of a row of a window, filled up to whole groups.
    pub(super) fn filled(&self) -> usize {
        self.run.saturating_add(A::GROUP - 1) / A::GROUP * A::GROUP
    }

    /// Whether the input holds all windows, filled up, and all else as many values as there are outputs.
    #[inline]
    pub(crate) fn fits(&self) -> bool {
        self.fits_behind(0, 0)
    }

    /// The same of a row whose input and outputs begin so many values behind the first ones.
    #[inline]
    pub(super) fn fits_behind(&self, inputs: usize, outputs: usize) -> bool {
        let padded = self.outputs.checked_next_multiple_of(INT8_PANEL).unwrap_or(usize::MAX);
        let ends = last(self.positions, self.step).zip(last(self.rows, self.between));
        let input =
            ends.and_then(|(position, row)| position.checked_add(row)?.checked_add(self.filled())?.checked_add(inputs));
        let weights = self.rows.checked_mul(self.filled()).and_then(|depth| depth.checked_mul(padded));
        self.output.fits(self.positions, self.outputs, padded, outputs)
            && self.run > 0
            && self.outputs > 0
            && padded <= self.bias.len()
            && input.is_some_and(|needed| needed <= self.input.len())
            && weights.is_some_and(|needed| needed <= self.weights.len())
    }
}

/// Computes a row, see [`Int8Row`]: `PANELS` panels of up to `ROWS` positions at once, each of them `VECTORS` vectors wide, so that
/// a register holds each sum. The loop does `UNROLL` groups at a time, and the sums of a single position are `SPLIT` in parts.
///
/// # Safety
/// The sizes of `row` hold (see [`Int8Row::fits`]), and the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn row<
    V: Sums,
    A: Activation,
    const VECTORS: usize,
    const PANELS: usize,
    const ROWS: usize,
    const SUMS: usize,
    const UNROLL: usize,
    const SPLIT: usize,
>(
    row: Int8Row<'_, A>,
) {
    const { assert!(VECTORS * V::LANES == INT8_PANEL && PANELS * ROWS == SUMS && ROWS <= 12) };
    let filled = row.filled();
    let Int8Row { input, rows, between, step, positions, weights, outputs, bias, mut output, .. } = row;
    let panels = outputs.div_ceil(INT8_PANEL);
    let depth = rows * filled;
    // Groups of positions as equal as can be: 3 + 2 + 2 rather than 3 + 3 + 1, as a single one waits for its own sums.
    let groups = positions.div_ceil(ROWS).max(1);
    let (small, larger) = (positions / groups, positions % groups);
    let mut sums = [[0; INT8_PANEL]; SUMS];
    // The weights of a single position are used once, and come faster from two places in memory than from one. (Where its sums are in four
    // parts, which those of two panels take the registers of.)
    let most = if PANELS < 2 && SPLIT > 3 && positions == 1 { 2 } else { PANELS };
    let mut panel = 0;
    while panel < panels {
        let taken = if panels - panel < most { 1 } else { most };
        let mut position = 0;
        for group in 0..groups {
            let count = small + usize::from(group < larger);
            // SAFETY: `fits` says that the windows of all positions and the weights of all panels can be read, and `count`
            // positions from `position` and `taken` panels from `panel` on are among them. `sums` has room for as many.
            unsafe {
                let window = Window {
                    input: input.as_ptr().add(position * step),
                    step,
                    rows,
                    between,
                    groups: filled / A::GROUP,
                    weights: weights.as_ptr().add(panel * INT8_PANEL * depth),
                    panel: INT8_PANEL * depth,
                    // A linear layer uses its weights here for the first time since the last batch. (Those of a single position
                    // are read straight on, which the CPU foresees better.)
                    ahead: rows == 1 && group == 0,
                };
                if ROWS == 1 {
                    let place = Place { position, panel, outputs };
                    window.one_by_one::<V, VECTORS, UNROLL, SPLIT>(bias, &place, &mut output);
                    position += 1;
                    continue;
                }
                let target = Target { start: None, sums: sums.as_mut_ptr().cast(), stride: taken * INT8_PANEL };
                if taken == PANELS {
                    window.positions::<V, VECTORS, PANELS, ROWS, UNROLL, SPLIT>(count, target);
                } else if PANELS < 2 && SPLIT > 3 && taken == 2 {
                    window.compute::<V, VECTORS, 2, 1, UNROLL, 1>(target);
                } else {
                    window.positions::<V, VECTORS, 1, ROWS, UNROLL, SPLIT>(count, target);
                }
            }
            for (place, sums) in sums.iter().enumerate().take(count * taken) {
                let place = Place { position: position + place / taken, panel: panel + place % taken, outputs };
                // SAFETY: `fits` says the rest, and the row has these positions and panels.
                unsafe { finish(sums, bias, &place, &mut output) };
            }
            position += count;
        }
        panel += taken;
    }
}

/// Bytes that the weights of a linear layer are fetched ahead of their use.
pub(super) const AHEAD: usize = 8192;

/// Operands of some positions and panels.
#[derive(Clone, Copy)]
pub(super) struct Window<A> {
    pub(super) input: *const A,
    pub(super) step: usize,
    pub(super) rows: usize,
    pub(super) between: usize,
    /// Groups of a row of the window.
    pub(super) groups: usize,
    pub(super) weights: *const i8,
    /// From one panel of weights to the next.
    pub(super) panel: usize,
    /// Whether weights come from far, and are to be fetched ahead.
    pub(super) ahead: bool,
}

/// Where sums begin and go.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// Values that the sums of each position begin with, one for each output.
    pub(super) start: Option<*const i32>,
    pub(super) sums: *mut i32,
    /// From one position to the next.
    pub(super) stride: usize,
}

/// Which outputs are computed.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) position: usize,
    pub(super) panel: usize,
    /// Outputs of a position.
    pub(super) outputs: usize,
}

impl<A: Format + Copy> Window<A> {
    /// The sums of `count` positions, at most `ROWS`, which are at most 12, and `PANELS` panels.
    ///
    /// # Safety
    /// As [`Window::compute`], for `count` positions.
    #[inline(always)]
    pub(super) unsafe fn positions<
        V: Sums,
        const VECTORS: usize,
        const PANELS: usize,
        const ROWS: usize,
        const UNROLL: usize,
        const SPLIT: usize,
    >(
        self,
        count: usize,
        sums: Target,
    ) {
        // SAFETY: as the caller says.
        unsafe {
            match count {
                1 => self.compute::<V, VECTORS, PANELS, 1, UNROLL, SPLIT>(sums),
                2 if ROWS >= 2 => self.compute::<V, VECTORS, PANELS, 2, UNROLL, 1>(sums),
                3 if ROWS >= 3 => self.compute::<V, VECTORS, PANELS, 3, UNROLL, 1>(sums),
                4 if ROWS >= 4 => self.compute::<V, VECTORS, PANELS, 4, UNROLL, 1>(sums),
                5 if ROWS >= 5 => self.compute::<V, VECTORS, PANELS, 5, UNROLL, 1>(sums),
                6 if ROWS >= 6 => self.compute::<V, VECTORS, PANELS, 6, UNROLL, 1>(sums),
                7 if ROWS >= 7 => self.compute::<V, VECTORS, PANELS, 7, UNROLL, 1>(sums),
                8 if ROWS >= 8 => self.compute::<V, VECTORS, PANELS, 8, UNROLL, 1>(sums),
                9 if ROWS >= 9 => self.compute::<V, VECTORS, PANELS, 9, UNROLL, 1>(sums),
                10 if ROWS >= 10 => self.compute::<V, VECTORS, PANELS, 10, UNROLL, 1>(sums),
                11 if ROWS >= 11 => self.compute::<V, VECTORS, PANELS, 11, UNROLL, 1>(sums),
                12 if ROWS >= 12 => self.compute::<V, VECTORS, PANELS, 12, UNROLL, 1>(sums),
                _ => (),
            }
        }
    }

    /// The outputs of one position and panel, a vector of sums at a time: for CPUs with few registers.
    ///
    /// # Safety
    /// As [`Window::compute`], and as [`finish`].
    #[inline(always)]
    unsafe fn one_by_one<V: Sums, const VECTORS: usize, const UNROLL: usize, const SPLIT: usize>(
        self,
        bias: &[i32],
        place: &Place,
        output: &mut Int8Output<'_>,
    ) {
        let first = place.panel * INT8_PANEL;
        let count = (place.outputs - first).min(INT8_PANEL);
        let mut sums = [[0_i32; INT8_PANEL]];
        // Vectors that only fill the panel up are left out.
        for vector in 0..count.div_ceil(V::LANES).min(VECTORS) {
            let start = vector * V::LANES;
            // SAFETY: the panel holds the weights of all its vectors, and there are outputs, biases and multipliers up to `count`.
            unsafe {
                let window = Self { weights: self.weights.add(start * A::GROUP), ..self };
                let target = Target { start: None, sums: sums.as_mut_ptr().cast(), stride: INT8_PANEL };
                window.compute::<V, 1, 1, 1, UNROLL, SPLIT>(target);
                let sums = sums[0].get_unchecked(..V::LANES.min(count - start));
                finish_some(sums, first + start, place.position, bias, output);
            }
        }
    }

    /// The sums of `ROWS` positions and `PANELS` panels, a position's beside each other.
    ///
    /// # Safety
    /// There is room for the sums of each position, `VECTORS` vectors of each panel, and as many starting values, if any.
    /// The windows of `ROWS` positions, `step` apart, and `PANELS` panels of weights can be read; the CPU has the instructions
    /// of `V`.
    #[inline(always)]
    unsafe fn compute<
        V: Sums,
        const VECTORS: usize,
        const PANELS: usize,
        const ROWS: usize,
        const UNROLL: usize,
        const SPLIT: usize,
    >(
        self,
        target: Target,
    ) {
        const { assert!(UNROLL.is_multiple_of(SPLIT)) };
        // SAFETY: all offsets are within what the caller says can be read; the sums of a panel fill an array of its size.
        unsafe {
            let mut sums = [[[[V::zero(); VECTORS]; PANELS]; ROWS]; SPLIT];
            if let Some(start) = target.start {
                let first: [[V; VECTORS]; PANELS] = core::array::from_fn(|p| {
                    core::array::from_fn(|v| V::load(start.add(p * INT8_PANEL + v * V::LANES)))
                });
                sums[0] = [first; ROWS];
            }
            let mut weights = self.weights;
            for row in 0..self.rows {
                let mut input = self.input.add(row * self.between);
                for _ in 0..self.groups / UNROLL {
                    if ROWS > 1 && self.ahead {
                        for place in 0..UNROLL * PANELS {
                            let line = place / PANELS * INT8_PANEL * A::GROUP + place % PANELS * self.panel;
                            V::prefetch(weights.wrapping_add(AHEAD + line));
                        }
                    }
                    for group in 0..UNROLL {
                        let weights = weights.add(group * INT8_PANEL * A::GROUP);
                        add_products(
                            &mut sums[group % SPLIT],
                            input.add(group * A::GROUP),
                            self.step,
                            weights,
                            self.panel,
                        );
                    }
                    input = input.add(UNROLL * A::GROUP);
                    weights = weights.add(UNROLL * INT8_PANEL * A::GROUP);
                }
                for _ in 0..self.groups % UNROLL {
                    add_products(&mut sums[0], input, self.step, weights, self.panel);
                    input = input.add(A::GROUP);
                    weights = weights.add(INT8_PANEL * A::GROUP);
                }
            }
            let [sums, others @ ..] = &mut sums[..] else { return };
            for other in others.iter() {
                let other = other.as_flattened().as_flattened();
                for (sums, other) in sums.as_flattened_mut().as_flattened_mut().iter_mut().zip(other) {
                    *sums = sums.add(*other);
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (p, sums) in sums.iter().enumerate() {
                    for (v, sums) in sums.iter().enumerate() {
                        sums.store(target.sums.add(r * target.stride + p * INT8_PANEL + v * V::LANES));
                    }
                }
            }
        }
    }
}

/// Adds the products of one group of each position's activations.
///
/// # Safety
/// As [`Window::compute`], for one group.
#[inline(always)]
unsafe fn add_products<V: Sums, A: Format, const VECTORS: usize, const PANELS: usize, const ROWS: usize>(
    sums: &mut [[[V; VECTORS]; PANELS]; ROWS],
    input: *const A,
    step: usize,
    weights: *const i8,
    panel: usize,
) {
    // SAFETY: the caller says that the activations and weights of this group can be read.
    unsafe {
        let lanes: [[V::Operand; VECTORS]; PANELS] = core::array::from_fn(|p| {
            core::array::from_fn(|v| A::weights::<V>(weights.add(p * panel + v * V::LANES * A::GROUP)))
        });
        for (r, sums) in sums.iter_mut().enumerate() {
            let activations = A::splat::<V>(input.add(r * step));
            for (sums, lanes) in sums.as_flattened_mut().iter_mut().zip(lanes.as_flattened()) {
                *sums = A::dot(*sums, activations, *lanes);
            }
        }
    }
}

/// Adds the bias to a panel of sums, and writes what becomes of them.
///
/// # Safety
/// The sizes of the row hold (see [`Int8Row::fits`]), and it has the position and the panel of `place`.
#[inline(always)]
pub(super) unsafe fn finish(sums: &[i32; INT8_PANEL], bias: &[i32], place: &Place, output: &mut Int8Output<'_>) {
    let first = place.panel * INT8_PANEL;
    let count = place.outputs - first;
    // SAFETY: `fits` says that there are biases and multipliers for whole panels, and outputs for each position.
    unsafe {
        let bias = panel(bias, first);
        let sums: [i32; INT8_PANEL] = core::array::from_fn(|lane| sums[lane].wrapping_add(bias[lane]));
        match output {
            Int8Output::Activations { values, pixel, scaling } => {
                let multipliers = panel(scaling.multipliers, first);
                let scaled = core::array::from_fn(|lane| activation(sums[lane], multipliers[lane], scaling));
                write(values, place.position * *pixel + first, count, scaled);
            }
            Int8Output::Hidden { values, pixel, scaling } => {
                let multipliers = panel(scaling.multipliers, first);
                let scaled = core::array::from_fn(|lane| hidden(sums[lane], multipliers[lane], scaling));
                write(values, place.position * *pixel + first, count, scaled);
            }
            Int8Output::Sums { values, pixel } => write(values, place.position * *pixel + first, count, sums),
        }
    }
}

/// Adds the biases to the sums of a position's outputs from `first` on, and writes what becomes of them, one by one.
///
/// # Safety
/// The sizes of the row hold (see [`Int8Row::fits`]), and it has the position and the outputs.
#[inline(always)]
pub(super) unsafe fn finish_some(
    sums: &[i32],
    first: usize,
    position: usize,
    bias: &[i32],
    output: &mut Int8Output<'_>,
) {
    // SAFETY: `fits` says that there are biases, multipliers and room for outputs.
    unsafe {
        let sums = sums.iter().zip(bias.get_unchecked(first..)).map(|(sum, bias)| sum.wrapping_add(*bias));
        match output {
            Int8Output::Activations { values, pixel, scaling } => {
                let multipliers = scaling.multipliers.get_unchecked(first..);
                let target = values.get_unchecked_mut(position * *pixel + first..);
                for ((value, sum), multiplier) in target.iter_mut().zip(sums).zip(multipliers) {
                    *value = activation(sum, *multiplier, scaling);
                }
            }
            Int8Output::Hidden { values, pixel, scaling } => {
                let multipliers = scaling.multipliers.get_unchecked(first..);
                let target = values.get_unchecked_mut(position * *pixel + first..);
                for ((value, sum), multiplier) in target.iter_mut().zip(sums).zip(multipliers) {
                    *value = hidden(sum, *multiplier, scaling);
                }
            }
            Int8Output::Sums { values, pixel } => {
                let target = values.get_unchecked_mut(position * *pixel + first..);
                target.iter_mut().zip(sums).for_each(|(value, sum)| *value = sum);
            }
        }
    }
}

/// The values of a panel.
///
/// # Safety
/// There are as many from `first` on.
#[inline(always)]
unsafe fn panel<T: Copy>(values: &[T], first: usize) -> [T; INT8_PANEL] {
    // SAFETY: as the caller says.
    unsafe { values.as_ptr().add(first).cast::<[T; INT8_PANEL]>().read() }
}

/// Writes the first `count` values of a panel, or all, where there are no more.
///
/// # Safety
/// `values` holds as many from `start` on.
#[inline(always)]
unsafe fn write<T: Copy>(values: &mut [T], start: usize, count: usize, panel: [T; INT8_PANEL]) {
    // SAFETY: as the caller says.
    unsafe {
        let target = values.as_mut_ptr().add(start);
        if count >= INT8_PANEL {
            target.cast::<[T; INT8_PANEL]>().write(panel);
        } else {
            write_some(target, count, &panel);
        }
    }
}

/// Writes the first `count` values of a panel. It is a function of its own so that whole panels are not copied by a call, too.
///
/// # Safety
/// There is room for as many at `target`, fewer than a panel's.
#[cold]
#[inline(never)]
unsafe fn write_some<T: Copy>(target: *mut T, count: usize, panel: &[T; INT8_PANEL]) {
    for (lane, value) in panel.iter().enumerate().take(count) {
        // SAFETY: as the caller says.
        unsafe { target.add(lane).write(*value) }
    }
}

/// Output of a ReLU: a byte from 0 to 127.
#[inline(always)]
fn activation(sum: i32, multiplier: i16, scaling: &Scaling<'_>) -> u8 {
    // Both shifts are in range, which the compiler cannot see.
    let (shift1, shift2) = (scaling.shift1 & 15, scaling.shift2 & 31);
    let limit = (1_u32 << (16 + shift1)) - 1;
    let half = (1_u32 << shift2) >> 1;
    let clipped = (sum.max(0) as u32).min(limit) >> shift1;
    let product = clipped.wrapping_mul(u32::from(multiplier as u16));
    (product.wrapping_add(half) >> shift2).min(127) as u8
}

/// Output without ReLU: a 16-bit integer within ±8191.
#[inline(always)]
pub(super) fn hidden(sum: i32, multiplier: i16, scaling: &Scaling<'_>) -> i16 {
    let (shift1, shift2) = (scaling.shift1 & 15, scaling.shift2 & 31);
    let limit = ((1_u32 << (15 + shift1)) - 1) as i32;
    let half = ((1_u32 << shift2) >> 1) as i32;
    let clipped = sum.max(-limit).min(limit) >> shift1;
    let product = clipped.wrapping_mul(i32::from(multiplier));
    (product.wrapping_add(half) >> shift2).clamp(-8191, 8191) as i16
}
