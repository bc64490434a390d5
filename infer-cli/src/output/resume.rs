//! The results of an interrupted run, which another goes on from: how many records there are, of which paths, and whether they
//! look as the new ones will.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use anyhow::{Context, bail, ensure};

use super::{Destination, OutputOptions, parquet, parts::Parts};
use crate::{args::Format, text::escaped};

/// Records that an earlier run has written.
#[derive(Debug, Default)]
pub struct Earlier {
    /// A hash of each record's path.
    paths: Vec<u64>,
    /// Number of errors among them.
    pub failed: u64,
    /// There is something, a header perhaps.
    pub begun: bool,
    /// Number of Parquet files.
    pub parts: usize,
    /// Nothing is missing.
    pub complete: bool,
}

impl Earlier {
    /// Reads the results, and cuts off a last record that is not whole; what is written next goes behind them.
    ///
    /// # Errors
    /// They cannot be read, or were made with other options.
    pub fn read(destination: &Destination, format: Format, layout: &OutputOptions) -> anyhow::Result<Self> {
        let Destination::Partial(path, file) = destination else { return Ok(Self::default()) };
        let mut file = file;
        let mut text = Vec::new();
        file.read_to_end(&mut text).with_context(|| format!("cannot read {}.partial", path.display()))?;
        let (earlier, length) = match format {
            Format::Jsonl => Self::of_json(&text, layout),
            Format::Csv => Self::of_csv(&text, layout),
            Format::Table | Format::Parquet => bail!("--resume needs --format jsonl, csv or parquet"),
        }
        .with_context(|| format!("--resume: {}.partial was written with other options", path.display()))?;
        let mut cut = || -> io::Result<()> {
            file.set_len(length as u64)?;
            file.seek(SeekFrom::End(0)).map(|_| ())
        };
        cut().with_context(|| format!("cannot write {}.partial", path.display()))?;
        Ok(earlier)
    }

    /// Reads the Parquet files of a run.
    ///
    /// # Errors
    /// They cannot be read, or were made with other options.
    pub fn read_parts(parts: &Parts, layout: &OutputOptions) -> anyhow::Result<Self> {
        let mut earlier = Self::default();
        let found = parquet::read(parts, layout, |path, failed| {
            earlier.paths.push(hash(path.as_bytes()));
            earlier.failed += u64::from(failed);
        })?;
        let begun = found.count > 0;
        Ok(Self { begun, parts: found.count, complete: found.complete, ..earlier })
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether the record at a place is that of a path.
    pub fn is_of(&self, place: usize, path: &Path, layout: &OutputOptions) -> bool {
        let escaped = escaped(path);
        let text = if layout.null { path.as_os_str().as_encoded_bytes() } else { escaped.as_bytes() };
        let text = if layout.csv_safe { super::csv::safe(text) } else { text.into() };
        self.paths.get(place) == Some(&hash(&text))
    }

    fn of_json(text: &[u8], layout: &OutputOptions) -> anyhow::Result<(Self, usize)> {
        let (mut earlier, mut length) = (Self::default(), 0);
        for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let record: serde_json::Value = serde_json::from_slice(line).context("a line is no JSON object")?;
            let path = record["path"].as_str().context("a record has no path")?;
            if record.get("error").is_some() {
                earlier.failed += 1;
            } else {
                let classes = record["top"].as_array().map_or(0, Vec::len);
                ensure!(
                    classes == layout.top_k,
                    "its records name {classes} classes, and {} are asked for",
                    layout.top_k
                );
                ensure!(record.get("logits").is_some() == layout.logits, "its records and these differ in logits");
            }
            earlier.paths.push(hash(path.as_bytes()));
            length += line.len();
        }
        earlier.begun = length > 0;
        Ok((earlier, length))
    }

    fn of_csv(text: &[u8], layout: &OutputOptions) -> anyhow::Result<(Self, usize)> {
        let header = super::csv::header(layout);
        let (mut earlier, mut length) = (Self::default(), 0);
        let (terminator, line_end) = super::csv::terminator(layout);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).terminator(terminator).from_reader(text);
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).unwrap_or(false) {
            let mut end = usize::try_from(reader.position().byte())?;
            // The reader stops between the two characters of a line's end.
            end += usize::from(text[..end].ends_with(b"\r") && text[end..].starts_with(b"\n"));
            // A line's end within a quoted cell ends no record, even where the text ends with it.
            let quotes = text[length..end].iter().filter(|byte| **byte == b'"').count();
            if !text[..end].ends_with(line_end) || quotes % 2 == 1 {
                break;
            }
            if length == 0 {
                ensure!(record == header, "its columns are others");
            } else {
                earlier.failed += u64::from(record.iter().next_back().is_some_and(|error| !error.is_empty()));
                earlier.paths.push(hash(record.get(0).unwrap_or_default()));
            }
            length = end;
        }
        earlier.begun = length > 0;
        Ok((earlier, length))
    }
}

/// Enough of a path to tell it from others, in eight bytes.
fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing::written_by;

    #[test]
    fn of_csv_that_ends_anywhere_the_whole_records_are_kept() {
        for null in [false, true] {
            let layout = || OutputOptions {
                labels: vec!["of \"two\"\r\nlines".into(); 10],
                top_k: 2,
                logits: false,
                doubts: false,
                null,
                csv_safe: false,
            };
            let path = "a\r\n\"b\",\r\n.png";
            let text = written_by(layout(), Format::Csv, false, path).into_bytes();
            let end: &[u8] = if null { b"\0" } else { b"\r\n" };
            // The header and the second record have no quotes, so that their ends are known without them.
            let header = text.windows(end.len()).position(|part| part == end).unwrap() + end.len();
            let second = text.windows(7).rposition(|part| part == b"bad.png").unwrap();
            assert!(text[header..second].split(|byte| *byte == b'\n').count() > 4);
            for length in 0..=text.len() {
                let expected = match length {
                    0.. if length < header => (0, 0),
                    0.. if length < second => (0, header),
                    0.. if length < text.len() => (1, second),
                    _ => (2, text.len()),
                };
                let (earlier, kept) = Earlier::of_csv(&text[..length], &layout()).unwrap();
                assert_eq!((earlier.len(), kept), expected, "null: {null}, {length} bytes");
                assert!(earlier.len() == 0 || earlier.is_of(0, Path::new(path), &layout()));
                assert_eq!(earlier.failed, u64::from(earlier.len() == 2));
            }
        }
    }
}
