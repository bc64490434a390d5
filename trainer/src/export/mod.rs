//! Weight files: a network's tensors and what is known about them, as safetensors.
//!
//! Names and layouts are PyTorch's, so that a file from here loads into a PyTorch module with the same names
//! (`load_state_dict(strict=True)`), and a file of such a module's `state_dict()` loads here.

mod file;
mod foreign;
pub mod onnx;

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    io,
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
use infer_core::describe::{CLASSES, Description};
use safetensors::Dtype;

pub use file::StoredFile;
pub(crate) use file::{StoredTensor, write};

use image_files::{
    atomic,
    weights::{CHECKPOINT, IS_CHECKPOINT},
};

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
        /// Reason.
        reason: String,
    },
    /// The file is a good safetensors file, but holds something else.
    #[error("{}: {reason}", path.display())]
    Unsuitable {
        /// The file.
        path: PathBuf,
        /// Expectation, and what was found instead.
        reason: String,
    },
    /// The file's tensors are not the network's.
    #[error("{}: tensor {tensor}: {problem}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Problem of the tensor.
        problem: TensorProblem,
    },
}

/// Problem of one tensor of a weights file.
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
    /// Its values are no floats.
    #[error("expected dtype F32, F16, BF16 or F64, found {found:?}")]
    NoFloats {
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
    /// It is the last layer's bias, and no vector of one value for each class.
    #[error("expected a value for each of {} to {} classes, found shape {found:?}", CLASSES.start(), CLASSES.end())]
    Classes {
        /// Shape found.
        found: Vec<usize>,
    },
    /// It holds a value that no `f32` can be.
    #[error("expected values within the range of F32, found {value:?} at index {index}")]
    TooLarge {
        /// Position of the first such value.
        index: usize,
        /// The value.
        value: f64,
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

/// Metadata of a weights file, by key.
pub type Metadata = BTreeMap<String, String>;

/// Writes the network's tensors and `metadata` to `path`. An existing file is replaced only when the new one is complete.
///
/// # Errors
/// The file cannot be written, or a weight is not finite.
pub fn save<D: Device<f32>, M: TensorCollection<f32, D>>(
    path: &Path,
    network: &M,
    metadata: &BTreeMap<String, String>,
) -> Result<(), ExportError> {
    save_tensors(path, &tensors(network), metadata)
}

/// Like [`save`], for tensors that were taken out of a network before.
pub(crate) fn save_tensors(
    path: &Path,
    tensors: &[StoredTensor<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<(), ExportError> {
    for tensor in tensors {
        check_finite(tensor.values.iter().copied()).map_err(|problem| refuse(path, &tensor.name, problem))?;
    }
    atomic::write(path, |file| write(file, metadata, tensors))
        .map_err(|source| ExportError::Write { path: path.to_owned(), source })
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
    load_opened(open(path)?, network)
}

/// A weights file, which a checkpoint is not.
fn open(path: &Path) -> Result<StoredFile, ExportError> {
    let file = StoredFile::open(path)?;
    if file.metadata.contains_key(CHECKPOINT) {
        let reason = format!("expected weights, found {IS_CHECKPOINT}");
        return Err(ExportError::Unsuitable { path: path.to_owned(), reason });
    }
    Ok(file)
}

/// A weights file to start from, which another program may have written: names of tensors are taken without the prefixes of PyTorch's
/// wrappers, and floats of any width as `f32`; [`StoredFile::changes`] tells so.
///
/// # Errors
/// The file cannot be read, is not valid safetensors, or is a checkpoint.
pub fn open_foreign(path: &Path) -> Result<StoredFile, ExportError> {
    Ok(open(path)?.foreign())
}

/// Refuses weights of `network` that are packed or in 8-bit integers.
///
/// # Errors
/// [`ExportError::Unsuitable`].
pub fn check_trained(path: &Path, file: &StoredFile, network: &Description) -> Result<(), ExportError> {
    let kinds = [
        (network.packed_tensor, "packed ones, which infer-cli runs"),
        (network.int8_tensor, "int8 ones, which infer-cli runs"),
    ];
    match kinds.into_iter().find(|(tensor, _)| file.length(tensor).is_some()) {
        Some((_, found)) => {
            let title = network.title;
            let reason = format!(
                "expected {title}'s weights as they were trained, found {found}; give the file that they were made of"
            );
            Err(ExportError::Unsuitable { path: path.to_owned(), reason })
        }
        None => Ok(()),
    }
}

/// Like [`load`], from a file that is open already.
///
/// # Errors
/// As [`load`].
pub fn load_opened<D: Device<f32>, M: TensorCollection<f32, D>>(
    file: StoredFile,
    network: &mut M,
) -> Result<Metadata, ExportError> {
    load_chosen(file, network, |_| true)
}

/// Like [`load_opened`], but the last layer of `description` stays as it is, and may be for other classes in the file, or absent.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_all_but_last<D: Device<f32>, M: TensorCollection<f32, D>>(
    file: StoredFile,
    network: &mut M,
    description: &Description,
) -> Result<Metadata, ExportError> {
    let last = description.layers.last().and_then(|layer| layer.tensors).unwrap_or_default();
    load_chosen(file, network, |tensor| !last.contains(&tensor))
}

fn load_chosen<D: Device<f32>, M: TensorCollection<f32, D>>(
    file: StoredFile,
    network: &mut M,
    chosen: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, String>, ExportError> {
    let mut weights = HashMap::new();
    let shapes = shapes(network);
    for (name, shape) in shapes.iter().filter(|(name, _)| chosen(name)) {
        let values = file.values(name, shape)?;
        weights.insert(name.clone(), values);
    }
    file.refuse_others(|name| shapes.iter().any(|(known, _)| known == name))?;
    set(network, weights);
    Ok(file.metadata)
}

/// Metadata of a weights file; empty where it has none.
///
/// # Errors
/// The file cannot be read or is not valid safetensors.
pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>, ExportError> {
    Ok(open(path)?.metadata)
}

/// The number of classes that the weights in a file tell apart, by its last layer.
///
/// # Errors
/// The file cannot be read or is not valid safetensors, or lacks the last layer of `network`.
pub fn classes(path: &Path, network: &Description) -> Result<usize, ExportError> {
    open(path)?.classes(network, "")
}

/// A network's tensors in its order.
pub(crate) fn tensors<D: Device<f32>, M: TensorCollection<f32, D>>(network: &M) -> Vec<StoredTensor<'static>> {
    let mut tensors = Vec::new();
    for_each(network, &mut |name, tensor| {
        tensors.push(StoredTensor { name, shape: tensor.sizes(), values: tensor.values().into() });
    });
    tensors
}

/// Names and shapes of a network's tensors in its order.
pub(crate) fn shapes<D: Device<f32>, M: TensorCollection<f32, D>>(network: &M) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Vec::new();
    for_each(network, &mut |name, tensor| shapes.push((name, tensor.sizes())));
    shapes
}

/// Sets the tensors that have values, each as many as it is long.
pub(crate) fn set<D: Device<f32>, M: TensorCollection<f32, D>>(network: &mut M, weights: HashMap<String, Vec<f32>>) {
    let mut weights = Weights(weights);
    let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: (network, String::new()), f: &mut weights });
}

