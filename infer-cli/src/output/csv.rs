//! Comma-separated values (RFC 4180) under a header.
//!
//! Columns: `path,class,label,probability`, for each further class `class_2,label_2,probability_2,…`, with logits
//! `logit_0,logit_1,…`, and `error`, which is empty where the image was classified as the others are where it was not.

use std::io::{self, Write};

use csv::{ErrorKind, StringRecord, Terminator, WriterBuilder};

use super::{Layout, Writer};
use crate::pipeline::Record;

/// Writes comma-separated values.
pub struct Csv<W: Write> {
    out: csv::Writer<W>,
    layout: Layout,
}

impl<W: Write> Csv<W> {
    pub fn new(out: W, layout: Layout) -> Self {
        Self { out: WriterBuilder::new().terminator(Terminator::CRLF).from_writer(out), layout }
    }

    fn write(&mut self, row: &StringRecord) -> io::Result<()> {
        self.out.write_record(row).map_err(|error| match error.into_kind() {
            ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        })
    }
}

impl<W: Write> Writer for Csv<W> {
    fn begin(&mut self) -> io::Result<()> {
        let mut row = StringRecord::from(vec!["path"]);
        for place in 1..=self.layout.top_k {
            for column in ["class", "label", "probability"] {
                row.push_field(&if place == 1 { column.into() } else { format!("{column}_{place}") });
            }
        }
        for class in 0..self.layout.logits() {
            row.push_field(&format!("logit_{class}"));
        }
        row.push_field("error");
        self.write(&row)
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let mut row = StringRecord::from(vec![&*record.path.to_string_lossy()]);
        match &record.outcome {
            Ok(answer) => {
                for prediction in &answer.ranking[..self.layout.top_k] {
                    row.push_field(&prediction.class.to_string());
                    row.push_field(&self.layout.labels[prediction.class]);
                    row.push_field(&prediction.probability.to_string());
                }
                for logit in answer.logits.iter().filter(|_| self.layout.logits) {
                    row.push_field(&logit.to_string());
                }
                row.push_field("");
            }
            Err(error) => {
                let empty = 3 * self.layout.top_k + self.layout.logits();
                row.extend(std::iter::repeat_n("", empty));
                row.push_field(error);
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
        output::testing::{written, written_with},
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
    fn fields_are_quoted_where_they_must_be() {
        let text = written_with(Format::Csv, 1, false, false, "a,b\n\"c\".png", vec!["x".into(); 10]);
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines[0], "path,class,label,probability,error");
        assert!(lines[1].starts_with("\"a,b\n\"\"c\"\".png\",9,x,0.39"), "{text}");
        assert_eq!(lines[2], "bad.png,,,,\"cut, \"\"short\"\"\"");
    }
}
