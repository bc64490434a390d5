//! ONNX: a network with its weights as other engines read it, of the operators that all of them know (operator set 13).
//!
//! The input `image` has N images as the network takes them (N×C×H×W, f32), the output `logits` a row of logits for each. What was
//! done to images before, the classes and all else of the weights file stand in the model's metadata under the same keys.

mod protobuf;

use std::collections::BTreeMap;

use infer_core::{
    describe::{Description, Kind, Layer},
    layers::LocalResponseNorm,
};

use self::protobuf::Message;

/// Versions of the format and of its operators: those of 2021, which every engine reads.
const FORMAT: u64 = 8;
const OPERATORS: u64 = 13;

/// `TensorProto.DataType.FLOAT`.
const FLOAT: u64 = 1;

/// Numbers of `AttributeProto.AttributeType`.
const REAL: u64 = 1;
const INTEGER: u64 = 2;
const INTEGERS: u64 = 7;

/// Name of the dimension that is the number of images.
const IMAGES: &str = "N";

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
    let mut graph = Graph { message: Message::default(), last: "image".to_string() };
    graph.message.text(2, network.name);
    let layers: Vec<_> = network.layers(classes).collect();
    for (number, layer) in layers.iter().enumerate() {
        if let Some([weight, bias]) = layer.tensors {
            let (sizes, rank) = (layer.weight_sizes(), layer.weight_rank());
            let shape = sizes.get(..rank).unwrap_or(&sizes);
            graph.tensor(weight, shape, &values(weight, shape)?);
            let shape = [layer.output.channels];
            graph.tensor(bias, &shape, &values(bias, &shape)?);
        }
        graph.layer(layer, number + 1 == layers.len());
    }
    let input = network.input();
    graph.message.message(11, &value("image", &[input.channels, input.side, input.side]));
    graph.message.message(12, &value("logits", &[classes]));

    let mut operators = Message::default();
    operators.text(1, "").number(2, OPERATORS);
    let mut model = Message::default();
    model.number(1, FORMAT).text(2, "trainer").text(3, env!("CARGO_PKG_VERSION"));
    model.message(7, &graph.message).message(8, &operators);
    for (key, value) in metadata {
        let mut entry = Message::default();
        entry.text(1, key).text(2, value);
        model.message(14, &entry);
    }
    Ok(model.into_bytes())
}

/// The graph in the making, and the name of its last value.
struct Graph {
    message: Message,
    last: String,
}

impl Graph {
    /// Adds a tensor of weights.
    fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut tensor = Message::default();
        tensor.numbers(1, shape).number(2, FLOAT).text(8, name).bytes(9, &bytes);
        self.message.message(5, &tensor);
    }

    /// Adds a layer, and what follows it.
    fn layer(&mut self, layer: &Layer, last: bool) {
        let weights: Vec<_> = layer.tensors.into_iter().flatten().collect();
        let square = |size: usize| [size, size];
        match layer.kind {
            Kind::Conv { kernel, stride, padding, groups } => {
                let attributes = [
                    integer("group", groups as u64),
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
                    integer("size", size as u64),
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

    /// Adds an operator on the last value and some weights; its output, which has its name, is the last value then.
    fn node(&mut self, operator: &str, name: &str, weights: &[&str], attributes: &[Message]) {
        let mut node = Message::default();
        node.text(1, &self.last);
        weights.iter().for_each(|weight| _ = node.text(1, weight));
        node.text(2, name).text(3, name).text(4, operator);
        attributes.iter().for_each(|attribute| _ = node.message(5, attribute));
        self.message.message(1, &node);
        self.last = name.to_string();
    }
}

fn real(name: &str, value: f32) -> Message {
    let mut attribute = Message::default();
    attribute.text(1, name).float(2, value).number(20, REAL);
    attribute
}

fn integer(name: &str, value: u64) -> Message {
    let mut attribute = Message::default();
    attribute.text(1, name).number(3, value).number(20, INTEGER);
    attribute
}

fn integers(name: &str, values: &[usize]) -> Message {
    let mut attribute = Message::default();
    attribute.text(1, name).numbers(8, values).number(20, INTEGERS);
    attribute
}

/// An input or output: f32, of any number of images.
fn value(name: &str, shape: &[usize]) -> Message {
    let mut sizes = Message::default();
    let mut images = Message::default();
    images.text(2, IMAGES);
    sizes.message(1, &images);
    for size in shape {
        let mut dimension = Message::default();
        dimension.number(1, *size as u64);
        sizes.message(1, &dimension);
    }
    let mut tensor = Message::default();
    tensor.number(1, FLOAT).message(2, &sizes);
    let mut kind = Message::default();
    kind.message(1, &tensor);
    let mut value = Message::default();
    value.text(1, name).message(2, &kind);
    value
}
