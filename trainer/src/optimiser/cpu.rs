//! An optimiser's step of one tensor on [`Cpu`]: clipping, regularisation, rule, moving average and the gradient's return to zero
//! in one pass over memory, by all threads.
//!
//! Tensors' own memory is private to dfdx, so the weights are kept here as well and copied into the tensor after each
//! step. Every value depends on its own past alone, and norms are summed in pieces of a fixed length: results do not
//! depend on the number of threads.

use std::borrow::Cow;

use dfdx::{
    shapes::Shape,
    tensor::{Cpu, CpuError, Gradients, Tensor},
};
use rayon::prelude::*;

use super::{GradientNorm, NORM_EPSILON, NormUse, OptimiserOptions, OptimiserState, Rule, StatePart, Update};

/// Values that one thread works on at a time: 64 KiB of each vector.
const PIECE: usize = 1 << 14;

/// Weights of one tensor and what is remembered of it. Parts that are not kept are empty.
#[derive(Debug)]
pub struct CpuState {
    weights: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    average: Vec<f32>,
}

impl CpuState {
    fn get(&self, part: StatePart) -> &Vec<f32> {
        match part {
            StatePart::First => &self.first,
            StatePart::Second => &self.second,
            StatePart::Average => &self.average,
        }
    }

    /// A step by a gradient, for tensors of all shapes.
    fn update_by(&mut self, gradient: &mut [f32], update: &Update, norm: NormUse<'_, CpuNorm>) {
        match norm {
            NormUse::Clip(CpuNorm { scale, .. }) => {
                self.pieces(gradient).into_par_iter().for_each(|piece| piece.update(update, *scale));
            }
            // While the piece is in the cache anyway.
            NormUse::Measure(norm) => {
                let measured = |piece: Piece<'_>| {
                    let squares = sum_of_squares(piece.gradient);
                    piece.update(update, 1.0);
                    squares
                };
                let sums: Vec<f64> = self.pieces(gradient).into_par_iter().map(measured).collect();
                norm.squares += sums.iter().sum::<f64>();
            }
        }
    }

    /// All memory and the gradient, cut into pieces.
    fn pieces<'a>(&'a mut self, gradient: &'a mut [f32]) -> Vec<Piece<'a>> {
        let mut first = self.first.chunks_mut(PIECE);
        let mut second = self.second.chunks_mut(PIECE);
        let mut average = self.average.chunks_mut(PIECE);
        let weights = self.weights.chunks_mut(PIECE).zip(gradient.chunks_mut(PIECE));
        weights
            .map(|(weights, gradient)| Piece {
                weights,
                gradient,
                first: first.next().unwrap_or_default(),
                second: second.next().unwrap_or_default(),
                average: average.next().unwrap_or_default(),
            })
            .collect()
    }
}

impl OptimiserState<Cpu> for CpuState {
    type Norm = CpuNorm;

    fn new<S: Shape>(tensor: &Tensor<S, f32, Cpu>, options: &OptimiserOptions) -> Result<Self, CpuError> {
        let weights = tensor.as_vec();
        let zeros = |part: StatePart| if part.is_kept(options) { vec![0.0; weights.len()] } else { Vec::new() };
        Ok(Self {
            first: zeros(StatePart::First),
            second: zeros(StatePart::Second),
            average: if StatePart::Average.is_kept(options) { weights.clone() } else { Vec::new() },
            weights,
        })
    }

    fn norm(&self, _: &Cpu, _: usize) -> Result<CpuNorm, CpuError> {
        Ok(CpuNorm { squares: 0.0, scale: 1.0 })
    }

    fn update<S: Shape>(
        &mut self,
        update: &Update,
        norm: NormUse<'_, CpuNorm>,
        tensor: &mut Tensor<S, f32, Cpu>,
        gradients: &mut Gradients<f32, Cpu>,
    ) -> Result<(), CpuError> {
        self.update_by(gradients.get_or_alloc_mut(tensor)?, update, norm);
        tensor.copy_from(&self.weights);
        Ok(())
    }

