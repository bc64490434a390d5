//! Convolution, local response normalisation, max-pooling and linear layers as operations on dfdx's tape: what the layers in
//! [`crate::nn`] are made of.
//!
//! Of these, dfdx has linear layers alone on stable Rust, without AVX-512. There are two implementations that share nothing but the
//! shapes in this file: [`portable`] is composed of dfdx's own operations and runs on any dfdx device, [`cpu`] is written for speed on
//! [`Cpu`], `cuda` for GPUs. [`ConvDevice`] picks one for each device. The portable one is the oracle for the other.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod portable;
mod tower;

use dfdx::{
    shapes::{Dim, HasShape},
    tensor::{Cpu, HasErr, NoneTape, Tape, Tensor},
    tensor_ops::Device,
};

pub use tower::{Stage, Tower};

use crate::device::DeviceError;
#[cfg(feature = "cuda")]
use crate::{cuda::engine::Engine, device::CudaKernels};

/// A batch of images or feature maps with sizes known at run time: batch × channels × height × width.
pub type Images<D, T = NoneTape> = Tensor<(usize, usize, usize, usize), f32, D, T>;

/// A batch of vectors, whose length is a constant or known at run time: batch × values.
pub type Vectors<N, D, T = NoneTape> = Tensor<(usize, N), f32, D, T>;

/// A dfdx device that can convolve and pool.
pub trait ConvDevice: Device<f32> + HasErr<Err: Into<DeviceError>> {
    /// Two-dimensional convolution; see [`Conv2d`].
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    fn conv2d<T: Tape<f32, Self>>(call: Conv2d<Self, T>) -> Result<Images<Self, T>, Self::Err>;

    /// Two-dimensional max-pooling; see [`MaxPool2d`].
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    fn max_pool2d<T: Tape<f32, Self>>(call: MaxPool2d<Self, T>) -> Result<Images<Self, T>, Self::Err>;

    /// Local response normalisation over channels, by the formula of [`infer_core::layers::LocalResponseNorm`].
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    fn local_response_norm<T: Tape<f32, Self>>(input: Images<Self, T>) -> Result<Images<Self, T>, Self::Err> {
        portable::local_response_norm(input)
    }

    /// Linear layer: `y = W·x + b` for each `x` of a batch. Without `input_gradient`, nobody needs the gradient of the input, and the
    /// backward pass may leave it out: that of the processor does.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    fn linear<I: Dim, O: Dim, T: Tape<f32, Self>>(
        input: Vectors<I, Self, T>,
        weight: Tensor<(O, I), f32, Self>,
        bias: Tensor<(O,), f32, Self>,
        input_gradient: bool,
    ) -> Result<Vectors<O, Self, T>, Self::Err> {
        portable::linear(input, weight, bias, input_gradient)
    }

    /// Convolutions and poolings, one after the other; see [`Tower`]. By default each is an operation of its own.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    fn tower<T: Tape<f32, Self>>(call: Tower<Self, T>) -> Result<Images<Self, T>, Self::Err> {
        call.one_by_one()
    }

    /// Dropout's mask, rows × columns: 2 where a bit is 1 and 0 where it is 0. Each row has its own `words`, columns / 64 of
    /// them, rounded up, and takes their bits from the lowest on.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    fn mask(
        &self,
        words: &[u64],
        (rows, columns): (usize, usize),
    ) -> Result<Tensor<(usize, usize), f32, Self>, Self::Err> {
        portable::mask(self, words, (rows, columns))
    }
}

#[cfg(feature = "cuda")]
impl ConvDevice for dfdx::tensor::Cuda {
    fn conv2d<T: Tape<f32, Self>>(call: Conv2d<Self, T>) -> Result<Images<Self, T>, Self::Err> {
        portable::conv2d(call)
    }

    fn max_pool2d<T: Tape<f32, Self>>(call: MaxPool2d<Self, T>) -> Result<Images<Self, T>, Self::Err> {
        match Engine::of(call.input.device())?.kernels() {
            CudaKernels::Portable => portable::max_pool2d(call),
            CudaKernels::Fused => cuda::max_pool2d(call),
        }
    }

