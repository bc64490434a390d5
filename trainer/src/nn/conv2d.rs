//! The convolution layer: weights and sizes; [`crate::ops`] does the sums.

use dfdx::{
    nn::{Module, ModuleVisitor, NonMutableModule, TensorCollection, TensorOptions},
    shapes::{Const, Dtype, HasShape, Rank1, Rank4},
    tensor::{Storage, Tape, Tensor},
    tensor_ops::{Device, ReshapeTo},
};

use super::{FeatureMaps, uniform};
use crate::ops::{self, ConvDevice, ConvOptions, Window};

/// Two-dimensional convolution of `CI`×`IN`×`IN` to `CO`×`OUT`×`OUT`, plus a bias for each output channel (a
/// cross-correlation, as PyTorch's `nn.Conv2d`).
///
/// With fewer channels in a filter, `GROUP` of the `CI`, there are `CI / GROUP` groups, as with PyTorch's `groups`.
///
/// `OUT` must be `(IN + 2·PADDING − KERNEL) / STRIDE + 1`, rounded down; another does not compile:
/// ```
/// # use dfdx::prelude::*;
/// # use trainer::nn::{Conv2d, FeatureMaps};
/// # let device = Cpu::default();
/// let layer: Conv2d<1, 4, 3, 2, 1, 28, 14, Cpu> = modules::BuildModule::build(&device);
/// let images: FeatureMaps<1, 28, Cpu> = device.zeros_like(&(2, Const, Const, Const));
/// let maps: FeatureMaps<4, 14, Cpu> = layer.forward(images);
/// ```
/// ```compile_fail
/// # use dfdx::prelude::*;
/// # use trainer::nn::{Conv2d, FeatureMaps};
/// # let device = Cpu::default();
/// let layer: Conv2d<1, 4, 3, 2, 1, 28, 15, Cpu> = modules::BuildModule::build(&device);
/// let images: FeatureMaps<1, 28, Cpu> = device.zeros_like(&(2, Const, Const, Const));
/// let maps: FeatureMaps<4, 15, Cpu> = layer.forward(images);
/// ```
/// Nor do two layers that do not fit together:
/// ```
/// # use dfdx::prelude::*;
/// # use trainer::nn::{Conv2d, FeatureMaps};
/// # let device = Cpu::default();
/// let first: Conv2d<1, 4, 3, 2, 1, 28, 14, Cpu> = modules::BuildModule::build(&device);
/// let second: Conv2d<4, 8, 5, 1, 0, 14, 10, Cpu> = modules::BuildModule::build(&device);
/// let images: FeatureMaps<1, 28, Cpu> = device.zeros_like(&(2, Const, Const, Const));
/// let maps = second.forward(first.forward(images));
/// ```
/// ```compile_fail
/// # use dfdx::prelude::*;
/// # use trainer::nn::{Conv2d, FeatureMaps};
/// # let device = Cpu::default();
/// let first: Conv2d<1, 4, 3, 2, 1, 28, 14, Cpu> = modules::BuildModule::build(&device);
/// let second: Conv2d<5, 8, 5, 1, 0, 14, 10, Cpu> = modules::BuildModule::build(&device);
/// let images: FeatureMaps<1, 28, Cpu> = device.zeros_like(&(2, Const, Const, Const));
/// let maps = second.forward(first.forward(images));
/// ```
#[derive(Debug, Clone)]
pub struct Conv2d<
    const CI: usize,
    const CO: usize,
    const KERNEL: usize,
    const STRIDE: usize,
    const PADDING: usize,
    const IN: usize,
    const OUT: usize,
    D: Storage<E>,
    E: Dtype = f32,
    const GROUP: usize = CI,
> {
    /// Output channels × input channels of a group × kernel rows × kernel columns.
    pub weight: Tensor<Rank4<CO, GROUP, KERNEL, KERNEL>, E, D>,
    /// One value for each output channel.
    pub bias: Tensor<Rank1<CO>, E, D>,
}

impl<
    const CI: usize,
    const CO: usize,
    const KERNEL: usize,
    const STRIDE: usize,
    const PADDING: usize,
    const IN: usize,
    const OUT: usize,
    D: Storage<E>,
    E: Dtype,
    const GROUP: usize,
