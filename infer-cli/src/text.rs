//! Text for a terminal: nothing in a file name, a label or an error may control it.

use std::{
    borrow::Cow,
    fmt::Write,
    io::{self, Write as _},
    path::Path,
};

use unicode_width::UnicodeWidthStr;

/// The text with control characters, and those that change the direction of writing, as visible escapes.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => printable.push_str("\\n"),
            '\r' => printable.push_str("\\r"),
            '\t' => printable.push_str("\\t"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                escape(&mut printable, character)
            }
            _ if character.is_control() => escape(&mut printable, character),
            _ => printable.push(character),
        }
    }
    printable
}

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

/// A number of things, in words.
pub fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

fn escape(text: &mut String, character: char) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", character.escape_unicode());
}

/// Width of a text in columns of a terminal.
pub fn width(text: &str) -> usize {
    text.width()
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

    #[test]
    fn what_controls_a_terminal_is_escaped() {
        assert_eq!(printable("a\u{1b}[31m\nb\u{9b}c\u{7f}"), "a\\u{1b}[31m\\nb\\u{9b}c\\u{7f}");
        assert_eq!(printable("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(printable("Größe 大 😀"), "Größe 大 😀");
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_text_stay_apart() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

        let text = |bytes: &'static [u8]| escaped(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(text("a\\é.png".as_bytes()), "a\\é.png");
        assert_eq!([text(b"a\\\xff.png"), text(b"a\\\xfe.png")], ["a\\\\\\xFF.png", "a\\\\\\xFE.png"]);
    }

    #[test]
    fn numbers_agree_in_words() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "image")), ["0 images", "1 image", "2 images"]);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(padded("大", 4), "大  ");
        assert_eq!(padded("long", 2), "long");
    }
}
