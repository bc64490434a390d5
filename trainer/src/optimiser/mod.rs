//! Optimisers whose state can be read and set, so that training can stop and go on exactly: Adam, AdamW and SGD with
//! momentum, with weight decay, clipping of gradients by their global norm, and a moving average of the weights.
//!
//! There are three implementations of what happens to one tensor ([`Memory`]): [`portable`] is composed of dfdx's public
//! operations and runs on any dfdx device, [`cpu`] does everything in one pass over memory on all cores, `cuda` by one kernel.
//! The portable one is the oracle of the others. PyTorch's values hold it, too.

pub mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
pub mod portable;

use std::{borrow::Cow, marker::PhantomData};

use dfdx::{
    nn::{RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorMut, ViewTensorName},
    shapes::Shape,
    tensor::{Cpu, Gradients, Tensor},
    tensor_ops::Device,
};
use serde::{Deserialize, Serialize};

/// How weights follow from gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimiserName {
    /// Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1. Weight decay is L2 regularisation:
    /// added to the gradients.
    Adam,
    /// Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2: as Adam, but weight decay
    /// shrinks the weights and does not touch the gradients.
    AdamW,
    /// Stochastic gradient descent with momentum, as PyTorch's: `b = momentum·b + g`, `w -= rate·b`, the first `b` being
    /// the first gradient. Weight decay is L2 regularisation.
    Sgd,
}

impl OptimiserName {
    /// All of them, by their names on the command line.
    pub const NAMES: [(&'static str, Self); 3] = [("adam", Self::Adam), ("adamw", Self::AdamW), ("sgd", Self::Sgd)];
}

/// Everything that an optimiser is told, but for the learning rate, which may change with every step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptimiserOptions {
    /// The rule.
    pub name: OptimiserName,
    /// Factor of the weights in weight decay, at least 0.
    pub weight_decay: f64,
    /// SGD's momentum, 0 to 1. Adam has its own (0.9 and 0.999).
    pub momentum: f64,
    /// The largest L2 norm of all gradients together; larger ones are scaled down to it. None: they stay as they are.
    pub clip_norm: Option<f64>,
    /// Decay of the moving average of the weights, 0 to 1; none is kept where absent. See [`average_decay`].
    pub average: Option<f64>,
}

impl Default for OptimiserOptions {
    /// Adam without anything else.
    fn default() -> Self {
        Self { name: OptimiserName::Adam, weight_decay: 0.0, momentum: 0.9, clip_norm: None, average: None }
    }
}

/// Adam's decay rates of both moments, and what keeps its quotient finite: PyTorch's defaults.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// Added to the norm where gradients are scaled by `clip_norm / norm`: PyTorch's value.
const NORM_EPSILON: f64 = 1e-6;

/// What an optimiser remembers of a tensor, beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Moving average of the gradients (Adam), or momentum (SGD).
    First,
    /// Moving average of the squared gradients (Adam).
    Second,
    /// Moving average of the weights.
    Average,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::First, Self::Second, Self::Average];

    /// Whether an optimiser with these options has it.
    pub fn is_kept(self, options: &OptimiserOptions) -> bool {
        match self {
            Self::First => options.name != OptimiserName::Sgd || options.momentum > 0.0,
            Self::Second => options.name != OptimiserName::Sgd,
            Self::Average => options.average.is_some(),
        }
    }

    /// Its name in checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
            Self::Average => "average",
        }
    }
}

/// A device on which an optimiser can run.
pub trait OptimiserDevice: Device<f32> {
    /// What is remembered of one tensor, and how it is updated.
    type Memory: Memory<Self>;
}

impl OptimiserDevice for Cpu {
    type Memory = cpu::CpuMemory;
}

#[cfg(feature = "cuda")]
impl OptimiserDevice for dfdx::tensor::Cuda {
    type Memory = cuda::CudaMemory;
}

/// What an optimiser remembers of one tensor of a network. Everything starts at zero, the average at the tensor's value.
pub trait Memory<D: Device<f32>>: Sized {
    /// The norm of all gradients, where they are clipped by it.
    type Norm: GradientNorm<D>;

