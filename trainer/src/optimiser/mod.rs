//! Optimisers whose state can be read and set, so that training can stop and go on exactly: Adam, AdamW and SGD with
//! momentum, with weight decay, clipping of gradients by their global norm, and a moving average of the weights.
//!
//! There are three implementations of what happens to one tensor ([`OptimiserState`]): [`portable`] is composed of dfdx's public
//! operations and runs on any dfdx device, [`cpu`] does everything in one pass over memory on all cores, `cuda` by one kernel.
//! The portable one is the oracle of the others; tests compare it with values by PyTorch.

pub mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
pub mod portable;
mod rule;
mod state;

use std::{borrow::Cow, marker::PhantomData};

use dfdx::{
    nn::{RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorMut, ViewTensorName},
    shapes::Shape,
    tensor::{Gradients, HasErr, Tensor},
};

use self::state::NORM_EPSILON;
pub use self::{
    rule::{OptimiserName, OptimiserOptions, Rule, Update, average_decay},
    state::{GradientNorm, NormUse, OptimiserDevice, OptimiserState, StatePart},
};

/// An optimiser for the tensors of one module.
#[derive(Debug)]
pub struct Optimiser<D: OptimiserDevice, Y: OptimiserState<D> = <D as OptimiserDevice>::State> {
    options: OptimiserOptions,
    steps: u64,
    tensors: Vec<Learner<Y>>,
    device: PhantomData<D>,
}

/// A tensor by its name, and how it learns.
#[derive(Debug)]
struct Learner<Y> {
    name: String,
    /// Its state, and the factor of the learning rate; none of a frozen tensor, which does not change.
    state: Option<(Y, f64)>,
}

impl<D: OptimiserDevice, Y: OptimiserState<D>> Optimiser<D, Y> {
    /// An optimiser that has not made a step. It belongs to `module` as it is: change its weights by
    /// [`Optimiser::step`] alone, or make a new optimiser.
    ///
    /// # Errors
    /// The device's own.
    pub fn new<M: TensorCollection<f32, D>>(module: &mut M, options: OptimiserOptions) -> Result<Self, D::Err> {
        Self::with_rates(module, options, |_| Some(1.0))
    }

    /// Like [`Optimiser::new`], with a factor of the learning rate for each tensor by its name. Where `rate` gives none, the tensor
    /// is frozen: it has no state, no step changes it, and its gradient counts for nothing.
    ///
    /// # Errors
    /// The device's own.
    pub fn with_rates<M: TensorCollection<f32, D>>(
        module: &mut M,
        options: OptimiserOptions,
        rate: impl Fn(&str) -> Option<f64>,
    ) -> Result<Self, D::Err> {
        let mut tensors = Vec::new();
        visit(module, &mut |name, tensor| {
            let state = rate(&name).map(|rate| Ok((tensor.state(&options)?, rate))).transpose()?;
            tensors.push(Learner { name, state });
            Ok(())
        })?;
        Ok(Self { options, steps: 0, tensors, device: PhantomData })
    }

    /// Changes the weights of `module` by `gradients`, which are zero afterwards. Returns the gradients' L2 norm before clipping;
    /// none of a module without tensors that learn.
    ///
    /// # Errors
    /// The device's own.
    pub fn step<M: TensorCollection<f32, D>>(
        &mut self,
        module: &mut M,
        gradients: &mut Gradients<f32, D>,
        learning_rate: f64,
    ) -> Result<Option<Y::Norm>, D::Err> {
        let clip = self.options.clip_norm;
        let mut norm = match clip {
            Some(largest) => self.norm(module, gradients, largest)?,
            None => None,
        };
        self.steps += 1;
        let count = self.tensors.len();
        let mut learners = self.tensors.iter_mut();
        visit::<D, Y, M>(module, &mut |_, tensor| {
            let Some((state, rate)) = learners.next().and_then(|learner| learner.state.as_mut()) else { return Ok(()) };
            let update = Update::new(&self.options, self.steps, learning_rate * *rate);
            let so_far = norm.take().map_or_else(|| tensor.norm(state, count), Ok)?;
            let so_far = norm.insert(so_far);
            let norm = if clip.is_some() { NormUse::Clip(&*so_far) } else { NormUse::Measure(so_far) };
            tensor.update(state, &update, norm, gradients)
        })?;
        if let (Some(norm), None) = (&mut norm, clip) {
            norm.limit(f64::INFINITY)?;
        }
        Ok(norm)
    }

