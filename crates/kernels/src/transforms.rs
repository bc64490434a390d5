//! Kernels of training as tables of functions: see [`crate::training`].

use super::Backend;
use super::generic::pool_training;
pub use super::winners::{MaxPool, MaxPoolGradient};

/// Channels are a multiple of this: the lanes of the widest vector.
pub const CHANNELS: usize = 16;

/// The most channels of a window, as values outside of the image come from an array of zeros.
const MAX_CHANNELS: usize = 4096;

/// Channels of positions outside of the image.
static ZEROS: [f32; MAX_CHANNELS] = [0.0; MAX_CHANNELS];

/// A square tile of an image that is read. Outside of the image everything is zero.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// `[height][width][channels]`
    pub image: &'a [f32],
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// A multiple of [`CHANNELS`], at most 4096.
    pub channels: usize,
    /// First row of the tile, which may lie outside.
    pub top: isize,
    /// First column of the tile, which may lie outside.
    pub left: isize,
}

/// A square tile of an image that is written. Outside of the image nothing is.
#[derive(Debug)]
pub struct WindowMut<'a> {
    /// `[height][width][channels]`
    pub image: &'a mut [f32],
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// A multiple of [`CHANNELS`], at most 4096.
    pub channels: usize,
    /// First row of the tile, which may lie outside.
    pub top: isize,
    /// First column of the tile, which may lie outside.
    pub left: isize,
}

/// Where a pixel begins in an image; `None` outside.
fn pixel(height: usize, width: usize, channels: usize, y: isize, x: isize) -> Option<usize> {
    let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
    inside.then(|| (y as usize * width + x as usize) * channels)
}

fn image_fits(values: usize, height: usize, width: usize, channels: usize, top: isize, left: isize) -> bool {
    let needed = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels));
    let near = |start: isize| start.unsigned_abs() <= isize::MAX as usize / 4;
    channels.is_multiple_of(CHANNELS)
        && channels <= MAX_CHANNELS
        && needed == Some(values)
        && near(top)
        && near(left)
        && near(height as isize)
        && near(width as isize)
}

impl Window<'_> {
    fn fits(&self) -> bool {
        image_fits(self.image.len(), self.height, self.width, self.channels, self.top, self.left)
    }

    /// Each pixel of the tile: in the image where it lies inside, else of zeros.
    #[inline(always)]
    pub(super) fn positions<const N: usize>(&self) -> [[*const f32; N]; N] {
        let mut positions = [[ZEROS.as_ptr(); N]; N];
        for (i, row) in positions.iter_mut().enumerate() {
            for (j, position) in row.iter_mut().enumerate() {
                let (y, x) = (self.top + i as isize, self.left + j as isize);
                if let Some(start) = pixel(self.height, self.width, self.channels, y, x) {
                    *position = self.image.as_ptr().wrapping_add(start);
                }
            }
        }
        positions
    }
}

impl WindowMut<'_> {
    fn fits(&self) -> bool {
        image_fits(self.image.len(), self.height, self.width, self.channels, self.top, self.left)
    }

    /// Each pixel of the tile; null outside of the image.
    #[inline(always)]
    pub(super) fn positions<const N: usize>(self) -> [[*mut f32; N]; N] {
        let image = self.image.as_mut_ptr();
        let mut positions = [[core::ptr::null_mut(); N]; N];
        for (i, row) in positions.iter_mut().enumerate() {
            for (j, position) in row.iter_mut().enumerate() {
                let (y, x) = (self.top + i as isize, self.left + j as isize);
                if let Some(start) = pixel(self.height, self.width, self.channels, y, x) {
                    *position = image.wrapping_add(start);
                }
            }
        }
        positions
    }
}

/// Planes that are read: one for each place of a tile (or of a filter), row after row.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    /// The planes, `stride` from one to the next.
    pub values: &'a [f32],
    /// Floats from one plane to the next.
    pub stride: usize,
    /// Where in each plane the values of this call begin.
    pub offset: usize,
}

impl Planes<'_> {
    fn fits(&self, n: usize, count: usize) -> bool {
        let last = self.stride.checked_mul(n * n - 1).and_then(|start| start.checked_add(self.offset));
        last.and_then(|last| last.checked_add(count)).is_some_and(|end| end <= self.values.len())
    }

    #[inline(always)]
    pub(super) fn positions<const N: usize>(&self) -> [[*const f32; N]; N] {
        core::array::from_fn(|i| {
            core::array::from_fn(|j| self.values.as_ptr().wrapping_add((i * N + j) * self.stride + self.offset))
        })
    }
}

/// Planes that are written: one for each place of a tile (or of a filter), row after row. Each is a slice of its own, so that
/// threads can share the tiles between them.
#[derive(Debug)]
pub struct PlanesMut<'a, 'b> {
    /// The planes.
    pub planes: &'a mut [&'b mut [f32]],
    /// Where in each plane the values of this call begin.
    pub offset: usize,
}

impl PlanesMut<'_, '_> {
    fn fits(&self, n: usize, count: usize) -> bool {
        let end = self.offset.checked_add(count);
        self.planes.len() == n * n && end.is_some_and(|end| self.planes.iter().all(|plane| end <= plane.len()))
    }

