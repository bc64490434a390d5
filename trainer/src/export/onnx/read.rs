//! Models that are read: the weights of a network in a file that this program or another one has written.

use std::path::Path;

use image_files::preprocessing::Preprocessing;
use infer_core::describe::Description;
use prost::Message;

use super::{
    OnnxError,
    constants::{Values, type_name},
    error::listed,
    fit::{Fit, fit},
    messages::{Graph, Model, Shape, Value, data_type},
    steps::{Bias, Operation, Weights, steps},
    write::PRODUCER,
};
use crate::export::{ExportError, Metadata, StoredTensor, check_finite, save_tensors};

/// The oldest operator set whose operators are understood. Before it, `Gemm` and `Dropout` were others.
const OLDEST_OPERATORS: i64 = 7;

/// Keys of the metadata.
const ARCHITECTURE: &str = "architecture";
const PREPROCESSING: &str = "preprocessing";

/// A network of an ONNX model: its weights, as a weights file has them.
#[derive(Debug)]
pub struct Imported {
    /// The network.
    pub network: &'static Description,
    /// The number of classes that it tells apart.
    pub classes: usize,
    /// Metadata of a weights file: those of the model where [`model`](super::model) wrote it, else what is known.
    pub metadata: Metadata,
    /// Decisions that were taken, in sentences for people.
    pub notes: Vec<String>,
    pub(crate) tensors: Vec<StoredTensor<'static>>,
}

impl Imported {
    /// The values of a tensor, by its name in weights files.
    pub fn values(&self, name: &str) -> Option<&[f32]> {
        self.tensors.iter().find(|tensor| tensor.name == name).map(|tensor| &*tensor.values)
    }

    /// Writes a weights file, as [`save`](crate::export::save) does.
    ///
    /// # Errors
    /// The file cannot be written, or a weight is not finite.
    pub fn save(&self, path: &Path) -> Result<(), ExportError> {
        save_tensors(path, &self.tensors, &self.metadata)
    }
}

/// Reads the ONNX model that is the bytes of `file`, of one of `networks`.
///
/// # Errors
/// The file is no ONNX model, its graph is none of the networks, or a tensor is not as the network needs it: what of it, what was
/// expected and what was found.
pub fn read(file: &[u8], networks: &[&'static Description]) -> Result<Imported, OnnxError> {
    let model = Model::decode(file).map_err(|error| OnnxError::Format(error.to_string()))?;
    let graph = model.graph.as_ref().ok_or_else(|| OnnxError::Format("it has no graph".to_string()))?;
    check_operators(&model)?;
    let values = Values::new(graph)?;
    let (input, image) = input(graph, &values)?;
    let [output] = &graph.output[..] else {
        return Err(OnnxError::Model(format!("expected one output, the logits, found {}", graph.output.len())));
    };
    let mut steps = steps(graph, &values, &input.name, &output.name)?;
    let softmax = steps.pop_if(|step| matches!(step.operation, Operation::Softmax));
    let fit = fit(&steps, image.as_deref(), networks)?;

    let mut notes = Vec::new();
    if let Some(softmax) = softmax {
        notes.push(format!("{} at the end is left out: a network's outputs are logits", softmax.node.op_type));
    }
    let tensors = fit.tensors()?;
    let other_types = fit.layers.iter().filter_map(|(_, weights)| weights.weight.other_type());
    let mut other_types: Vec<_> = other_types.collect();
    other_types.sort_unstable();
    other_types.dedup();
    notes.extend(other_types.into_iter().map(|name| format!("values of {name} become F32")));
    let metadata = metadata(&model, fit.network, &mut notes)?;
    Ok(Imported { network: fit.network, classes: fit.classes, metadata, notes, tensors })
}

fn check_operators(model: &Model) -> Result<(), OnnxError> {
    let mut own = model.opset_import.iter().filter(|set| matches!(set.domain.as_deref(), None | Some("" | "ai.onnx")));
    match own.next() {
        Some(set) if set.version >= OLDEST_OPERATORS => Ok(()),
        Some(set) => Err(OnnxError::Model(format!(
            "expected operator set {OLDEST_OPERATORS} or newer, found {}; onnx.version_converter makes a newer one of it",
            set.version
        ))),
        None => Err(OnnxError::Model("expected the number of its operator set, found none".to_string())),
    }
}

/// Sizes of an input; those that are no numbers have names.
type Sizes = Vec<Option<usize>>;

/// The input that the image is, and its sizes where the model says them.
fn input<'m>(graph: &'m Graph, values: &Values<'m>) -> Result<(&'m Value, Option<Sizes>), OnnxError> {
    // Old versions of the format list the weights as well.
    let free: Vec<_> = graph.input.iter().filter(|input| !values.is_initializer(&input.name)).collect();
    let [input] = free[..] else {
        return Err(OnnxError::Model(format!("expected one input, the images, found {}", free.len())));
    };
    if values.producer(&input.name).is_some() {
        return Err(OnnxError::Model(format!("its input {}: expected that no node computes it", input.name)));
    }
    let Some(tensor) = input.kind.as_ref().and_then(|kind| kind.tensor_type.as_ref()) else { return Ok((input, None)) };
    if tensor.elem_type != 0 && !data_type::FLOATS.contains(&tensor.elem_type) {
        let found = type_name(tensor.elem_type);
        return Err(OnnxError::Model(format!("its input {}: expected floats, found {found}", input.name)));
    }
    let sizes = |shape: &Shape| {
        shape.dim.iter().map(|size| size.dim_value.map(|size| usize::try_from(size).unwrap_or_default())).collect()
    };
    Ok((input, tensor.shape.as_ref().map(sizes)))
}

