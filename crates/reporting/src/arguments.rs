//! Command lines: which options the short help shows, and what is suggested where one was mistyped.

use clap::{
    Command, Parser,
    error::{ContextKind, ContextValue, Error},
};

/// The process's arguments. Where they cannot be understood, or ask for help, that is printed and the program ends.
pub fn parse<C: Parser>() -> C {
    let parsed = with_short_help(C::command())
        .try_get_matches()
        .and_then(|mut matches| C::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut C::command())));
    parsed.unwrap_or_else(|error| without_unlike(error).exit())
}

/// The command with a short help (`-h`) of the options that have no heading: those of the groups below are in `--help` only.
pub fn with_short_help(command: Command) -> Command {
    let hidden = |arg: clap::Arg| {
        let grouped = arg.get_help_heading().is_some();
        if grouped { arg.hide_short_help(true) } else { arg }
    };
    command.mut_args(hidden).mut_subcommands(with_short_help)
}

/// Takes a suggestion out of an error that has little to do with what was typed, such as `--shift` for `--silent`: who follows it
/// would start something else.
pub fn without_unlike(mut error: Error) -> Error {
    if suggests_unlike(&error, ContextKind::InvalidValue, ContextKind::SuggestedValue) {
        error.remove(ContextKind::SuggestedValue);
    }
    if suggests_unlike(&error, ContextKind::InvalidArg, ContextKind::SuggestedArg) {
        error.remove(ContextKind::SuggestedArg);
        // It shows how to use the suggestion.
        error.remove(ContextKind::Usage);
    }
    error
}

/// Whether what an error suggests has little to do with what was typed.
fn suggests_unlike(error: &Error, typed: ContextKind, suggested: ContextKind) -> bool {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.split([' ', '=']).next().unwrap_or_default().to_string(),
        _ => String::new(),
    };
    let (typed, suggested) = (text(typed), text(suggested));
    !suggested.is_empty() && !alike(&typed, &suggested)
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
        #[arg(long, value_parser = ["alexnet", "lenet5"])]
        network: Option<String>,
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
        for (value, expected) in [("lenet", true), ("alexnett", true), ("resnet", false), ("vgg", false)] {
            let error = Arguments::try_parse_from(["program", "--network", value]).unwrap_err();
            let text = without_unlike(error).to_string();
            assert_eq!(text.contains("similar value exists"), expected, "{text}");
            assert!(text.contains("possible values: alexnet, lenet5"), "{text}");
        }
    }

    #[test]
    fn the_short_help_leaves_out_what_stands_under_a_heading() {
        #[derive(Debug, Parser)]
        struct Grouped {
            /// Main option
            #[arg(long)]
            main: bool,
            /// Detail
            #[arg(long, help_heading = "Details")]
            detail: bool,
            #[command(subcommand)]
            command: Option<Below>,
        }

        #[derive(Debug, clap::Subcommand)]
        enum Below {
            Sub {
                /// Detail
                #[arg(long, help_heading = "Details")]
                deep: bool,
            },
        }

        let help = |arguments: &[&str]| {
            let command = with_short_help(<Grouped as clap::CommandFactory>::command());
            command.try_get_matches_from(arguments).unwrap_err().to_string()
        };
        let (short, long) = (help(&["program", "-h"]), help(&["program", "--help"]));
        assert!(short.contains("--main") && !short.contains("etail"), "{short}");
        assert!(long.contains("--main") && long.contains("Details:") && long.contains("--detail"), "{long}");
        let (short, long) = (help(&["program", "sub", "-h"]), help(&["program", "sub", "--help"]));
        assert!(!short.contains("--deep") && long.contains("--deep"), "{short}{long}");
    }

    #[test]
    fn distances_count_letters() {
        let cases = [("", "abc", 3), ("photo", "photos", 1), ("kitten", "sitting", 3), ("größe", "grösse", 2)];
        for (one, other, expected) in cases {
            assert_eq!((distance(one, other), distance(other, one)), (expected, expected));
        }
    }
}