    fn local_response_norm<T: Tape<f32, Self>>(input: Images<Self, T>) -> Result<Images<Self, T>, Self::Err> {
        match Engine::of(input.device())?.kernels() {
            CudaKernels::Portable => portable::local_response_norm(input),
            CudaKernels::Fused => cuda::local_response_norm(input),
        }
    }

    fn tower<T: Tape<f32, Self>>(call: Tower<Self, T>) -> Result<Images<Self, T>, Self::Err> {
        match Engine::of(call.input().device())?.kernels() {
            CudaKernels::Portable => call.one_by_one(),
            CudaKernels::Fused => cuda::tower(call),
        }
    }

    fn mask(
        &self,
        words: &[u64],
        (rows, columns): (usize, usize),
    ) -> Result<Tensor<(usize, usize), f32, Self>, Self::Err> {
        match Engine::of(self)?.kernels() {
            CudaKernels::Portable => portable::mask(self, words, (rows, columns)),
            CudaKernels::Fused => cuda::mask(self, words, (rows, columns)),
        }
    }
}

impl ConvDevice for Cpu {
    fn conv2d<T: Tape<f32, Self>>(call: Conv2d<Self, T>) -> Result<Images<Self, T>, Self::Err> {
        cpu::conv2d(call)
    }

    fn max_pool2d<T: Tape<f32, Self>>(call: MaxPool2d<Self, T>) -> Result<Images<Self, T>, Self::Err> {
        cpu::max_pool2d(call)
    }

    fn local_response_norm<T: Tape<f32, Self>>(input: Images<Self, T>) -> Result<Images<Self, T>, Self::Err> {
        cpu::local_response_norm(input)
    }

    fn linear<I: Dim, O: Dim, T: Tape<f32, Self>>(
        input: Vectors<I, Self, T>,
        weight: Tensor<(O, I), f32, Self>,
        bias: Tensor<(O,), f32, Self>,
        input_gradient: bool,
    ) -> Result<Vectors<O, Self, T>, Self::Err> {
        cpu::linear(input, weight, bias, input_gradient)
    }

    fn tower<T: Tape<f32, Self>>(call: Tower<Self, T>) -> Result<Images<Self, T>, Self::Err> {
        cpu::tower(call)
    }
}

/// Why an operation cannot be done on tensors of these sizes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A size that must not be zero is.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// The window does not fit the padded input.
    #[error("a window of {kernel} does not fit an input of {input} with {padding} of padding on each side")]
    Window {
        /// Side of the window.
        kernel: usize,
        /// Height or width of the input.
        input: usize,
        /// Padding on each side.
        padding: usize,
    },
    /// More padding than a pooling window may have: some windows would see only padding.
    #[error("the padding of a pooling window of {kernel} must be at most {}, found {padding}", .kernel / 2)]
    PoolPadding {
        /// Side of the window.
        kernel: usize,
        /// Padding found.
        padding: usize,
    },
    /// The weight is not output channels × input channels × kernel × kernel.
    #[error("the weight must be (any, {}, {}, {}), found {found:?}", expected.1, expected.2, expected.3)]
    Weight {
        /// Shape expected; the first size is not looked at.
        expected: (usize, usize, usize, usize),
        /// Shape found.
        found: (usize, usize, usize, usize),
    },
    /// Filters that see a part of the channels, where the groups do not divide the output channels.
    #[error("{groups} groups do not divide {filters} output channels")]
    Groups {
        /// Number of groups: input channels over the channels of a filter.
        groups: usize,
        /// Number of output channels.
        filters: usize,
    },
    /// The bias has not one value for each output channel.
    #[error("the bias must have {expected} values, found {found}")]
    Bias {
        /// Number of output channels.
        expected: usize,
        /// Number of values found.
        found: usize,
    },
    /// A plane of the input has too many values to number.
    #[error("a plane of {height} × {width} has more than {} values", MAX_PLANE)]
    Plane {
        /// Height of the input.
        height: usize,
        /// Width of the input.
        width: usize,
    },
}

/// The most values in one plane of a pooled image: their indices must be exact in `f32`.
pub const MAX_PLANE: usize = 1 << 24;

