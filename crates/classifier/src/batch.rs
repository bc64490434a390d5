//! A batch: room for some images, and for a pass of the network over them.

use std::{fmt, ops::Deref, path::Path};

use anyhow::{Context, ensure};
use image_files::{
    ImageError,
    checks::border,
    decode,
    image::DynamicImage,
    panics::quietly,
    pixels::{Picture, Pixels, preprocess},
};
use infer_core::packed::{Line, Parallel};

use crate::{answer::Answer, classifier::Classifier};

/// Images that a thread classifies together: enough for each weight read from memory to serve many images, few enough that
/// results keep coming.
pub const BATCH: usize = 16;

/// Options of how images are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Black and white are exchanged.
    pub invert: bool,
    /// Options of decoding.
    pub decoding: decode::Options,
}

/// An image that is to be classified.
#[derive(Debug, Clone, Copy)]
pub enum Image<'i> {
    /// A file.
    File(&'i Path),
    /// The bytes of a file.
    Bytes(&'i [u8]),
    /// Pixels in memory.
    Pixels(Pixels<&'i [u8]>),
    /// An image that is decoded already.
    Decoded(&'i DynamicImage),
}

/// The outcome of work on images, with errors in words. A panic is an error, too, and is not printed.
///
/// # Errors
/// The work failed.
pub fn guarded<T>(work: impl FnOnce() -> anyhow::Result<T>) -> Result<T, String> {
    match quietly(work) {
        Ok(outcome) => outcome.map_err(|error| format!("{error:#}")),
        Err(_) => Err("an internal error: please report it together with this image".into()),
    }
}

/// Memory of a thread for a batch of images. The classifier is borrowed or shared: `Batch<&Classifier>`, `Batch<Arc<Classifier>>`.
pub struct Batch<C> {
    classifier: C,
    options: Options,
    /// Values of the images, one behind the other.
    images: Vec<f32>,
    logits: Vec<f32>,
    workspace: Vec<Line>,
    /// Means of the images' outermost pixels, where they are checked.
    borders: Vec<f32>,
}

impl<C> fmt::Debug for Batch<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<C: Deref<Target = Classifier>> Batch<C> {
    /// Room for [`BATCH`] images of a classifier.
    pub fn new(classifier: C, options: Options) -> Self {
        let model = classifier.model();
        Self {
            images: vec![0.0; BATCH * model.description().input().values()],
            logits: vec![0.0; BATCH * model.classes()],
            workspace: vec![Line::ZERO; model.workspace_len(BATCH)],
            borders: vec![0.0; BATCH],
            classifier,
            options,
        }
    }

    /// Makes an image the one at `place`, less than [`BATCH`], of the next pass.
    ///
    /// # Errors
    /// The image cannot be read or used.
    pub fn prepare(&mut self, place: usize, image: Image<'_>) -> anyhow::Result<()> {
        match image {
            Image::File(path) => self.picture(place, (&decode::open(path, self.options.decoding)?.0).into()),
            Image::Bytes([]) => Err(ImageError::Damaged("there are no bytes".into()).into()),
            Image::Bytes(bytes) => self.picture(place, (&decode::decode(bytes, self.options.decoding)?).into()),
            Image::Pixels(pixels) => self.picture(place, pixels.into()),
            Image::Decoded(image) => self.picture(place, image.into()),
        }
    }

    fn picture(&mut self, place: usize, picture: Picture<'_>) -> anyhow::Result<()> {
        let input = self.classifier.model().description().input();
        let preprocessing = self.classifier.preprocessing();
        let values = self.images.chunks_exact_mut(input.values()).nth(place);
        let values = values.with_context(|| format!("there is no room for image {place} of a batch"))?;
        preprocess(picture, preprocessing.resize, input.side, self.options.invert, values)?;
        if let (Some(_), Some(mean)) = (self.classifier.checks(), self.borders.get_mut(place)) {
            *mean = border(values, input.side) as f32;
        }
        if let Some(normalisation) = preprocessing.normalisation {
            normalisation.apply(values);
        }
        Ok(())
    }

    /// The network's outputs for inputs that the caller has prepared, at most [`BATCH`] of them: a row of them for each.
    ///
    /// # Errors
    /// There are too many inputs, or the memory has another length.
    pub fn outputs(&mut self, inputs: &[f32], outputs: &mut [f32], parallel: &impl Parallel) -> anyhow::Result<()> {
        let model = self.classifier.model();
        let count = inputs.len() / model.description().input().values();
        ensure!(count <= BATCH, "expected at most {BATCH} images, found {count}");
        model.forward(inputs, outputs, &mut self.workspace, parallel)
    }

    /// The answers to the first `count` images, computed by the caller's threads.
    ///
    /// # Errors
    /// There is no answer to any of them; within, there is none to one: its sums overflowed.
    pub fn answer(&mut self, count: usize, parallel: &impl Parallel) -> anyhow::Result<Vec<anyhow::Result<Answer>>> {
        let model = self.classifier.model();
        let (input_len, outputs) = (model.description().input().values(), model.classes());
        let room = || format!("expected at most {BATCH} images, found {count}");
        let images = self.images.get(..count * input_len).with_context(room)?;
        let logits = self.logits.get_mut(..count * outputs).with_context(room)?;
        model.forward(images, logits, &mut self.workspace, parallel)?;
        let (labels, checks) = (self.classifier.labels().len(), self.classifier.checks());
        let answers = logits.chunks_exact(outputs).zip(&self.borders).map(|(logits, border)| {
            let mut answer = Answer::new(logits, labels)?;
            let probability = answer.ranking.first().map_or(0.0, |best| best.probability);
            answer.doubt = checks.and_then(|checks| checks.doubt(*border, probability));
            Ok(answer)
        });
        Ok(answers.collect())
    }
}
