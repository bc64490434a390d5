//! A tower of convolutions as one operation, so that a device may keep what lies between them in a form of its own.

use dfdx::{
    shapes::HasShape,
    tensor::{NoneTape, SplitTape, Tape, Tensor},
};

use super::{Conv2d, ConvDevice, ConvOptions, Images, MaxPool2d, ShapeError, Window};

/// A convolution with ReLU, and a max-pooling where there is one.
#[derive(Debug, Clone)]
pub struct Stage<D: ConvDevice> {
    /// Output channels × input channels of a group × kernel × kernel.
    pub weight: Images<D>,
    /// One value for each output channel.
    pub bias: Tensor<(usize,), f32, D>,
    /// The convolution's window.
    pub window: Window,
    /// The pooling's window.
    pub pool: Option<Window>,
}

/// Stages that follow each other and fit.
#[derive(Debug)]
pub struct Tower<D: ConvDevice, T> {
    pub(super) input: Images<D, T>,
    pub(super) stages: Vec<Stage<D>>,
    pub(super) input_gradient: bool,
    /// Sizes of the output so far: channels, height, width.
    output: (usize, usize, usize),
}

impl<D: ConvDevice, T: Tape<f32, D>> Tower<D, T> {
    /// A tower of no stage yet, on `input` (batch × channels × height × width). Without `input_gradient`, the backward pass
    /// computes no gradient of the input: a network's first layers need none.
    #[must_use]
    pub fn new(input: Images<D, T>, input_gradient: bool) -> Self {
        let (_, channels, height, width) = *input.shape();
        Self { input, stages: Vec::new(), input_gradient, output: (channels, height, width) }
    }

    /// Adds a stage.
    ///
    /// # Errors
    /// Sizes that are zero or do not fit each other, as [`Conv2d::new`] and [`MaxPool2d::new`].
    pub fn stage(mut self, stage: Stage<D>) -> Result<Self, ShapeError> {
        let (channels, height, width) = self.output;
        let input = (self.input.shape().0, channels, height, width);
        Conv2d::<D, T>::check(input, *stage.weight.shape(), stage.bias.shape().0, stage.window)?;
        let mut output = (stage.weight.shape().0, stage.window.positions(height), stage.window.positions(width));
        if let Some(pool) = stage.pool {
            MaxPool2d::<D, T>::check((input.0, output.0, output.1, output.2), pool)?;
            output = (output.0, pool.positions(output.1), pool.positions(output.2));
        }
        self.stages.push(stage);
        self.output = output;
        Ok(self)
    }

    /// Like [`Tower::stage`], for a stage whose types have proved that it fits.
    pub(crate) fn fitting(mut self, stage: Stage<D>) -> Self {
        let positions = |side| {
            let side = stage.window.positions(side);
            stage.pool.map_or(side, |pool| pool.positions(side))
        };
        self.output = (stage.weight.shape().0, positions(self.output.1), positions(self.output.2));
        self.stages.push(stage);
        self
    }

    /// Input of the tower.
    #[must_use]
    pub fn input(&self) -> &Images<D, T> {
        &self.input
    }

    /// Whether what stands on the output must get a gradient.
    pub(crate) fn needs_gradient(&self) -> bool {
        self.input_gradient || !self.stages.is_empty()
    }

    /// The output: the input where there is no stage.
    pub(crate) fn maps(self) -> Result<Images<D, T>, D::Err> {
        if self.stages.is_empty() { Ok(self.input) } else { D::tower(self) }
    }

    /// The tower without its tape, and the tape.
    pub(crate) fn split_tape(self) -> (Tower<D, NoneTape>, T) {
        let (input, tape) = self.input.split_tape();
        (Tower { input, stages: self.stages, input_gradient: self.input_gradient, output: self.output }, tape)
    }

    /// Each convolution and pooling as an operation of the device's own.
    pub(super) fn one_by_one(self) -> Result<Images<D, T>, D::Err> {
        let mut images = self.input;
        let mut input_gradient = self.input_gradient;
        for Stage { weight, bias, window, pool } in self.stages {
            let options = ConvOptions { relu: true, input_gradient };
            images = D::conv2d(Conv2d::fitting(images, weight, bias, window, options))?;
            if let Some(window) = pool {
                images = D::max_pool2d(MaxPool2d::fitting(images, window))?;
            }
            input_gradient = true;
        }
        Ok(images)
    }
}