    #[inline(always)]
    pub(super) fn positions<const N: usize>(self) -> [[*mut f32; N]; N] {
        let mut positions = [[core::ptr::null_mut(); N]; N];
        for (position, plane) in positions.as_flattened_mut().iter_mut().zip(self.planes) {
            *position = plane.as_mut_ptr().wrapping_add(self.offset);
        }
        positions
    }
}

/// Sizes of Winograd convolution that training has transforms for: F(M×M, R×R), M·M outputs at once of a filter of R·R
/// taps, from N·N inputs with N = M + R − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WinogradSize {
    /// F(4×4, 3×3): 4 times fewer multiplications.
    F4x3,
    /// F(6×6, 3×3): 5.1 times fewer, with four times the rounding error.
    F6x3,
    /// F(5×5, 5×5): 7.7 times fewer.
    F5x5,
}

impl WinogradSize {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F4x3, Self::F6x3, Self::F5x5];

    /// Rows and columns of outputs: M.
    #[must_use]
    pub const fn outputs(self) -> usize {
        match self {
            Self::F4x3 => 4,
            Self::F6x3 => 6,
            Self::F5x5 => 5,
        }
    }

    /// Rows and columns of the filter: R.
    #[must_use]
    pub const fn taps(self) -> usize {
        match self {
            Self::F4x3 | Self::F6x3 => 3,
            Self::F5x5 => 5,
        }
    }

    /// Rows and columns of inputs: N.
    #[must_use]
    pub const fn inputs(self) -> usize {
        self.outputs() + self.taps() - 1
    }

    /// Places of a transformed tile, N².
    #[must_use]
    pub const fn planes(self) -> usize {
        self.inputs() * self.inputs()
    }
}

