//! ONNX models: whatever they hold, the weights of a network or an error.

use std::{collections::BTreeMap, convert::Infallible, sync::LazyLock};

use infer_core::{alexnet, lenet5};
use trainer::export::onnx;

use crate::{Input, edited, planted_fault};

/// A model of LeNet-5 for two classes.
static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let metadata = BTreeMap::from([("architecture".to_string(), "lenet5".to_string())]);
    let values =
        |_: &str, shape: &[usize]| Ok::<_, Infallible>((0..shape.iter().product()).map(|i| (i % 16) as f32).collect());
    let Ok(model) = onnx::model(&lenet5::DESCRIPTION, 2, &metadata, values);
    model
});

/// Runs the target: edits of a valid model, or a file.
pub fn run(data: &[u8]) {
    let file = edited(&mut Input(data), &VALID);
    let networks = [&alexnet::DESCRIPTION, &lenet5::DESCRIPTION];
    let imported = match onnx::read(&file, &networks) {
        Ok(imported) => imported,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    // Written and read again, it is the same, to the bit.
    let values =
        |name: &str, _: &[usize]| Ok::<_, Infallible>(imported.values(name).expect("the network has it").to_vec());
    let Ok(model) = onnx::model(imported.network, imported.classes, &imported.metadata, values);
    let again = onnx::read(&model, &networks).expect("what was written is read");
    assert_eq!((again.network, again.classes), (imported.network, imported.classes));
    assert_eq!((&again.metadata, again.notes.len()), (&imported.metadata, 0));
    let bits =
        |values: Option<&[f32]>| -> Vec<u32> { values.into_iter().flatten().map(|value| value.to_bits()).collect() };
    for name in imported.network.tensors {
        let found = bits(again.values(name));
        assert!(!found.is_empty() && found == bits(imported.values(name)), "{name}");
    }
    planted_fault(|| imported.values("linear1.weight").is_some_and(|values| values.iter().any(|value| *value < 0.0)));
}
