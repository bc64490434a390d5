//! Colour on a terminal.

use std::{env, ffi::OsStr};

/// Whether the user's environment allows colour on a terminal: not where `NO_COLOR` is set, or the terminal is a `dumb` one.
pub fn allows_colour() -> bool {
    allows(env::var_os("NO_COLOR").as_deref(), env::var_os("TERM").as_deref())
}

fn allows(no_colour: Option<&OsStr>, terminal: Option<&OsStr>) -> bool {
    no_colour.is_none_or(OsStr::is_empty) && terminal.is_none_or(|terminal| terminal != "dumb")
}

/// Colour of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Success.
    Green,
    /// Failure.
    Red,
    /// Progress.
    Cyan,
    /// Detail.
    Dim,
    /// Heading.
    Bold,
}

impl Colour {
    /// The escape sequence that begins it.
    pub fn begin(self) -> &'static str {
        match self {
            Self::Green => "\u{1b}[32m",
            Self::Red => "\u{1b}[31m",
            Self::Cyan => "\u{1b}[36m",
            Self::Dim => "\u{1b}[2m",
            Self::Bold => "\u{1b}[1m",
        }
    }

    /// The escape sequence that ends all of them.
    pub const END: &'static str = "\u{1b}[0m";

    /// The text in this colour, if `coloured`.
    pub fn paint(self, text: &str, coloured: bool) -> String {
        if coloured { format!("{}{text}{}", self.begin(), Self::END) } else { text.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_can_forbid_colour() {
        let allows = |no_colour: Option<&str>, terminal: Option<&str>| {
            super::allows(no_colour.map(OsStr::new), terminal.map(OsStr::new))
        };
        assert!(allows(None, None) && allows(Some(""), Some("xterm-256color")));
        assert!(!allows(Some("1"), Some("xterm")) && !allows(None, Some("dumb")));
        assert_eq!(Colour::Red.paint("x", true), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Colour::Red.paint("x", false), "x");
    }
}
