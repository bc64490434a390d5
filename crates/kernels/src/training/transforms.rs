//! The transforms of a Winograd convolution in training: between windows of channels-last images, planes of transformed
//! tiles, and filters; and the transposes of all of them, which carry gradients the other way.

#![allow(clippy::needless_range_loop, reason = "rows and columns of matrices go by their indices, as in the formulas")]

use crate::training::planes::{Planes, PlanesMut};
use crate::vector::Vector;
use crate::winograd::image_tile::ImageTile;
use crate::winograd::matrices::Winograd;
use crate::winograd::sides::{accumulate, input_1d, output_1d, unrolled};

/// A matrix that is multiplied to both sides of a tile: `L·X·Lᵀ`.
trait Side<const IN: usize, const OUT: usize> {
    /// Which side of the transform are planes, far apart, of which no CPU foresees the next values: the sources or else the
    /// targets. They are fetched while the values before them are transformed.
    const FETCH_SOURCES: bool;

    /// `L·x`.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`.
    unsafe fn apply<V: Vector>(x: [V; IN]) -> [V; OUT];
}

/// `Bᵀ`: inputs to transformed inputs.
struct Input<const M: usize, const R: usize>;
/// `B`: gradients of transformed inputs to those of inputs.
struct InputTransposed<const M: usize, const R: usize>;
/// `Aᵀ`: products to outputs.
struct Output<const M: usize, const R: usize>;
/// `A`: gradients of outputs to those of products.
struct OutputTransposed<const M: usize, const R: usize>;
/// `G`: filters to transformed filters.
struct Filter<const M: usize, const R: usize>;
/// `Gᵀ`: gradients of transformed filters to those of filters.
struct FilterTransposed<const M: usize, const R: usize>;

impl<const M: usize, const R: usize, const N: usize> Side<N, N> for Input<M, R> {
    const FETCH_SOURCES: bool = false;

    #[inline(always)]
    unsafe fn apply<V: Vector>(x: [V; N]) -> [V; N] {
        // SAFETY: arithmetic only, of a CPU that has it, as the caller says.
        unsafe { input_1d::<V, M, R, N>(x) }
    }
}

impl<const M: usize, const R: usize, const N: usize> Side<N, N> for InputTransposed<M, R> {
    const FETCH_SOURCES: bool = true;

    /// Of a pair of points, whose rows of `Bᵀ` differ only in signs, each coefficient takes the sum or the difference.
    #[inline(always)]
    unsafe fn apply<V: Vector>(x: [V; N]) -> [V; N] {
        let matrix = const { &Winograd::<M, R, N>::INPUT };
        // SAFETY: arithmetic only, of a CPU that has it, as the caller says.
        unsafe {
            let mut y = [None; N];
            unrolled!(j < N, {
                let paired = j >= Winograd::<M, R, N>::UNPAIRED && j + 1 < N;
                // The second of a pair is done with the first.
                if !paired || (j - Winograd::<M, R, N>::UNPAIRED).is_multiple_of(2) {
                    let (sum, difference) =
                        if paired { (x[j].add(x[j + 1]), x[j].sub(x[j + 1])) } else { (x[j], x[j]) };
                    unrolled!(k < N, {
                        let coefficient = matrix[j][k];
                        if coefficient != 0.0 {
                            let opposite = paired && matrix[j + 1][k] != coefficient;
                            y[k] = Some(accumulate(y[k], coefficient, if opposite { difference } else { sum }));
                        }
                    });
                }
            });
            y.map(|y| y.unwrap_or(V::splat(0.0)))
        }
    }
}

impl<const M: usize, const R: usize, const N: usize> Side<N, M> for Output<M, R> {
    const FETCH_SOURCES: bool = true;

    #[inline(always)]
    unsafe fn apply<V: Vector>(x: [V; N]) -> [V; M] {
        // SAFETY: arithmetic only, of a CPU that has it, as the caller says.
        unsafe { output_1d::<V, M, R, N>(x) }
    }
}

impl<const M: usize, const R: usize, const N: usize> Side<M, N> for OutputTransposed<M, R> {
    const FETCH_SOURCES: bool = false;

