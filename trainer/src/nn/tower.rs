//! A tower of convolution layers, computed as one operation: sizes only; [`crate::ops`] does the sums.

use dfdx::{
    shapes::{Const, HasShape},
    tensor::{NoneTape, PutTape, Tape},
    tensor_ops::ReshapeTo,
};

use super::{Conv2d, FeatureMaps, MaxPool2d};
use crate::ops::{self, ConvDevice, Images, Stage, Window};

/// Front of a network: its first layers with weights, which are frozen, and all that stands between them and the first one that
/// learns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Frozen {
    /// Number of layers with weights that are frozen.
    pub layers: usize,
    /// Whether the network's inputs are not images, but what its frozen convolutions give for them.
    pub computed: bool,
}

/// Part of a tower that is computed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of it; what the frozen convolutions do is not recorded for the backward pass.
    Whole,
    /// Behind the frozen convolutions, of which the inputs are the output.
    Rest,
    /// The frozen convolutions, and nothing behind them.
    Front,
}

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
    part: Part,
    /// Frozen convolutions: more than there are, where linear layers are frozen, too.
    frozen: usize,
    /// Convolutions so far.
    convolutions: usize,
}

impl<const C: usize, const SIDE: usize, D: ConvDevice, T: Tape<f32, D>> Tower<C, SIDE, D, T> {
    /// A tower of no layer yet. The images get no gradient: these are a network's first layers.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    pub fn new(images: FeatureMaps<C, SIDE, D, T>) -> Result<Self, D::Err> {
        let batch = images.shape().0;
        let images = images.try_reshape_like(&(batch, C, SIDE, SIDE))?;
        Ok(Self { call: ops::Tower::new(images, false), part: Part::Whole, frozen: 0, convolutions: 0 })
    }

    /// A tower of no layer yet, whose first convolutions are frozen, on inputs of sizes that fit: images, or what the frozen
    /// convolutions give.
    #[must_use]
    pub fn frozen(inputs: Images<D, T>, Frozen { layers, computed }: Frozen) -> Self {
        let part = if computed { Part::Rest } else { Part::Whole };
        Self { call: ops::Tower::new(inputs, false), part, frozen: layers, convolutions: 0 }
    }

    /// A tower that computes its first convolutions alone, `layers` of them: what is added behind them does nothing.
    #[must_use]
    pub fn front(images: Images<D, T>, layers: usize) -> Self {
        Self { call: ops::Tower::new(images, false), part: Part::Front, frozen: layers, convolutions: 0 }
    }

    /// Whether what stands before the next convolution belongs to the front.
    fn in_front(&self) -> bool {
        self.frozen > 0 && self.convolutions <= self.frozen
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
        self.between(D::local_response_norm::<NoneTape>, D::local_response_norm::<T>)
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
        let window = MaxPool2d::<C, KERNEL, STRIDE, SIDE, OUT>::WINDOW;
        self.between(
            |maps| D::max_pool2d(ops::MaxPool2d::fitting(maps, window)),
            |maps| D::max_pool2d(ops::MaxPool2d::fitting(maps, window)),
        )
    }

    /// Adds an operation without weights, given for maps that are recorded and for those that are not.
    fn between<const OUT: usize>(
        self,
        unrecorded: impl FnOnce(Images<D>) -> Result<Images<D>, D::Err>,
        recorded: impl FnOnce(Images<D, T>) -> Result<Images<D, T>, D::Err>,
    ) -> Result<Tower<C, OUT, D, T>, D::Err> {
        let in_front = self.in_front();
        let Self { call, part, frozen, convolutions } = self;
        let call = match part {
            Part::Rest if in_front => call,
            Part::Front if !in_front => call,
            _ if in_front => {
                let (call, tape) = call.split_tape();
                ops::Tower::new(unrecorded(call.maps()?)?.put_tape(tape), false)
            }
            _ => {
                let gradient = call.needs_gradient();
                ops::Tower::new(recorded(call.maps()?)?, gradient)
            }
        };
        Ok(Tower { call, part, frozen, convolutions })
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
        let Self { mut call, part, frozen, convolutions } = self;
        let is_frozen = convolutions < frozen;
        if part == Part::Whole && frozen > 0 && convolutions == frozen {
            call = ops::Tower::new(unrecorded(call)?, false);
        }
        let computed = match part {
            Part::Whole => true,
            Part::Rest => !is_frozen,
            Part::Front => is_frozen,
        };
        if computed {
            call = call.fitting(Stage {
                weight: layer.weight.clone().try_reshape_like(&(CO, GROUP, KERNEL, KERNEL))?,
                bias: layer.bias.clone().try_reshape_like(&(CO,))?,
                window: Window { kernel: KERNEL, stride: STRIDE, padding: PADDING },
                pool,
            });
        }
        Ok(Tower { call, part, frozen, convolutions: convolutions + 1 })
    }

    /// The feature maps.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    pub fn try_forward(self) -> Result<FeatureMaps<C, SIDE, D, T>, D::Err> {
        let batch = self.call.input().shape().0;
        self.maps()?.try_reshape_like(&(batch, Const, Const, Const))
    }

    /// The feature maps of the part that is computed, in sizes of their own.
    ///
    /// # Errors
    /// The device's own, as running out of memory.
    pub fn maps(self) -> Result<Images<D, T>, D::Err> {
        if self.in_front() { unrecorded(self.call) } else { self.call.maps() }
    }
}

/// The output of a tower that is not recorded for the backward pass.
fn unrecorded<D: ConvDevice, T: Tape<f32, D>>(call: ops::Tower<D, T>) -> Result<Images<D, T>, D::Err> {
    let (call, tape) = call.split_tape();
    Ok(call.maps()?.put_tape(tape))
}
