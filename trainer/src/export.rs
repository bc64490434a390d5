//! Weight files: a network's tensors and what is known about them, as safetensors.
//!
//! Names and layouts are PyTorch's, so that a file from here loads into a PyTorch module with the same names
//! (`load_state_dict(strict=True)`), and a file of such a module's `state_dict()` loads here.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    convert::Infallible,
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use dfdx::{
    nn::{
        RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorMut, ViewTensorName, ViewTensorRef,
    },
    shapes::{HasShape, Shape},
    tensor::Tensor,
    tensor_ops::Device,
};
use safetensors::{Dtype, SafeTensors, View};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::atomic;

/// Why a weight file cannot be written or is refused.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is not a safetensors file, or a damaged one.
    #[error("{}: not a valid safetensors file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file's tensors are not the network's.
    #[error("{}: tensor {tensor}: {problem}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        problem: TensorProblem,
    },
}

/// What is wrong with one tensor of a weight file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TensorProblem {
    /// The network has it, the file has not.
    #[error("missing; expected F32 {expected:?}")]
    Missing {
        /// Shape that the network needs.
        expected: Vec<usize>,
    },
    /// The file has it, the network has not.
    #[error("the network has no such tensor")]
    Unexpected,
    /// The file has it twice.
    #[error("there twice")]
    Duplicate,
    /// Its values are not 32-bit floats.
    #[error("expected dtype F32, found {found:?}")]
    Dtype {
        /// Type found.
        found: Dtype,
    },
    /// It has another shape.
    #[error("expected shape {expected:?}, found {found:?}")]
    Shape {
        /// Shape that the network needs.
        expected: Vec<usize>,
        /// Shape found.
        found: Vec<usize>,
    },
    /// It holds a NaN or an infinity.
    #[error("expected finite values, found {value} at index {index}")]
    NotFinite {
        /// Position of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
}

/// Writes the network's tensors and `metadata` to `path`. An existing file is replaced only when the new one is complete.
///
/// # Errors
/// The file cannot be written, or a weight is not finite.
pub fn save<D: Device<f32>, M: TensorCollection<f32, D>>(
    path: &Path,
    network: &M,
    metadata: &BTreeMap<String, String>,
) -> Result<(), ExportError> {
    let mut collect = Collect::default();
    let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: (network, String::new()), f: &mut collect });
    for (name, tensor) in &collect.tensors {
        check_finite(tensor.values.iter().copied()).map_err(|problem| refuse(path, name, problem))?;
    }
    let metadata = metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let write = |source| ExportError::Write { path: path.to_owned(), source };
    let mut bytes =
        safetensors::serialize(collect.tensors, Some(metadata)).map_err(|error| write(io::Error::other(error)))?;
    sort_header(&mut bytes).map_err(|error| write(error.into()))?;
    atomic::write(path, |file| file.write_all(&bytes)).map_err(write)
}

/// Reads the network's tensors from `path` and returns the file's metadata. The network is unchanged where this fails.
///
/// # Errors
/// The file cannot be read, is not valid safetensors, or its tensors are not exactly the network's (names, shapes, `F32`)
/// with finite values.
pub fn load<D: Device<f32>, M: TensorCollection<f32, D>>(
    path: &Path,
    network: &mut M,
) -> Result<BTreeMap<String, String>, ExportError> {
    let bytes = fs::read(path).map_err(|source| ExportError::Read { path: path.to_owned(), source })?;
    let format = |reason: String| ExportError::Format { path: path.to_owned(), reason };
    let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| format(error.to_string()))?;
    let Names(names) = serde_json::from_slice(&bytes[8..8 + header]).map_err(|error| format(error.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| format(error.to_string()))?;

    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(refuse(path, name, TensorProblem::Duplicate));
    }
    let mut shapes = Shapes::default();
    let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: (&*network, String::new()), f: &mut shapes });
    let mut weights = Weights::default();
    for (name, expected) in &shapes.0 {
        let values = read(&file, name, expected).map_err(|problem| refuse(path, name, problem))?;
        weights.0.insert(name.clone(), values);
    }
    if let Some(name) = names.iter().find(|name| !weights.0.contains_key(*name)) {
        return Err(refuse(path, name, TensorProblem::Unexpected));
    }
    let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: (network, String::new()), f: &mut weights });
    Ok(metadata.metadata().clone().unwrap_or_default().into_iter().collect())
}