> Conv2d<CI, CO, KERNEL, STRIDE, PADDING, IN, OUT, D, E, GROUP>
{
    const WINDOW: Window = Window { kernel: KERNEL, stride: STRIDE, padding: PADDING };
    pub(super) const SIZES_FIT: () = assert!(
        CI > 0 && CO > 0 && OUT > 0 && OUT == Self::WINDOW.positions(IN),
        "the output size of a convolution is (IN + 2·PADDING − KERNEL) / STRIDE + 1"
    );
    pub(super) const GROUPS_FIT: () = assert!(
        GROUP > 0 && CI.is_multiple_of(GROUP) && CO.is_multiple_of(CI / GROUP),
        "the groups of a convolution divide its channels"
    );
}

impl<
    const CI: usize,
    const CO: usize,
    const KERNEL: usize,
    const STRIDE: usize,
    const PADDING: usize,
    const IN: usize,
    const OUT: usize,
    D: ConvDevice,
    const GROUP: usize,
> Conv2d<CI, CO, KERNEL, STRIDE, PADDING, IN, OUT, D, f32, GROUP>
{
    /// The forward pass with options: a ReLU that costs next to nothing, and no gradient for an input that needs none.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    pub fn try_forward_with<T: Tape<f32, D>>(
        &self,
        input: FeatureMaps<CI, IN, D, T>,
        options: ConvOptions,
    ) -> Result<FeatureMaps<CO, OUT, D, T>, D::Err> {
        const { (Self::SIZES_FIT, Self::GROUPS_FIT) };
        let batch = input.shape().0;
        let call = ops::Conv2d::fitting(
            input.try_reshape_like(&(batch, CI, IN, IN))?,
            self.weight.clone().try_reshape_like(&(CO, GROUP, KERNEL, KERNEL))?,
            self.bias.clone().try_reshape_like(&(CO,))?,
            Self::WINDOW,
            options,
        );
        D::conv2d(call)?.try_reshape_like(&(batch, Const, Const, Const))
    }
}

impl<
    const CI: usize,
    const CO: usize,
    const KERNEL: usize,
    const STRIDE: usize,
    const PADDING: usize,
    const IN: usize,
    const OUT: usize,
    D: ConvDevice,
    T: Tape<f32, D>,
    const GROUP: usize,
> Module<FeatureMaps<CI, IN, D, T>> for Conv2d<CI, CO, KERNEL, STRIDE, PADDING, IN, OUT, D, f32, GROUP>
{
    type Output = FeatureMaps<CO, OUT, D, T>;
    type Error = D::Err;

    fn try_forward(&self, input: FeatureMaps<CI, IN, D, T>) -> Result<Self::Output, D::Err> {
        self.try_forward_with(input, ConvOptions::default())
    }
}

impl<
    const CI: usize,
    const CO: usize,
    const KERNEL: usize,
    const STRIDE: usize,
    const PADDING: usize,
    const IN: usize,
    const OUT: usize,
    D: Storage<E>,
    E: Dtype,
    const GROUP: usize,
> NonMutableModule for Conv2d<CI, CO, KERNEL, STRIDE, PADDING, IN, OUT, D, E, GROUP>
{
}

impl<
    const CI: usize,
    const CO: usize,
    const KERNEL: usize,
    const STRIDE: usize,
    const PADDING: usize,
    const IN: usize,
    const OUT: usize,
    D: Device<f32>,
    const GROUP: usize,
> TensorCollection<f32, D> for Conv2d<CI, CO, KERNEL, STRIDE, PADDING, IN, OUT, D, f32, GROUP>
{
    type To<E2: Dtype, D2: Device<E2>> = Conv2d<CI, CO, KERNEL, STRIDE, PADDING, IN, OUT, D2, E2, GROUP>;

    /// Resets to PyTorch's default, uniform within ±1/√(GROUP·KERNEL²), from the device's random numbers.
    fn iter_tensors<V: ModuleVisitor<Self, f32, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        const { (Self::SIZES_FIT, Self::GROUPS_FIT) };
        visitor.visit_fields(
            (
                Self::tensor(
                    "weight",
                    |layer| &layer.weight,
                    |layer| &mut layer.weight,
                    TensorOptions::reset_with(|weight| weight.try_fill_with_distr(uniform(GROUP * KERNEL * KERNEL))),
                ),
                Self::tensor(
                    "bias",
                    |layer| &layer.bias,
                    |layer| &mut layer.bias,
                    TensorOptions::reset_with(|bias| bias.try_fill_with_distr(uniform(GROUP * KERNEL * KERNEL))),
                ),
            ),
            |(weight, bias)| Conv2d { weight, bias },
        )
    }
}
