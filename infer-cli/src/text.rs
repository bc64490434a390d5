//! Text for a terminal: nothing in a file name, a label or an error may control it.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
};

pub use reporting::words::{counted, printable, width};

/// A path as text that no other path has: bytes that are not UTF-8 are written `\xNN`, and where there are any, `\` as `\\`.
pub fn escaped(path: &Path) -> Cow<'_, str> {
    if let Some(text) = path.to_str() {
        return text.into();
    }
    let mut escaped = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        escaped += &chunk.valid().replace('\\', "\\\\");
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\x{byte:02X}");
        }
    }
    escaped.into()
}

/// The text, filled up with spaces on the right to `columns` columns of a terminal.
pub fn padded(text: &str, columns: usize) -> String {
    format!("{text}{:1$}", "", columns.saturating_sub(width(text)))
}

/// A line on the standard error. That it cannot be written is no reason to stop.
pub fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(message));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_text_stay_apart() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

        let text = |bytes: &'static [u8]| escaped(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(text("a\\é.png".as_bytes()), "a\\é.png");
        assert_eq!([text(b"a\\\xff.png"), text(b"a\\\xfe.png")], ["a\\\\\\xFF.png", "a\\\\\\xFE.png"]);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(padded("大", 4), "大  ");
        assert_eq!(padded("long", 2), "long");
    }
}
