//! A network with its weights, and all that the weights file says of images and classes.

use std::path::{Path, PathBuf};

use anyhow::Context;
use image_files::{
    checks::{self, Checks},
    preprocessing::Preprocessing,
};
use infer_core::{
    describe::CLASSES,
    int8::{self, Int8Backend},
    packed::{self, Backend, Line, LinearWeights},
};
use self_cell::{MutBorrow, self_cell};

use crate::{
    labels,
    model::Model,
    network::{Form, Header, pack, plan_of, weights},
    source::Source,
    weights::Weights,
};

/// Memory that a network reads its weights from.
struct Memory {
    file: Weights,
    /// Weights that were made of the file's: all of them packed, or those of int8 convolutions transformed.
    made: MutBorrow<Vec<Line>>,
}

self_cell!(
    /// A network and the memory that it borrows.
    struct Loaded {
        owner: Memory,

        #[covariant]
        dependent: Model,
    }
);

/// A network that is ready to run, the names of its classes, and the way of an image to its input.
pub struct Classifier {
    loaded: Loaded,
    about: About,
}

/// Metadata of a weights file, understood.
struct About {
    labels: Vec<String>,
    preprocessing: Preprocessing,
    data: Option<PathBuf>,
    checks: Option<Checks>,
}

impl Classifier {
    /// The classifier that weights describe, to run on `backend`. `labels` is a file whose names replace those in the weights.
    ///
    /// # Errors
    /// As [`Source::open`] and [`Classifier::new`].
    pub fn open(source: &Source, labels: Option<&Path>, backend: Backend) -> anyhow::Result<Self> {
        let file = source.open()?;
        Self::new(file, labels, backend).with_context(|| format!("cannot use the weights in {source}"))
    }

    /// The classifier that a weights file describes.
    ///
    /// # Errors
    /// The file is not one of the networks, or is made for other preprocessing, or the labels are not one a class, or this
    /// CPU lacks the backend's instructions.
    pub fn new(file: Weights, labels: Option<&Path>, backend: Backend) -> anyhow::Result<Self> {
        let loaded = load(file, backend)?;
        let about = About::read(&loaded, labels)?;
        Ok(Self { loaded, about })
    }

    /// The network.
    pub fn model(&self) -> &Model<'_> {
        self.loaded.borrow_dependent()
    }

    /// Names of the classes, in order. Where there are fewer than the network has outputs, those behind mean nothing.
    pub fn labels(&self) -> &[String] {
        &self.about.labels
    }

    /// Way of an image to the network's input.
    pub fn preprocessing(&self) -> Preprocessing {
        self.about.preprocessing
    }

    /// The folder of the images that the network was trained on, if the file says so.
    pub fn data(&self) -> Option<&Path> {
        self.about.data.as_deref()
    }

    /// Limits that images like those it was trained on keep, if the file states some.
    pub fn checks(&self) -> Option<Checks> {
        self.about.checks
    }
}

impl About {
    fn read(loaded: &Loaded, labels: Option<&Path>) -> anyhow::Result<Self> {
        let header = Header::parse(&loaded.borrow_owner().file)?;
        let model = loaded.borrow_dependent();
        let (input, outputs) = (model.description().input(), model.classes());
        let preprocessing = header.metadata("preprocessing");
        let preprocessing =
            preprocessing.map(|text| Preprocessing::understand(&text.to_string(), input)).transpose()?;
        let preprocessing = preprocessing.unwrap_or_else(|| Preprocessing::usual(input));
        let named =
            header.metadata("classes").map(|text| labels::of_json(&text.to_string(), *CLASSES.start()..=outputs));
        let labels = match (labels, named) {
            (Some(path), named) => {
                let count = named.and_then(Result::ok).map_or(outputs, |names| names.len());
                labels::read(path, count).with_context(|| format!("cannot use the labels in {}", path.display()))?
            }
            (None, Some(named)) => {
                named.context("cannot use the metadata `classes`, --labels FILE may replace them")?
            }
            (None, None) => (0..outputs).map(|class| class.to_string()).collect(),
        };
        let data = header.metadata("data").map(|folder| PathBuf::from(folder.to_string()));
        let checks = header.metadata(checks::KEY).map(|text| Checks::read(&text.to_string())).transpose()?;
        Ok(Self { labels, preprocessing, data, checks })
    }
}

/// The network of a file, in the form that its weights have.
fn load(file: Weights, backend: Backend) -> anyhow::Result<Loaded> {
    let (plan, form) = plan_of(&Header::parse(&file)?)?;
    match form {
        Form::Trained => {
            let made = pack(plan, &weights(plan, &file)?, LinearWeights::F32)?;
            Loaded::try_new(Memory { file, made: MutBorrow::new(made) }, |memory| {
                floats(packed::Network::from_packed(plan, memory.made.borrow_mut(), backend))
            })
        }
        Form::Packed => Loaded::try_new(Memory { file, made: MutBorrow::new(Vec::new()) }, |memory| {
            floats(packed::Network::from_safetensors(plan, &memory.file, backend))
        }),
        Form::Int8 => {
            let plan = int8::plan_of(&file)?;
            let made = vec![Line::ZERO; plan.transformed_len()];
            Loaded::try_new(Memory { file, made: MutBorrow::new(made) }, |memory| {
                let (made, backend) = (memory.made.borrow_mut(), Int8Backend::of(backend));
                let network = int8::Network::from_safetensors(plan, &memory.file, made, backend)?;
                Ok(Model::Int8(Box::new(network)))
            })
        }
    }
}

/// The model of a network of floats, where there is one.
fn floats<'w>(network: Result<packed::Network<'w>, packed::PackedError>) -> anyhow::Result<Model<'w>> {
    Ok(Model::Floats(Box::new(network?)))
}
