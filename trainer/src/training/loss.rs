//! The loss that training minimises: cross-entropy with label smoothing.

use dfdx::{
    shapes::{Axis, Dim, HasShape, Rank0},
    tensor::{Tape, Tensor},
    tensor_ops::{Device, SumTo, TryMul},
};

use super::{config::Options, division::class_weights, metrics::log_sum_exp};
use crate::{
    data::{Dataset, loader::Split},
    nn::Logits,
};

/// Cross-entropy of logits and labels, `−Σⱼ qⱼ · ln softmax(logits)ⱼ`. The target `q` is `1 − smoothing` for the label, and `smoothing` is
/// spread over all classes alike, as PyTorch's `CrossEntropyLoss(label_smoothing=…)` does it. Where there are fewer `classes` than
/// outputs, the targets of those behind are 0: they learn to be unlikely.
///
/// Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016, section 7.
#[derive(Debug, Clone)]
pub(super) struct CrossEntropy {
    /// Number of classes.
    pub(super) classes: usize,
    /// Share of the target that is spread over all classes, 0 to 1.
    pub(super) smoothing: f64,
    /// A weight of each class, where they differ.
    pub(super) class_weights: Option<Vec<f32>>,
}

impl CrossEntropy {
    /// The loss of a run by these options.
    pub(super) fn new(dataset: &Dataset, split: &Split, options: &Options) -> Self {
        Self {
            classes: dataset.train.classes(),
            smoothing: options.label_smoothing,
            class_weights: class_weights(dataset, split, options),
        }
    }

    /// The mean over a batch.
    ///
    /// With a weight `wⱼ` for each class, each term of the sum is multiplied by that of its class, and the mean is the sum over the
    /// batch divided by that of the labels' weights, as with PyTorch's `CrossEntropyLoss(weight=…)`. The loss of each image, and so its
    /// gradient, is multiplied by its factor in `factors`, by which nothing is divided.
    ///
    /// # Errors
    /// The device's own.
    pub(super) fn mean<D: Device<f32>, T: Tape<f32, D>>(
        &self,
        device: &D,
        logits: Logits<D, T>,
        labels: &[u16],
        factors: Option<&[f32]>,
    ) -> Result<Tensor<Rank0, f32, D, T>, D::Err> {
        let outputs = logits.shape().1;
        let [share, label_target] = self.targets();
        let mut targets = vec![0.0; labels.len() * outputs.size()];
        for (image, (row, &label)) in targets.chunks_exact_mut(outputs.size()).zip(labels).enumerate() {
            row[..self.classes].fill(share as f32);
            row[usize::from(label)] = label_target as f32;
            if let Some(weights) = &self.class_weights {
                row.iter_mut().zip(weights).for_each(|(target, weight)| *target *= weight);
            }
            if let Some(factor) = factors.and_then(|factors| factors.get(image)) {
                row.iter_mut().for_each(|target| *target *= factor);
            }
        }
        let total = match &self.class_weights {
            Some(weights) => labels.iter().map(|label| weights[usize::from(*label)]).sum(),
            None => labels.len() as f32,
        };
        let targets = device.try_tensor_from_vec(targets, (labels.len(), outputs))?;
        let log_likelihoods = logits.try_log_softmax::<Axis<1>>()?.try_mul(targets)?;
        log_likelihoods.try_sum::<Rank0, _>()?.try_mul(-1.0 / total)
    }

    /// The loss of one image, without weights: 0 or more.
    pub(super) fn of_image(&self, logits: &[f32], label: u16) -> f64 {
        let [share, label_target] = self.targets();
        let log_sum = log_sum_exp(logits);
        let terms = logits.iter().take(self.classes).enumerate().map(|(class, logit)| {
            let target = if class == usize::from(label) { label_target } else { share };
            target * (log_sum - f64::from(*logit))
        });
        terms.sum()
    }

    /// The targets of a class that is not the label, and of the label.
    fn targets(&self) -> [f64; 2] {
        let share = self.smoothing / self.classes as f64;
        [share, 1.0 - self.smoothing + share]
    }
}

#[cfg(test)]
mod tests {
    use dfdx::{
        tensor::{AsArray, Cpu, Gradients, TensorFromVec, Trace},
        tensor_ops::Backward,
    };

    use super::*;

    fn loss(smoothing: f64, class_weights: Option<Vec<f32>>) -> CrossEntropy {
        CrossEntropy { classes: 10, smoothing, class_weights }
    }

