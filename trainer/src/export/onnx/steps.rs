//! The operators between a graph's input and its output, in the terms of a network's description.

use infer_core::{describe::Kind, layers::LocalResponseNorm};

use super::{
    OnnxError,
    constants::{Constant, Dimension, Values, casts_to_floats},
    error::listed,
    messages::{Attribute, Graph, Node},
};

/// Operators in a row: far more than the layers of a network and all that stands between them.
const MOST_NODES: usize = 256;

/// Operators that are understood.
const OPERATORS: &str = "Conv, Relu, MaxPool, LRN, Flatten, Reshape, Gemm, MatMul and Add, and what changes no value \
                         (Dropout, Identity, Cast, AveragePool of 1×1, Softmax at the end)";

/// Work of an operator, in the terms of a network.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation<'m> {
    /// A layer, and its weights where it has some. Whether ReLU or dropout follow is not said here.
    Layer(Kind, Option<Weights<'m>>),
    /// ReLU.
    Relu,
    /// Maps become a vector, of so many values if that is said.
    Flatten(Option<usize>),
    /// Softmax or its logarithm.
    Softmax,
}

/// An operator of the graph.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'m> {
    pub(super) node: &'m Node,
    pub(super) operation: Operation<'m>,
}

/// The weights of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights<'m> {
    /// Outputs first.
    pub(super) weight: Constant<'m>,
    pub(super) bias: Option<Bias<'m>>,
    /// Factors of weight and bias.
    pub(super) alpha: f32,
    pub(super) beta: f32,
}

/// A bias, and how many axes stand behind that of the channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bias<'m> {
    pub(super) constant: Constant<'m>,
    pub(super) behind: usize,
}

/// The operators of a graph from its input `input` to its output `output`, ReLU as early as it may stand, without those that change
/// nothing.
pub(super) fn steps<'m>(
    graph: &'m Graph,
    values: &Values<'m>,
    input: &str,
    output: &str,
) -> Result<Vec<Step<'m>>, OnnxError> {
    let mut steps: Vec<Step<'m>> = Vec::new();
    for node in chain(graph, values, input, output)? {
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return Err(OnnxError::node(
                node,
                format!("expected an operator of ONNX itself, found one of {:?}", node.domain),
            ));
        }
        let operation = match node.op_type.as_str() {
            "Conv" => conv(node, values)?,
            "MaxPool" => max_pool(node)?,
            "LRN" => local_response_norm(node)?,
            "Gemm" => gemm(node, values)?,
            "MatMul" => mat_mul(node, values)?,
            "Add" => {
                add(node, values, steps.last_mut())?;
                continue;
            }
            "Flatten" => {
                let attributes = Attributes::new(node, &["axis"])?;
                attributes.expect("axis", 1, 1)?;
                Operation::Flatten(None)
            }
            "Reshape" => reshape(node, values)?,
            "Relu" => {
                let places = steps.iter().rposition(|step| !step.passes_relu()).map_or(0, |place| place + 1);
                let again = places.checked_sub(1).and_then(|place| steps.get(place));
                if !again.is_some_and(|step| matches!(step.operation, Operation::Relu)) {
                    steps.insert(places, Step { node, operation: Operation::Relu });
                }
                continue;
            }
            "Softmax" | "LogSoftmax" => Operation::Softmax,
            "AveragePool" => {
                let window = Window::new(node, &["count_include_pad"], None)?;
                if (window.kernel, window.stride, window.padding) != (1, 1, 0) {
                    let size = window.kernel;
                    let problem = format!("expected one of 1×1, which changes nothing, found one of {size}×{size}");
                    return Err(OnnxError::node(node, problem));
                }
                continue;
            }
            "Cast" if !casts_to_floats(node) => return Err(OnnxError::node(node, "expected it to make floats")),
            "Dropout" | "Identity" | "Cast" => continue,
            _ => return Err(OnnxError::node(node, format!("expected one of {OPERATORS}"))),
        };
        steps.push(Step { node, operation });
    }
    Ok(steps)
}