    /// The norm of the gradients of `module`'s tensors that learn, and the factor that makes it `largest` at most; none where there
    /// are no such tensors.
    fn norm<M: TensorCollection<f32, D>>(
        &self,
        module: &mut M,
        gradients: &mut Gradients<f32, D>,
        largest: f64,
    ) -> Result<Option<Y::Norm>, D::Err> {
        let mut norm = None;
        let mut learners = self.tensors.iter();
        visit::<D, Y, M>(module, &mut |_, tensor| {
            let Some((state, _)) = learners.next().and_then(|learner| learner.state.as_ref()) else { return Ok(()) };
            let so_far = norm.take().map_or_else(|| tensor.norm(state, self.tensors.len()), Ok)?;
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

    /// A part of what is remembered, by the names of the module's tensors that learn in their order; nothing where the options do
    /// not need it.
    pub fn part(&self, part: StatePart) -> impl Iterator<Item = (&str, Cow<'_, [f32]>)> {
        self.tensors.iter().filter_map(move |Learner { name, state }| {
            let (state, _) = state.as_ref()?;
            Some((name.as_str(), state.part(part)?))
        })
    }

    /// Goes on where another optimiser of the same options and module was after `steps` steps. `take` gives the values
    /// that [`Optimiser::part`] gave there, for each part that is kept and each tensor.
    ///
    /// # Errors
    /// The first of `take`; the device's own.
    pub fn restore<E: From<D::Err>>(
        &mut self,
        steps: u64,
        mut take: impl FnMut(StatePart, &str) -> Result<Vec<f32>, E>,
    ) -> Result<(), E> {
        for part in StatePart::ALL.into_iter().filter(|part| part.is_kept(&self.options)) {
            for Learner { name, state } in &mut self.tensors {
                if let Some((state, _)) = state {
                    state.set_part(part, take(part, name)?)?;
                }
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
        let mut learners = self.tensors.iter();
        visit::<D, Y, M>(&mut averaged, &mut |_, tensor| {
            let state = learners.next().and_then(|learner| learner.state.as_ref());
            if let Some(values) = state.and_then(|(state, _)| state.part(StatePart::Average)) {
                tensor.copy_from(&values);
            }
            Ok(())
        })?;
        Ok(Some(averaged))
    }
}

/// A tensor whose shape is not in its type: a closure can take it.
trait AnyTensor<D: OptimiserDevice, Y: OptimiserState<D>> {
    fn state(&self, options: &OptimiserOptions) -> Result<Y, D::Err>;
    fn norm(&self, state: &Y, tensors: usize) -> Result<Y::Norm, D::Err>;
    fn add_to(&self, norm: &mut Y::Norm, gradients: &mut Gradients<f32, D>) -> Result<(), D::Err>;
    fn update(
        &mut self,
        state: &mut Y,
        update: &Update,
        norm: NormUse<'_, Y::Norm>,
        gradients: &mut Gradients<f32, D>,
    ) -> Result<(), D::Err>;
    fn copy_from(&mut self, values: &[f32]);
}

impl<S: Shape, D: OptimiserDevice, Y: OptimiserState<D>> AnyTensor<D, Y> for Tensor<S, f32, D> {
    fn state(&self, options: &OptimiserOptions) -> Result<Y, D::Err> {
        Y::new(self, options)
    }

    fn norm(&self, state: &Y, tensors: usize) -> Result<Y::Norm, D::Err> {
        state.norm(self.device(), tensors)
    }

    fn add_to(&self, norm: &mut Y::Norm, gradients: &mut Gradients<f32, D>) -> Result<(), D::Err> {
        norm.add(self, gradients)
    }

    fn update(
        &mut self,
        state: &mut Y,
        update: &Update,
        norm: NormUse<'_, Y::Norm>,
        gradients: &mut Gradients<f32, D>,
    ) -> Result<(), D::Err> {
        state.update(update, norm, self, gradients)
    }

    fn copy_from(&mut self, values: &[f32]) {
        Self::copy_from(self, values);
    }
}

/// Something to do with a tensor and its name. Walks through a network's fields take long to compile: each network has one for all
/// that an optimiser does.
type Act<'a, D, Y> = dyn FnMut(String, &mut dyn AnyTensor<D, Y>) -> Result<(), <D as HasErr>::Err> + 'a;

/// Calls `act` with every tensor of a module and its name, in the module's order.
fn visit<D, Y, M>(module: &mut M, act: &mut Act<'_, D, Y>) -> Result<(), D::Err>
where
    D: OptimiserDevice,
    Y: OptimiserState<D>,
    M: TensorCollection<f32, D>,
{
    M::iter_tensors(&mut RecursiveWalker { m: (module, String::new()), f: &mut Visitor { act } })?;
    Ok(())
}

struct Visitor<'a, 'b, D: OptimiserDevice, Y: OptimiserState<D>> {
    act: &'a mut Act<'b, D, Y>,
}

impl<D: OptimiserDevice, Y: OptimiserState<D>> TensorVisitor<f32, D> for Visitor<'_, '_, D, Y> {
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
