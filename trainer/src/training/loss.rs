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
) -> Result<Tensor<Rank0, f32, D, T>, D::Err> {
    let share = smoothing / classes as f64;
    let outputs = logits.shape().1;
    let mut targets = vec![0.0; labels.len() * outputs.size()];
    for (row, &label) in targets.chunks_exact_mut(outputs.size()).zip(labels) {
        row[..classes].fill(share as f32);
        row[usize::from(label)] = (1.0 - smoothing + share) as f32;
    }
    let targets = device.try_tensor_from_vec(targets, (labels.len(), outputs))?;
    let log_likelihoods = logits.try_log_softmax::<Axis<1>>()?.try_mul(targets)?;
    log_likelihoods.try_sum::<Rank0, _>()?.try_mul(-1.0 / labels.len() as f32)
}

#[cfg(test)]
mod tests {
    use dfdx::tensor::{AsArray, Cpu, TensorFromVec};

    use super::*;

    #[test]
    fn smoothing_is_pytorchs() {
        let device = Cpu::default();
        let values = (0..20).map(|i| (i * 7 % 11) as f32 / 4.0).collect();
        let logits: Logits<Cpu> = device.tensor_from_vec(values, (2, 10.into()));
        // torch.nn.functional.cross_entropy(logits, torch.tensor([3, 7]), label_smoothing=s) with PyTorch 2.9.1, where
        // logits = (torch.arange(20) * 7 % 11 / 4).reshape(2, 10).
        for (smoothing, expected) in [(0.0, 1.463195), (0.1, 1.578195)] {
            let loss = cross_entropy(&device, logits.clone(), &[3, 7], 10, smoothing).unwrap().array();
            assert!((loss - expected).abs() < 1e-5, "{loss}, expected {expected}");
        }
    }
}
