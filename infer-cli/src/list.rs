//! Lists of paths, which other programs make.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::Context;

/// A list of paths, read as it is needed.
pub struct List {
    name: String,
    reader: Box<dyn BufRead + Send>,
    end: u8,
    /// Nothing was read yet.
    begins: bool,
}

/// Byte order mark that some programs put before text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

impl List {
    /// Opens a list of paths, one a line, or ended by NUL characters; `-` is the standard input.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path, null: bool) -> anyhow::Result<Self> {
        if path == "-" {
            return Ok(Self::new("the standard input".into(), BufReader::new(io::stdin()), null));
        }
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot open the list of files {name}"))?;
        Ok(Self::new(name, BufReader::new(file), null))
    }

    /// The list that a reader brings; errors have its name.
    pub fn new(name: String, reader: impl BufRead + Send + 'static, null: bool) -> Self {
        Self { name, reader: Box::new(reader), end: if null { 0 } else { b'\n' }, begins: true }
    }

    /// Opens a list another time, if it is in an ordinary file, which can be read twice.
    pub fn again(path: &Path, null: bool) -> Option<Self> {
        let ordinary = path != "-" && fs::metadata(path).is_ok_and(|found| found.is_file());
        if ordinary { Self::open(path, null).ok() } else { None }
    }
}

impl Iterator for List {
    type Item = anyhow::Result<PathBuf>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut line = Vec::new();
            match self.reader.read_until(self.end, &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    return Some(Err(error).with_context(|| format!("cannot read the list of files {}", self.name)));
                }
            }
            if std::mem::take(&mut self.begins) && line.starts_with(BYTE_ORDER_MARK) {
                line.drain(..BYTE_ORDER_MARK.len());
            }
            line.pop_if(|last| *last == self.end);
            if self.end == b'\n' {
                // Lists written on Windows.
                line.pop_if(|last| *last == b'\r');
            }
            if !line.is_empty() {
                return Some(Ok(path(line)));
            }
        }
    }
}

#[cfg(unix)]
fn path(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(not(unix))]
fn path(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_by_lines_or_nul_characters() {
        let list = |text: &'static [u8], end| {
            let list = List::new(String::new(), text, end == 0);
            list.map(|path| path.unwrap().display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(list(b"a b.png\r\n\nc.png", b'\n'), ["a b.png", "c.png"]);
        assert_eq!(list("\u{feff}a.png\n\u{feff}b.png".as_bytes(), b'\n'), ["a.png", "\u{feff}b.png"]);
        assert_eq!(list("\u{feff}\0a.png\0".as_bytes(), 0), ["a.png"]);
        assert_eq!(list(b"a\nb.png\0c.png\0", 0), ["a\nb.png", "c.png"]);
    }
}