/// The transforms of one size and the poolings, for the instructions of one backend. To have one is the proof that the CPU
/// has them.
#[derive(Clone, Copy)]
pub struct Transforms {
    size: WinogradSize,
    input: unsafe fn(Window<'_>, PlanesMut<'_, '_>),
    input_transposed: unsafe fn(Planes<'_>, WindowMut<'_>),
    output: unsafe fn(Planes<'_>, &[f32], bool, WindowMut<'_>),
    output_transposed: unsafe fn(Window<'_>, PlanesMut<'_, '_>),
    filter: unsafe fn(Planes<'_>, PlanesMut<'_, '_>, usize),
    filter_transposed: unsafe fn(Planes<'_>, PlanesMut<'_, '_>, usize),
    max_pool: unsafe fn(MaxPool<'_>),
    max_pool_gradient: unsafe fn(MaxPoolGradient<'_>),
}

impl core::fmt::Debug for Transforms {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Transforms").field(&self.size).finish()
    }
}

impl Transforms {
    /// The transforms of `size` by the instructions of `backend`; `None` where the CPU lacks those.
    #[must_use]
    pub fn new(size: WinogradSize, backend: Backend) -> Option<Self> {
        if !backend.available() {
            return None;
        }
        match backend {
            Backend::Scalar => Some(scalar::transforms(size)),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => Some(avx2::transforms(size)),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => Some(avx512::transforms(size)),
            #[cfg(target_arch = "aarch64")]
            Backend::Neon => Some(neon::transforms(size)),
            #[allow(unreachable_patterns, reason = "depends on the processor")]
            _ => None,
        }
    }

    /// The size that these are of.
    #[must_use]
    pub fn size(&self) -> WinogradSize {
        self.size
    }

    /// `v = Bᵀ·d·B`: a tile of N×N inputs.
    pub fn input(&self, inputs: Window<'_>, transformed: PlanesMut<'_, '_>) {
        let fits = inputs.fits() && transformed.fits(self.size.inputs(), inputs.channels);
        if fits {
            // SAFETY: the sizes hold, and the CPU has the instructions.
            unsafe { (self.input)(inputs, transformed) }
        }
    }

    /// `∂d += B·∂v·Bᵀ`: adds to the gradients of a tile of N×N inputs.
    pub fn input_transposed(&self, transformed: Planes<'_>, inputs: WindowMut<'_>) {
        let fits = inputs.fits() && transformed.fits(self.size.inputs(), inputs.channels);
        if fits {
            // SAFETY: the sizes hold, and the CPU has the instructions.
            unsafe { (self.input_transposed)(transformed, inputs) }
        }
    }

    /// `y = Aᵀ·m·A + b`: a tile of M×M outputs, with a bias for each channel; negative ones become 0 where `relu`, and a
    /// NaN stays.
    pub fn output(&self, products: Planes<'_>, bias: &[f32], relu: bool, outputs: WindowMut<'_>) {
        let channels = outputs.channels;
        let fits = outputs.fits() && products.fits(self.size.inputs(), channels) && bias.len() == channels;
        if fits {
            // SAFETY: the sizes hold, and the CPU has the instructions.
            unsafe { (self.output)(products, bias, relu, outputs) }
        }
    }

    /// `∂m = A·∂y·Aᵀ`: from the gradients of a tile of M×M outputs.
    pub fn output_transposed(&self, outputs: Window<'_>, products: PlanesMut<'_, '_>) {
        let fits = outputs.fits() && products.fits(self.size.inputs(), outputs.channels);
        if fits {
            // SAFETY: the sizes hold, and the CPU has the instructions.
            unsafe { (self.output_transposed)(outputs, products) }
        }
    }

    /// `u = G·g·Gᵀ` for `count` filters, a multiple of [`CHANNELS`], from R·R planes to N·N.
    pub fn filter(&self, filters: Planes<'_>, transformed: PlanesMut<'_, '_>, count: usize) {
        let fits = filters.fits(self.size.taps(), count) && transformed.fits(self.size.inputs(), count);
        if fits && count.is_multiple_of(CHANNELS) {
            // SAFETY: the sizes hold, and the CPU has the instructions.
            unsafe { (self.filter)(filters, transformed, count) }
        }
    }

    /// `∂g = Gᵀ·∂u·G` for `count` filters, a multiple of [`CHANNELS`], from N·N planes to R·R.
    pub fn filter_transposed(&self, transformed: Planes<'_>, filters: PlanesMut<'_, '_>, count: usize) {
        let fits = transformed.fits(self.size.inputs(), count) && filters.fits(self.size.taps(), count);
        if fits && count.is_multiple_of(CHANNELS) {
            // SAFETY: the sizes hold, and the CPU has the instructions.
            unsafe { (self.filter_transposed)(transformed, filters, count) }
        }
    }

    /// A max-pooling.
    pub fn max_pool(&self, pool: MaxPool<'_>) {
        if pool.fits() {
            // SAFETY: the CPU has the instructions.
            unsafe { (self.max_pool)(pool) }
        }
    }

    /// The gradient of a max-pooling.
    pub fn max_pool_gradient(&self, pool: MaxPoolGradient<'_>) {
        if pool.fits() {
            // SAFETY: the CPU has the instructions.
            unsafe { (self.max_pool_gradient)(pool) }
        }
    }
}

/// Makes a module of the generic transforms, compiled for the instructions named.
macro_rules! transforms {
    ($name:ident: $vector:ty $(, $features:literal)?) => {
        mod $name {
            use super::*;
            use crate::generic::transform;

            $(#[target_feature(enable = $features)])?
            unsafe fn input<const M: usize, const R: usize, const N: usize>(from: Window<'_>, to: PlanesMut<'_, '_>) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { transform::input::<$vector, M, R, N>(from, to) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn input_transposed<const M: usize, const R: usize, const N: usize>(
                from: Planes<'_>,
                to: WindowMut<'_>,
            ) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { transform::input_transposed::<$vector, M, R, N>(from, to) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn output<const M: usize, const R: usize, const N: usize>(
                from: Planes<'_>,
                bias: &[f32],
                relu: bool,
                to: WindowMut<'_>,
            ) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { transform::output::<$vector, M, R, N>(from, bias, relu, to) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn output_transposed<const M: usize, const R: usize, const N: usize>(
                from: Window<'_>,
                to: PlanesMut<'_, '_>,
            ) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { transform::output_transposed::<$vector, M, R, N>(from, to) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn filter<const M: usize, const R: usize, const N: usize>(
                from: Planes<'_>,
                to: PlanesMut<'_, '_>,
                count: usize,
            ) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { transform::filter::<$vector, M, R, N>(from, to, count) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn filter_transposed<const M: usize, const R: usize, const N: usize>(
                from: Planes<'_>,
                to: PlanesMut<'_, '_>,
                count: usize,
            ) {
                // SAFETY: the caller checked the sizes and has the instructions.
                unsafe { transform::filter_transposed::<$vector, M, R, N>(from, to, count) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn max_pool(pool: MaxPool<'_>) {
                pool_training::max_pool(pool);
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn max_pool_gradient(pool: MaxPoolGradient<'_>) {
                pool_training::max_pool_gradient(pool);
            }

            fn table<const M: usize, const R: usize, const N: usize>(size: WinogradSize) -> Transforms {
                Transforms {
                    size,
                    input: input::<M, R, N>,
                    input_transposed: input_transposed::<M, R, N>,
                    output: output::<M, R, N>,
                    output_transposed: output_transposed::<M, R, N>,
                    filter: filter::<M, R, N>,
                    filter_transposed: filter_transposed::<M, R, N>,
                    max_pool,
                    max_pool_gradient,
                }
            }

            pub(super) fn transforms(size: WinogradSize) -> Transforms {
                match size {
                    WinogradSize::F4x3 => table::<4, 3, 6>(size),
                    WinogradSize::F6x3 => table::<6, 3, 8>(size),
                    WinogradSize::F5x5 => table::<5, 5, 9>(size),
                }
            }
        }
    };
}

transforms!(scalar: crate::vector::Portable<4>);
#[cfg(target_arch = "x86_64")]
transforms!(avx2: core::arch::x86_64::__m256, "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
transforms!(avx512: core::arch::x86_64::__m512, "avx2,fma,f16c,avx512f");
#[cfg(target_arch = "aarch64")]
transforms!(neon: core::arch::aarch64::float32x4_t, "neon");
