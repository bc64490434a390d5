//! Where results go and how they look: a destination, and one writer a format.

mod csv;
mod destination;
mod jsonl;
mod open;
mod parquet;
mod parts;
mod resume;
mod table;

use std::io::{self, BufWriter, Write};

use clap::ColorChoice;

pub use self::{
    destination::{Destination, refuse_input},
    open::{Asked, Opened},
    resume::Earlier,
};
use crate::{args::Format, pipeline::Record};

/// Options of the output.
#[derive(Debug, Clone)]
pub struct OutputOptions {
    /// The classes' names.
    pub labels: Vec<String>,
    /// Number of classes to print, at least 1 and at most all.
    pub top_k: usize,
    /// The logits too.
    pub logits: bool,
    /// Reasons to doubt answers, which the weights give limits for.
    pub doubts: bool,
    /// Paths are their bytes, and records end with a NUL instead of a line end.
    pub null: bool,
    /// Cells of CSV that could be formulas are escaped.
    pub csv_safe: bool,
}

/// Writes records in one of the formats.
pub trait Writer {
    /// Writes what stands before the first record.
    ///
    /// # Errors
    /// It cannot be written.
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Writes a record.
    ///
    /// # Errors
    /// It cannot be written.
    fn record(&mut self, record: &Record) -> io::Result<()>;

    /// Writes what was held back in memory, for those who read along.
    ///
    /// # Errors
    /// It cannot be written.
    fn flush(&mut self) -> io::Result<()>;

    /// Writes all that another run can go on from, since the program ends.
    ///
    /// # Errors
    /// It cannot be written.
    fn keep(&mut self) -> io::Result<()> {
        self.flush()
    }

    /// Writes what stands behind the last record.
    ///
    /// # Errors
    /// It cannot be written.
    fn end(&mut self) -> io::Result<()> {
        self.flush()
    }
}

impl OutputOptions {
    /// Number of logits that are printed.
    fn logits(&self) -> usize {
        if self.logits { self.labels.len() } else { 0 }
    }

    /// A writer of text of `format` to `out`.
    ///
    /// # Errors
    /// The format is not text.
    pub fn text_writer(self, format: Format, out: Box<dyn Write>, color: bool) -> io::Result<Box<dyn Writer>> {
        let out = BufWriter::new(out);
        Ok(match format {
            Format::Table => Box::new(table::Table::new(out, self, color)),
            Format::Jsonl => Box::new(jsonl::Jsonl::new(out, self)),
            Format::Csv => Box::new(csv::Csv::new(out, self)),
            Format::Parquet => return Err(io::Error::other("Parquet is written to a folder")),
        })
    }
}

/// Whether to use colour, as asked, else on a terminal that knows it unless `NO_COLOR` is set.
pub fn use_color(choice: ColorChoice, terminal: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => terminal && reporting::terminal::allows_colour(),
    }
}

#[cfg(test)]
mod testing {
    use std::{cell::RefCell, rc::Rc};

    use super::*;
    use classifier::Answer;
    use image_files::checks::Doubt;
    use infer_core::classify::top_k;

    const CLASSES: usize = 10;

    /// Memory to write to that can be looked at while a writer holds it.
    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Output for a record with rising logits and for one that failed. Labels are `label 0`, `label 1`, ….
    pub fn written(format: Format, top_k: usize, logits: bool, color: bool) -> String {
        written_with(format, top_k, logits, color, "a/b.png", (0..CLASSES).map(|i| format!("label {i}")).collect())
    }

    pub fn written_with(
        format: Format,
        top_k: usize,
        logits: bool,
        color: bool,
        path: &str,
        labels: Vec<String>,
    ) -> String {
        written_by(
            OutputOptions { labels, top_k, logits, doubts: false, null: false, csv_safe: false },
            format,
            color,
            path,
        )
    }

    pub fn written_by(layout: OutputOptions, format: Format, color: bool, path: &str) -> String {
        let out = Shared::default();
        let mut writer = layout.text_writer(format, Box::new(out.clone()), color).unwrap();
        writer.begin().unwrap();
        writer.record(&Record { path: path.into(), outcome: Ok(answer()), thumbnail: None }).unwrap();
        writer
            .record(&Record { path: "bad.png".into(), outcome: Err("cut, \"short\"".into()), thumbnail: None })
            .unwrap();
        writer.flush().unwrap();
        String::from_utf8(out.0.take()).unwrap()
    }

    pub fn answer() -> Answer {
        let logits = std::array::from_fn(|class| class as f32 * 0.5);
        Answer {
            ranking: top_k::<CLASSES, CLASSES>(&logits).into_iter().collect(),
            logits: logits.to_vec(),
            doubt: Some(Doubt::Unsure),
        }
    }
}
