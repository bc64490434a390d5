//! The cases as packed networks, whose last layer is always a linear one: weights of 0, 1 and −1 make it say what the layers
//! before it gave, without an error.

use super::case::{Array, Case};
use super::{LOWEST, Product, assert_close, corners, squares};
use infer_core::packed::{Backend, Line, LinearWeights, Network, Plan, Serial};
use infer_core::weights::Weights;

/// Calls `check` with the logits of some images, for each backend of this CPU and each storage of linear weights.
fn for_each(
    plan: &'static Plan,
    classes: usize,
    layers: &[(&[f32], &[f32])],
    storages: &[LinearWeights],
    images: &[f32],
    check: impl Fn(&str, Vec<f32>),
) {
    let weights = Weights::new(plan.description(), classes, layers);
    let batch = images.len() / plan.description().input().values();
    for storage in storages {
        let mut packed = vec![Line::ZERO; plan.packed_len(classes, *storage)];
        Network::pack(plan, &weights, *storage, &mut packed).expect("weights that fit");
        for backend in Backend::ALL.iter().copied().filter(|backend| backend.available()) {
            let network = Network::from_packed(plan, &packed, backend).expect("packed weights");
            let mut workspace = vec![Line::ZERO; network.workspace_len(batch)];
            let mut logits = vec![f32::NAN; batch * classes];
            network.forward(images, &mut logits, &mut workspace, &Serial).expect("memory that fits");
            check(&format!("{backend}, {storage}"), logits);
        }
    }
}

/// Square weights, ones on the diagonal.
fn identity(size: usize) -> Vec<f32> {
    (0..size * size).map(|place| if place.is_multiple_of(size + 1) { 1.0 } else { 0.0 }).collect()
}

/// ReLU follows the convolution, and `relu(x) − relu(−x) = x`: the network has all filters twice, with either sign.
///
/// Where there are too many outputs for so many classes, a pool behind the convolution keeps each `every`-th row and column.
/// The image moved by fewer rows and columns then gives the others.
pub fn convolution(case: &Case, plan: &'static Plan, every: usize) {
    let (inputs, expected) = case.tensors();
    let [image, weight] = [&inputs[0], &inputs[1]];
    let outputs = weight.shape[0];
    let bias = inputs.get(2).map_or_else(|| vec![0.0; outputs], |bias| bias.values.clone());
    let both = |values: &[f32]| -> Vec<f32> { values.iter().copied().chain(values.iter().map(|v| -v)).collect() };
    let (weight, bias) = (both(&weight.values), both(&bias));

    let description = plan.description();
    let features = description.layers[description.layers.len() - 1].input;
    assert_eq!(features.channels, 2 * outputs);
    let classes = features.values() / 2;
    let difference: Vec<f32> = (0..classes * 2 * classes)
        .map(|place| match (place / (2 * classes), place % (2 * classes)) {
            (class, feature) if feature == class => 1.0,
            (class, feature) if feature == class + classes => -1.0,
            _ => 0.0,
        })
        .collect();
    let layers = [(&weight[..], &bias[..]), (&difference[..], &vec![0.0; classes][..])];

    let side = description.input().side;
    assert!(every == 1 || case.window().is_ok_and(|window| window.stride == 1 && window.padding == 0));
    for (down, right) in (0..every * every).map(|place| (place / every, place % every)) {
        let images = squares(&part(image, down, right, 1), side, 0, 0.0);
        let expected = part(expected, down, right, every);
        for_each(plan, classes, &layers, LinearWeights::ALL, &images, |what, logits| {
            let what = format!("{}, {what}, from {down}, {right}", case.name);
            assert_close(&what, corners(&logits, features.side, &expected), &expected.values);
        });
    }
}

/// Each `every`-th row and column of images, from some row and column on.
fn part(images: &Array, down: usize, right: usize, every: usize) -> Array {
    let &[count, channels, height, width] = &images.shape[..] else { panic!("images have four dimensions") };
    let values = images.values.chunks_exact(height * width).flat_map(|plane| {
        let rows = plane.chunks_exact(width).skip(down).step_by(every);
        rows.flat_map(|row| row.iter().skip(right).step_by(every).copied())
    });
    let (height, width) = ((height - down).div_ceil(every), (width - right).div_ceil(every));
    Array { shape: vec![count, channels, height, width], values: values.collect() }
}

/// The outputs of the pool, each a class.
pub fn pool(case: &Case, plan: &'static Plan) {
    let (inputs, expected) = case.tensors();
    let window = case.window().expect("square windows");
    let features = plan.description().layers[0].output;
    // There are two classes at least.
    let classes = features.values().max(2);
    let mut weight = vec![0.0; classes * features.values()];
    weight.iter_mut().step_by(features.values() + 1).take(features.values()).for_each(|one| *one = 1.0);
    let layers = [(&weight[..], &vec![0.0; classes][..])];
    let images = squares(&inputs[0], plan.description().input().side, window.padding, LOWEST);
    for_each(plan, classes, &layers, LinearWeights::ALL, &images, |what, logits| {
        let outputs: Vec<f32> =
            logits.chunks_exact(classes).flat_map(|row| &row[..features.values()]).copied().collect();
        let found = corners(&outputs, features.side, expected);
        assert!(found.eq(expected.values.iter().copied()), "{}, {what}", case.name);
    });
}

/// Biases differ from row to row, and so do networks.
pub fn product(case: &Case, plan: &'static Plan) {
    let Product { inputs, weight, bias } = Product::new(case);
    let expected = case.tensors().1;
    let outputs = expected.shape[1];
    for ((input, bias), expected) in inputs.iter().zip(&bias).zip(expected.values.chunks_exact(outputs)) {
        for_each(plan, outputs, &[(&weight, bias)], &[LinearWeights::F32], input, |what, logits| {
            assert_close(&format!("{}, {what}", case.name), logits, expected);
        });
    }
}

/// The values as one vector.
pub fn rectifier(case: &Case, plan: &'static Plan) {
    let (inputs, expected) = case.tensors();
    let count = inputs[0].values.len();
    let (weight, bias) = (identity(count), vec![0.0; count]);
    let layers = [(&weight[..], &bias[..]); 2];
    for_each(plan, count, &layers, LinearWeights::ALL, &inputs[0].values, |what, logits| {
        assert_eq!(logits, expected.values, "{}, {what}", case.name);
    });
}