    /// Memory for `tensor` with the parts that `options` need.
    ///
    /// # Errors
    /// The device's own.
    fn new<S: Shape>(tensor: &Tensor<S, f32, D>, options: &OptimiserOptions) -> Result<Self, D::Err>;

    /// The norm of no gradient yet, for as many tensors as there will be, to be used with memory of the same kind.
    ///
    /// # Errors
    /// The device's own.
    fn norm(&self, device: &D, tensors: usize) -> Result<Self::Norm, D::Err>;

    /// One step: changes `tensor` and what is remembered, and leaves the gradient zero. With `norm`, the gradient is clipped
    /// by it.
    ///
    /// # Errors
    /// The device's own.
    fn update<S: Shape>(
        &mut self,
        update: &Update,
        norm: Option<&Self::Norm>,
        tensor: &mut Tensor<S, f32, D>,
        gradients: &mut Gradients<f32, D>,
    ) -> Result<(), D::Err>;

    /// The values of a part in row-major order; none where the options do not need it.
    fn part(&self, part: Part) -> Option<Cow<'_, [f32]>>;

    /// Replaces a part that there is.
    ///
    /// # Errors
    /// The device's own.
    fn set_part(&mut self, part: Part, values: Vec<f32>) -> Result<(), D::Err>;
}

/// The L2 norm of all gradients together, and the factor `min(1, largest / norm)` that clips them. Both stay where the device
/// computes them: nobody waits for them before [`GradientNorm::read`].
pub trait GradientNorm<D: Device<f32>>: Sized {
    /// Takes `tensor`'s gradient in.
    ///
    /// # Errors
    /// The device's own.
    fn add<S: Shape>(&mut self, tensor: &Tensor<S, f32, D>, gradients: &mut Gradients<f32, D>) -> Result<(), D::Err>;

    /// Makes the factor from the largest norm that there may be, after all gradients are in.
    ///
    /// # Errors
    /// The device's own.
    fn limit(&mut self, largest: f64) -> Result<(), D::Err>;

    /// The norm, before clipping.
    fn read(&self) -> f64;
}

/// The numbers of one step, the same for every value of every tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// Factor of the weights that is added to the gradients.
    pub regularisation: f32,
    /// Factor of the weights before the step is taken.
    pub shrink: f32,
    /// The rule with its own numbers.
    pub rule: Rule,
    /// Decay of the moving average of the weights in this step, where one is kept.
    pub average_decay: Option<f32>,
}

/// How a step follows from a gradient `g` that is clipped and regularised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// `m = β₁·m + (1 − β₁)·g`, `v = β₂·v + (1 − β₂)·g²`, `w -= step_size · m / (√v · second_scale + epsilon)`.
    Adam {
        /// β₁ and β₂.
        betas: [f32; 2],
        /// `1 − β₁` and `1 − β₂`: in `f32` the difference would be off by 5e-5 of itself.
        gains: [f32; 2],
        /// Learning rate over `1 − β₁ᵗ`.
        step_size: f32,
        /// `1 / √(1 − β₂ᵗ)`.
        second_scale: f32,
        /// What keeps the quotient finite.
        epsilon: f32,
    },
    /// `b = momentum·b + g`, `w -= rate · b`.
    Sgd {
        /// The momentum.
        momentum: f32,
        /// Learning rate.
        rate: f32,
    },
}

impl Update {
    /// The numbers of step `step` (from 1).
    fn new(options: &OptimiserOptions, step: u64, learning_rate: f64) -> Self {
        let decoupled = options.name == OptimiserName::AdamW;
        // Beyond two thousand million steps the corrections have long been 1.
        let power = |beta: f64| beta.powi(i32::try_from(step).unwrap_or(i32::MAX));
        let rule = match options.name {
            OptimiserName::Adam | OptimiserName::AdamW => Rule::Adam {
                betas: BETAS.map(|beta| beta as f32),
                gains: BETAS.map(|beta| (1.0 - beta) as f32),
                step_size: (learning_rate / (1.0 - power(BETAS[0]))) as f32,
                second_scale: (1.0 - power(BETAS[1])).sqrt().recip() as f32,
                epsilon: EPSILON as f32,
            },
            OptimiserName::Sgd => Rule::Sgd { momentum: options.momentum as f32, rate: learning_rate as f32 },
        };
        Self {
            regularisation: if decoupled { 0.0 } else { options.weight_decay as f32 },
            shrink: if decoupled { (1.0 - learning_rate * options.weight_decay) as f32 } else { 1.0 },
            rule,
            average_decay: options.average.map(|decay| average_decay(decay, step) as f32),
        }
    }
}

