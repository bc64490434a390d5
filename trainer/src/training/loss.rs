//! The loss that training minimises: cross-entropy with label smoothing.

use dfdx::{
    shapes::{Axis, Dim, HasShape, Rank0},
    tensor::{Tape, Tensor},
    tensor_ops::{Device, SumTo, TryMul},
};

use crate::nn::Logits;

/// The mean over a batch of the cross-entropy `−Σⱼ qⱼ · ln softmax(logits)ⱼ`. The target `q` is `1 − smoothing` for the
/// label, and `smoothing` is spread over all classes alike, as PyTorch's `CrossEntropyLoss(label_smoothing=…)` does it. Where
/// there are fewer `classes` than outputs, the targets of those behind are 0: they learn to be unlikely.
///
/// With a weight `wⱼ` for each class, each term of the sum is multiplied by that of its class, and the mean is the sum over the batch
/// divided by that of the labels' weights, as with PyTorch's `CrossEntropyLoss(weight=…)`.
///
/// Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016, section 7.
///
/// # Errors
/// The device's own.
pub(super) fn cross_entropy<D: Device<f32>, T: Tape<f32, D>>(
    device: &D,
    logits: Logits<D, T>,
    labels: &[u16],
    classes: usize,
    smoothing: f64,
    weights: Option<&[f32]>,
) -> Result<Tensor<Rank0, f32, D, T>, D::Err> {
    let share = smoothing / classes as f64;
    let outputs = logits.shape().1;
    let mut targets = vec![0.0; labels.len() * outputs.size()];
    for (row, &label) in targets.chunks_exact_mut(outputs.size()).zip(labels) {
        row[..classes].fill(share as f32);
        row[usize::from(label)] = (1.0 - smoothing + share) as f32;
        if let Some(weights) = weights {
            row.iter_mut().zip(weights).for_each(|(target, weight)| *target *= weight);
        }
    }
    let total = match weights {
        Some(weights) => labels.iter().map(|label| weights[usize::from(*label)]).sum(),
        None => labels.len() as f32,
    };
    let targets = device.try_tensor_from_vec(targets, (labels.len(), outputs))?;
    let log_likelihoods = logits.try_log_softmax::<Axis<1>>()?.try_mul(targets)?;
    log_likelihoods.try_sum::<Rank0, _>()?.try_mul(-1.0 / total)
}

#[cfg(test)]
mod tests {
    use dfdx::{
        tensor::{AsArray, Cpu, Gradients, TensorFromVec, Trace},
        tensor_ops::Backward,
    };

    use super::*;

    #[test]
    fn smoothing_is_pytorchs() {
        let device = Cpu::default();
        let values = (0..20).map(|i| (i * 7 % 11) as f32 / 4.0).collect();
        let logits: Logits<Cpu> = device.tensor_from_vec(values, (2, 10.into()));
        // torch.nn.functional.cross_entropy(logits, torch.tensor([3, 7]), label_smoothing=s) with PyTorch 2.9.1, where
        // logits = (torch.arange(20) * 7 % 11 / 4).reshape(2, 10).
        for (smoothing, expected) in [(0.0, 1.463195), (0.1, 1.578195)] {
            let loss = cross_entropy(&device, logits.clone(), &[3, 7], 10, smoothing, None).unwrap().array();
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
            let loss = cross_entropy(&device, traced, &[3, 7, 0], 10, smoothing, Some(&weights)).unwrap();
            assert!((loss.array() - expected).abs() < 1e-5, "{}, expected {expected}", loss.array());
            let found = loss.backward().get(&logits).as_vec();
            for (found, expected) in [found[0], found[20]].into_iter().zip(gradients) {
                assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
            }
        }
    }
}
