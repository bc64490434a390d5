//! Where results go and how they look: a destination, and one writer a format.

mod csv;
mod jsonl;
mod table;

use std::{
    fs::{self, File},
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::ColorChoice;
use tempfile::NamedTempFile;

use crate::{args::Format, pipeline::Record};

/// The destination's name in errors if it is no file.
const STDOUT: &str = "the standard output";

/// What is printed of each record.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The classes' names.
    pub labels: Vec<String>,
    /// How many classes to name, at least 1 and at most all.
    pub top_k: usize,
    /// The logits too.
    pub logits: bool,
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

    /// Writes what was held back in memory.
    ///
    /// # Errors
    /// It cannot be written.
    fn flush(&mut self) -> io::Result<()>;
}

impl Layout {
    /// How many logits are printed.
    fn logits(&self) -> usize {
        if self.logits { self.labels.len() } else { 0 }
    }

    /// A writer of `format` to `out`.
    pub fn writer(self, format: Format, out: Box<dyn Write>, color: bool) -> Box<dyn Writer> {
        let out = BufWriter::new(out);
        match format {
            Format::Table => Box::new(table::Table::new(out, self, color)),
            Format::Jsonl => Box::new(jsonl::Jsonl::new(out, self)),
            Format::Csv => Box::new(csv::Csv::new(out, self)),
        }
    }
}

/// Where results go.
pub enum Destination {
    /// The standard output.
    Stdout,
    /// A file that is there already and is no ordinary one, such as a pipe or `/dev/null`: written to directly.
    Special(PathBuf, File),
    /// A file that gets its name when it is complete.
    File(PathBuf, NamedTempFile),
}

impl Destination {
    /// The standard output, or a file.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        Self::file(path).with_context(|| format!("cannot write {}", path.display()))
    }

    fn file(path: &Path) -> anyhow::Result<Self> {
        // The file that a link leads to is to be replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(&path)?;
            return Ok(Self::Special(path, file));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".infer-cli-").suffix(".tmp");
        // Temporary files are for their owner only by default; this one becomes an ordinary file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder)?;
        Ok(Self::File(path, file))
    }

    /// Its name in errors.
    pub fn name(&self) -> String {
        match self {
            Self::Stdout => STDOUT.into(),
            Self::Special(path, _) | Self::File(path, _) => path.display().to_string(),
        }
    }

    /// A handle to write through.
    ///
    /// # Errors
    /// The system has none left.
    pub fn handle(&self) -> io::Result<Box<dyn Write>> {
        Ok(match self {
            Self::Stdout => Box::new(io::stdout().lock()),
            Self::Special(_, file) => Box::new(file.try_clone()?),
            Self::File(_, file) => Box::new(file.as_file().try_clone()?),
        })
    }

    /// Whether people read along.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Special(_, file) => file.is_terminal(),
            Self::File(..) => false,
        }
    }

    /// Makes a file appear under its name. Without this, it disappears.
    ///
    /// # Errors
    /// It cannot be written to the disk or renamed.
    pub fn commit(self) -> anyhow::Result<()> {
        if let Self::File(path, file) = self {
            let commit = || -> io::Result<()> {
                file.as_file().sync_all()?;
                file.persist(&path)?;
                Ok(())
            };
            commit().with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Whether to use colour, as asked, else on a terminal that knows it unless `NO_COLOR` is set.
pub fn use_color(choice: ColorChoice, terminal: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

#[cfg(test)]
mod testing {
    use std::{cell::RefCell, rc::Rc};

    use super::*;
    use crate::worker::Answer;
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

    /// What is written of a record with rising logits and of one that failed. Labels are `label 0`, `label 1`, ….
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
        let out = Shared::default();
        let mut writer = Layout { labels, top_k, logits }.writer(format, Box::new(out.clone()), color);
        writer.begin().unwrap();
        writer.record(&Record { path: path.into(), outcome: Ok(answer()) }).unwrap();
        writer.record(&Record { path: "bad.png".into(), outcome: Err("cut, \"short\"".into()) }).unwrap();
        writer.flush().unwrap();
        String::from_utf8(out.0.take()).unwrap()
    }

    pub fn answer() -> Answer {
        let logits = std::array::from_fn(|class| class as f32 * 0.5);
        Answer { ranking: top_k::<CLASSES, CLASSES>(&logits).into_iter().collect(), logits: logits.to_vec() }
    }
}
