//! Values of a graph that do not depend on the image: tensors of weights, and the shapes that `Reshape` takes.

use std::{borrow::Cow, collections::HashMap};

use safetensors::{Dtype, tensor::TensorView};

use super::{
    OnnxError,
    error::listed,
    messages::{EXTERNAL, Graph, Node, Tensor, data_type},
};
use crate::export::foreign::widened;

/// Nodes that are looked at to find a shape that is computed.
const MOST_SHAPE_NODES: usize = 64;

/// Numbers of a shape that are looked at: more than images have dimensions.
const MOST_DIMENSIONS: usize = 8;

/// The values of a graph by name.
pub(super) struct Values<'m> {
    tensors: HashMap<&'m str, &'m Tensor>,
    producers: HashMap<&'m str, &'m Node>,
}

/// A tensor of weights where a node uses it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Constant<'m> {
    name: &'m str,
    tensor: &'m Tensor,
    transposed: bool,
}

/// A number of a shape that is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Dimension {
    /// The size of an axis of a value that is computed.
    Axis(i64),
    /// A number, as `Reshape` understands it.
    Number(i64),
}

impl<'m> Values<'m> {
    /// The values of a graph, none of which may be there twice.
    pub(super) fn new(graph: &'m Graph) -> Result<Self, OnnxError> {
        let (mut tensors, mut producers) = (HashMap::new(), HashMap::new());
        for tensor in &graph.initializer {
            if tensors.insert(tensor.name.as_str(), tensor).is_some() {
                return Err(OnnxError::tensor(&tensor.name, "expected one of this name, found two"));
            }
        }
        for node in &graph.node {
            // An output that nobody wants has no name.
            for output in node.output.iter().filter(|output| !output.is_empty()) {
                if tensors.contains_key(output.as_str()) || producers.insert(output.as_str(), node).is_some() {
                    return Err(OnnxError::node(node, format!("its output {output} is a value that is there already")));
                }
            }
        }
        Ok(Self { tensors, producers })
    }

    /// Whether a value is a tensor of the file.
    pub(super) fn is_initializer(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The node that computes a value.
    pub(super) fn producer(&self, name: &str) -> Option<&'m Node> {
        self.producers.get(name).copied()
    }

