//! Text for a terminal: nothing in a file name, a label or an error may control it.

use std::{
    fmt::Write,
    io::{self, Write as _},
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

fn escape(text: &mut String, character: char) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", character.escape_unicode());
}

/// How many columns of a terminal the text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text, filled up with spaces on the right to `columns` columns of a terminal.
pub fn padded(text: &str, columns: usize) -> String {
    format!("{text}{:1$}", "", columns.saturating_sub(width(text)))
}

/// A line on the standard error, signed with the program's name. That it cannot be written is no reason to stop.
pub fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "infer-cli: {}", printable(message));
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

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(padded("大", 4), "大  ");
        assert_eq!(padded("long", 2), "long");
    }
}
