//! A tower of convolution layers, computed as one operation: sizes only; [`crate::ops`] does the sums.

use dfdx::{
    shapes::{Const, HasShape},
    tensor::Tape,
    tensor_ops::ReshapeTo,
};

use super::{Conv2d, FeatureMaps, MaxPool2d};
use crate::ops::{self, ConvDevice, Stage, Window};

/// Convolutions with ReLU, and poolings, one after the other, which give `C`×`SIDE`×`SIDE` so far.
///
/// The same as calling the layers one by one, but a device may fuse them, and keep what lies between them in a form of its
/// own. Layers that do not fit together do not compile:
/// ```
/// # use dfdx::prelude::*;
/// # use trainer::nn::{Conv2d, FeatureMaps, MaxPool2d, Tower};
/// # let device = Cpu::default();
/// let first: Conv2d<1, 4, 3, 1, 1, 28, 28, Cpu> = modules::BuildModule::build(&device);
/// let second: Conv2d<4, 8, 5, 1, 0, 14, 10, Cpu> = modules::BuildModule::build(&device);
/// let images: FeatureMaps<1, 28, Cpu> = device.zeros_like(&(2, Const, Const, Const));
/// let tower = Tower::new(images)?.conv_pool(&first, MaxPool2d::<4, 2, 2, 28, 14>)?.conv(&second)?;
/// let maps: FeatureMaps<8, 10, Cpu> = tower.try_forward()?;
/// # Ok::<(), CpuError>(())
/// ```
/// ```compile_fail
/// # use dfdx::prelude::*;
/// # use trainer::nn::{Conv2d, FeatureMaps, MaxPool2d, Tower};
/// # let device = Cpu::default();
/// let first: Conv2d<1, 4, 3, 1, 1, 28, 28, Cpu> = modules::BuildModule::build(&device);
/// let second: Conv2d<4, 8, 5, 1, 0, 28, 24, Cpu> = modules::BuildModule::build(&device);
/// let images: FeatureMaps<1, 28, Cpu> = device.zeros_like(&(2, Const, Const, Const));
/// let tower = Tower::new(images)?.conv_pool(&first, MaxPool2d::<4, 2, 2, 28, 14>)?.conv(&second)?;
/// let maps: FeatureMaps<8, 24, Cpu> = tower.try_forward()?;
/// # Ok::<(), CpuError>(())
/// ```
#[derive(Debug)]
pub struct Tower<const C: usize, const SIDE: usize, D: ConvDevice, T> {
    call: ops::Tower<D, T>,
}

impl<const C: usize, const SIDE: usize, D: ConvDevice, T: Tape<f32, D>> Tower<C, SIDE, D, T> {
    /// A tower of no layer yet. The images get no gradient: these are a network's first layers.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    pub fn new(images: FeatureMaps<C, SIDE, D, T>) -> Result<Self, D::Err> {
        let batch = images.shape().0;
        Ok(Self { call: ops::Tower::new(images.try_reshape_like(&(batch, C, SIDE, SIDE))?, false) })
    }

    /// Adds a convolution and ReLU.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    pub fn conv<
        const CO: usize,
        const KERNEL: usize,
        const STRIDE: usize,
        const PADDING: usize,
        const OUT: usize,
        const GROUP: usize,
    >(
        self,
        layer: &Conv2d<C, CO, KERNEL, STRIDE, PADDING, SIDE, OUT, D, f32, GROUP>,
    ) -> Result<Tower<CO, OUT, D, T>, D::Err> {
        self.stage(layer, None)
    }

    /// Adds a convolution, ReLU and a max-pooling.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    pub fn conv_pool<
        const CO: usize,
        const KERNEL: usize,
        const STRIDE: usize,
        const PADDING: usize,
        const BETWEEN: usize,
        const POOL_KERNEL: usize,
        const POOL_STRIDE: usize,
        const OUT: usize,
        const GROUP: usize,
    >(
        self,
        layer: &Conv2d<C, CO, KERNEL, STRIDE, PADDING, SIDE, BETWEEN, D, f32, GROUP>,
        _: MaxPool2d<CO, POOL_KERNEL, POOL_STRIDE, BETWEEN, OUT>,
    ) -> Result<Tower<CO, OUT, D, T>, D::Err> {
        const { MaxPool2d::<CO, POOL_KERNEL, POOL_STRIDE, BETWEEN, OUT>::SIZES_FIT };
        self.stage(layer, Some(MaxPool2d::<CO, POOL_KERNEL, POOL_STRIDE, BETWEEN, OUT>::WINDOW))
    }

    /// Adds local response normalisation, as an operation of its own.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    pub fn local_response_norm(self) -> Result<Self, D::Err> {
        let gradient = self.call.needs_gradient();
        Ok(Self { call: ops::Tower::new(D::local_response_norm(self.call.maps()?)?, gradient) })
    }

    /// Adds a max-pooling that no convolution stands before, as an operation of its own.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    pub fn pool<const KERNEL: usize, const STRIDE: usize, const OUT: usize>(
        self,
        _: MaxPool2d<C, KERNEL, STRIDE, SIDE, OUT>,
    ) -> Result<Tower<C, OUT, D, T>, D::Err> {
        const { MaxPool2d::<C, KERNEL, STRIDE, SIDE, OUT>::SIZES_FIT };
        let gradient = self.call.needs_gradient();
        let call = ops::MaxPool2d::fitting(self.call.maps()?, MaxPool2d::<C, KERNEL, STRIDE, SIDE, OUT>::WINDOW);
        Ok(Tower { call: ops::Tower::new(D::max_pool2d(call)?, gradient) })
    }

    fn stage<
        const CO: usize,
        const KERNEL: usize,
        const STRIDE: usize,
        const PADDING: usize,
        const BETWEEN: usize,
        const OUT: usize,
        const GROUP: usize,
    >(
        self,
        layer: &Conv2d<C, CO, KERNEL, STRIDE, PADDING, SIDE, BETWEEN, D, f32, GROUP>,
        pool: Option<Window>,
    ) -> Result<Tower<CO, OUT, D, T>, D::Err> {
        const { Conv2d::<C, CO, KERNEL, STRIDE, PADDING, SIDE, BETWEEN, D, f32, GROUP>::SIZES_FIT };
        const { Conv2d::<C, CO, KERNEL, STRIDE, PADDING, SIDE, BETWEEN, D, f32, GROUP>::GROUPS_FIT };
        Ok(Tower {
            call: self.call.fitting(Stage {
                weight: layer.weight.clone().try_reshape_like(&(CO, GROUP, KERNEL, KERNEL))?,
                bias: layer.bias.clone().try_reshape_like(&(CO,))?,
                window: Window { kernel: KERNEL, stride: STRIDE, padding: PADDING },
                pool,
            }),
        })
    }

    /// The feature maps.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    pub fn try_forward(self) -> Result<FeatureMaps<C, SIDE, D, T>, D::Err> {
        let batch = self.call.input().shape().0;
        self.call.maps()?.try_reshape_like(&(batch, Const, Const, Const))
    }
}