    /// Of a pair of points a and −a, even powers are the same and odd powers differ in sign.
    #[inline(always)]
    unsafe fn apply<V: Vector>(x: [V; M]) -> [V; N] {
        let matrix = const { &Winograd::<M, R, N>::OUTPUT };
        // SAFETY: arithmetic only, of a CPU that has it, as the caller says.
        unsafe {
            let mut y = [V::splat(0.0); N];
            unrolled!(j < N, {
                let paired = j >= Winograd::<M, R, N>::UNPAIRED && j + 1 < N;
                // The second of a pair is done with the first.
                if !paired || (j - Winograd::<M, R, N>::UNPAIRED).is_multiple_of(2) {
                    let (mut even, mut odd) = (None, None);
                    unrolled!(i < M, {
                        if matrix[i][j] != 0.0 {
                            let sum = if paired && i % 2 == 1 { &mut odd } else { &mut even };
                            *sum = Some(accumulate(*sum, matrix[i][j], x[i]));
                        }
                    });
                    let zero = V::splat(0.0);
                    let (even, odd) = (even.unwrap_or(zero), odd.unwrap_or(zero));
                    if paired {
                        y[j] = even.add(odd);
                        y[j + 1] = even.sub(odd);
                    } else {
                        y[j] = even;
                    }
                }
            });
            y
        }
    }
}

impl<const M: usize, const R: usize, const N: usize> Side<R, N> for Filter<M, R> {
    const FETCH_SOURCES: bool = false;

    #[inline(always)]
    unsafe fn apply<V: Vector>(x: [V; R]) -> [V; N] {
        let matrix = const { &Winograd::<M, R, N>::FILTER };
        let mut y = [None; N];
        unrolled!(j < N, {
            unrolled!(r < R, {
                if matrix[j][r] != 0.0 {
                    // SAFETY: arithmetic only, of a CPU that has it, as the caller says.
                    y[j] = Some(unsafe { accumulate(y[j], matrix[j][r] as f32, x[r]) });
                }
            });
        });
        // SAFETY: as above.
        unsafe { y.map(|y| y.unwrap_or(V::splat(0.0))) }
    }
}

impl<const M: usize, const R: usize, const N: usize> Side<N, R> for FilterTransposed<M, R> {
    const FETCH_SOURCES: bool = true;

    #[inline(always)]
    unsafe fn apply<V: Vector>(x: [V; N]) -> [V; R] {
        let matrix = const { &Winograd::<M, R, N>::FILTER };
        let mut y = [None; R];
        unrolled!(r < R, {
            unrolled!(j < N, {
                if matrix[j][r] != 0.0 {
                    // SAFETY: arithmetic only, of a CPU that has it, as the caller says.
                    y[r] = Some(unsafe { accumulate(y[r], matrix[j][r] as f32, x[j]) });
                }
            });
        });
        // SAFETY: as above.
        unsafe { y.map(|y| y.unwrap_or(V::splat(0.0))) }
    }
}

/// Way of storing a result where a value is already.
trait Store {
    /// # Safety
    /// `pointer` can be read and written for a vector, and so can whatever else belongs to `channel`; the CPU has the
    /// instructions of `V`.
    unsafe fn store<V: Vector>(&self, pointer: *mut f32, channel: usize, value: V);
}

/// The old value is lost.
struct Replace;
/// The new value is added.
struct Add;
/// The channel's bias is added to the new value, and negative sums become 0 if so wanted; the old value is lost.
struct Finish {
    bias: *const f32,
    relu: bool,
}

impl Store for Replace {
    #[inline(always)]
    unsafe fn store<V: Vector>(&self, pointer: *mut f32, _: usize, value: V) {
        // SAFETY: as the caller says.
        unsafe { value.store(pointer) }
    }
}

impl Store for Add {
    #[inline(always)]
    unsafe fn store<V: Vector>(&self, pointer: *mut f32, _: usize, value: V) {
        // SAFETY: as the caller says.
        unsafe { V::load(pointer).add(value).store(pointer) }
    }
}

impl Store for Finish {
    #[inline(always)]
    unsafe fn store<V: Vector>(&self, pointer: *mut f32, channel: usize, value: V) {
        // SAFETY: as the caller says; there is a bias for each channel.
        unsafe {
            let sum = value.add(V::load(self.bias.add(channel)));
            // In this order of operands a NaN stays NaN.
            if self.relu { V::splat(0.0).max(sum) } else { sum }.store(pointer);
        }
    }
}

