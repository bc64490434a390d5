//! An optimiser's step of one tensor, composed of dfdx's public operations: for any dfdx device, and the oracle of the fast one.

use std::borrow::Cow;

use dfdx::{
    shapes::{HasShape, Rank0, Shape},
    tensor::{Gradients, Tensor},
    tensor_ops::{BroadcastTo, Device, ReshapeTo, SumTo, TryAdd, TryDiv, TryMul},
};

use super::{GradientNorm, NORM_EPSILON, NormUse, OptimiserOptions, OptimiserState, Rule, StatePart, Update};

type Vector<D> = Tensor<(usize,), f32, D>;

/// State of one tensor, flattened. Parts that are not kept are absent.
#[derive(Debug)]
pub struct PortableState<D: Device<f32>> {
    device: D,
    parts: [Option<Vector<D>>; 3],
}

/// Where a part stands in [`PortableState::parts`].
fn index(part: StatePart) -> usize {
    match part {
        StatePart::First => 0,
        StatePart::Second => 1,
        StatePart::Average => 2,
    }
}

fn flat<S: Shape, D: Device<f32>>(tensor: Tensor<S, f32, D>) -> Result<Vector<D>, D::Err> {
    let length = tensor.shape().num_elements();
    tensor.try_reshape_like(&(length,))
}

impl<D: Device<f32>> OptimiserState<D> for PortableState<D> {
    type Norm = PortableNorm<D>;

    fn new<S: Shape>(tensor: &Tensor<S, f32, D>, options: &OptimiserOptions) -> Result<Self, D::Err> {
        let device = tensor.device().clone();
        let mut parts = [const { None }; 3];
        for part in StatePart::ALL.into_iter().filter(|part| part.is_kept(options)) {
            parts[index(part)] = Some(match part {
                StatePart::First | StatePart::Second => device.try_zeros_like(&(tensor.shape().num_elements(),))?,
                StatePart::Average => flat(tensor.clone())?,
            });
        }
        Ok(Self { device, parts })
    }

    fn norm(&self, device: &D, _: usize) -> Result<PortableNorm<D>, D::Err> {
        Ok(PortableNorm { value: device.try_zeros()?, scale: device.try_ones()? })
    }

    fn update<S: Shape>(
        &mut self,
        update: &Update,
        norm: NormUse<'_, PortableNorm<D>>,
        tensor: &mut Tensor<S, f32, D>,
        gradients: &mut Gradients<f32, D>,
    ) -> Result<(), D::Err> {
        gradients.try_alloc_for(tensor)?;
        let shape = *tensor.shape();
        let clip = match norm {
            NormUse::Clip(norm) => Some(norm),
            NormUse::Measure(norm) => {
                norm.add(tensor, gradients)?;
                None
            }
        };
        let mut gradient = gradients.get(tensor);
        self.device.try_fill_with_zeros(gradients.get_or_alloc_mut(tensor)?)?;
        if let Some(norm) = clip {
            gradient = gradient.try_mul(norm.scale.clone().try_broadcast_like(&shape)?)?;
        }
        gradient.try_axpy(1.0, tensor, update.regularisation)?;
        let gradient = flat(gradient)?;
        let [first, second, average] = &mut self.parts;
        let (step, size) = match (update.rule, first, second) {
            (Rule::Adam { betas, gains, step_size, second_scale, epsilon }, Some(first), Some(second)) => {
                first.try_axpy(betas[0], &gradient, gains[0])?;
                second.try_axpy(betas[1], &gradient.try_square()?, gains[1])?;
                let divisor = second.clone().try_sqrt()?.try_mul(second_scale)?;
                let divisor = divisor.try_add(epsilon)?;
                (first.clone().try_div(divisor)?, step_size)
            }
            (Rule::Sgd { momentum, rate }, Some(first), _) => {
                first.try_axpy(momentum, &gradient, 1.0)?;
                (first.clone(), rate)
            }
            (Rule::Sgd { rate, .. } | Rule::Adam { step_size: rate, .. }, ..) => (gradient, rate),
        };
        tensor.try_axpy(update.shrink, &step.try_reshape_like(&shape)?, -size)?;
        if let (Some(average), Some(decay)) = (average, update.average_decay) {
            average.try_axpy(decay, &flat(tensor.clone())?, 1.0 - decay)?;
        }
        Ok(())
    }

    fn part(&self, part: StatePart) -> Option<Cow<'_, [f32]>> {
        self.parts[index(part)].as_ref().map(|values| values.as_vec().into())
    }

    fn set_part(&mut self, part: StatePart, values: Vec<f32>) -> Result<(), D::Err> {
        let length = values.len();
        self.parts[index(part)] = Some(self.device.try_tensor_from_vec(values, (length,))?);
        Ok(())
    }
}

/// The norm as a tensor of one value.
#[derive(Debug)]
pub struct PortableNorm<D: Device<f32>> {
    /// The sum of squares; then the norm.
    value: Tensor<Rank0, f32, D>,
    scale: Tensor<Rank0, f32, D>,
}

impl<D: Device<f32>> GradientNorm<D> for PortableNorm<D> {
    fn add<S: Shape>(&mut self, tensor: &Tensor<S, f32, D>, gradients: &mut Gradients<f32, D>) -> Result<(), D::Err> {
        gradients.try_alloc_for(tensor)?;
        let squares = flat(gradients.get(tensor))?.try_square()?.try_sum::<Rank0, _>()?;
        self.value.try_axpy(1.0, &squares, 1.0)
    }

    fn limit(&mut self, largest: f64) -> Result<(), D::Err> {
        self.value = self.value.clone().try_sqrt()?;
        let scale = self.scale.clone().try_mul(largest as f32)?;
        self.scale = scale.try_div(self.value.clone().try_add(NORM_EPSILON as f32)?)?.try_clamp(0.0, 1.0)?;
        Ok(())
    }

    fn read(&self) -> f64 {
        self.value.as_vec().into_iter().map(f64::from).sum()
    }
}