/// A square window that slides over an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Side of the window.
    pub kernel: usize,
    /// Step from one position of the window to the next, in both directions.
    pub stride: usize,
    /// Rows and columns added on each side of the image.
    pub padding: usize,
}

impl Window {
    /// Number of positions along a side of `input`: `(input + 2·padding − kernel) / stride + 1`, rounded down; zero where
    /// the window does not fit, has a size of zero, or has more padding than can be counted.
    #[must_use]
    pub const fn positions(self, input: usize) -> usize {
        let Some(padding) = self.padding.checked_mul(2) else { return 0 };
        let Some(padded) = input.checked_add(padding) else { return 0 };
        if self.kernel == 0 || self.stride == 0 || padded < self.kernel {
            return 0;
        }
        (padded - self.kernel) / self.stride + 1
    }

    /// The row or column of the image under tap `tap` of the window at position `position`; none in the padding.
    fn source(self, position: usize, tap: usize, input: usize) -> Option<usize> {
        (position * self.stride + tap).checked_sub(self.padding).filter(|source| *source < input)
    }

    fn check(self, (batch, channels, height, width): (usize, usize, usize, usize)) -> Result<(), ShapeError> {
        let sizes = [
            (self.kernel, "the kernel"),
            (self.stride, "the stride"),
            (batch, "the batch"),
            (channels, "the number of input channels"),
            (height, "the height"),
            (width, "the width"),
        ];
        if let Some((_, name)) = sizes.iter().find(|(size, _)| *size == 0) {
            return Err(ShapeError::Zero(name));
        }
        let input = height.min(width);
        if self.positions(input) == 0 {
            return Err(ShapeError::Window { kernel: self.kernel, input, padding: self.padding });
        }
        Ok(())
    }
}

/// Options of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvOptions {
    /// Whether `max(0, ·)` follows; its gradient at 0 is 0. NaN stays NaN on the fast path (PyTorch's behaviour), and
    /// becomes 0 on the portable one (dfdx's).
    pub relu: bool,
    /// Whether the backward pass computes the gradient of the input; a network's first layer needs none.
    pub input_gradient: bool,
}

impl Default for ConvOptions {
    /// No ReLU, all gradients.
    fn default() -> Self {
        Self { relu: false, input_gradient: true }
    }
}

/// A convolution whose tensors fit each other:
/// `y[n, o, i, j] = b[o] + Σ over c, k, l of w[o, c, k, l] · x[n, c, i·stride + k − padding, j·stride + l − padding]`, `x`
/// being 0 outside of its borders (a cross-correlation, as PyTorch's `nn.Conv2d`).
///
/// Where a filter has a part of the input's channels, there are groups: each of as many equal parts of the output channels sees one
/// of the parts of the input channels, in order.
#[derive(Debug)]
pub struct Conv2d<D: ConvDevice, T> {
    input: Images<D, T>,
    weight: Images<D>,
    bias: Tensor<(usize,), f32, D>,
    window: Window,
    options: ConvOptions,
}

impl<D: ConvDevice, T: Tape<f32, D>> Conv2d<D, T> {
    /// A convolution of `input` (batch × input channels × height × width) by `weight` (output channels × input channels of a
    /// group × kernel × kernel), plus `bias` (one value for each output channel).
    ///
    /// # Errors
    /// Sizes that are zero or do not fit each other.
    pub fn new(
        input: Images<D, T>,
        weight: Images<D>,
        bias: Tensor<(usize,), f32, D>,
        window: Window,
        options: ConvOptions,
    ) -> Result<Self, ShapeError> {
        Self::check(*input.shape(), *weight.shape(), bias.shape().0, window)?;
        Ok(Self::fitting(input, weight, bias, window, options))
    }

