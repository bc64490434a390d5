//! From feature maps to the vectors that linear layers take.

use dfdx::{
    nn::{Module, NonMutableModule, ZeroSizedModule},
    shapes::{Const, HasShape},
    tensor::Tape,
    tensor_ops::{Device, ReshapeTo},
};

use super::{FeatureMaps, Vectors};

/// `C`×`SIDE`×`SIDE` to a vector of `FEATURES`, in channel, row, column order.
///
/// `FEATURES` must be `C·SIDE²`; another does not compile:
/// ```
/// # use dfdx::prelude::*;
/// # use trainer::nn::{FeatureMaps, Flatten, Vectors};
/// # let device = Cpu::default();
/// let maps: FeatureMaps<16, 5, Cpu> = device.zeros_like(&(2, Const, Const, Const));
/// let vectors: Vectors<400, Cpu> = Flatten::<16, 5, 400>.forward(maps);
/// ```
/// ```compile_fail
/// # use dfdx::prelude::*;
/// # use trainer::nn::{FeatureMaps, Flatten, Vectors};
/// # let device = Cpu::default();
/// let maps: FeatureMaps<16, 5, Cpu> = device.zeros_like(&(2, Const, Const, Const));
/// let vectors: Vectors<401, Cpu> = Flatten::<16, 5, 401>.forward(maps);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Flatten<const C: usize, const SIDE: usize, const FEATURES: usize>;

impl<const C: usize, const SIDE: usize, const FEATURES: usize> Flatten<C, SIDE, FEATURES> {
    const SIZES_FIT: () = assert!(FEATURES == C * SIDE * SIDE, "a flattened feature map has C·SIDE² values");
}

impl<const C: usize, const SIDE: usize, const FEATURES: usize, D: Device<f32>, T: Tape<f32, D>>
    Module<FeatureMaps<C, SIDE, D, T>> for Flatten<C, SIDE, FEATURES>
{
    type Output = Vectors<FEATURES, D, T>;
    type Error = D::Err;

    fn try_forward(&self, input: FeatureMaps<C, SIDE, D, T>) -> Result<Self::Output, D::Err> {
        const { Self::SIZES_FIT };
        let batch = input.shape().0;
        input.try_reshape_like(&(batch, Const))
    }
}

impl<const C: usize, const SIDE: usize, const FEATURES: usize> ZeroSizedModule for Flatten<C, SIDE, FEATURES> {}

impl<const C: usize, const SIDE: usize, const FEATURES: usize> NonMutableModule for Flatten<C, SIDE, FEATURES> {}