impl Step<'_> {
    /// Whether ReLU before it and ReLU behind it are the same.
    fn passes_relu(&self) -> bool {
        matches!(self.operation, Operation::Layer(Kind::MaxPool { .. }, _) | Operation::Flatten(_))
    }
}

/// The nodes on the way from the input to the output.
fn chain<'m>(graph: &'m Graph, values: &Values<'m>, input: &str, output: &str) -> Result<Vec<&'m Node>, OnnxError> {
    let mut chain: Vec<&Node> = Vec::new();
    let mut at = output;
    while at != input {
        let Some(node) = values.producer(at) else {
            let user =
                chain.last().map_or(OnnxError::Model(format!("its output {output}: no node computes it")), |node| {
                    OnnxError::node(node, format!("its input {at:?} is neither computed nor in the file"))
                });
            return Err(user);
        };
        if node.output.first().is_none_or(|first| first != at) {
            return Err(OnnxError::node(node, format!("expected its first output to be used, found {at:?}")));
        }
        if chain.len() == MOST_NODES.min(graph.node.len()) {
            let most = chain.len();
            return Err(OnnxError::node(
                node,
                format!("expected a chain of at most {most} nodes, found more or a circle"),
            ));
        }
        chain.push(node);
        let computed = |name: &&'m String| !matches!(values.constant(name), Ok(Some(_)));
        let data = match node.op_type.as_str() {
            "Add" | "MatMul" => node.input.iter().find(computed),
            _ => node.input.first().filter(computed),
        };
        at = data.ok_or_else(|| OnnxError::node(node, "expected an input that depends on the image, found none"))?;
    }
    chain.reverse();
    Ok(chain)
}

fn conv<'m>(node: &'m Node, values: &Values<'m>) -> Result<Operation<'m>, OnnxError> {
    let weight = weight(node, values)?;
    let sizes = weight.sizes()?;
    let [_, _, height, width] = sizes[..] else {
        return Err(weight.refused(format!("expected filters of four dimensions, found {}", listed(&sizes))));
    };
    if height != width {
        return Err(weight.refused(format!("expected filters as high as they are wide, found {}", listed(&sizes))));
    }
    let window = Window::new(node, &["group"], Some(height))?;
    let groups = Attributes { node }.size("group", 1)?;
    let kind = Kind::Conv { kernel: height, stride: window.stride, padding: window.padding, groups };
    let weights = Weights { weight, bias: bias(node, values)?, alpha: 1.0, beta: 1.0 };
    Ok(Operation::Layer(kind, Some(weights)))
}

fn max_pool(node: &Node) -> Result<Operation<'_>, OnnxError> {
    let window = Window::new(node, &["storage_order"], None)?;
    if window.padding != 0 {
        return Err(OnnxError::node(node, format!("expected no padding, found {}", window.padding)));
    }
    Ok(Operation::Layer(Kind::MaxPool { kernel: window.kernel, stride: window.stride, dropout: false }, None))
}

fn local_response_norm(node: &Node) -> Result<Operation<'_>, OnnxError> {
    let attributes = Attributes::new(node, &["alpha", "beta", "bias", "size"])?;
    let size = 2 * LocalResponseNorm::REACH + 1;
    attributes.expect("size", 0, size as i64)?;
    for (name, otherwise, expected) in [
        // The operator divides alpha by the number of channels that are summed, which the paper does not.
        ("alpha", 1e-4, LocalResponseNorm::ALPHA * size as f32),
        ("beta", 0.75, LocalResponseNorm::BETA),
        ("bias", 1.0, LocalResponseNorm::K),
    ] {
        let found = attributes.real(name, otherwise)?;
        // A writer may have rounded it another way.
        if (found - expected).abs() > expected * 1e-6 {
            return Err(OnnxError::node(node, format!("{name}: expected {expected}, as in the paper, found {found}")));
        }
    }
    Ok(Operation::Layer(Kind::LocalResponseNorm, None))
}

