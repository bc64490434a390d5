//! Worker: a thread's batch of images, and their pictures for a contact sheet.

use std::path::Path;

use classifier::{Answer, BATCH, Batch, Classifier, Image, Options, Threads};
use infer_core::packed::Serial;

use crate::{images::Content, pipeline, sheet::Thumbnail};

/// Memory of a thread for a batch.
pub struct Worker<'n> {
    batch: Batch<&'n Classifier>,
    options: Options,
    /// The images for a contact sheet, where one is wanted.
    thumbnails: Option<Vec<Option<Thumbnail>>>,
    threads: &'n rayon::ThreadPool,
}

impl<'n> Worker<'n> {
    /// A worker for images that are read by these options. There are thumbnails if a contact sheet needs them. `threads` help it
    /// when no other worker is busy.
    pub fn new(classifier: &'n Classifier, options: Options, thumbnails: bool, threads: &'n rayon::ThreadPool) -> Self {
        let batch = Batch::new(classifier, options);
        Self { batch, options, thumbnails: thumbnails.then(|| vec![None; BATCH]), threads }
    }
}

impl pipeline::Worker for Worker<'_> {
    fn prepare(&mut self, place: usize, path: &Path, content: &Content) -> anyhow::Result<()> {
        let image = content.decode(path, self.options.decoding)?;
        if let Some(thumbnail) = self.thumbnails.as_mut().and_then(|thumbnails| thumbnails.get_mut(place)) {
            *thumbnail = Some(Thumbnail::of(&image));
        }
        self.batch.prepare(place, Image::Decoded(&image))
    }

    fn answer(&mut self, count: usize, alone: bool) -> anyhow::Result<Vec<anyhow::Result<Answer>>> {
        if alone { self.batch.answer(count, &Threads(self.threads)) } else { self.batch.answer(count, &Serial) }
    }

    fn thumbnail(&mut self, place: usize) -> Option<Thumbnail> {
        self.thumbnails.as_mut()?.get_mut(place)?.take()
    }
}