impl Fit<'_> {
    /// The tensors of the weights file, in the network's order.
    fn tensors(&self) -> Result<Vec<StoredTensor<'static>>, OnnxError> {
        let mut tensors = Vec::new();
        for (layer, weights) in &self.layers {
            let [weight, bias] = layer.tensors.unwrap_or_default();
            let sizes = layer.weight_sizes();
            let shape = sizes.get(..layer.weight_rank()).unwrap_or_default();
            let mut stored = |name: &str, shape: &[usize], values: Vec<f32>| {
                tensors.push(StoredTensor { name: name.to_string(), shape: shape.to_vec(), values: values.into() });
            };
            stored(weight, shape, weights.weight_values(shape)?);
            let outputs = layer.output.channels;
            stored(bias, &[outputs], weights.bias_values(outputs)?);
        }
        Ok(tensors)
    }
}

impl Weights<'_> {
    fn weight_values(&self, shape: &[usize]) -> Result<Vec<f32>, OnnxError> {
        let values = scaled(self.weight.values(shape)?, self.alpha);
        check_finite(values.iter().copied()).map_err(|problem| self.weight.refused(problem.to_string()))?;
        Ok(values)
    }

    /// The bias of so many outputs: zeros where there is none.
    fn bias_values(&self, outputs: usize) -> Result<Vec<f32>, OnnxError> {
        let Some(Bias { constant, behind }) = self.bias else { return Ok(vec![0.0; outputs]) };
        let sizes = constant.sizes()?;
        // One value for each output, and nothing else along the other axes.
        let axis = sizes.len().checked_sub(behind + 1);
        let fits = axis.is_some_and(|axis| {
            sizes.iter().enumerate().all(|(place, size)| *size == if place == axis { outputs } else { 1 })
        });
        if !fits {
            let found = listed(&sizes);
            return Err(
                constant.refused(format!("expected a value for each of {outputs} outputs, found sizes {found}"))
            );
        }
        let values = scaled(constant.values(&sizes)?, self.beta);
        check_finite(values.iter().copied()).map_err(|problem| constant.refused(problem.to_string()))?;
        Ok(values)
    }
}

/// The values times a factor; their bits where that is 1.
fn scaled(mut values: Vec<f32>, factor: f32) -> Vec<f32> {
    if factor != 1.0 {
        values.iter_mut().for_each(|value| *value *= factor);
    }
    values
}

/// The metadata of the weights file.
fn metadata(model: &Model, network: &Description, notes: &mut Vec<String>) -> Result<Metadata, OnnxError> {
    let mut metadata = Metadata::new();
    let own = model.producer_name == PRODUCER;
    for entry in model.metadata_props.iter().filter(|_| own) {
        if metadata.insert(entry.key.clone(), entry.value.clone()).is_some() {
            return Err(OnnxError::Model(format!("its metadata have {:?} twice", entry.key)));
        }
    }
    let found = metadata.entry(ARCHITECTURE.to_string()).or_insert_with(|| network.name.to_string());
    if found != network.name {
        let name = network.name;
        return Err(OnnxError::Model(format!(
            "its metadata say {ARCHITECTURE} {found:?}, its graph is that of {name:?}"
        )));
    }
    let input = network.input();
    match metadata.get(PREPROCESSING) {
        Some(text) => {
            let known = Preprocessing::understand(text, input);
            known.map_err(|error| OnnxError::Model(format!("its metadata: {error}")))?;
        }
        None => {
            let usual = Preprocessing::usual(input).describe(input);
            notes.push(format!(
                "the model does not say how an image becomes its input; the weights say what is usual for {}, change it in \
                 their metadata where they were trained otherwise: {usual}",
                network.title
            ));
            metadata.insert(PREPROCESSING.to_string(), usual);
        }
    }
    Ok(metadata)
}