fn gemm<'m>(node: &'m Node, values: &Values<'m>) -> Result<Operation<'m>, OnnxError> {
    let attributes = Attributes::new(node, &["alpha", "beta", "transA", "transB"])?;
    attributes.expect("transA", 0, 0)?;
    let weight = weight(node, values)?;
    let transposed = attributes.integer("transB", 0)? != 0;
    let weight = if transposed { weight } else { weight.transposed() };
    let (alpha, beta) = (attributes.real("alpha", 1.0)?, attributes.real("beta", 1.0)?);
    Ok(linear(Weights { weight, bias: bias(node, values)?, alpha, beta }))
}

fn mat_mul<'m>(node: &'m Node, values: &Values<'m>) -> Result<Operation<'m>, OnnxError> {
    let weight = weight(node, values)?.transposed();
    Ok(linear(Weights { weight, bias: None, alpha: 1.0, beta: 1.0 }))
}

fn linear(weights: Weights<'_>) -> Operation<'_> {
    Operation::Layer(Kind::Linear { relu: false, dropout: false }, Some(weights))
}

/// Makes a constant that is added to the output of a layer the layer's bias.
fn add<'m>(node: &'m Node, values: &Values<'m>, before: Option<&mut Step<'m>>) -> Result<(), OnnxError> {
    let mut constants = node.input.iter().filter_map(|input| values.constant(input).ok().flatten());
    let constant = constants.next();
    let constant = constant
        .ok_or_else(|| OnnxError::node(node, "expected a constant to add, found two values that are computed"))?;
    match before.map(|step| &mut step.operation) {
        Some(Operation::Layer(kind, Some(weights))) if weights.bias.is_none() => {
            let behind = if matches!(kind, Kind::Conv { .. }) { 2 } else { 0 };
            weights.bias = Some(Bias { constant, behind });
            Ok(())
        }
        _ => Err(OnnxError::node(node, "expected it right behind a layer that has no bias")),
    }
}

fn reshape<'m>(node: &'m Node, values: &Values<'m>) -> Result<Operation<'m>, OnnxError> {
    Attributes::new(node, &["allowzero"])?;
    let shape = node.input.get(1).and_then(|shape| values.shape(shape));
    let images = |first| match first {
        Dimension::Axis(axis) => axis == 0,
        Dimension::Number(number) => number >= -1,
    };
    match shape.as_deref() {
        Some([first, Dimension::Number(-1)]) if images(*first) && *first != Dimension::Number(-1) => {
            Ok(Operation::Flatten(None))
        }
        Some([first, Dimension::Number(count @ 1..)]) if images(*first) => {
            Ok(Operation::Flatten(usize::try_from(*count).ok()))
        }
        _ => Err(OnnxError::node(node, "expected a vector for each image, as Flatten makes it, found another shape")),
    }
}

/// The weight of a node: its second input.
fn weight<'m>(node: &'m Node, values: &Values<'m>) -> Result<Constant<'m>, OnnxError> {
    let name =
        node.input.get(1).ok_or_else(|| OnnxError::node(node, "expected a weight as its second input, found none"))?;
    let constant = values.constant(name)?;
    constant
        .ok_or_else(|| OnnxError::node(node, format!("expected its weight {name:?} in the file, found no such tensor")))
}

/// The bias of a node: its third input, if it has one.
fn bias<'m>(node: &'m Node, values: &Values<'m>) -> Result<Option<Bias<'m>>, OnnxError> {
    let Some(name) = node.input.get(2).filter(|name| !name.is_empty()) else { return Ok(None) };
    let constant = values.constant(name)?;
    let missing = || OnnxError::node(node, format!("expected its bias {name:?} in the file, found no such tensor"));
    Ok(Some(Bias { constant: constant.ok_or_else(missing)?, behind: 0 }))
}