    /// The tensor that a value is, behind nodes that copy, convert or transpose it; none where the value is computed.
    pub(super) fn constant(&self, name: &'m str) -> Result<Option<Constant<'m>>, OnnxError> {
        let (mut at, mut transposed) = (name, false);
        // Of nodes in a circle, as many are passed as there are.
        for _ in 0..=self.producers.len() {
            if let Some(tensor) = self.tensors.get(at) {
                return Ok(Some(Constant { name: at, tensor, transposed }));
            }
            let Some(node) = self.producer(at) else { return Ok(None) };
            match (node.op_type.as_str(), node.input.first()) {
                ("Constant", _) => {
                    let value = node.attribute.iter().find(|attribute| attribute.name == "value");
                    let Some(tensor) = value.and_then(|value| value.t.as_ref()) else {
                        return Err(OnnxError::node(node, "expected a tensor as its value"));
                    };
                    return Ok(Some(Constant { name: at, tensor, transposed }));
                }
                ("Identity", Some(input)) => at = input,
                ("Cast", Some(input)) if casts_to_floats(node) => at = input,
                ("Transpose", Some(input)) => {
                    let permutation = node.attribute.iter().find(|attribute| attribute.name == "perm");
                    if permutation.is_some_and(|permutation| permutation.ints != [1, 0]) {
                        return Ok(None);
                    }
                    (at, transposed) = (input, !transposed);
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The numbers of a shape; none where they are neither constant nor sizes of a value.
    pub(super) fn shape(&self, name: &'m str) -> Option<Vec<Dimension>> {
        self.shape_within(name, &mut MOST_SHAPE_NODES.clone())
    }

    fn shape_within(&self, name: &'m str, nodes: &mut usize) -> Option<Vec<Dimension>> {
        *nodes = nodes.checked_sub(1)?;
        if let Some(constant) = self.constant(name).ok().flatten() {
            return Some(constant.integers()?.into_iter().map(Dimension::Number).collect());
        }
        let node = self.producer(name)?;
        let integer = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name)?.i;
        let first = node.input.first()?;
        match node.op_type.as_str() {
            "Shape" => {
                // Without an end, the value may have any number of axes, of which images have four.
                let (start, end) = (integer("start").unwrap_or(0), integer("end").unwrap_or(4));
                (0 <= start && end <= 4).then(|| (start..end).map(Dimension::Axis).collect())
            }
            "Gather" => {
                let sizes = self.shape_within(first, nodes)?;
                let [index] = self.constant(node.input.get(1)?).ok()??.integers()?[..] else { return None };
                Some(vec![*sizes.get(usize::try_from(index).ok()?)?])
            }
            "Unsqueeze" | "Squeeze" | "Cast" | "Identity" => self.shape_within(first, nodes),
            "Concat" => {
                let mut joined = Vec::new();
                for input in &node.input {
                    joined.extend(self.shape_within(input, nodes)?);
                }
                (joined.len() <= MOST_DIMENSIONS).then_some(joined)
            }
            _ => None,
        }
    }
}

impl<'m> Constant<'m> {
    /// The same with its two axes changed about.
    pub(super) fn transposed(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// Its sizes.
    ///
    /// # Errors
    /// One is negative, or it is transposed and has not two axes.
    pub(super) fn sizes(self) -> Result<Vec<usize>, OnnxError> {
        let dims = &self.tensor.dims;
        let sizes: Option<Vec<_>> = dims.iter().map(|size| usize::try_from(*size).ok()).collect();
        let mut sizes =
            sizes.ok_or_else(|| self.refused(format!("expected sizes of 0 or more, found {}", listed(dims))))?;
        if self.transposed {
            if sizes.len() != 2 {
                return Err(self.refused(format!("expected a matrix to transpose, found sizes {}", listed(&sizes))));
            }
            sizes.reverse();
        }
        Ok(sizes)
    }

    /// Its values, of which there must be as many as these sizes say, which are its own.
    ///
    /// # Errors
    /// It has other sizes, or values of another kind or number, or they are in another file.
    pub(super) fn values(self, expected: &[usize]) -> Result<Vec<f32>, OnnxError> {
        let sizes = self.sizes()?;
        if sizes != expected {
            return Err(self.refused(format!("expected sizes {expected:?}, found {}", listed(&sizes))));
        }
        let (dtype, bytes) = self.bytes()?;
        let count = sizes.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        let length = count.and_then(|count| count.checked_mul(dtype.bitsize() / 8));
        if length != Some(bytes.len()) {
            let found = bytes.len() / (dtype.bitsize() / 8);
            return Err(self.refused(format!("expected as many values as its sizes {sizes:?} say, found {found}")));
        }
        let view = TensorView::new(dtype, sizes, &bytes).map_err(|error| self.refused(error.to_string()))?;
        let values = widened(&view).map_err(|problem| self.refused(problem.to_string()))?;
        let [rows, columns] = *expected else { return Ok(values) };
        if !self.transposed {
            return Ok(values);
        }
        let place = |row: usize, column: usize| values.get(column * rows + row).copied();
        Ok((0..rows).flat_map(|row| (0..columns).filter_map(move |column| place(row, column))).collect())
    }

    /// The type of its values where that is not FLOAT.
    pub(super) fn other_type(self) -> Option<&'static str> {
        (self.tensor.data_type != data_type::FLOAT).then(|| type_name(self.tensor.data_type))
    }

    /// The integers of a vector of few, or of a single one.
    fn integers(self) -> Option<Vec<i64>> {
        let Tensor { dims, data_type: kind, raw_data, int64_data, .. } = self.tensor;
        let integers: Vec<i64> = match raw_data {
            Some(raw) => raw.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
            None => int64_data.clone(),
        };
        let fits = *kind == data_type::INT64 && dims.len() < 2 && integers.len() <= MOST_DIMENSIONS;
        fits.then_some(integers)
    }

    /// Its values as they are stored, little-endian.
    fn bytes(self) -> Result<(Dtype, Cow<'m, [u8]>), OnnxError> {
        let Tensor { data_type: kind, raw_data, float_data, double_data, int32_data, external_data, .. } = self.tensor;
        if self.tensor.data_location == EXTERNAL {
            let file = external_data.iter().find(|entry| entry.key == "location").map_or("", |entry| &entry.value);
            return Err(self.refused(format!(
                "expected values in the model, found them in another file, {file:?}; make one file of both in Python, with \
                 onnx.save(onnx.load(\"x.onnx\"), \"whole.onnx\"), or export with external_data=False"
            )));
        }
        let (dtype, typed) = match *kind {
            data_type::FLOAT => (Dtype::F32, float_data.iter().flat_map(|value| value.to_le_bytes()).collect()),
            data_type::DOUBLE => (Dtype::F64, double_data.iter().flat_map(|value| value.to_le_bytes()).collect()),
            data_type::FLOAT16 | data_type::BFLOAT16 => {
                let dtype = if *kind == data_type::FLOAT16 { Dtype::F16 } else { Dtype::BF16 };
                let halves: Option<Vec<_>> = int32_data.iter().map(|bits| u16::try_from(*bits).ok()).collect();
                let halves =
                    halves.ok_or_else(|| self.refused("expected 16 bits in each of its values, found more"))?;
                (dtype, halves.into_iter().flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
            }
            other => {
                let found = type_name(other);
                return Err(self.refused(format!("expected FLOAT, FLOAT16, BFLOAT16 or DOUBLE, found {found}")));
            }
        };
        match raw_data {
            Some(raw) if typed.is_empty() => Ok((dtype, raw.into())),
            Some(_) => Err(self.refused("expected its values once, found them twice")),
            None => Ok((dtype, typed.into())),
        }
    }

    /// The refusal of this tensor.
    pub(super) fn refused(self, problem: impl Into<String>) -> OnnxError {
        OnnxError::tensor(self.name, problem)
    }
}

/// Whether a `Cast` makes floats.
pub(super) fn casts_to_floats(node: &Node) -> bool {
    let kind = node.attribute.iter().find(|attribute| attribute.name == "to").and_then(|attribute| attribute.i);
    kind.and_then(|kind| i32::try_from(kind).ok()).is_some_and(|kind| data_type::FLOATS.contains(&kind))
}

/// The name of a `TensorProto.DataType`.
pub(super) fn type_name(number: i32) -> &'static str {
    const NAMES: [&str; 24] = [
        "UNDEFINED",
        "FLOAT",
        "UINT8",
        "INT8",
        "UINT16",
        "INT16",
        "INT32",
        "INT64",
        "STRING",
        "BOOL",
        "FLOAT16",
        "DOUBLE",
        "UINT32",
        "UINT64",
        "COMPLEX64",
        "COMPLEX128",
        "BFLOAT16",
        "FLOAT8E4M3FN",
        "FLOAT8E4M3FNUZ",
        "FLOAT8E5M2",
        "FLOAT8E5M2FNUZ",
        "UINT4",
        "INT4",
        "FLOAT4E2M1",
    ];
    usize::try_from(number).ok().and_then(|number| NAMES.get(number)).unwrap_or(&"an unknown type")
}
