//! Linear layers of low rank: a layer is replaced by two factors, by the principal components of what it puts out for real images.
//!
//! Of a layer `y = W·x + b`, let m be the mean of `W·x` over the calibration images, and U the r orthonormal directions in which
//! `W·x` varies most: the eigenvectors of its covariance with the largest eigenvalues. Then `y ≈ U·(Uᵀ·W·x − Uᵀ·m) + (m + b)`,
//! and no other pair of factors of that rank has a smaller squared error on these images. The first factor is `Uᵀ·W` with
//! bias `−Uᵀ·m`, the second one U with bias `m + b`.
//!
//! Zhang et al., "Accelerating very deep convolutional networks for classification and detection", 2016, section 3.1.

use infer_core::describe::{Description, Layer};
use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::{CompressError, Floats, Trained};

/// A network of low rank, and how much of each layer it keeps.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// Its weights.
    pub trained: Trained,
    /// The layers that were replaced by two factors.
    pub layers: Vec<Kept>,
}

/// Part of a layer that its factors keep.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The layer.
    pub layer: &'static str,
    /// Share of the variance of its outputs, 0 to 1.
    pub variance: f64,
}

/// Makes weights for the network `target`, whose layers are those of `trained`, but some that are pairs of factors: `linear1a` and
/// `linear1b` for `linear1`. `inputs` are those of calibration images.
///
/// # Errors
/// [`CompressError`]; the layers of `target` are others.
pub fn factorise(trained: &Trained, target: &'static Description, inputs: &[f32]) -> Result<LowRank, CompressError> {
    let source: Vec<Layer> = trained.description.layers(trained.classes).collect();
    let mut expected = target.layers(trained.classes).filter(|layer| layer.tensors.is_some());
    let other = || CompressError::Network(target.name.to_string());
    let (mut layers, mut kept) = (Vec::new(), Vec::new());
    let mut weights = trained.layers.iter();
    // Inputs of the next layer, an image a column, where a layer before it was replaced.
    let mut vectors: Option<DMatrix<f32>> = None;
    for (number, layer) in source.iter().enumerate().filter(|(_, layer)| layer.tensors.is_some()) {
        let (weight, bias) = weights.next().ok_or_else(other)?;
        let found = expected.next().ok_or_else(other)?;
        if found.name == layer.name && found.weight_sizes() == layer.weight_sizes() {
            layers.push((weight.clone(), bias.clone()));
            continue;
        }
        let second = expected.next().ok_or_else(other)?;
        let rank = found.output.channels;
        let fits = found.input.values() == layer.input.values()
            && second.input.channels == rank
            && second.output == layer.output
            && !found.relu();
        if !fits {
            return Err(other());
        }
        let inputs = match vectors.take() {
            Some(vectors) => vectors,
            None => layer_inputs(trained, number, inputs)?,
        };
        let (factors, variance) = factors(weight, bias, &inputs, rank);
        kept.push(Kept { layer: layer.name, variance });
        vectors = Some(factors.outputs(&inputs));
        layers.push((factors.first, factors.first_bias));
        layers.push((factors.second, factors.second_bias));
    }
    if expected.next().is_some() {
        return Err(other());
    }
    let trained = Trained { description: target, classes: trained.classes, layers };
    Ok(LowRank { trained, layers: kept })
}

/// Inputs of the layer of that number, an image a column, in channel, row, column order.
fn layer_inputs(trained: &Trained, number: usize, inputs: &[f32]) -> Result<DMatrix<f32>, CompressError> {
    let maps = trained.description.layers(trained.classes).nth(number).map(|layer| layer.input);
    let maps = maps.ok_or(CompressError::NoImages)?;
    let Some(before) = number.checked_sub(1) else {
        return Ok(DMatrix::from_column_slice(maps.values(), inputs.len() / maps.values(), inputs));
    };
    let positions = maps.side * maps.side;
    let mut values = Vec::new();
    Floats::new(&trained.weights())?.observe(inputs, |layer, outputs| {
        if layer != before {
            return;
        }
        if positions == 1 {
            // Vectors come in batches, each filled up.
            let stride = maps.channels.next_multiple_of(kernels::BLOCK);
            outputs.chunks_exact(stride).for_each(|vector| values.extend_from_slice(&vector[..maps.channels]));
        } else {
            let pixel = outputs.len() / positions;
            for channel in 0..maps.channels {
                values.extend((0..positions).map(|position| outputs[position * pixel + channel]));
            }
        }
    })?;
    Ok(DMatrix::from_vec(maps.values(), values.len() / maps.values(), values))
}

/// Two factors of a linear layer, row-major.
struct Factors {
    first: Vec<f32>,
    first_bias: Vec<f32>,
    second: Vec<f32>,
    second_bias: Vec<f32>,
}

impl Factors {
    /// The outputs after ReLU for some inputs, a column each.
    fn outputs(&self, inputs: &DMatrix<f32>) -> DMatrix<f32> {
        let layer = |weight: &[f32], bias: &[f32], inputs: &DMatrix<f32>| {
            let mut outputs = DMatrix::from_column_slice(inputs.nrows(), bias.len(), weight).tr_mul(inputs);
            let bias = DVector::from_column_slice(bias);
            outputs.column_iter_mut().for_each(|mut column| column += &bias);
            outputs
        };
        let hidden = layer(&self.first, &self.first_bias, inputs);
        layer(&self.second, &self.second_bias, &hidden).map(|value| value.max(0.0))
    }
}