/// Decay of the weights' moving average in step `step` (from 1): `min(decay, (1 + step) / (10 + step))`, so that the
/// average of a short run does not remember the random weights that it began with.
pub fn average_decay(decay: f64, step: u64) -> f64 {
    decay.min((1 + step) as f64 / (10 + step) as f64)
}

/// An optimiser for the tensors of one module.
#[derive(Debug)]
pub struct Optimiser<D: OptimiserDevice, Y: Memory<D> = <D as OptimiserDevice>::Memory> {
    options: OptimiserOptions,
    steps: u64,
    tensors: Vec<(String, Y)>,
    device: PhantomData<D>,
}

impl<D: OptimiserDevice, Y: Memory<D>> Optimiser<D, Y> {
    /// An optimiser that has not made a step. It belongs to `module` as it is: change its weights by
    /// [`Optimiser::step`] alone, or make a new optimiser.
    ///
    /// # Errors
    /// The device's own.
    pub fn new<M: TensorCollection<f32, D>>(module: &mut M, options: OptimiserOptions) -> Result<Self, D::Err> {
        let mut tensors = Vec::new();
        visit(module, |name, tensor| {
            tensors.push((name, tensor.memory(&options)?));
            Ok(())
        })?;
        Ok(Self { options, steps: 0, tensors, device: PhantomData })
    }

    /// Changes the weights of `module` by `gradients`, which are zero afterwards. Returns the gradients' L2 norm before
    /// clipping, where they are clipped.
    ///
    /// # Errors
    /// The device's own.
    pub fn step<M: TensorCollection<f32, D>>(
        &mut self,
        module: &mut M,
        gradients: &mut Gradients<f32, D>,
        learning_rate: f64,
    ) -> Result<Option<Y::Norm>, D::Err> {
        let norm = match self.options.clip_norm {
            Some(largest) => self.norm(module, gradients, largest)?,
            None => None,
        };
        self.steps += 1;
        let update = Update::new(&self.options, self.steps, learning_rate);
        let mut memories = self.tensors.iter_mut();
        visit(module, |_, tensor| match memories.next() {
            Some((_, memory)) => tensor.update(memory, &update, norm.as_ref(), gradients),
            None => Ok(()),
        })?;
        Ok(norm)
    }

