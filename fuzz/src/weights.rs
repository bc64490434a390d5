//! Files of weights as they were trained: infer-core opens none that the safetensors crate refuses, or that are another network's.

use infer_core::weights::Weights;
use safetensors::{Dtype, SafeTensors};

use crate::{Aligned, Input, edited, networks::SUBJECTS, only_opened, planted_fault};

/// Runs the target: the first byte says which network.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let subject = &SUBJECTS[if only_opened() { 0 } else { usize::from(choice % 2) }];
    let file = Aligned::new(&edited(&mut input, &subject.file));
    let weights = match Weights::from_safetensors(subject.description(), file.bytes()) {
        Ok(weights) => weights,
        Err(error) => return assert!(!error.to_string().is_empty() && error.code() > 0),
    };
    let expected = SafeTensors::deserialize(file.bytes()).expect("only infer-core accepts the file");
    assert_eq!(expected.len(), subject.description().tensors.len());
    let layers = subject.description().layers(weights.classes()).filter_map(|layer| Some((layer, layer.tensors?)));
    let mut count = 0;
    for ((layer, names), (weight, bias)) in layers.zip(weights.layers()) {
        let sizes = layer.weight_sizes();
        let shapes = [&sizes[..layer.weight_rank()], &[layer.output.channels]];
        for ((name, shape), values) in names.iter().zip(shapes).zip([weight, bias]) {
            let tensor = expected.tensor(name).expect("the network's tensor");
            assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, shape));
            let (bytes, _) = tensor.data().as_chunks::<4>();
            assert!(bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).eq(values.iter().copied()));
            assert!(values.iter().all(|value| value.is_finite()));
            count += 1;
        }
    }
    assert_eq!(count, expected.len());
    planted_fault(|| weights.layers().iter().any(|(weight, _)| weight.iter().any(|value| value.abs() > 1e6)));
}
