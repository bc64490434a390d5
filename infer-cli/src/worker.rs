//! Worker: a network with room for a batch of images, and for the pass over them.

use std::{path::Path, thread};

use anyhow::Context;
use image_files::{
    checks::{Checks, border},
    decode,
    pixels::preprocess,
    preprocessing::Preprocessing,
};
use infer_core::packed::{Line, Parallel, Serial};
use rayon::prelude::*;

use crate::{
    answer::{Answer, BATCH},
    images::Content,
    model::Model,
    network::Classifier,
    pipeline,
    sheet::Thumbnail,
};

/// Number of threads: as many as were asked for, or else one for each CPU.
pub fn threads(asked: Option<u16>) -> usize {
    asked.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// The threads of a pool, for one image on several cores.
pub struct Threads<'p>(pub &'p rayon::ThreadPool);

impl Parallel for Threads<'_> {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.0.install(|| (0..tasks).into_par_iter().for_each(task));
    }
}

/// A network with memory of its own for a batch.
pub struct Worker<'n> {
    network: Model<'n>,
    /// Values of the images, one behind the other.
    images: Vec<f32>,
    logits: Vec<f32>,
    workspace: Vec<Line>,
    classes: usize,
    invert: bool,
    preprocessing: Preprocessing,
    checks: Option<Checks>,
    /// Means of the images' outermost pixels, where they are checked.
    borders: Vec<f32>,
    decoding: decode::Options,
    /// The images for a contact sheet, where one is wanted.
    thumbnails: Option<Vec<Option<Thumbnail>>>,
    threads: &'n rayon::ThreadPool,
}

impl<'n> Worker<'n> {
    /// A worker for images of which black and white may be exchanged, and how they are decoded. Answers have thumbnails if a
    /// contact sheet needs them. `threads` help it when no other worker is busy.
    ///
    /// # Errors
    /// The weights cannot be used; what opening them finds is not found again.
    pub fn new(
        classifier: &'n Classifier<'n>,
        invert: bool,
        decoding: decode::Options,
        thumbnails: bool,
        threads: &'n rayon::ThreadPool,
    ) -> anyhow::Result<Self> {
        let network = classifier.network.network()?;
        Ok(Self {
            images: vec![0.0; BATCH * network.description().input().values()],
            logits: vec![0.0; BATCH * network.classes()],
            workspace: vec![Line::ZERO; network.workspace_len(BATCH)],
            network,
            classes: classifier.labels.len(),
            invert,
            preprocessing: classifier.preprocessing,
            checks: classifier.checks,
            borders: vec![0.0; BATCH],
            decoding,
            thumbnails: thumbnails.then(|| vec![None; BATCH]),
            threads,
        })
    }
}

impl pipeline::Worker for Worker<'_> {
    fn prepare(&mut self, place: usize, path: &Path, content: &Content) -> anyhow::Result<()> {
        let image = content.decode(path, self.decoding)?;
        if let Some(thumbnail) = self.thumbnails.as_mut().and_then(|thumbnails| thumbnails.get_mut(place)) {
            *thumbnail = Some(Thumbnail::of(&image));
        }
        let input = self.network.description().input();
        let input_len = input.values();
        let values = self.images.chunks_exact_mut(input_len).nth(place);
        let values = values.with_context(|| format!("there is no room for image {place} of a batch"))?;
        preprocess(&image, self.preprocessing.resize, input.side, self.invert, values)?;
        if let (Some(_), Some(mean)) = (self.checks, self.borders.get_mut(place)) {
            *mean = border(values, input.side) as f32;
        }
        if let Some(normalisation) = self.preprocessing.normalisation {
            normalisation.apply(values);
        }
        Ok(())
    }

    fn answer(&mut self, count: usize, alone: bool) -> anyhow::Result<Vec<anyhow::Result<Answer>>> {
        let input_len = self.network.description().input().values();
        let outputs = self.network.classes();
        let (images, logits) = (&self.images[..count * input_len], &mut self.logits[..count * outputs]);
        if alone {
            self.network.forward(images, logits, &mut self.workspace, &Threads(self.threads))?;
        } else {
            self.network.forward(images, logits, &mut self.workspace, &Serial)?;
        }
        let mut thumbnails = self.thumbnails.as_mut().map(|thumbnails| thumbnails.iter_mut());
        let answers = logits.chunks_exact(outputs).zip(&self.borders).map(|(logits, border)| {
            let thumbnail = thumbnails.as_mut().and_then(Iterator::next).and_then(Option::take);
            let mut answer = Answer::new(logits, self.classes)?;
            let probability = answer.ranking.first().map_or(0.0, |best| best.probability);
            answer.doubt = self.checks.and_then(|checks| checks.doubt(*border, probability));
            answer.thumbnail = thumbnail;
            Ok(answer)
        });
        Ok(answers.collect())
    }
}