    /// The norm of the gradients of `module`'s tensors, and the factor that makes it `largest` at most; none where there are
    /// no tensors.
    fn norm<M: TensorCollection<f32, D>>(
        &self,
        module: &mut M,
        gradients: &mut Gradients<f32, D>,
        largest: f64,
    ) -> Result<Option<Y::Norm>, D::Err> {
        let Some((_, memory)) = self.tensors.first() else { return Ok(None) };
        let mut norm = None;
        visit::<D, Y, M>(module, |_, tensor| {
            let so_far = norm.take().map_or_else(|| tensor.norm(memory, self.tensors.len()), Ok)?;
            tensor.add_to(norm.insert(so_far), gradients)
        })?;
        if let Some(norm) = &mut norm {
            norm.limit(largest)?;
        }
        Ok(norm)
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// A part of what is remembered, by the names of the module's tensors in their order; nothing where the options do
    /// not need it.
    pub fn part(&self, part: Part) -> impl Iterator<Item = (&str, Cow<'_, [f32]>)> {
        self.tensors.iter().filter_map(move |(name, memory)| Some((name.as_str(), memory.part(part)?)))
    }

    /// Goes on where another optimiser of the same options and module was after `steps` steps. `take` gives the values
    /// that [`Optimiser::part`] gave there, for each part that is kept and each tensor.
    ///
    /// # Errors
    /// The first of `take`; the device's own.
    pub fn restore<E: From<D::Err>>(
        &mut self,
        steps: u64,
        mut take: impl FnMut(Part, &str) -> Result<Vec<f32>, E>,
    ) -> Result<(), E> {
        for part in Part::ALL.into_iter().filter(|part| part.is_kept(&self.options)) {
            for (name, memory) in &mut self.tensors {
                memory.set_part(part, take(part, name)?)?;
            }
        }
        self.steps = steps;
        Ok(())
    }

    /// A copy of `module` with the moving average of its weights; none where no average is kept.
    ///
    /// # Errors
    /// The device's own.
    pub fn averaged<M: TensorCollection<f32, D> + Clone>(&self, module: &M) -> Result<Option<M>, D::Err> {
        if self.options.average.is_none() {
            return Ok(None);
        }
        let mut averaged = module.clone();
        let mut memories = self.tensors.iter();
        visit::<D, Y, M>(&mut averaged, |_, tensor| {
            if let Some(values) = memories.next().and_then(|(_, memory)| memory.part(Part::Average)) {
                tensor.copy_from(&values);
            }
            Ok(())
        })?;
        Ok(Some(averaged))
    }
}

/// A tensor whose shape is not in its type: a closure can take it.
trait AnyTensor<D: OptimiserDevice, Y: Memory<D>> {
    fn memory(&self, options: &OptimiserOptions) -> Result<Y, D::Err>;
    fn norm(&self, memory: &Y, tensors: usize) -> Result<Y::Norm, D::Err>;
    fn add_to(&self, norm: &mut Y::Norm, gradients: &mut Gradients<f32, D>) -> Result<(), D::Err>;
    fn update(
        &mut self,
        memory: &mut Y,
        update: &Update,
        norm: Option<&Y::Norm>,
        gradients: &mut Gradients<f32, D>,
    ) -> Result<(), D::Err>;
    fn copy_from(&mut self, values: &[f32]);
}

impl<S: Shape, D: OptimiserDevice, Y: Memory<D>> AnyTensor<D, Y> for Tensor<S, f32, D> {
    fn memory(&self, options: &OptimiserOptions) -> Result<Y, D::Err> {
        Y::new(self, options)
    }

    fn norm(&self, memory: &Y, tensors: usize) -> Result<Y::Norm, D::Err> {
        memory.norm(self.device(), tensors)
    }

    fn add_to(&self, norm: &mut Y::Norm, gradients: &mut Gradients<f32, D>) -> Result<(), D::Err> {
        norm.add(self, gradients)
    }

    fn update(
        &mut self,
        memory: &mut Y,
        update: &Update,
        norm: Option<&Y::Norm>,
        gradients: &mut Gradients<f32, D>,
    ) -> Result<(), D::Err> {
        memory.update(update, norm, self, gradients)
    }

    fn copy_from(&mut self, values: &[f32]) {
        Self::copy_from(self, values);
    }
}

/// Calls `act` with every tensor of a module and its name, in the module's order.
fn visit<D, Y, M>(
    module: &mut M,
    act: impl FnMut(String, &mut dyn AnyTensor<D, Y>) -> Result<(), D::Err>,
) -> Result<(), D::Err>
where
    D: OptimiserDevice,
    Y: Memory<D>,
    M: TensorCollection<f32, D>,
{
    let mut visitor = Act { act, types: PhantomData };
    M::iter_tensors(&mut RecursiveWalker { m: (module, String::new()), f: &mut visitor })?;
    Ok(())
}

struct Act<F, D, Y> {
    act: F,
    types: PhantomData<(D, Y)>,
}

impl<D, Y, F> TensorVisitor<f32, D> for Act<F, D, Y>
where
    D: OptimiserDevice,
    Y: Memory<D>,
    F: FnMut(String, &mut dyn AnyTensor<D, Y>) -> Result<(), D::Err>,
{
    type Viewer = (ViewTensorMut, ViewTensorName);
    type Err = D::Err;
    type E2 = f32;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, f32, D>,
        (tensor, name): (&mut Tensor<S, f32, D>, String),
    ) -> Result<Option<Tensor<S, f32, D>>, D::Err> {
        (self.act)(name, tensor)?;
        Ok(None)
    }
}
