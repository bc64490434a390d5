//! The safetensors format on disk: written as a stream, so that a large file needs no second copy in memory, and read
//! with every check that the safetensors crate leaves out.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use image_files::header::{Entry, header};
use infer_core::{
    describe::{CLASSES, Description},
    safetensors::{SafeTensors as Reader, WeightsError},
};
use safetensors::{Dtype, SafeTensors};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{
    ExportError, TensorProblem,
    foreign::{self, widened},
    refuse,
};

/// A named tensor on its way into a file.
#[derive(Debug)]
pub(crate) struct StoredTensor<'a> {
    /// Its name.
    pub(crate) name: String,
    /// Its sizes.
    pub(crate) shape: Vec<usize>,
    /// Its values in row-major order.
    pub(crate) values: Cow<'a, [f32]>,
}

/// Values begin at a multiple of this, so that they can be used where they lie in memory.
const ALIGNMENT: usize = 8;

/// Writes a safetensors file: the same tensors and metadata always give the same bytes.
///
/// # Errors
/// Where `file` cannot be written to.
pub(crate) fn write(
    file: &mut fs::File,
    metadata: &BTreeMap<String, String>,
    tensors: &[StoredTensor<'_>],
) -> io::Result<()> {
    fn entry<'t>(StoredTensor { name, shape, values }: &'t StoredTensor<'_>) -> Entry<'t> {
        Entry { name, dtype: "F32", shape, length: size_of_val::<[f32]>(values) }
    }
    let metadata = metadata.iter().map(|(key, value)| (key.clone(), value.clone()));
    file.write_all(&header(metadata, tensors.iter().map(entry), ALIGNMENT)?)?;
    let mut bytes = Vec::new();
    for values in tensors.iter().flat_map(|tensor| tensor.values.chunks(1 << 16)) {
        bytes.clear();
        values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        file.write_all(&bytes)?;
    }
    Ok(())
}

/// Tensors up to which a file that is refused is looked at again for a better reason.
const MOST_TENSORS: usize = 256;

/// A safetensors file in memory, whose weights are not looked at yet.
#[derive(Debug)]
pub struct StoredFile {
    path: PathBuf,
    bytes: Vec<u8>,
    names: Vec<String>,
    /// Beginning of all names that is left out of them.
    prefix: String,
    /// Whether floats of any width are taken as `f32`.
    widens: bool,
    /// Metadata of the file.
    pub metadata: BTreeMap<String, String>,
}

impl StoredFile {
    /// Reads a file whose header is right and which is as long as the header says.
    ///
    /// # Errors
    /// It cannot be read, is no valid safetensors file, or has a tensor twice.
    pub(crate) fn open(path: &Path) -> Result<Self, ExportError> {
        let bytes = fs::read(path).map_err(|source| ExportError::Read { path: path.to_owned(), source })?;
        // infer-core's reader names the tensor where the safetensors crate names a column of the header.
        let format = |reason: String| {
            let ours = Reader::<MOST_TENSORS>::parse(&bytes).err();
            let ours = ours.filter(|error| matches!(error, WeightsError::EntrySyntax { .. }));
            let reason = ours.map_or(reason, |error| error.to_string());
            ExportError::Format { path: path.to_owned(), reason }
        };
        if let Some(kind) = image_files::weights::other_kind(&bytes) {
            return Err(format(format!("expected a safetensors file, found {kind}")));
        }
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| format(error.to_string()))?;
        let Names(names) = serde_json::from_slice(&bytes[8..8 + header]).map_err(|error| format(error.to_string()))?;
        let metadata = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
        SafeTensors::deserialize(&bytes).map_err(|error| format(error.to_string()))?;
        let mut seen = HashSet::new();
        if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(refuse(path, name, TensorProblem::Duplicate));
        }
        Ok(Self { path: path.to_owned(), bytes, names, prefix: String::new(), widens: false, metadata })
    }

    /// The same file as another program may have written it: names without the prefixes of wrappers, floats of any width as `f32`.
    pub(crate) fn foreign(self) -> Self {
        Self { prefix: foreign::prefix(&self.names).to_string(), widens: true, ..self }
    }

    /// The changes that are made to what the file holds, for people, with its path.
    pub fn changes(&self) -> Vec<String> {
        let prefix = Some(&self.prefix).filter(|prefix| !prefix.is_empty());
        let prefix = prefix.map(|prefix| format!("{prefix} is taken off the names of all tensors"));
        let file = SafeTensors::deserialize(&self.bytes).ok().filter(|_| self.widens);
        let mut widened: Vec<_> = file.iter().flat_map(SafeTensors::iter).map(|(_, tensor)| tensor.dtype()).collect();
        widened.retain(|dtype| [Dtype::F16, Dtype::BF16, Dtype::F64].contains(dtype));
        widened.sort();
        widened.dedup();
        let widened = widened.into_iter().map(|dtype| format!("values of {dtype:?} become F32"));
        prefix.into_iter().chain(widened).map(|change| format!("{}: {change}", self.path.display())).collect()
    }

    /// The name in the file of a tensor.
    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The file, byte by byte.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of values of a tensor, if there is one of that name.
    pub fn length(&self, name: &str) -> Option<usize> {
        let file = SafeTensors::deserialize(&self.bytes).ok()?;
        Some(file.tensor(&self.full_name(name)).ok()?.shape().iter().product())
    }

    /// The values of a tensor of this shape, row-major.
    ///
    /// # Errors
    /// There is no such tensor, or it has another type or shape, or a value is no finite number.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ExportError> {
        self.find(name, shape).map_err(|problem| refuse(&self.path, &self.full_name(name), problem))
    }

    fn find(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>, TensorProblem> {
        let missing = || TensorProblem::Missing { expected: expected.to_vec() };
        let file = SafeTensors::deserialize(&self.bytes).map_err(|_| missing())?;
        let tensor = file.tensor(&self.full_name(name)).map_err(|_| missing())?;
        if tensor.dtype() != Dtype::F32 && !self.widens {
            return Err(TensorProblem::Dtype { found: tensor.dtype() });
        }
        if tensor.shape() != expected {
            return Err(TensorProblem::Shape { expected: expected.to_vec(), found: tensor.shape().to_vec() });
        }
        widened(&tensor)
    }

    /// The number of classes that the last layer of `network` tells apart: the length of its bias, whose name has `prefix`
    /// before it (in a checkpoint; none in a weights file).
    ///
    /// # Errors
    /// There is no such tensor, or it is no vector of as many values as a network may have classes.
    pub fn classes(&self, network: &Description, prefix: &str) -> Result<usize, ExportError> {
        let bias = network.layers.last().and_then(|layer| layer.tensors).map_or("", |[_, bias]| bias);
        let name = self.full_name(&format!("{prefix}{bias}"));
        let file = SafeTensors::deserialize(&self.bytes).ok();
        let shape = file.as_ref().and_then(|file| file.tensor(&name).ok()).map(|tensor| tensor.shape().to_vec());
        match shape.as_deref() {
            Some([classes]) if CLASSES.contains(classes) => Ok(*classes),
            Some(found) => Err(refuse(&self.path, &name, TensorProblem::Classes { found: found.to_vec() })),
            None => Err(refuse(&self.path, &name, TensorProblem::Missing { expected: vec![network.classes()] })),
        }
    }

    /// Refuses the file for the first tensor that is not expected.
    ///
    /// # Errors
    /// [`TensorProblem::Unexpected`] with the tensor's name.
    pub fn refuse_others(&self, expected: impl Fn(&str) -> bool) -> Result<(), ExportError> {
        match self.names.iter().find(|name| !expected(name.get(self.prefix.len()..).unwrap_or_default())) {
            Some(name) => Err(refuse(&self.path, name, TensorProblem::Unexpected)),
            None => Ok(()),
        }
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
