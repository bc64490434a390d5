//! Apache Parquet: a folder of files, each with up to so many rows, and renamed when it is complete.
//!
//! The columns are the keys of a JSON record. A file's footer says which classes there are, how many of them a row names, and
//! whether the file is the last one, so that an interrupted run is told from a complete one.

mod columns;
mod earlier;

use std::{fs::File, io, sync::Arc};

use parquet::{
    basic::Compression,
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
        writer::SerializedFileWriter,
    },
};

use self::columns::Columns;
pub use self::earlier::read;
use super::{
    OutputOptions, Writer,
    parts::{Part, Parts},
};
use crate::pipeline::Record;

/// Rows of a row group, which are held in memory until it is written.
const GROUP: usize = 8192;

/// Key of a file's metadata: the classes' names, as a JSON array.
const CLASSES: &str = "classes";
/// Key: the number of classes that a row names.
const TOP_K: &str = "top_k";
/// Key: `true` if no file follows.
const LAST: &str = "last";

/// Writes Parquet files.
pub struct Parquet {
    parts: Parts,
    layout: OutputOptions,
    /// Rows of each file.
    rows: usize,
    /// Number of the next file.
    next: usize,
    columns: Columns,
    open: Option<Open>,
    /// The last file is written.
    ended: bool,
}

/// A file that is being written.
struct Open {
    part: Part,
    writer: SerializedFileWriter<File>,
    rows: usize,
}

impl Parquet {
    /// A writer of files from number `next` on, of so many rows each.
    pub fn new(parts: Parts, next: usize, layout: OutputOptions, rows: usize) -> Self {
        Self { columns: Columns::new(&layout), parts, layout, rows, next, open: None, ended: false }
    }

    fn begin_part(&mut self) -> io::Result<Open> {
        let part = self.parts.begin(self.next)?;
        // Minima and maxima of labels and errors would help nobody.
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::None)
            .build();
        let schema = columns::schema(&self.layout).map_err(failed)?;
        let writer = SerializedFileWriter::new(part.file.try_clone()?, schema, Arc::new(properties)).map_err(failed)?;
        self.next += 1;
        Ok(Open { part, writer, rows: 0 })
    }

    /// Writes the rows that are held as a row group.
    fn write_group(&mut self) -> io::Result<()> {
        let Some(open) = self.open.as_mut().filter(|_| self.columns.rows() > 0) else { return Ok(()) };
        let mut group = open.writer.next_row_group().map_err(failed)?;
        self.columns.write(&mut group).and_then(|()| group.close()).map(drop).map_err(failed)
    }

    /// Ends the file that is being written.
    fn end_part(&mut self, last: bool) -> io::Result<()> {
        self.write_group()?;
        let Some(Open { part, mut writer, .. }) = self.open.take() else { return Ok(()) };
        let classes = serde_json::to_string(&self.layout.labels)?;
        for (key, value) in [(CLASSES, classes), (TOP_K, self.layout.top_k.to_string()), (LAST, last.to_string())] {
            writer.append_key_value_metadata(KeyValue::new(key.to_string(), value));
        }
        writer.close().map_err(failed)?;
        part.commit()
    }
}

impl Writer for Parquet {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| open.rows == self.rows) {
            self.end_part(false)?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin_part()?,
        };
        open.rows += 1;
        self.open = Some(open);
        self.columns.push(record, &self.layout);
        if self.columns.rows() == GROUP { self.write_group() } else { Ok(()) }
    }

    /// Writes nothing: a file that is not complete is of no use to anybody.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn keep(&mut self) -> io::Result<()> {
        self.end_part(false)
    }

    fn end(&mut self) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        if self.open.is_none() {
            self.open = Some(self.begin_part()?);
        }
        self.ended = true;
        self.end_part(true)
    }
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(cause) => io::Error::other(cause),
        },
        error => io::Error::other(error),
    }
}