/// `L·X·Lᵀ` for `channels` tiles `X` that lie side by side: value (i, j) of each at `sources[i][j]`, and of each result at
/// `targets[i][j]`, unless that is null.
///
/// # Safety
/// All pointers but null ones can be read, and the targets written, for `channels` floats, a multiple of the lanes; the CPU
/// has the instructions of `V`.
#[inline(always)]
unsafe fn both_sides<V: Vector, S: Side<IN, OUT>, const IN: usize, const OUT: usize>(
    sources: &[[*const f32; IN]; IN],
    targets: &[[*mut f32; OUT]; OUT],
    channels: usize,
    store: impl Store,
) {
    let mut channel = 0;
    while channel < channels {
        // SAFETY: `channel` is a multiple of the lanes below `channels`.
        unsafe {
            if S::FETCH_SOURCES {
                for source in sources.as_flattened() {
                    V::prefetch(source.wrapping_add(channel + V::LANES).cast());
                }
            } else {
                for target in targets.as_flattened() {
                    V::prefetch(target.wrapping_add(channel + V::LANES).cast());
                }
            }
            let mut columns = [[V::splat(0.0); OUT]; IN];
            for j in 0..IN {
                let mut x = [V::splat(0.0); IN];
                for i in 0..IN {
                    x[i] = V::load(sources[i][j].add(channel));
                }
                columns[j] = S::apply(x);
            }
            for i in 0..OUT {
                let mut x = [V::splat(0.0); IN];
                for j in 0..IN {
                    x[j] = columns[j][i];
                }
                let y = S::apply(x);
                for (j, value) in y.into_iter().enumerate() {
                    if !targets[i][j].is_null() {
                        store.store(targets[i][j].add(channel), channel, value);
                    }
                }
            }
        }
        channel += V::LANES;
    }
}

/// `V = Bᵀ·d·B`.
///
/// # Safety
/// The window has channels as a multiple of the lanes, which each of N·N planes holds; the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn input<V: Vector, const M: usize, const R: usize, const N: usize>(
    window: ImageTile<&[f32]>,
    mut planes: PlanesMut<'_, '_>,
) {
    for (first, channels) in window.parts() {
        let (sources, targets) = (window.positions(first), planes.positions(first));
        // SAFETY: the window's positions and the planes hold the channels, as the caller says.
        unsafe { both_sides::<V, Input<M, R>, N, N>(&sources, &targets, channels, Replace) }
    }
}

/// `d += B·v·Bᵀ`.
///
/// # Safety
/// As [`input`].
#[inline(always)]
pub(crate) unsafe fn input_transposed<V: Vector, const M: usize, const R: usize, const N: usize>(
    planes: Planes<'_>,
    mut window: ImageTile<&mut [f32]>,
) {
    let channels = window.channels;
    let (sources, targets) = (planes.positions(), window.positions_mut());
    // SAFETY: the window's positions and the planes hold the channels, as the caller says.
    unsafe { both_sides::<V, InputTransposed<M, R>, N, N>(&sources, &targets, channels, Add) }
}

/// `y = Aᵀ·m·A + b`, negative values replaced by 0 where `relu`.
///
/// # Safety
/// As [`input`], and there is a bias for each channel.
#[inline(always)]
pub(crate) unsafe fn output<V: Vector, const M: usize, const R: usize, const N: usize>(
    planes: Planes<'_>,
    bias: &[f32],
    relu: bool,
    mut window: ImageTile<&mut [f32]>,
) {
    let channels = window.channels;
    let finish = Finish { bias: bias.as_ptr(), relu };
    let (sources, targets) = (planes.positions(), window.positions_mut());
    // SAFETY: the window's positions, the planes and the bias hold the channels, as the caller says.
    unsafe { both_sides::<V, Output<M, R>, N, M>(&sources, &targets, channels, finish) }
}

/// `m = A·y·Aᵀ`.
///
/// # Safety
/// As [`input`].
#[inline(always)]
pub(crate) unsafe fn output_transposed<V: Vector, const M: usize, const R: usize, const N: usize>(
    window: ImageTile<&[f32]>,
    mut planes: PlanesMut<'_, '_>,
) {
    for (first, channels) in window.parts() {
        let (sources, targets) = (window.positions(first), planes.positions(first));
        // SAFETY: the window's positions and the planes hold the channels, as the caller says.
        unsafe { both_sides::<V, OutputTransposed<M, R>, M, N>(&sources, &targets, channels, Replace) }
    }
}

/// `u = G·g·Gᵀ`.
///
/// # Safety
/// R·R planes of filters and N·N of results hold `count` values, a multiple of the lanes; the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn filter<V: Vector, const M: usize, const R: usize, const N: usize>(
    filters: Planes<'_>,
    mut planes: PlanesMut<'_, '_>,
    count: usize,
) {
    // SAFETY: all hold `count` values from the offset on, as the caller says.
    unsafe { both_sides::<V, Filter<M, R>, R, N>(&filters.positions(), &planes.positions(0), count, Replace) }
}

/// `g = Gᵀ·u·G`.
///
/// # Safety
/// As [`filter`].
#[inline(always)]
pub(crate) unsafe fn filter_transposed<V: Vector, const M: usize, const R: usize, const N: usize>(
    planes: Planes<'_>,
    mut filters: PlanesMut<'_, '_>,
    count: usize,
) {
    // SAFETY: all hold `count` values from the offset on, as the caller says.
    unsafe { both_sides::<V, FilterTransposed<M, R>, N, R>(&planes.positions(), &filters.positions(0), count, Replace) }
}