    /// Whether shapes of input and weight and the length of the bias fit each other.
    fn check(
        input: (usize, usize, usize, usize),
        weight: (usize, usize, usize, usize),
        bias: usize,
        window: Window,
    ) -> Result<(), ShapeError> {
        window.check(input)?;
        let groups = input.1.checked_div(weight.1).filter(|groups| groups * weight.1 == input.1);
        let expected = (weight.0, groups.map_or(input.1, |_| weight.1), window.kernel, window.kernel);
        if weight != expected {
            return Err(ShapeError::Weight { expected, found: weight });
        }
        if weight.0 == 0 {
            return Err(ShapeError::Zero("the number of output channels"));
        }
        if let Some(groups) = groups.filter(|groups| !weight.0.is_multiple_of(*groups)) {
            return Err(ShapeError::Groups { groups, filters: weight.0 });
        }
        if bias != weight.0 {
            return Err(ShapeError::Bias { expected: weight.0, found: bias });
        }
        Ok(())
    }

    /// Like [`Conv2d::new`], for tensors whose types have proved that they fit.
    pub(crate) fn fitting(
        input: Images<D, T>,
        weight: Images<D>,
        bias: Tensor<(usize,), f32, D>,
        window: Window,
        options: ConvOptions,
    ) -> Self {
        Self { input, weight, bias, window, options }
    }

    fn sizes(&self) -> ConvSizes {
        let (batch, channels, height, width) = *self.input.shape();
        let (filters, group, ..) = *self.weight.shape();
        ConvSizes { batch, filters, channels, group, plane: Plane::new(height, width, self.window) }
    }
}

/// A max-pooling whose window fits its input: each output is the largest value under the window, and the gradient goes to
/// the first of the largest in row order. A NaN under the window wins. Both are PyTorch's behaviour.
#[derive(Debug)]
pub struct MaxPool2d<D: ConvDevice, T> {
    input: Images<D, T>,
    window: Window,
}

impl<D: ConvDevice, T: Tape<f32, D>> MaxPool2d<D, T> {
    /// A pooling of `input` (batch × channels × height × width).
    ///
    /// # Errors
    /// Sizes that are zero or do not fit each other, padding above half of the window, more than [`MAX_PLANE`] values in a
    /// plane.
    pub fn new(input: Images<D, T>, window: Window) -> Result<Self, ShapeError> {
        Self::check(*input.shape(), window)?;
        Ok(Self::fitting(input, window))
    }

    /// Whether a window fits an input.
    fn check(input: (usize, usize, usize, usize), window: Window) -> Result<(), ShapeError> {
        window.check(input)?;
        if window.padding > window.kernel / 2 {
            return Err(ShapeError::PoolPadding { kernel: window.kernel, padding: window.padding });
        }
        let (_, _, height, width) = input;
        if height.checked_mul(width).is_none_or(|values| values > MAX_PLANE) {
            return Err(ShapeError::Plane { height, width });
        }
        Ok(())
    }

    /// Like [`MaxPool2d::new`], for an input whose type has proved that it fits.
    pub(crate) fn fitting(input: Images<D, T>, window: Window) -> Self {
        Self { input, window }
    }
}

/// All sizes of a convolution.
#[derive(Debug, Clone, Copy)]
struct ConvSizes {
    batch: usize,
    /// Output channels.
    filters: usize,
    /// Input channels.
    channels: usize,
    /// Input channels of a group, which a filter sees.
    group: usize,
    plane: Plane,
}

impl ConvSizes {
    fn groups(self) -> usize {
        self.channels / self.group
    }

    /// Values under the window, over all input channels that a filter sees.
    fn taps(self) -> usize {
        self.group * self.plane.window.kernel * self.plane.window.kernel
    }

    /// Values of one input image.
    fn input(self) -> usize {
        self.channels * self.plane.height * self.plane.width
    }

    /// Values of one output image.
    fn output(self) -> usize {
        self.filters * self.plane.positions()
    }
}

/// One channel of an image, the window over it, and the positions that the window takes.
#[derive(Debug, Clone, Copy)]
struct Plane {
    height: usize,
    width: usize,
    window: Window,
    rows: usize,
    columns: usize,
}

impl Plane {
    fn new(height: usize, width: usize, window: Window) -> Self {
        Self { height, width, window, rows: window.positions(height), columns: window.positions(width) }
    }

    /// Number of positions of the window.
    fn positions(self) -> usize {
        self.rows * self.columns
    }
}
