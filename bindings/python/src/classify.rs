//! The class `Classifier`: batches on threads of its own, which need no Python.

use std::{
    path::PathBuf,
    process,
    sync::{Arc, Mutex, PoisonError},
};

use classifier::{BATCH, Batch, Image, Options, Source, Threads, guarded, threads};
use image_files::decode;
use infer_core::packed::{Backend, Serial};
use numpy::{PyArray2, PyArrayDyn, PyReadonlyArrayDyn, PyUntypedArray, prelude::*};
use pyo3::{
    exceptions::{PyRuntimeError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyByteArray, PyBytes, PyString},
};
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};

use crate::{
    answer::{Answer, Failure},
    error::of_weights,
    input::Input,
};

/// The most threads.
const MOST_THREADS: u16 = 1024;

/// Batches of each thread between two looks at signals.
const ROUND: usize = 4;

/// Memory for a batch, which is kept for the next call.
type Memory = Batch<Arc<classifier::Classifier>>;

/// A network that is ready to run, and its threads.
///
/// weights: a file that the trainer, infer-cli or PyTorch has written, or the folder of a run; None is the model inside, which tells ten
///     kinds of clothing apart. The file is mapped into memory and must not be changed while it is in use.
/// threads: number of threads, 1 to 1024; None is one for each CPU that the process may use.
/// labels: a file with the names of the classes, one a line or a JSON array, instead of those in the weights.
/// invert: exchange black and white.
/// orient: turn images as their Exif orientation says; None does as the weights were trained.
/// accept_damaged: read damaged JPEG files as far as they go.
///
/// Raises FileNotFoundError or another OSError where a file cannot be read, and WeightsError where it cannot be used.
///
/// Several threads may use a Classifier at once. It belongs to the process that made it, and cannot be pickled.
#[pyclass(frozen, module = "alexnet")]
pub struct Classifier {
    classifier: Arc<classifier::Classifier>,
    options: Options,
    pool: ThreadPool,
    labels: Vec<Py<PyString>>,
    /// The process whose threads those of the pool are.
    process: u32,
    spare: Mutex<Vec<Memory>>,
}

