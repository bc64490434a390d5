//! A linear layer as plain matrices, and its two factors.

use dfdx::{
    shapes::Axes2,
    tensor::{Cpu, Tensor, TensorFromVec},
    tensor_ops::{PermuteTo, TryMatMul},
};

use super::components::Components;

/// A linear layer, `y = W·x + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// `W`, a row for each output.
    pub weight: Vec<f32>,
    /// `b`, a value for each output.
    pub bias: Vec<f32>,
}

impl Layer {
    /// Number of values that it takes.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len().max(1)
    }

    /// The outputs for each of some vectors, which lie one after the other: as many as the bias has values.
    #[must_use]
    pub fn outputs(&self, vectors: &[f32]) -> Vec<f32> {
        let (inputs, outputs) = (self.inputs(), self.bias.len());
        let device = Cpu::default();
        let weight: Tensor<(usize, usize), f32, Cpu> = device.tensor_from_vec(self.weight.clone(), (outputs, inputs));
        let weight = weight.permute::<(usize, usize), Axes2<1, 0>>();
        let vectors = device.tensor_from_vec(vectors.to_vec(), (vectors.len() / inputs.max(1), inputs));
        let mut products = vectors.matmul(weight).as_vec();
        for row in products.chunks_exact_mut(outputs.max(1)) {
            row.iter_mut().zip(&self.bias).for_each(|(value, bias)| *value += bias);
        }
        products
    }

    /// Two layers, of `rank` outputs and of this one's, which one after the other, without ReLU between them, give the layer's
    /// outputs projected on their first `rank` principal components.
    ///
    /// With `U` the components as columns and `m` the outputs' mean, the first one is `Uᵀ·W·x + Uᵀ·(b − m)` and the second one
    /// `U·z + m`, together `m + U·Uᵀ·(y − m)`: of all pairs of such layers, those with the least squared error on the vectors that
    /// the components are of. Zhang, Zou, He & Sun 2015, *Accelerating Very Deep Convolutional Networks for Classification
    /// and Detection*, section 3.1.
    #[must_use]
    pub fn factors(&self, components: &Components, rank: usize) -> [Self; 2] {
        let (inputs, outputs) = (self.inputs(), self.bias.len());
        // Components that do not exist, where the outputs vary in fewer directions, are zero.
        let directions = &components.directions[..rank.min(components.directions.len())];
        let mut first = Self { weight: vec![0.0; rank * inputs], bias: vec![0.0; rank] };
        let mut second = Self { weight: vec![0.0; outputs * rank], bias: Vec::new() };
        second.bias = components.mean.iter().map(|mean| *mean as f32).collect();

        let device = Cpu::default();
        let columns = device.tensor_from_vec(directions.concat(), (directions.len(), outputs));
        let weight = self.weight.iter().copied().map(f64::from).collect();
        let product = columns.matmul(device.tensor_from_vec::<(usize, usize)>(weight, (outputs, inputs)));
        first.weight.iter_mut().zip(product.as_vec()).for_each(|(value, product)| *value = product as f32);
        for (number, direction) in directions.iter().enumerate() {
            let centred = self.bias.iter().zip(&components.mean).map(|(bias, mean)| f64::from(*bias) - mean);
            first.bias[number] = centred.zip(direction).map(|(bias, direction)| bias * direction).sum::<f64>() as f32;
            for (row, direction) in second.weight.chunks_exact_mut(rank).zip(direction) {
                row[number] = *direction as f32;
            }
        }
        [first, second]
    }
}

/// ReLU of all values.
pub(super) fn rectify(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value = value.max(0.0));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::Rng;

    use super::*;
    use crate::random;

    fn layer(seed: u64, inputs: usize, outputs: usize) -> (Layer, impl FnMut(usize) -> Vec<f32>) {
        let mut random = random::generator(seed, b"a layer ", 0, 0);
        let mut draw = move |count: usize| -> Vec<f32> { (0..count).map(|_| random.gen_range(-1.0..1.0)).collect() };
        (Layer { weight: draw(inputs * outputs), bias: draw(outputs) }, draw)
    }

    /// The outputs in f64.
    fn exact(layer: &Layer, vectors: &[f32]) -> Vec<f64> {
        let rows = layer.weight.chunks_exact(layer.inputs()).zip(&layer.bias);
        let outputs = vectors.chunks_exact(layer.inputs()).flat_map(|vector| {
            rows.clone().map(move |(row, bias)| {
                let products = row.iter().zip(vector).map(|(w, x)| f64::from(*w) * f64::from(*x));
                f64::from(*bias) + products.sum::<f64>()
            })
        });
        outputs.collect()
    }

    fn largest_difference(found: &[f32], expected: &[f64]) -> f64 {
        assert_eq!(found.len(), expected.len());
        found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn at_full_rank_of_the_data_the_factors_are_the_layer(
            seed: u64,
            images in 1_usize..20,
            inputs in 1_usize..40,
            outputs in 1_usize..40,
        ) {
            let (layer, mut draw) = layer(seed, inputs, outputs);
            let vectors = draw(images * inputs);
            let expected = exact(&layer, &vectors);
            prop_assert!(largest_difference(&layer.outputs(&vectors), &expected) < 1e-4);
            // So many images vary in one direction fewer at most; directions beyond them are zero.
            for rank in [images.max(2) - 1, images + 3] {
                let components = Components::of(&layer.outputs(&vectors), outputs, rank);
                let [first, second] = layer.factors(&components, rank);
                assert_eq!((first.inputs(), first.bias.len()), (inputs, rank));
                assert_eq!((second.inputs(), second.bias.len()), (rank, outputs));
                let found = second.outputs(&first.outputs(&vectors));
                prop_assert!(largest_difference(&found, &expected) < 1e-4);
                prop_assert!(components.kept(rank) > 1.0 - 1e-9);
            }
        }

        #[test]
        fn what_the_factors_lose_is_what_is_not_kept(seed: u64, rank in 1_usize..9) {
            let (inputs, outputs, images) = (12, 25, 60);
            let (layer, mut draw) = layer(seed, inputs, outputs);
            let vectors = draw(images * inputs);
            let expected = exact(&layer, &vectors);
            let components = Components::of(&layer.outputs(&vectors), outputs, rank);
            let [first, second] = layer.factors(&components, rank);
            let found = second.outputs(&first.outputs(&vectors));
            let lost: f64 = found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
            let lost = lost / images as f64 / components.total;
            prop_assert!((lost - (1.0 - components.kept(rank))).abs() < 1e-4, "{lost} {}", components.kept(rank));
        }
    }
}
