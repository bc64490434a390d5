//! The max-pooling layer: sizes only; [`crate::ops`] does the work.

use dfdx::{
    nn::{Module, NonMutableModule, ZeroSizedModule},
    shapes::{Const, HasShape},
    tensor::Tape,
    tensor_ops::ReshapeTo,
};

use super::FeatureMaps;
use crate::ops::{self, ConvDevice, MAX_PLANE, Window};

/// Two-dimensional max-pooling of `C`×`IN`×`IN` to `C`×`OUT`×`OUT` (as PyTorch's `nn.MaxPool2d` without padding).
///
/// `OUT` must be `(IN − KERNEL) / STRIDE + 1`, rounded down; another does not compile:
/// ```
/// # use dfdx::prelude::*;
/// # use trainer::nn::{FeatureMaps, MaxPool2d};
/// # let device = Cpu::default();
/// let layer = MaxPool2d::<8, 3, 2, 54, 26>;
/// let maps: FeatureMaps<8, 54, Cpu> = device.zeros_like(&(2, Const, Const, Const));
/// let pooled: FeatureMaps<8, 26, Cpu> = layer.forward(maps);
/// ```
/// ```compile_fail
/// # use dfdx::prelude::*;
/// # use trainer::nn::{FeatureMaps, MaxPool2d};
/// # let device = Cpu::default();
/// let layer = MaxPool2d::<8, 3, 2, 54, 27>;
/// let maps: FeatureMaps<8, 54, Cpu> = device.zeros_like(&(2, Const, Const, Const));
/// let pooled: FeatureMaps<8, 27, Cpu> = layer.forward(maps);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct MaxPool2d<const C: usize, const KERNEL: usize, const STRIDE: usize, const IN: usize, const OUT: usize>;

impl<const C: usize, const KERNEL: usize, const STRIDE: usize, const IN: usize, const OUT: usize>
    MaxPool2d<C, KERNEL, STRIDE, IN, OUT>
{
    pub(super) const WINDOW: Window = Window { kernel: KERNEL, stride: STRIDE, padding: 0 };
    pub(super) const SIZES_FIT: () = assert!(
        OUT > 0 && OUT == Self::WINDOW.positions(IN) && IN * IN <= MAX_PLANE,
        "the output size of a max-pooling is (IN − KERNEL) / STRIDE + 1"
    );
}

impl<
    const C: usize,
    const KERNEL: usize,
    const STRIDE: usize,
    const IN: usize,
    const OUT: usize,
    D: ConvDevice,
    T: Tape<f32, D>,
> Module<FeatureMaps<C, IN, D, T>> for MaxPool2d<C, KERNEL, STRIDE, IN, OUT>
{
    type Output = FeatureMaps<C, OUT, D, T>;
    type Error = D::Err;

    fn try_forward(&self, input: FeatureMaps<C, IN, D, T>) -> Result<Self::Output, D::Err> {
        const { Self::SIZES_FIT };
        let batch = input.shape().0;
        let call = ops::MaxPool2d::fitting(input.try_reshape_like(&(batch, C, IN, IN))?, Self::WINDOW);
        D::max_pool2d(call)?.try_reshape_like(&(batch, Const, Const, Const))
    }
}

impl<const C: usize, const KERNEL: usize, const STRIDE: usize, const IN: usize, const OUT: usize> ZeroSizedModule
    for MaxPool2d<C, KERNEL, STRIDE, IN, OUT>
{
}

impl<const C: usize, const KERNEL: usize, const STRIDE: usize, const IN: usize, const OUT: usize> NonMutableModule
    for MaxPool2d<C, KERNEL, STRIDE, IN, OUT>
{
}