#[pymethods]
impl Classifier {
    #[new]
    #[pyo3(signature = (weights = None, *, threads = None, labels = None, invert = false, orient = None, accept_damaged = false))]
    fn new(
        py: Python<'_>,
        weights: Option<PathBuf>,
        threads: Option<i64>,
        labels: Option<PathBuf>,
        invert: bool,
        orient: Option<bool>,
        accept_damaged: bool,
    ) -> PyResult<Self> {
        let threads = self::threads(threads_asked(threads)?);
        let opened = py.detach(|| {
            let source = weights.map_or(Ok(Source::BuiltIn), |path| Source::find(Some(&path)))?;
            classifier::Classifier::open(&source, labels.as_deref(), Backend::best())
        });
        let classifier = opened.map_err(|error| of_weights(&error))?;
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|_| "alexnet".into()).build();
        let pool = pool.map_err(|error| PyRuntimeError::new_err(format!("cannot start threads: {error}")))?;
        let orient = orient.unwrap_or(classifier.preprocessing().orient);
        Ok(Self {
            labels: classifier.labels().iter().map(|label| PyString::new(py, label).unbind()).collect(),
            classifier: Arc::new(classifier),
            options: Options { invert, decoding: decode::Options { accept_damaged, orient } },
            pool,
            process: process::id(),
            spare: Mutex::default(),
        })
    }

    /// Names of the classes, in order.
    #[getter]
    fn classes(&self, py: Python<'_>) -> Vec<Py<PyString>> {
        self.labels.iter().map(|label| label.clone_ref(py)).collect()
    }

    /// Name of the network: "alexnet", "lenet5", …
    #[getter]
    fn network(&self) -> &'static str {
        self.classifier.model().description().name
    }

    /// Shape of an image as the network takes it: (channels, height, width).
    #[getter]
    fn input_shape(&self) -> (usize, usize, usize) {
        let input = self.classifier.model().description().input();
        (input.channels, input.side, input.side)
    }

    /// Number of threads.
    #[getter]
    fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Classifies images: a list with an Answer or a Failure for each of them, in order.
    ///
    /// images: a list, or anything that can be iterated over, of
    ///     - paths (str, os.PathLike),
    ///     - files in memory (bytes, bytearray),
    ///     - numpy arrays of uint8, 0 black to 255, of the shape (height, width) or (height, width, 1), gray, or (height, width, 3), red,
    ///       green and blue,
    ///     - images of Pillow with eight bits a value;
    ///     also an array of objects, or of the shape (batch, height, width, channels).
    /// top_k: number of classes in Answer.top, at most as many as there are.
    ///
    /// Arrays and bytes are used where they are, and must not be changed meanwhile by other threads; an array that is not C-contiguous is
    /// copied. The GIL is released while images are read and classified.
    ///
    /// An image that cannot be read or used is a Failure and does not end the batch. Raises TypeError where there is none: an item of
    /// another type, or a single image instead of a list.
    #[pyo3(signature = (images, *, top_k = 1))]
    fn classify<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyAny>,
        top_k: usize,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.check_process()?;
        if top_k == 0 {
            return Err(PyValueError::new_err("top_k: expected 1 or more, found 0"));
        }
        refuse_single(images)?;
        let mut results = Vec::new();
        let mut inputs = Vec::new();
        let round = ROUND * BATCH * self.pool.current_num_threads();
        let mut images = images.try_iter()?;
        loop {
            inputs.clear();
            for image in images.by_ref().take(round) {
                inputs.push(Input::of(&image?, results.len() + inputs.len(), self.options.decoding.orient)?);
            }
            if inputs.is_empty() {
                return Ok(results);
            }
            let views: Vec<_> = inputs.iter().map(Input::image).collect();
            let outcomes = py.detach(|| self.outcomes(&views));
            for (input, outcome) in inputs.iter().zip(outcomes) {
                let path = input.path(py);
                results.push(match outcome {
                    Ok(answer) => Bound::new(py, Answer::new(py, path, answer, &self.labels, top_k)?)?.into_any(),
                    Err(error) => Bound::new(py, Failure { path, error })?.into_any(),
                });
            }
            py.check_signals()?;
        }
    }

    /// The network's outputs for prepared images: an array of float32 of the shape (batch, classes).
    ///
    /// inputs: an array of float32 of the shape (batch, channels, height, width), where the last three are input_shape: resized and
    ///     normalised as the weights want it. Nothing is copied where it is C-contiguous, as numpy makes arrays. It must not be changed
    ///     meanwhile by other threads.
    ///
    /// The GIL is released. Raises TypeError where it is no array, ValueError where it has another type or shape, or numbers that are
    /// not finite.
    fn logits<'py>(&self, inputs: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        self.check_process()?;
        let py = inputs.py();
        let inputs = self.inputs(inputs)?;
        let count = inputs.as_array().shape()[0];
        let values = inputs.as_slice().map_err(|error| PyValueError::new_err(error.to_string()))?;
        let logits = py.detach(|| self.forward(values, count)).map_err(PyValueError::new_err)?;
        let array = numpy::PyArray1::from_vec(py, logits);
        array.reshape([count, self.labels.len()])
    }

    fn __repr__(&self) -> String {
        let (channels, side, _) = self.input_shape();
        let (classes, threads) = (self.labels.len(), self.threads());
        format!(
            "<alexnet.Classifier {}, input {channels}×{side}×{side}, {classes} classes, {threads} threads>",
            self.network()
        )
    }
}

