//! The output of a run that is about to begin: where its results go, and the results of an earlier run that are there.

use std::path::Path;

use anyhow::{bail, ensure};

use super::{
    Destination, Earlier, OutputOptions, Writer,
    destination::Leftover,
    parquet::Parquet,
    parts::{self, Parts},
};
use crate::{args::Format, partition::Partition};

/// Wishes about the output.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// File or folder; none is the standard output.
    pub path: Option<&'a Path>,
    /// Format of the results.
    pub format: Format,
    /// The part of the images that this run classifies.
    pub partition: Option<Partition>,
    /// An earlier run is to be gone on from.
    pub resume: bool,
    /// An evaluation or a contact sheet needs all records, so that nothing can be gone on from.
    pub whole: bool,
    /// Rows of each Parquet file.
    pub rows: usize,
}

/// The output of a run that is about to begin.
pub struct Opened {
    /// Where results go.
    pub destination: Destination,
    /// Records that are there.
    pub earlier: Earlier,
}

impl Asked<'_> {
    /// Opens the output. None if the part is complete already.
    ///
    /// # Errors
    /// It cannot be written, or has what this run must not replace or cannot go on from.
    pub fn open(self, layout: &OutputOptions) -> anyhow::Result<Option<Opened>> {
        let Self { path, format, partition, resume, whole, .. } = self;
        let Some(path) = path else {
            ensure!(format != Format::Parquet, "--format parquet needs --output FOLDER");
            return Ok(Some(Opened {
                destination: Destination::of_results(None, Leftover::Refused)?,
                earlier: Earlier::default(),
            }));
        };
        ensure!(
            partition.is_none() || format != Format::Table,
            "--partition with --output needs --format jsonl, csv or parquet"
        );
        if format == Format::Parquet {
            return self.open_parquet(path, layout);
        }
        let Some(partition) = partition else {
            let destination =
                Destination::of_results(Some(path), if resume { Leftover::Wanted } else { Leftover::Refused })?;
            let earlier = if resume { Earlier::read(&destination, format, layout)? } else { Earlier::default() };
            return Ok(Some(Opened { destination, earlier }));
        };
        parts::folder(path, Some(partition))?;
        let file = path.join(format!("{}.{}", partition.name(), format.extension()));
        if file.is_file() {
            return Ok(None);
        }
        let destination =
            Destination::of_results(Some(&file), if whole { Leftover::Refused } else { Leftover::Taken })?;
        let earlier = Earlier::read(&destination, format, layout)?;
        Ok(Some(Opened { destination, earlier }))
    }

    fn open_parquet(self, path: &Path, layout: &OutputOptions) -> anyhow::Result<Option<Opened>> {
        parts::folder(path, self.partition)?;
        let named = path.display();
        let parts = Parts::new(path, self.partition);
        let earlier = Earlier::read_parts(&parts, layout)?;
        if earlier.complete && self.partition.is_some() {
            return Ok(None);
        }
        ensure!(
            !earlier.complete,
            "--output {named}: the results of a complete run are there; remove them, or name another folder"
        );
        ensure!(
            !self.resume || self.partition.is_some() || earlier.parts > 0,
            "--resume: there is nothing in {named} to go on from"
        );
        if earlier.parts > 0 && (self.whole || !(self.resume || self.partition.is_some())) {
            bail!("{named} holds the results of an interrupted run: --resume goes on from it; or remove it");
        }
        Ok(Some(Opened { destination: Destination::Parts(parts), earlier }))
    }
}

impl Opened {
    /// A writer of the results.
    ///
    /// # Errors
    /// The system has no file handles left.
    pub fn writer(&self, asked: &Asked<'_>, layout: OutputOptions, color: bool) -> std::io::Result<Box<dyn Writer>> {
        match &self.destination {
            Destination::Parts(parts) => {
                Ok(Box::new(Parquet::new(parts.clone(), self.earlier.parts, layout, asked.rows)))
            }
            text => layout.text_writer(asked.format, text.handle()?, color),
        }
    }
}
