//! Why an ONNX file is refused.

use std::fmt::Debug;

use super::messages::Node;

/// Numbers of a list that are shown: more than any that is right has.
const MOST_LISTED: usize = 8;

/// A list of numbers, of a long one its beginning.
pub(super) fn listed(numbers: &[impl Debug]) -> String {
    match numbers.get(..MOST_LISTED) {
        Some(first) if numbers.len() > MOST_LISTED => format!("{} numbers, {first:?} first", numbers.len()),
        _ => format!("{numbers:?}"),
    }
}

/// Why an ONNX file is refused: what in it, what was expected and what was found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// It is no ONNX model, or a damaged one.
    #[error("not a valid ONNX model: {0}")]
    Format(String),
    /// The model as a whole.
    #[error("{0}")]
    Model(String),
    /// A node of the graph.
    #[error("node {node} ({operator}): {problem}")]
    Node {
        /// The node's name, or that of its output where it has none.
        node: String,
        /// Its operator.
        operator: String,
        /// Expectation, and what was found instead.
        problem: String,
    },
    /// A tensor.
    #[error("tensor {tensor}: {problem}")]
    Tensor {
        /// The tensor's name.
        tensor: String,
        /// Expectation, and what was found instead.
        problem: String,
    },
}

impl OnnxError {
    /// The refusal of a node.
    pub(super) fn node(node: &Node, problem: impl Into<String>) -> Self {
        let named = Some(&node.name).filter(|name| !name.is_empty()).or(node.output.first());
        Self::Node { node: named.cloned().unwrap_or_default(), operator: node.op_type.clone(), problem: problem.into() }
    }

    /// The refusal of a tensor.
    pub(super) fn tensor(tensor: &str, problem: impl Into<String>) -> Self {
        Self::Tensor { tensor: tensor.to_string(), problem: problem.into() }
    }
}