    #[test]
    fn smoothing_is_pytorchs() {
        let device = Cpu::default();
        let values = (0..20).map(|i| (i * 7 % 11) as f32 / 4.0).collect();
        let logits: Logits<Cpu> = device.tensor_from_vec(values, (2, 10.into()));
        // torch.nn.functional.cross_entropy(logits, torch.tensor([3, 7]), label_smoothing=s) with PyTorch 2.9.1, where
        // logits = (torch.arange(20) * 7 % 11 / 4).reshape(2, 10).
        for (smoothing, expected) in [(0.0, 1.463195), (0.1, 1.578195)] {
            let loss = loss(smoothing, None).mean(&device, logits.clone(), &[3, 7], None).unwrap().array();
            assert!((loss - expected).abs() < 1e-5, "{loss}, expected {expected}");
        }
    }

    #[test]
    fn weights_of_classes_are_pytorchs() {
        let device = Cpu::default();
        let values = (0..30).map(|i| (i * 7 % 11) as f32 / 4.0).collect();
        let logits: Logits<Cpu> = device.tensor_from_vec(values, (3, 10.into()));
        let weights: Vec<f32> = (0..10).map(|class| 0.5 + class as f32 / 8.0).collect();
        // torch.nn.functional.cross_entropy(logits, torch.tensor([3, 7, 0]), weight=0.5 + torch.arange(10) / 8,
        // label_smoothing=s) with PyTorch 2.9.1, where logits = (torch.arange(30) * 7 % 11 / 4).reshape(3, 10), and the gradients of
        // the first logits of the first and the last row.
        for (smoothing, expected, gradients) in
            [(0.0, 1.559_367_4, [0.006_515_358, -0.155_093_16]), (0.1, 1.700_804_6, [0.004_836_79, -0.135_722_95])]
        {
            let traced = logits.trace(Gradients::leaky());
            let loss = loss(smoothing, Some(weights.clone())).mean(&device, traced, &[3, 7, 0], None).unwrap();
            assert!((loss.array() - expected).abs() < 1e-5, "{}, expected {expected}", loss.array());
            let found = loss.backward().get(&logits).as_vec();
            for (found, expected) in [found[0], found[20]].into_iter().zip(gradients) {
                assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
            }
        }
    }

    #[test]
    fn losses_of_images_are_pytorchs() {
        let values: Vec<f32> = (0..30).map(|i| (i * 7 % 11) as f32 / 4.0).collect();
        // torch.nn.functional.cross_entropy(…, label_smoothing=s, reduction="none") of the same logits and labels in float64.
        let weights = vec![3.0; 10];
        for (smoothing, expected) in
            [(0.0, [1.388_460_9, 1.537_930_2, 1.917_407]), (0.1, [1.510_960_9, 1.645_430_2, 1.982_407])]
        {
            let of = |logits: &[f32], label| loss(smoothing, Some(weights.clone())).of_image(logits, label);
            for ((row, label), expected) in values.chunks_exact(10).zip([3, 7, 0]).zip(expected) {
                let found = of(row, label);
                assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
                // Outputs behind the classes are unlikely, and of another class.
                let behind: Vec<f32> = row.iter().copied().chain([-1e4, -1e4]).collect();
                assert_eq!(of(&behind, label), found);
            }
        }
    }

    #[test]
    fn factors_scale_the_loss_of_each_image() {
        let device = Cpu::default();
        let values: Vec<f32> = (0..30).map(|i| (i * 7 % 11) as f32 / 4.0).collect();
        let logits: Logits<Cpu> = device.tensor_from_vec(values.clone(), (3, 10.into()));
        let (labels, factors) = ([3, 7, 0], [1.0, 4.0, 1.5]);
        let weights: Vec<f32> = (0..10).map(|class| 0.5 + class as f32 / 8.0).collect();
        for class_weights in [None, Some(weights)] {
            let loss = loss(0.0, class_weights.clone());
            let weight =
                |label: u16| class_weights.as_ref().map_or(1.0, |weights| f64::from(weights[usize::from(label)]));
            let terms = values.chunks_exact(10).zip(labels).zip(factors);
            let sum: f64 =
                terms.map(|((row, label), factor)| weight(label) * f64::from(factor) * loss.of_image(row, label)).sum();
            let expected = sum / labels.iter().map(|label| weight(*label)).sum::<f64>();
            let found = f64::from(loss.mean(&device, logits.clone(), &labels, Some(&factors)).unwrap().array());
            assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
        }
    }
}
