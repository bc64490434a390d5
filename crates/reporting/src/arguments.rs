//! Command lines that were mistyped: of clap's suggestions, those that the user can have meant.

use clap::{
    Parser,
    error::{ContextKind, ContextValue, Error},
};

/// The process's arguments. Where they cannot be understood, or ask for help, that is printed and the program ends.
pub fn parse<C: Parser>() -> C {
    C::try_parse().unwrap_or_else(|error| without_unlike(error).exit())
}

/// Takes a suggestion out of an error that has little to do with what was typed, such as `--shift` for `--silent`: who follows it
/// would start something else.
pub fn without_unlike(mut error: Error) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.split([' ', '=']).next().unwrap_or_default().to_string(),
        _ => String::new(),
    };
    let (typed, suggested) = (text(ContextKind::InvalidArg), text(ContextKind::SuggestedArg));
    if !suggested.is_empty() && !alike(&typed, &suggested) {
        error.remove(ContextKind::SuggestedArg);
        // It shows how to use the suggestion.
        error.remove(ContextKind::Usage);
    }
    error
}

/// Whether one may have been typed for the other: it begins it, or differs in a letter or two.
fn alike(typed: &str, meant: &str) -> bool {
    let (typed, meant) = (typed.trim_start_matches('-'), meant.trim_start_matches('-'));
    let begins = typed.len() >= 3 && meant.starts_with(typed) || meant.len() >= 3 && typed.starts_with(meant);
    begins || distance(typed, meant) <= 2.min(typed.chars().count() / 2)
}

/// Levenshtein distance: letters that must be changed, added or removed to make one text the other.
pub fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, wanted) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *wanted);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Arguments {
        #[arg(long)]
        shift: bool,
        #[arg(long)]
        epochs: bool,
        #[arg(long)]
        batch_size: bool,
        #[arg(long)]
        output: bool,
    }

    #[test]
    fn only_what_can_have_been_meant_is_suggested() {
        let suggests = |argument: &str| {
            let error = Arguments::try_parse_from(["program", argument]).unwrap_err();
            let text = without_unlike(error).to_string();
            assert!(text.contains(argument), "{text}");
            text.contains("similar argument exists")
        };
        for argument in ["--epoch", "--batch", "--batchsize", "--outputt", "--output-dir", "--outptt"] {
            assert!(suggests(argument), "{argument}");
        }
        for argument in ["--silent", "--dropout", "--gpu", "--workers"] {
            assert!(!suggests(argument), "{argument}");
        }
    }

    #[test]
    fn distances_count_letters() {
        let cases = [("", "abc", 3), ("photo", "photos", 1), ("kitten", "sitting", 3), ("größe", "grösse", 2)];
        for (one, other, expected) in cases {
            assert_eq!((distance(one, other), distance(other, one)), (expected, expected));
        }
    }
}
