//! Comparison of a graph with the networks, layer by layer.

use infer_core::describe::{CLASSES, Description, Kind, Layer};

use super::{
    OnnxError,
    error::listed,
    steps::{Operation, Step, Weights},
};

/// The layers with weights of a network that a graph is, and where the graph has them.
pub(super) struct Fit<'m> {
    pub(super) network: &'static Description,
    pub(super) classes: usize,
    pub(super) layers: Vec<(Layer, Weights<'m>)>,
}

/// Where a graph and a network part: the number of the step, or none where it is the input, and what is wrong.
struct Misfit {
    at: Option<usize>,
    error: OnnxError,
}

/// The network that a graph is.
///
/// # Errors
/// It is none of them: where it parts from the one that it resembles longest.
pub(super) fn fit<'m>(
    steps: &[Step<'m>],
    image: Option<&[Option<usize>]>,
    networks: &[&'static Description],
) -> Result<Fit<'m>, OnnxError> {
    let classes = classes(steps)?;
    let mut nearest: Option<Misfit> = None;
    for network in networks {
        match compare(steps, image, network, classes) {
            Ok(layers) => return Ok(Fit { network, classes, layers }),
            Err(misfit) if nearest.as_ref().is_none_or(|nearest| nearest.at < misfit.at) => nearest = Some(misfit),
            Err(_) => {}
        }
    }
    Err(nearest
        .map_or(OnnxError::Model("expected a network, found none to compare with".to_string()), |misfit| misfit.error))
}

/// The number of outputs of the last layer.
fn classes(steps: &[Step<'_>]) -> Result<usize, OnnxError> {
    let last = steps.iter().rev().find_map(|step| match step.operation {
        Operation::Layer(_, Some(weights)) => Some((step, weights)),
        _ => None,
    });
    let Some((step, weights)) = last else {
        return Err(OnnxError::Model("expected layers with weights, found none".to_string()));
    };
    let outputs = weights.weight.sizes()?.first().copied().unwrap_or_default();
    if CLASSES.contains(&outputs) {
        return Ok(outputs);
    }
    let (fewest, most) = (CLASSES.start(), CLASSES.end());
    Err(OnnxError::node(step.node, format!("expected {fewest} to {most} outputs of the last layer, found {outputs}")))
}

fn compare<'m>(
    steps: &[Step<'m>],
    image: Option<&[Option<usize>]>,
    network: &'static Description,
    classes: usize,
) -> Result<Vec<(Layer, Weights<'m>)>, Misfit> {
    let title = network.title;
    let input = network.input();
    let expected = [input.channels, input.side, input.side];
    if let Some(found) = image {
        // The first size is the number of images. One that has no number may be any.
        let same = found.len() == 4
            && found.iter().skip(1).zip(expected).all(|(found, size)| found.is_none_or(|found| found == size));
        if !same {
            let found: Vec<_> =
                found.iter().map(|size| size.map_or("?".to_string(), |size| size.to_string())).collect();
            let [channels, height, width] = expected;
            let error = OnnxError::Model(format!(
                "its input: expected N×{channels}×{height}×{width}, as {title} takes images, found {}",
                found.join("×")
            ));
            return Err(Misfit { at: None, error });
        }
    }
    let mut layers = Vec::new();
    let mut at = 0;
    let mut flat = false;
    let ended =
        |expected: &str| OnnxError::Model(format!("expected {expected} of {title}, found the end of the graph"));
    for layer in network.layers(classes) {
        let sizes = layer.weight_sizes();
        let wanted = words(layer.kind, sizes.get(..layer.weight_rank()).unwrap_or_default());
        while let Some(Step { node, operation: Operation::Flatten(count) }) = steps.get(at) {
            let values = layer.input.values();
            if count.is_some_and(|count| count != values) {
                let error = OnnxError::node(
                    node,
                    format!("expected vectors of {values} values before {title}'s {}, found {count:?}", layer.name),
                );
                return Err(Misfit { at: Some(at), error });
            }
            (at, flat) = (at + 1, true);
        }
        let Some(step) = steps.get(at) else { return Err(Misfit { at: Some(at), error: ended(&wanted) }) };
        let misfit = |problem: String| Misfit { at: Some(at), error: OnnxError::node(step.node, problem) };
        let named = format!("{wanted}, {title}'s {}", layer.name);
        let Operation::Layer(kind, weights) = step.operation else {
            return Err(misfit(format!("expected {named}")));
        };
        let found = weights.map_or(Ok(Vec::new()), |weights| weights.weight.sizes());
        let found = found.map_err(|error| Misfit { at: Some(at), error })?;
        if words(kind, &found) != wanted {
            return Err(misfit(format!("expected {named}; found {}", words(kind, &found))));
        }
        if matches!(kind, Kind::Linear { .. }) && layer.input.side > 1 && !flat {
            return Err(misfit(format!("expected Flatten before {named}")));
        }
        layers.extend(weights.map(|weights| (layer, weights)));
        at += 1;
        if layer.relu() {
            match steps.get(at) {
                Some(Step { operation: Operation::Relu, .. }) => at += 1,
                Some(step) => {
                    let error = OnnxError::node(step.node, format!("expected Relu before it, behind {named}"));
                    return Err(Misfit { at: Some(at), error });
                }
                None => return Err(Misfit { at: Some(at), error: ended(&format!("Relu behind {wanted}")) }),
            }
        }
    }
    match steps.get(at) {
        None => Ok(layers),
        Some(step) => {
            Err(Misfit { at: Some(at), error: OnnxError::node(step.node, format!("expected the end of {title}")) })
        }
    }
}

/// A layer in words, which are the same for the same layer.
fn words(kind: Kind, sizes: &[usize]) -> String {
    match (kind, sizes) {
        (Kind::Conv { stride, padding, groups, .. }, [filters, channels, height, width]) => {
            let groups = if groups == 1 { String::new() } else { format!(" in {groups} groups") };
            format!(
                "a convolution of {filters} filters of {channels}×{height}×{width}{groups}, stride {stride}, padding {padding}"
            )
        }
        (Kind::LocalResponseNorm, _) => "local response normalisation".to_string(),
        (Kind::MaxPool { kernel, stride, .. }, _) => format!("max-pooling of {kernel}×{kernel}, stride {stride}"),
        (Kind::Linear { .. }, [outputs, inputs]) => format!("a linear layer of {inputs} inputs and {outputs} outputs"),
        (_, sizes) => format!("a layer of weights of sizes {}", listed(sizes)),
    }
}
