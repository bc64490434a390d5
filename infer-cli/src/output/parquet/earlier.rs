//! The Parquet files of an earlier run.

use std::fs::File;

use anyhow::{Context, ensure};
use parquet::{
    file::{
        metadata::FileMetaData,
        reader::{FileReader, SerializedFileReader},
    },
    record::RowAccessor,
    schema::parser::parse_message_type,
};

use super::{CLASSES, LAST, TOP_K, columns};
use crate::output::{OutputOptions, parts::Parts};

/// Columns that tell which images an earlier run has classified.
const READ: &str = "message results { required binary path (STRING); optional binary error (STRING); }";

/// Files that an earlier run has written.
#[derive(Debug, Default)]
pub struct EarlierParts {
    /// Number of files.
    pub count: usize,
    /// The last one says that it is the last.
    pub complete: bool,
}

/// Reads the files of an earlier run: `row` gets each path, and whether the image failed.
///
/// # Errors
/// They cannot be read, or were written with other options.
pub fn read(parts: &Parts, layout: &OutputOptions, mut row: impl FnMut(&str, bool)) -> anyhow::Result<EarlierParts> {
    let mut earlier = EarlierParts { count: parts.count()?, complete: false };
    for number in 0..earlier.count {
        let path = parts.path(number);
        let mut read = || -> anyhow::Result<bool> {
            let reader = SerializedFileReader::new(File::open(&path)?)?;
            let metadata = reader.metadata().file_metadata();
            let value = |key| value(metadata, key);
            let same = metadata.schema() == &*columns::schema(layout)?
                && value(CLASSES) == Some(&serde_json::to_string(&layout.labels)?)
                && value(TOP_K) == Some(&layout.top_k.to_string());
            ensure!(same, "it was written with other options or weights");
            for record in reader.get_row_iter(Some(parse_message_type(READ)?))? {
                let record = record?;
                row(record.get_string(0)?, record.get_string(1).is_ok());
            }
            Ok(value(LAST).is_some_and(|last| last == "true"))
        };
        let last = read().with_context(|| format!("cannot go on from {}", path.display()))?;
        ensure!(
            !last || number + 1 == earlier.count,
            "{} says that it is the last file, and others follow",
            path.display()
        );
        earlier.complete = last;
    }
    Ok(earlier)
}

fn value<'m>(metadata: &'m FileMetaData, key: &str) -> Option<&'m String> {
    metadata.key_value_metadata()?.iter().find(|pair| pair.key == key)?.value.as_ref()
}
