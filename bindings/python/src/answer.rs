//! Results for images, as Python's objects.

use std::fmt::Write as _;

use image_files::checks::Doubt;
use pyo3::{
    prelude::*,
    types::{PyDict, PyList, PyString},
};

/// Class that an image may be of.
#[pyclass(frozen, module = "alexnet")]
pub struct Prediction {
    /// Number of the class, from 0.
    #[pyo3(get)]
    class_index: usize,
    /// Name of the class.
    #[pyo3(get)]
    label: Py<PyString>,
    /// Probability, 0 to 1.
    #[pyo3(get)]
    probability: f32,
}

#[pymethods]
impl Prediction {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let label = self.label.bind(py).repr()?;
        Ok(format!("Prediction(class_index={}, label={label}, probability={})", self.class_index, self.probability))
    }
}

impl Prediction {
    /// The class with its probability; `labels` are the names of all.
    pub fn new(py: Python<'_>, labels: &[Py<PyString>], best: infer_core::classify::Prediction) -> Self {
        let label = labels.get(best.class).map_or_else(|| PyString::new(py, "").unbind(), |label| label.clone_ref(py));
        Self { class_index: best.class, label, probability: best.probability }
    }

    fn dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("class", self.class_index)?;
        dict.set_item("label", &self.label)?;
        dict.set_item("probability", self.probability)?;
        Ok(dict)
    }
}

/// Answer of the network to an image.
#[pyclass(frozen, module = "alexnet")]
pub struct Answer {
    /// The image's path, if it was given as one.
    #[pyo3(get)]
    path: Option<Py<PyString>>,
    /// The most likely classes, the likeliest first.
    top: Vec<Py<Prediction>>,
    logits: Vec<f32>,
    doubt: Option<Doubt>,
}

#[pymethods]
impl Answer {
    /// Number of the likeliest class, from 0.
    #[getter]
    fn class_index(&self) -> usize {
        self.best().class_index
    }

    /// Name of the likeliest class.
    #[getter]
    fn label(&self, py: Python<'_>) -> Py<PyString> {
        self.best().label.clone_ref(py)
    }

    /// Probability of the likeliest class, 0 to 1.
    #[getter]
    fn probability(&self) -> f32 {
        self.best().probability
    }

    /// The likeliest classes, as many as were asked for, the likeliest first.
    #[getter]
    fn top<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, &self.top)
    }

    /// The network's outputs, one a class.
    #[getter]
    fn logits(&self) -> Vec<f32> {
        self.logits.clone()
    }

    /// Reason to doubt the answer ("light border", "unsure"), or None; weights without limits give none.
    #[getter]
    fn doubt(&self) -> Option<String> {
        self.doubt.map(|doubt| doubt.to_string())
    }

    /// The answer as a row of infer-cli's Parquet: path, class, label, probability, top, logits (where asked for), doubt, error.
    #[pyo3(signature = (*, logits = false))]
    fn to_dict<'py>(&self, py: Python<'py>, logits: bool) -> PyResult<Bound<'py, PyDict>> {
        let best = self.best();
        let top = self.top.iter().map(|class| class.get().dict(py)).collect::<PyResult<Vec<_>>>()?;
        let dict = PyDict::new(py);
        dict.set_item("path", &self.path)?;
        dict.set_item("class", best.class_index)?;
        dict.set_item("label", &best.label)?;
        dict.set_item("probability", best.probability)?;
        dict.set_item("top", top)?;
        if logits {
            dict.set_item("logits", &self.logits)?;
        }
        dict.set_item("doubt", self.doubt())?;
        dict.set_item("error", py.None())?;
        Ok(dict)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mut text =
            format!("Answer({}, probability={}", self.best().label.bind(py).repr()?, self.best().probability);
        // Writing to a string cannot fail.
        if let Some(path) = &self.path {
            let _ = write!(text, ", path={}", path.bind(py).repr()?);
        }
        if let Some(doubt) = self.doubt {
            let _ = write!(text, ", doubt='{doubt}'");
        }
        Ok(text + ")")
    }
}

impl Answer {
    /// The answer with its `top_k` likeliest classes.
    pub fn new(
        py: Python<'_>,
        path: Option<Py<PyString>>,
        answer: classifier::Answer,
        labels: &[Py<PyString>],
        top_k: usize,
    ) -> PyResult<Self> {
        let top = answer.ranking.into_iter().take(top_k.max(1));
        let top = top.map(|best| Py::new(py, Prediction::new(py, labels, best))).collect::<PyResult<_>>()?;
        Ok(Self { path, top, logits: answer.logits, doubt: answer.doubt })
    }

    /// The likeliest class. There are always two classes or more.
    fn best(&self) -> &Prediction {
        self.top[0].get()
    }
}

/// Failure of an image, which could not be classified. It has no label, so that a program which forgets about failures ends at the
/// first one, and does not count it among the answers.
#[pyclass(frozen, module = "alexnet")]
pub struct Failure {
    /// The image's path, if it was given as one.
    #[pyo3(get)]
    pub path: Option<Py<PyString>>,
    /// Reason, in words.
    #[pyo3(get)]
    pub error: String,
}

#[pymethods]
impl Failure {
    /// The failure as a row: the keys of Answer.to_dict, of which only path and error are not None.
    #[pyo3(signature = (*, logits = false))]
    fn to_dict<'py>(&self, py: Python<'py>, logits: bool) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("path", &self.path)?;
        for key in ["class", "label", "probability", "top"].into_iter().chain(logits.then_some("logits")) {
            dict.set_item(key, py.None())?;
        }
        dict.set_item("doubt", py.None())?;
        dict.set_item("error", &self.error)?;
        Ok(dict)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let error = PyString::new(py, &self.error).repr()?.to_string();
        let path = self.path.as_ref().map(|path| path.bind(py).repr()).transpose()?;
        Ok(path.map_or_else(|| format!("Failure({error})"), |path| format!("Failure({error}, path={path})")))
    }
}