/// The window of a convolution or a pool.
struct Window {
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Window {
    /// The window of a node that may have some attributes more; of a convolution, with the size of its filters.
    fn new(node: &Node, more: &[&str], filters: Option<usize>) -> Result<Self, OnnxError> {
        let known = [&["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides"], more].concat();
        let attributes = Attributes::new(node, &known)?;
        attributes.expect("ceil_mode", 0, 0)?;
        if attributes.same("dilations", 2)?.unwrap_or(1) != 1 {
            return Err(OnnxError::node(node, "dilations: expected 1"));
        }
        let kernel = attributes.same("kernel_shape", 2)?.or(filters);
        let kernel = kernel.ok_or_else(|| OnnxError::node(node, "kernel_shape: expected two sizes, found none"))?;
        if let Some(filters) = filters.filter(|filters| *filters != kernel) {
            return Err(OnnxError::node(
                node,
                format!("kernel_shape: expected {filters}, as its filters are, found {kernel}"),
            ));
        }
        let stride = attributes.same("strides", 2)?.unwrap_or(1);
        let padding = match attributes.text("auto_pad")? {
            b"" | b"NOTSET" => attributes.same("pads", 4)?.unwrap_or(0),
            b"VALID" => 0,
            b"SAME_UPPER" | b"SAME_LOWER" if stride == 1 && kernel % 2 == 1 => kernel / 2,
            other => {
                let found = String::from_utf8_lossy(other);
                return Err(OnnxError::node(
                    node,
                    format!("auto_pad: expected NOTSET and the same pads on all sides, found {found:?}"),
                ));
            }
        };
        Ok(Self { kernel, stride, padding })
    }
}

/// The attributes of a node.
struct Attributes<'m> {
    node: &'m Node,
}

impl<'m> Attributes<'m> {
    /// The attributes of a node, which must be among those that are known.
    fn new(node: &'m Node, known: &[&str]) -> Result<Self, OnnxError> {
        for (place, attribute) in node.attribute.iter().enumerate() {
            let name = attribute.name.as_str();
            if !known.contains(&name) {
                return Err(OnnxError::node(node, format!("its attribute {name:?} is not known")));
            }
            if node.attribute.iter().take(place).any(|other| other.name == name) {
                return Err(OnnxError::node(node, format!("its attribute {name:?} is there twice")));
            }
        }
        Ok(Self { node })
    }

    fn find(&self, name: &str) -> Option<&'m Attribute> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn refused(&self, name: &str, problem: impl std::fmt::Display) -> OnnxError {
        OnnxError::node(self.node, format!("{name}: {problem}"))
    }

    fn integer(&self, name: &str, otherwise: i64) -> Result<i64, OnnxError> {
        let Some(attribute) = self.find(name) else { return Ok(otherwise) };
        attribute.i.ok_or_else(|| self.refused(name, "expected an integer, found none"))
    }

    fn size(&self, name: &str, otherwise: i64) -> Result<usize, OnnxError> {
        let found = self.integer(name, otherwise)?;
        usize::try_from(found).map_err(|_| self.refused(name, format!("expected 0 or more, found {found}")))
    }

    fn real(&self, name: &str, otherwise: f32) -> Result<f32, OnnxError> {
        let Some(attribute) = self.find(name) else { return Ok(otherwise) };
        let found = attribute.f.filter(|value| value.is_finite());
        found.ok_or_else(|| self.refused(name, "expected a finite number, found none"))
    }

    fn text(&self, name: &str) -> Result<&'m [u8], OnnxError> {
        let Some(attribute) = self.find(name) else { return Ok(b"") };
        attribute.s.as_deref().ok_or_else(|| self.refused(name, "expected text, found none"))
    }

    /// Refuses an integer that is another one, which is `otherwise` where the attribute is absent.
    fn expect(&self, name: &str, otherwise: i64, expected: i64) -> Result<(), OnnxError> {
        let found = self.integer(name, otherwise)?;
        if found == expected { Ok(()) } else { Err(self.refused(name, format!("expected {expected}, found {found}"))) }
    }

    /// The size that is there so many times, for each axis or each side; none where the attribute is absent.
    fn same(&self, name: &str, times: usize) -> Result<Option<usize>, OnnxError> {
        let Some(attribute) = self.find(name) else { return Ok(None) };
        let found = &attribute.ints;
        let first = found.first().and_then(|first| usize::try_from(*first).ok());
        let same = found.len() == times && found.iter().all(|value| Some(value) == found.first());
        match first.filter(|_| same) {
            Some(size) => Ok(Some(size)),
            None => Err(self.refused(name, format!("expected the same size {times} times, found {}", listed(found)))),
        }
    }
}