/// The factors of a layer, and the share of the variance that they keep. `inputs` has an image a column.
fn factors(weight: &[f32], bias: &[f32], inputs: &DMatrix<f32>, rank: usize) -> (Factors, f64) {
    let (fan_in, outputs) = (inputs.nrows(), bias.len());
    // The weight's rows are the columns here.
    let weight = DMatrix::from_column_slice(fan_in, outputs, weight);
    let mut products = weight.tr_mul(inputs).cast::<f64>();
    let mean = products.column_mean();
    products.column_iter_mut().for_each(|mut column| column -= &mean);
    // The products of the images with each other have the eigenvalues of the covariance, and fewer rows.
    let eigen = SymmetricEigen::new(products.tr_mul(&products));
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let total: f64 = eigen.eigenvalues.iter().map(|value| value.max(0.0)).sum();
    let mut directions = DMatrix::<f64>::zeros(outputs, rank);
    let mut kept = 0.0;
    for (mut direction, place) in directions.column_iter_mut().zip(order) {
        let value = eigen.eigenvalues[place];
        // Beyond the number of images, or of what varies, there is nothing left: a factor of zeros.
        if value > total * 1e-12 {
            direction.copy_from(&(&products * eigen.eigenvectors.column(place) / value.sqrt()));
            kept += value;
        }
    }
    let narrow = |values: &DMatrix<f64>| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
    let factors = Factors {
        // Column by column, which are the rows of the factor.
        first: narrow(&(weight.cast::<f64>() * &directions)),
        first_bias: directions.tr_mul(&mean).iter().map(|value| -*value as f32).collect(),
        second: narrow(&directions.transpose()),
        second_bias: mean.iter().zip(bias).map(|(mean, bias)| (mean + f64::from(*bias)) as f32).collect(),
    };
    (factors, if total > 0.0 { kept / total } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    fn values(count: usize, seed: u64) -> Vec<f32> {
        let mut random = crate::random::generator(seed, b"low rank", 0, 0);
        (0..count).map(|_| random.gen_range(-1.0..1.0)).collect()
    }

    /// Mean squared error of the factors' outputs before ReLU, in f64, and the variance of the layer's outputs.
    fn errors(weight: &[f32], bias: &[f32], inputs: &DMatrix<f32>, factors: &Factors) -> (f64, f64) {
        let rank = factors.first_bias.len();
        let sum = |weight: &[f32], bias: f32, values: &[f64]| {
            weight.iter().zip(values).map(|(weight, value)| f64::from(*weight) * value).sum::<f64>() + f64::from(bias)
        };
        let pairs: Vec<Vec<(f64, f64)>> = inputs
            .column_iter()
            .map(|input| {
                let input: Vec<f64> = input.iter().map(|value| f64::from(*value)).collect();
                let n = input.len();
                let hidden: Vec<f64> =
                    (0..rank).map(|r| sum(&factors.first[r * n..][..n], factors.first_bias[r], &input)).collect();
                let output = |o: usize| sum(&factors.second[o * rank..][..rank], factors.second_bias[o], &hidden);
                (0..bias.len()).map(|o| (sum(&weight[o * n..][..n], bias[o], &input), output(o))).collect()
            })
            .collect();
        let count = pairs.len() as f64;
        let error = pairs.iter().flatten().map(|(real, found)| (real - found).powi(2)).sum::<f64>();
        let mean: Vec<f64> = (0..bias.len()).map(|o| pairs.iter().map(|pair| pair[o].0).sum::<f64>() / count).collect();
        let variance =
            pairs.iter().flat_map(|pair| pair.iter().zip(&mean)).map(|((real, _), mean)| (real - mean).powi(2));
        (error, variance.sum())
    }

    #[test]
    fn the_error_is_what_is_not_kept_and_none_at_full_rank() {
        let (fan_in, outputs, images) = (17, 12, 9);
        let (weight, bias) = (values(fan_in * outputs, 1), values(outputs, 2));
        let inputs = DMatrix::from_vec(fan_in, images, values(fan_in * images, 3));
        let mut last = 0.0;
        for rank in [1, 2, 4, 8, 20] {
            let (factors, kept) = factors(&weight, &bias, &inputs, rank);
            let (error, variance) = errors(&weight, &bias, &inputs, &factors);
            assert!((error / variance - (1.0 - kept)).abs() < 1e-5, "{rank}: {error} of {variance}, {kept} kept");
            assert!(kept > last || rank == 20);
            last = kept;
        }
        // Nine images vary in eight directions.
        assert!(last > 1.0 - 1e-9, "{last}");
    }

    #[test]
    fn no_other_directions_keep_more() {
        let (fan_in, outputs, images, rank) = (9, 7, 30, 2);
        let (weight, bias) = (values(fan_in * outputs, 4), values(outputs, 5));
        let inputs = DMatrix::from_vec(fan_in, images, values(fan_in * images, 6));
        let (best, _) = factors(&weight, &bias, &inputs, rank);
        let (least, _) = errors(&weight, &bias, &inputs, &best);
        for seed in 0..20 {
            // The same factors, moved a little.
            let moved = |values_of: &[f32], seed: u64| {
                values_of
                    .iter()
                    .zip(values(values_of.len(), seed))
                    .map(|(value, move_by)| value + 0.05 * move_by)
                    .collect()
            };
            let (first, second) = (moved(&best.first, 10 + seed), moved(&best.second, 40 + seed));
            let factors =
                Factors { first, second, first_bias: best.first_bias.clone(), second_bias: best.second_bias.clone() };
            assert!(errors(&weight, &bias, &inputs, &factors).0 > least);
        }
    }
}