impl Classifier {
    /// Refuses the use in a process that was forked, which has none of the threads and would wait for them without end.
    fn check_process(&self) -> PyResult<()> {
        if self.process == process::id() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(
            "this Classifier was made before the process was forked, and its threads are not in this one: make it in the \
             process that uses it, or start processes by spawn",
        ))
    }

    /// Runs `work` with memory for a batch.
    fn with_memory<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = spare().pop();
        let mut memory = kept.unwrap_or_else(|| Batch::new(self.classifier.clone(), self.options));
        let outcome = work(&mut memory);
        spare().push(memory);
        outcome
    }

    /// Images of a batch where so many are shared by the threads.
    fn share(&self, count: usize) -> usize {
        count.div_ceil(self.pool.current_num_threads()).clamp(1, BATCH)
    }

    /// The outcomes for some images, in order.
    fn outcomes(&self, images: &[Result<Image<'_>, String>]) -> Vec<Result<classifier::Answer, String>> {
        if images.len() == 1 {
            return self.with_memory(|memory| batch(memory, images, Some(&Threads(&self.pool))));
        }
        let batches = images.par_chunks(self.share(images.len()));
        self.pool.install(|| {
            batches.flat_map_iter(|images| self.with_memory(|memory| batch(memory, images, None))).collect()
        })
    }

    /// The logits of prepared inputs, a row for each.
    fn forward(&self, inputs: &[f32], count: usize) -> Result<Vec<f32>, String> {
        let model = self.classifier.model();
        let (values, outputs, classes) = (model.description().input().values(), model.classes(), self.labels.len());
        let share = self.share(count);
        let one = |inputs: &[f32], logits: &mut [f32]| {
            if let Some(place) = inputs.iter().position(|value| !value.is_finite()) {
                return Err(format!("expected finite numbers, found {}", inputs[place]));
            }
            self.with_memory(|memory| {
                guarded(|| {
                    if count == 1 {
                        memory.outputs(inputs, logits, &Threads(&self.pool))
                    } else {
                        memory.outputs(inputs, logits, &Serial)
                    }
                })
            })
        };
        let mut logits = vec![0.0; count * outputs];
        if count == 1 {
            one(inputs, &mut logits)?;
        } else {
            let batches = inputs.par_chunks(share * values).zip(logits.par_chunks_mut(share * outputs));
            self.pool.install(|| batches.try_for_each(|(inputs, logits)| one(inputs, logits)))?;
        }
        if classes < outputs {
            logits = logits.chunks_exact(outputs).flat_map(|row| &row[..classes]).copied().collect();
        }
        match logits.iter().position(|logit| !logit.is_finite()) {
            Some(at) => Err(format!(
                "the network's output for class {} is {}: its weights are too large",
                at % classes,
                logits[at]
            )),
            None => Ok(logits),
        }
    }

    /// The inputs, C-contiguous: as they are, or a copy.
    fn inputs<'py>(&self, inputs: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArrayDyn<'py, f32>> {
        let (channels, side, _) = self.input_shape();
        let expected = format!("expected an array of float32 of the shape (batch, {channels}, {side}, {side})");
        let Ok(array) = inputs.cast::<PyUntypedArray>() else {
            return Err(PyTypeError::new_err(format!("{expected}, found {}", inputs.get_type().name()?)));
        };
        let fits = matches!(*array.shape(), [_, c, h, w] if (c, h, w) == (channels, side, side));
        let Some(floats) = array.cast::<PyArrayDyn<f32>>().ok().filter(|_| fits) else {
            let (dtype, shape) = (array.dtype(), array.getattr("shape")?);
            return Err(PyValueError::new_err(format!("{expected}, found {dtype} of the shape {shape}")));
        };
        let floats = if floats.is_c_contiguous() {
            floats.clone()
        } else {
            let copied = inputs.py().import("numpy")?.call_method1("ascontiguousarray", (inputs,))?;
            copied.cast_into::<PyArrayDyn<f32>>()?
        };
        floats.try_readonly().map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

/// The outcomes for the images of a batch, in order. `threads` compute together where no other batch is under way.
fn batch(
    memory: &mut Memory,
    images: &[Result<Image<'_>, String>],
    threads: Option<&Threads<'_>>,
) -> Vec<Result<classifier::Answer, String>> {
    let mut outcomes = Vec::with_capacity(images.len());
    let mut count = 0;
    for image in images {
        let prepared = image.clone().and_then(|image| guarded(|| memory.prepare(count, image)));
        count += usize::from(prepared.is_ok());
        outcomes.push(prepared);
    }
    let answers = guarded(|| match threads {
        _ if count == 0 => Ok(Vec::new()),
        Some(threads) => memory.answer(count, threads),
        None => memory.answer(count, &Serial),
    });
    let mut answers = answers.map(Vec::into_iter);
    let mut next = || match &mut answers {
        Ok(answers) => answers
            .next()
            .map_or_else(|| Err("there is no answer".into()), |answer| answer.map_err(|error| format!("{error:#}"))),
        Err(error) => Err(error.clone()),
    };
    outcomes.into_iter().map(|prepared| prepared.and_then(|()| next())).collect()
}

/// The number of threads that is asked for.
fn threads_asked(threads: Option<i64>) -> PyResult<Option<u16>> {
    let Some(asked) = threads else { return Ok(None) };
    match u16::try_from(asked) {
        Ok(count @ 1..=MOST_THREADS) => Ok(Some(count)),
        _ => Err(PyValueError::new_err(format!("threads: expected a number from 1 to {MOST_THREADS}, found {asked}"))),
    }
}

/// Refuses a single image, whose letters, bytes or rows would be taken for images.
fn refuse_single(images: &Bound<'_, PyAny>) -> PyResult<()> {
    let single = match images.cast::<PyUntypedArray>() {
        // Arrays of objects, and images one behind the other.
        Ok(array) => !matches!(array.ndim(), 1 | 4),
        Err(_) => {
            images.is_instance_of::<PyString>()
                || images.is_instance_of::<PyBytes>()
                || images.is_instance_of::<PyByteArray>()
                || images.hasattr("__fspath__")?
                || !images.hasattr("__iter__")?
        }
    };
    if single {
        let found = images.get_type().name()?;
        let words = format!("expected a list of images, found a single {found}: write classify([image])");
        return Err(PyTypeError::new_err(words));
    }
    Ok(())
}
