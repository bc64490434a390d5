//! Comma-separated values (RFC 4180) under a header.
//!
//! Columns: `path,class,label,probability`, for each further class `class_2,label_2,probability_2,…`, with logits
//! `logit_0,logit_1,…`, with weights that state checks `doubt`, and `error`, which is empty where the image was classified as the others are where it was not.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use csv::{ByteRecord, ErrorKind, Terminator, WriterBuilder};

use super::{OutputOptions, Writer};
use crate::{pipeline::Record, text::escaped};

/// Writes comma-separated values.
pub struct Csv<W: Write> {
    out: csv::Writer<W>,
    layout: OutputOptions,
}

/// A cell's text that no spreadsheet takes for a formula: with `'` before it where one would.
pub fn safe(text: &[u8]) -> Cow<'_, [u8]> {
    match text.first() {
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r') => [b"'", text].concat().into(),
        _ => text.into(),
    }
}

/// The end of a record, for readers and writers and as bytes.
pub fn terminator(layout: &OutputOptions) -> (Terminator, &'static [u8]) {
    if layout.null { (Terminator::Any(0), b"\0") } else { (Terminator::CRLF, b"\r\n") }
}

/// The names of the columns.
pub fn header(layout: &OutputOptions) -> ByteRecord {
    let mut row = ByteRecord::from(vec!["path"]);
    for place in 1..=layout.top_k {
        for column in ["class", "label", "probability"] {
            row.push_field(if place == 1 { column.into() } else { format!("{column}_{place}") }.as_bytes());
        }
    }
    for class in 0..layout.logits() {
        row.push_field(format!("logit_{class}").as_bytes());
    }
    if layout.doubts {
        row.push_field(b"doubt");
    }
    row.push_field(b"error");
    row
}

impl<W: Write> Csv<W> {
    pub fn new(out: W, layout: OutputOptions) -> Self {
        let (terminator, _) = terminator(&layout);
        Self { out: WriterBuilder::new().terminator(terminator).from_writer(out), layout }
    }

    fn cell<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        if self.layout.csv_safe { safe(text) } else { text.into() }
    }

    fn write(&mut self, row: &ByteRecord) -> io::Result<()> {
        self.out.write_byte_record(row).map_err(|error| match error.into_kind() {
            ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        })
    }
}

impl<W: Write> Writer for Csv<W> {
    fn begin(&mut self) -> io::Result<()> {
        self.write(&header(&self.layout))
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let mut row = ByteRecord::new();
        if self.layout.null {
            row.push_field(&self.cell(record.path.as_os_str().as_encoded_bytes()));
        } else {
            row.push_field(&self.cell(escaped(&record.path).as_bytes()));
        }
        match &record.outcome {
            Ok(answer) => {
                for prediction in &answer.ranking[..self.layout.top_k] {
                    row.push_field(prediction.class.to_string().as_bytes());
                    row.push_field(&self.cell(self.layout.labels[prediction.class].as_bytes()));
                    row.push_field(prediction.probability.to_string().as_bytes());
                }
                for logit in answer.logits.iter().filter(|_| self.layout.logits) {
                    row.push_field(logit.to_string().as_bytes());
                }
                if self.layout.doubts {
                    row.push_field(answer.doubt.map_or(String::new(), |doubt| doubt.to_string()).as_bytes());
                }
                row.push_field(b"");
            }
            Err(error) => {
                let empty = 3 * self.layout.top_k + self.layout.logits() + usize::from(self.layout.doubts);
                row.extend(std::iter::repeat_n(b"", empty));
                row.push_field(&self.cell(error.as_bytes()));
            }
        }
        self.write(&row)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        args::Format,
        output::{
            OutputOptions,
            testing::{written, written_by, written_with},
        },
    };

    #[test]
    fn a_row_a_record() {
        let text = written(Format::Csv, 2, true, false);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let columns = "path class label probability class_2 label_2 probability_2";
        let header: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        assert_eq!(header[..7].join(" "), columns);
        assert_eq!(
            header[7..].join(" "),
            "logit_0 logit_1 logit_2 logit_3 logit_4 logit_5 logit_6 logit_7 logit_8 logit_9 error"
        );
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(
            (&rows[0][0], &rows[0][2], &rows[0][4], &rows[0][16], &rows[0][17]),
            ("a/b.png", "label 9", "8", "4.5", "")
        );
        assert_eq!((&rows[1][0], &rows[1][1], &rows[1][17]), ("bad.png", "", "cut, \"short\""));
    }

    #[test]
    fn cells_are_no_formulas_where_that_is_wanted() {
        let labels: Vec<String> = vec!["@label".into(); 10];
        let layout = OutputOptions { labels, top_k: 1, logits: true, doubts: true, null: false, csv_safe: true };
        let text = written_by(layout, Format::Csv, false, "=1+1.png");
        let row = text.split("\r\n").nth(1).unwrap();
        assert!(row.starts_with("'=1+1.png,9,'@label,0.39"), "{row}");
        assert!(row.ends_with(",0,0.5,1,1.5,2,2.5,3,3.5,4,4.5,unsure,"), "{row}");
        assert!(written_with(Format::Csv, 1, false, false, "=1.png", vec!["+".into(); 10]).contains("\r\n=1.png,9,+,"));
    }

    #[test]
    fn records_may_end_with_a_nul() {
        let layout = OutputOptions {
            labels: vec!["x".into(); 10],
            top_k: 1,
            logits: false,
            doubts: false,
            null: true,
            csv_safe: false,
        };
        let text = written_by(layout, Format::Csv, false, "a.png");
        assert!(
            text.starts_with("path,class,label,probability,error\0a.png,9,x,0.39") && text.ends_with('\0'),
            "{text:?}"
        );
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let text = written_with(Format::Csv, 1, false, false, "a,b\n\"c\".png", vec!["x".into(); 10]);
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines[0], "path,class,label,probability,error");
        assert!(lines[1].starts_with("\"a,b\n\"\"c\"\".png\",9,x,0.39"), "{text}");
        assert_eq!(lines[2], "bad.png,,,,\"cut, \"\"short\"\"\"");
    }
}