/// The refusal of a file for one of its tensors.
pub(crate) fn refuse(path: &Path, tensor: &str, problem: TensorProblem) -> ExportError {
    ExportError::Tensor { path: path.to_owned(), tensor: tensor.to_owned(), problem }
}

/// Whether all values are numbers.
pub(crate) fn check_finite(values: impl Iterator<Item = f32>) -> Result<(), TensorProblem> {
    match values.enumerate().find(|(_, value)| !value.is_finite()) {
        Some((index, value)) => Err(TensorProblem::NotFinite { index, value }),
        None => Ok(()),
    }
}

/// A tensor whose shape is not in its type: a closure can take it.
trait AnyTensor {
    fn sizes(&self) -> Vec<usize>;
    fn values(&self) -> Vec<f32>;
}

impl<S: Shape, D: Device<f32>> AnyTensor for Tensor<S, f32, D> {
    fn sizes(&self) -> Vec<usize> {
        self.shape().concrete().into()
    }

    fn values(&self) -> Vec<f32> {
        self.as_vec()
    }
}

/// Calls `act` with every tensor of a network and its name, in the network's order.
fn for_each<D: Device<f32>, M: TensorCollection<f32, D>>(network: &M, act: &mut dyn FnMut(String, &dyn AnyTensor)) {
    let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: (network, String::new()), f: &mut Reader { act } });
}

struct Reader<'a, 'b> {
    act: &'a mut (dyn FnMut(String, &dyn AnyTensor) + 'b),
}

impl<D: Device<f32>> TensorVisitor<f32, D> for Reader<'_, '_> {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = Infallible;
    type E2 = f32;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, f32, D>,
        (tensor, name): (&Tensor<S, f32, D>, String),
    ) -> Result<Option<Tensor<S, f32, D>>, Infallible> {
        (self.act)(name, tensor);
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
