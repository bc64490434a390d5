//! Lists of files and names of classes: what is read is what the text says by the format's description.

use std::{io::Cursor, path::PathBuf};

use classifier::labels;
use infer_cli::list::List;

use crate::{Input, planted_fault};

/// Runs the target: the first byte says whether the rest is a list by lines, a list by NUL characters, or labels, and the second how many
/// of them there must be.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 3 {
        2 => {
            let count = usize::from(input.byte() % 16);
            labels_are_right(input.0, count);
        }
        kind => list_is_right(input.0, kind == 1),
    }
}

fn list_is_right(text: &[u8], null: bool) {
    let list = List::new("fuzz".to_string(), Cursor::new(text.to_vec()), null);
    let found: Vec<PathBuf> = list.map(|path| path.expect("memory can be read")).collect();
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let lines = text.split(|byte| *byte == if null { 0 } else { b'\n' });
    // A line's end may be that of Windows, but what follows the last end is no line.
    let mut expected: Vec<&[u8]> =
        lines.map(|line| if null { line } else { line.strip_suffix(b"\r").unwrap_or(line) }).collect();
    expected.retain(|line| !line.is_empty());
    assert!(found.iter().map(|path| path.as_os_str().as_encoded_bytes()).eq(expected));
    planted_fault(|| found.len() > 3);
}

fn labels_are_right(text: &[u8], count: usize) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let content = text.trim_start_matches('\u{feff}').trim_end();
    let expected: Option<Vec<String>> = match content {
        "" => Some(Vec::new()),
        json if json.trim_start().starts_with('[') => serde_json::from_str(json).ok(),
        lines => Some(lines.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_string()).collect()),
    };
    let is_right = |names: &Vec<String>| {
        let twice = names.iter().enumerate().any(|(class, name)| names[..class].contains(name));
        names.len() == count && !twice && !names.iter().any(|name| name.trim().is_empty())
    };
    match labels::parse(text, count) {
        Ok(names) => {
            assert_eq!(Some(&names), expected.as_ref());
            assert!(is_right(&names), "taken, but not right: {names:?}");
            planted_fault(|| names.len() > 1);
        }
        Err(error) => {
            assert!(!expected.is_some_and(|names| is_right(&names)), "right, but refused: {error}");
            assert!(!error.to_string().is_empty());
        }
    }
}
