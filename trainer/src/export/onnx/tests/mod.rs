//! Tests of models that are read: those that say the same in other words ([`alike`]), and those that are refused ([`refused`]). All
//! are changes of the model that is written of LeNet-5.

mod alike;
mod refused;

use std::collections::BTreeMap;

use infer_core::{alexnet, alexnet_2012, alexnet_imagenet, alexnet_low_rank, describe::Description, lenet5};
use prost::Message;

use super::{
    Imported, OnnxError,
    messages::{Attribute, Graph, Model, Node, Tensor, data_type},
    model, read,
};

const NETWORKS: [&Description; 7] = [
    &alexnet::DESCRIPTION,
    &alexnet_imagenet::DESCRIPTION,
    &alexnet_2012::DESCRIPTION,
    &alexnet_low_rank::rank64::DESCRIPTION,
    &alexnet_low_rank::rank128::DESCRIPTION,
    &alexnet_low_rank::rank256::DESCRIPTION,
    &lenet5::DESCRIPTION,
];

/// A value that half-width floats have, too.
fn value(name: &str, index: usize) -> f32 {
    let seed = name.bytes().fold(0_usize, |seed, byte| (seed * 31 + usize::from(byte)) % 4093);
    ((seed + index * 7919) % 2039) as f32 / 1024.0 - 1.0
}

fn values(name: &str, shape: &[usize]) -> Result<Vec<f32>, OnnxError> {
    Ok((0..shape.iter().product()).map(|index| value(name, index)).collect())
}

fn lenet() -> Vec<u8> {
    model(&lenet5::DESCRIPTION, 10, &BTreeMap::new(), values).unwrap()
}

fn imported(file: &[u8]) -> Result<Imported, OnnxError> {
    read(file, &NETWORKS)
}

/// LeNet-5's model after a change of its graph.
fn changed(change: impl FnOnce(&mut Graph)) -> Result<Imported, OnnxError> {
    let mut model = Model::decode(&*lenet()).unwrap();
    change(model.graph.as_mut().unwrap());
    imported(&model.encode_to_vec())
}

/// Checks that a graph is read as the one that was written.
fn same(change: impl FnOnce(&mut Graph)) -> Imported {
    let imported = changed(change).unwrap();
    assert_eq!((imported.network.name, imported.classes), ("lenet5", 10));
    let layers = lenet5::DESCRIPTION.layers.iter();
    for (layer, [weight, bias]) in layers.filter_map(|layer| Some((layer, layer.tensors?))) {
        let shape = &layer.weight_sizes()[..layer.weight_rank()];
        for (name, shape) in [(weight, shape), (bias, &[layer.output.channels])] {
            assert_eq!(imported.values(name).unwrap(), values(name, shape).unwrap(), "{name}");
        }
    }
    imported
}

fn tensor<'g>(graph: &'g mut Graph, name: &str) -> &'g mut Tensor {
    graph.initializer.iter_mut().find(|tensor| tensor.name == name).unwrap()
}

fn node<'g>(graph: &'g mut Graph, name: &str) -> &'g mut Node {
    graph.node.iter_mut().find(|node| node.name == name).unwrap()
}

fn place(graph: &Graph, name: &str) -> usize {
    graph.node.iter().position(|node| node.name == name).unwrap()
}

/// A node with one output of its name.
fn made(operator: &str, name: &str, input: &[&str]) -> Node {
    Node {
        input: input.iter().map(|input| input.to_string()).collect(),
        output: vec![name.to_string()],
        name: name.to_string(),
        op_type: operator.to_string(),
        ..Node::default()
    }
}

/// Puts a node of one input behind another one.
fn insert(graph: &mut Graph, behind: &str, operator: &str) {
    let name = format!("{behind}.{operator}");
    for node in &mut graph.node {
        node.input.iter_mut().filter(|input| *input == behind).for_each(|input| input.clone_from(&name));
    }
    for output in graph.output.iter_mut().filter(|output| output.name == behind) {
        output.name.clone_from(&name);
    }
    graph.node.push(made(operator, &name, &[behind]));
}

fn integers(name: &str, dims: &[i64], values: &[i64]) -> Tensor {
    Tensor {
        name: name.to_string(),
        dims: dims.to_vec(),
        data_type: data_type::INT64,
        int64_data: values.to_vec(),
        ..Tensor::default()
    }
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    let raw = tensor.raw_data.as_ref().unwrap();
    raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn set(tensor: &mut Tensor, values: impl IntoIterator<Item = f32>) {
    tensor.raw_data = Some(values.into_iter().flat_map(f32::to_le_bytes).collect());
}

fn set_integer(node: &mut Node, name: &str, value: i64) {
    node.attribute.retain(|attribute| attribute.name != name);
    node.attribute.push(Attribute { name: name.to_string(), i: Some(value), ..Attribute::default() });
}

fn set_integers(node: &mut Node, name: &str, values: &[i64]) {
    node.attribute.retain(|attribute| attribute.name != name);
    node.attribute.push(Attribute { name: name.to_string(), ints: values.to_vec(), ..Attribute::default() });
}

fn set_real(node: &mut Node, name: &str, value: f32) {
    node.attribute.push(Attribute { name: name.to_string(), f: Some(value), ..Attribute::default() });
}

/// Makes a matrix the one that is transposed.
fn transpose(tensor: &mut Tensor) {
    let [rows, columns] = tensor.dims[..] else { panic!("{:?}", tensor.dims) };
    let (values, rows, columns) = (floats(tensor), rows as usize, columns as usize);
    set(
        tensor,
        (0..columns)
            .flat_map(|column| (0..rows).map(move |row| (row, column)))
            .map(|(row, column)| values[row * columns + column]),
    );
    tensor.dims.reverse();
}

/// Takes the last input of a node, its bias, off and adds it by a node of its own.
fn add_bias(graph: &mut Graph, name: &str, dims: &[i64], first: bool) {
    let bias = node(graph, name).input.pop().unwrap();
    tensor(graph, &bias).dims = dims.to_vec();
    insert(graph, name, "Add");
    let added = &mut graph.node.last_mut().unwrap().input;
    added.push(bias);
    if first {
        added.reverse();
    }
}

fn transpose_gemm(graph: &mut Graph, name: &str) {
    node(graph, name).attribute.clear();
    transpose(tensor(graph, &format!("{name}.weight")));
}
