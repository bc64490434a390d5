//! Columns for people. Labels are known beforehand, so that columns line up while lines stream; the path comes last.

use std::io::{self, Write};

use reporting::words::percent;

use super::{OutputOptions, Writer};
use crate::{
    pipeline::Record,
    text::{escaped, padded, printable, width},
};

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const RESET: &str = "\u{1b}[0m";

/// Stands in the place of the label where an image failed.
const ERROR: &str = "error";

/// Width of a probability, `100.00 %`, and its heading.
const PROBABILITY: (usize, &str) = (8, "PROB.");

/// Width of a logit.
const LOGIT: usize = 9;

/// Writes a table.
pub struct Table<W> {
    out: W,
    layout: OutputOptions,
    color: bool,
    /// Width of a label.
    label: usize,
}

impl<W: Write> Table<W> {
    pub fn new(out: W, mut layout: OutputOptions, color: bool) -> Self {
        for label in &mut layout.labels {
            *label = printable(label);
        }
        let label = layout.labels.iter().map(|label| width(label)).max().unwrap_or(0).max("LABEL 10".len());
        Self { out, layout, color, label }
    }

    /// The columns before the path where there is no answer.
    fn blank(&self) -> usize {
        self.layout.top_k * (self.label + PROBABILITY.0 + 4) + self.layout.logits() * (LOGIT + 2)
    }

    fn line(&mut self, style: &str, text: &str) -> io::Result<()> {
        if self.color && !style.is_empty() {
            writeln!(self.out, "{style}{text}{RESET}")
        } else {
            writeln!(self.out, "{text}")
        }
    }

    /// A line that ends with a path's bytes, and a NUL.
    fn line_of_bytes(&mut self, text: &str, path: &[u8]) -> io::Result<()> {
        self.out.write_all(&[text.as_bytes(), path, b"\0"].concat())
    }
}

impl<W: Write> Writer for Table<W> {
    fn begin(&mut self) -> io::Result<()> {
        let mut line = String::new();
        for place in 1..=self.layout.top_k {
            let label = if place == 1 { "LABEL".into() } else { format!("LABEL {place}") };
            line += &format!("{}  {:>2$}  ", padded(&label, self.label), PROBABILITY.1, PROBABILITY.0);
        }
        for class in 0..self.layout.logits() {
            line += &format!("{:>LOGIT$}  ", format!("LOGIT {class}"));
        }
        if self.layout.null {
            return self.line_of_bytes(&line, b"PATH");
        }
        line += "PATH";
        self.line(BOLD, &line)
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let path = printable(&escaped(&record.path));
        let bytes = record.path.as_os_str().as_encoded_bytes();
        let answer = match &record.outcome {
            Ok(answer) => answer,
            Err(error) if self.layout.null => {
                let line = format!("{}{}: ", padded(ERROR, self.blank()), printable(error));
                return self.line_of_bytes(&line, bytes);
            }
            Err(error) => {
                let line = format!("{}{path}: {}", padded(ERROR, self.blank()), printable(error));
                return self.line(RED, &line);
            }
        };
        let mut line = String::new();
        for prediction in &answer.ranking[..self.layout.top_k] {
            let label = padded(&self.layout.labels[prediction.class], self.label);
            let percent = percent(prediction.probability.into());
            line += &format!("{label}  {percent:>0$}  ", PROBABILITY.0);
        }
        for logit in answer.logits.iter().filter(|_| self.layout.logits) {
            line += &format!("{logit:>LOGIT$.4}  ");
        }
        if self.layout.null {
            return self.line_of_bytes(&line, bytes);
        }
        line += &path;
        match answer.doubt.filter(|_| self.layout.doubts) {
            None => self.line("", &line),
            Some(doubt) => self.line(YELLOW, &format!("{line} ({doubt})")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::Format,
        output::testing::{written, written_with},
    };

    #[test]
    fn columns_line_up() {
        let text = written(Format::Table, 2, false, false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "LABEL        PROB.  LABEL 2      PROB.  PATH");
        assert_eq!(lines[1], "label 9    39.61 %  label 8    24.03 %  a/b.png");
        assert_eq!(lines[2], "error                                   bad.png: cut, \"short\"");
        let logits = written(Format::Table, 1, true, false);
        let columns: Vec<_> = logits.lines().map(|line| line.find(&line[line.len() - 4..]).unwrap()).collect();
        assert!(logits.lines().nth(1).unwrap().contains("   4.5000  a/b.png"), "{logits}");
        assert_eq!(columns.len(), 3);
    }

    #[test]
    fn colour_only_where_it_is_wanted_and_no_escapes_but_ours() {
        let coloured = written(Format::Table, 1, false, true);
        assert!(coloured.starts_with(BOLD) && coloured.contains(RED));
        let labels = vec!["\u{1b}[2J大".to_string(); 10];
        let plain = written_with(Format::Table, 1, false, false, "\u{1b}]0;x\u{7}.png", labels);
        assert!(!plain.contains(['\u{1b}', '\u{7}']), "{plain}");
        assert!(plain.contains("\\u{1b}[2J大  ") && plain.contains("\\u{1b}]0;x\\u{7}.png"), "{plain}");
    }
}