    fn part(&self, part: StatePart) -> Option<Cow<'_, [f32]>> {
        let values = self.get(part);
        (!values.is_empty()).then(|| values.as_slice().into())
    }

    fn set_part(&mut self, part: StatePart, values: Vec<f32>) -> Result<(), CpuError> {
        if values.len() != self.weights.len() {
            return Err(CpuError::WrongNumElements);
        }
        match part {
            StatePart::First => self.first = values,
            StatePart::Second => self.second = values,
            StatePart::Average => self.average = values,
        }
        Ok(())
    }
}

/// The norm as numbers.
#[derive(Debug)]
pub struct CpuNorm {
    squares: f64,
    scale: f32,
}

impl CpuNorm {
    /// Adds a gradient, for tensors of all shapes.
    fn add_gradient(&mut self, gradient: &[f32]) {
        let sums: Vec<f64> = gradient.par_chunks(PIECE).map(sum_of_squares).collect();
        self.squares += sums.iter().sum::<f64>();
    }
}

impl GradientNorm<Cpu> for CpuNorm {
    fn add<S: Shape>(
        &mut self,
        tensor: &Tensor<S, f32, Cpu>,
        gradients: &mut Gradients<f32, Cpu>,
    ) -> Result<(), CpuError> {
        self.add_gradient(gradients.get_or_alloc_mut(tensor)?);
        Ok(())
    }

    fn limit(&mut self, largest: f64) -> Result<(), CpuError> {
        self.scale = (largest / (self.read() + NORM_EPSILON)).min(1.0) as f32;
        Ok(())
    }

    fn read(&self) -> f64 {
        self.squares.sqrt()
    }
}

/// Sum of squares in eight sums that do not wait for each other.
fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sums = [0.0; 8];
    let (rows, rest) = values.as_chunks::<8>();
    for row in rows {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += f64::from(*value) * f64::from(*value);
    }
    sums.iter().sum()
}

/// The same stretch of everything that belongs to a tensor.
struct Piece<'a> {
    weights: &'a mut [f32],
    gradient: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    average: &'a mut [f32],
}

impl Piece<'_> {
    fn update(self, update: &Update, gradient_scale: f32) {
        let Update { regularisation, shrink, rule, average_decay } = *update;
        let gradients = self.gradient.iter().zip(self.weights.iter());
        let gradients = gradients.map(|(g, w)| g * gradient_scale + w * regularisation);
        match rule {
            Rule::Adam { betas: [_, beta2], gains: [gain1, gain2], step_size, second_scale, epsilon } => {
                // In a loop of its own: with all the other slices the compiler would not vectorise.
                for ((first, second), g) in self.first.iter_mut().zip(&mut *self.second).zip(gradients) {
                    *first += gain1 * (g - *first);
                    *second = beta2 * *second + gain2 * (g * g);
                }
                for ((w, first), second) in self.weights.iter_mut().zip(&*self.first).zip(&*self.second) {
                    *w = *w * shrink - step_size * first / (second.sqrt() * second_scale + epsilon);
                }
            }
            Rule::Sgd { rate, .. } if self.first.is_empty() => {
                for (w, g) in self.weights.iter_mut().zip(&*self.gradient) {
                    *w -= rate * (g * gradient_scale + *w * regularisation);
                }
            }
            Rule::Sgd { momentum, rate } => {
                for (first, g) in self.first.iter_mut().zip(gradients) {
                    *first = momentum * *first + g;
                }
                for (w, first) in self.weights.iter_mut().zip(&*self.first) {
                    *w -= rate * first;
                }
            }
        }
        self.gradient.fill(0.0);
        if let Some(decay) = average_decay {
            for (average, w) in self.average.iter_mut().zip(&*self.weights) {
                *average += (1.0 - decay) * (w - *average);
            }
        }
    }
}