fn refuse(path: &Path, tensor: &str, problem: TensorProblem) -> ExportError {
    ExportError::Tensor { path: path.to_owned(), tensor: tensor.to_owned(), problem }
}

fn check_finite(values: impl Iterator<Item = f32>) -> Result<(), TensorProblem> {
    match values.enumerate().find(|(_, value)| !value.is_finite()) {
        Some((index, value)) => Err(TensorProblem::NotFinite { index, value }),
        None => Ok(()),
    }
}

/// One tensor's values, if the file has it as the network needs it.
fn read(file: &SafeTensors, name: &str, expected: &[usize]) -> Result<Vec<f32>, TensorProblem> {
    let tensor = file.tensor(name).map_err(|_| TensorProblem::Missing { expected: expected.to_vec() })?;
    if tensor.dtype() != Dtype::F32 {
        return Err(TensorProblem::Dtype { found: tensor.dtype() });
    }
    if tensor.shape() != expected {
        return Err(TensorProblem::Shape { expected: expected.to_vec(), found: tensor.shape().to_vec() });
    }
    let (values, _) = tensor.data().as_chunks::<4>();
    let values: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    check_finite(values.iter().copied())?;
    Ok(values)
}

/// Puts the header's entries in order: the safetensors crate writes metadata in an order that changes from run to run, and
/// the same network should give the same file.
fn sort_header(bytes: &mut [u8]) -> serde_json::Result<()> {
    let (length, rest) = bytes.split_at_mut(8);
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let header: BTreeMap<String, BTreeMap<String, serde_json::Value>> = serde_json::from_slice(&rest[..length])?;
    let mut sorted = serde_json::to_vec(&header)?;
    sorted.resize(length, b' ');
    rest[..length].copy_from_slice(&sorted);
    Ok(())
}

/// A tensor on its way into a file.
struct Exported {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl View for Exported {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values.as_slice())
    }
}

/// Copies every tensor out of a network.
#[derive(Default)]
struct Collect {
    tensors: Vec<(String, Exported)>,
}

impl<D: Device<f32>> TensorVisitor<f32, D> for Collect {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = Infallible;
    type E2 = f32;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, f32, D>,
        (tensor, name): (&Tensor<S, f32, D>, String),
    ) -> Result<Option<Tensor<S, f32, D>>, Infallible> {
        let shape = tensor.shape().concrete().into();
        self.tensors.push((name, Exported { shape, values: tensor.as_vec() }));
        Ok(None)
    }
}

/// The names and shapes of a network's tensors.
#[derive(Default)]
struct Shapes(Vec<(String, Vec<usize>)>);

impl<D: Device<f32>> TensorVisitor<f32, D> for Shapes {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = Infallible;
    type E2 = f32;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, f32, D>,
        (tensor, name): (&Tensor<S, f32, D>, String),
    ) -> Result<Option<Tensor<S, f32, D>>, Infallible> {
        self.0.push((name, tensor.shape().concrete().into()));
        Ok(None)
    }
}

/// Values by tensor name, each of the right length, on their way into a network.
#[derive(Default)]
struct Weights(HashMap<String, Vec<f32>>);

impl<D: Device<f32>> TensorVisitor<f32, D> for Weights {
    type Viewer = (ViewTensorMut, ViewTensorName);
    type Err = Infallible;
    type E2 = f32;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, f32, D>,
        (tensor, name): (&mut Tensor<S, f32, D>, String),
    ) -> Result<Option<Tensor<S, f32, D>>, Infallible> {
        if let Some(values) = self.0.remove(&name) {
            tensor.copy_from(&values);
        }
        Ok(None)
    }
}

/// The names of the tensors in a file's header, duplicates included (the safetensors crate keeps only the last of them).
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    map.next_value::<IgnoredAny>()?;
                    if name != "__metadata__" {
                        names.push(name);
                    }
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}
