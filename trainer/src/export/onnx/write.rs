//! Models that are written: of the operators that all engines know (operator set 13).
//!
//! The input `image` has N images as the network takes them (N×C×H×W, f32), the output `logits` a row of logits for each. What was
//! done to images before, the classes and all else of the weights file stand in the model's metadata under the same keys.

use std::collections::BTreeMap;

use infer_core::{
    describe::{Description, Kind, Layer},
    layers::LocalResponseNorm,
};
use prost::Message;

use super::messages::{
    Attribute, Dimension, Entry, Graph, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type, Value,
    data_type::FLOAT,
};

/// Versions of the format and of its operators: those of 2021, which every engine reads.
const FORMAT: i64 = 8;
const OPERATORS: i64 = 13;

/// Name of the program in models that it writes.
pub(super) const PRODUCER: &str = "trainer";

/// Numbers of `AttributeProto.AttributeType`.
const REAL: i32 = 1;
const INTEGER: i32 = 2;
const INTEGERS: i32 = 7;

/// Name of the dimension that is the number of images.
const IMAGES: &str = "N";

/// Name of the input.
const IMAGE: &str = "image";

/// The model of `network` for so many classes. `values` gives the values of a tensor of a shape, by its name in weights files.
///
/// # Errors
/// Those of `values`.
pub fn model<E>(
    network: &Description,
    classes: usize,
    metadata: &BTreeMap<String, String>,
    values: impl Fn(&str, &[usize]) -> Result<Vec<f32>, E>,
) -> Result<Vec<u8>, E> {
    let mut chain = Chain::default();
    let layers: Vec<_> = network.layers(classes).collect();
    for (number, layer) in layers.iter().enumerate() {
        if let Some([weight, bias]) = layer.tensors {
            let (sizes, rank) = (layer.weight_sizes(), layer.weight_rank());
            let shape = sizes.get(..rank).unwrap_or(&sizes);
            chain.tensor(weight, shape, &values(weight, shape)?);
            let shape = [layer.output.channels];
            chain.tensor(bias, &shape, &values(bias, &shape)?);
        }
        chain.layer(layer, number + 1 == layers.len());
    }
    let input = network.input();
    let graph = Graph {
        node: chain.nodes,
        name: network.name.to_string(),
        initializer: chain.tensors,
        input: vec![value(IMAGE, &[input.channels, input.side, input.side])],
        output: vec![value("logits", &[classes])],
    };
    let entry = |(key, value): (&String, &String)| Entry { key: key.clone(), value: value.clone() };
    let model = Model {
        ir_version: FORMAT,
        producer_name: PRODUCER.to_string(),
        producer_version: env!("CARGO_PKG_VERSION").to_string(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: Some(String::new()), version: OPERATORS }],
        metadata_props: metadata.iter().map(entry).collect(),
    };
    Ok(model.encode_to_vec())
}

/// Operators in the making, each on the output of the one before it, and their weights.
#[derive(Default)]
struct Chain {
    nodes: Vec<Node>,
    tensors: Vec<Tensor>,
}

impl Chain {
    /// Adds a tensor of weights.
    fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.tensors.push(Tensor {
            dims: integers_of(shape),
            data_type: FLOAT,
            name: name.to_string(),
            raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            ..Tensor::default()
        });
    }

    /// Adds a layer, and what follows it.
    fn layer(&mut self, layer: &Layer, last: bool) {
        let weights: Vec<_> = layer.tensors.into_iter().flatten().collect();
        let square = |size: usize| [size, size];
        match layer.kind {
            Kind::Conv { kernel, stride, padding, groups } => {
                let attributes = [
                    integer("group", groups),
                    integers("kernel_shape", &square(kernel)),
                    integers("pads", &[padding; 4]),
                    integers("strides", &square(stride)),
                ];
                self.node("Conv", layer.name, &weights, &attributes);
            }
            // The operator divides alpha by the number of channels that are summed, which the paper does not.
            Kind::LocalResponseNorm => {
                let size = 2 * LocalResponseNorm::REACH + 1;
                let attributes = [
                    real("alpha", LocalResponseNorm::ALPHA * size as f32),
                    real("beta", LocalResponseNorm::BETA),
                    real("bias", LocalResponseNorm::K),
                    integer("size", size),
                ];
                self.node("LRN", layer.name, &weights, &attributes);
            }
            Kind::MaxPool { kernel, stride, .. } => {
                let attributes = [integers("kernel_shape", &square(kernel)), integers("strides", &square(stride))];
                self.node("MaxPool", layer.name, &weights, &attributes);
            }
            Kind::Linear { .. } => {
                if layer.input.side > 1 {
                    self.node("Flatten", &format!("{}.flat", layer.name), &[], &[]);
                }
                let name = if last { "logits" } else { layer.name };
                self.node("Gemm", name, &weights, &[integer("transB", 1)]);
            }
        }
        if layer.relu() {
            self.node("Relu", &format!("{}.relu", layer.name), &[], &[]);
        }
    }

    /// Adds an operator on the last value and some weights; its output has its name.
    fn node(&mut self, operator: &str, name: &str, weights: &[&str], attributes: &[Attribute]) {
        let last = self.nodes.last().map_or(IMAGE, |node| &node.name).to_string();
        self.nodes.push(Node {
            input: std::iter::once(last).chain(weights.iter().map(|weight| weight.to_string())).collect(),
            output: vec![name.to_string()],
            name: name.to_string(),
            op_type: operator.to_string(),
            attribute: attributes.to_vec(),
            domain: String::new(),
        });
    }
}

fn real(name: &str, value: f32) -> Attribute {
    Attribute { name: name.to_string(), f: Some(value), kind: REAL, ..Attribute::default() }
}

fn integer(name: &str, value: usize) -> Attribute {
    Attribute { name: name.to_string(), i: Some(value as i64), kind: INTEGER, ..Attribute::default() }
}

fn integers(name: &str, values: &[usize]) -> Attribute {
    Attribute { name: name.to_string(), ints: integers_of(values), kind: INTEGERS, ..Attribute::default() }
}

fn integers_of(values: &[usize]) -> Vec<i64> {
    values.iter().map(|value| *value as i64).collect()
}

/// An input or output: f32, of any number of images.
fn value(name: &str, shape: &[usize]) -> Value {
    let images = Dimension { dim_value: None, dim_param: Some(IMAGES.to_string()) };
    let sizes = shape.iter().map(|size| Dimension { dim_value: Some(*size as i64), dim_param: None });
    let shape = Shape { dim: std::iter::once(images).chain(sizes).collect() };
    let tensor = TensorType { elem_type: FLOAT, shape: Some(shape) };
    Value { name: name.to_string(), kind: Some(Type { tensor_type: Some(tensor) }) }
}
