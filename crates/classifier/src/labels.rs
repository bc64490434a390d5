//! Names of the classes: a JSON array, or one a line.

use std::{fs, ops::RangeInclusive, path::Path};

use anyhow::{Context, bail, ensure};

/// The labels in a file, `count` of them.
///
/// # Errors
/// The file cannot be read, or as [`parse`].
pub fn read(path: &Path, count: usize) -> anyhow::Result<Vec<String>> {
    parse(&fs::read_to_string(path)?, count)
}

/// The labels in a text, `count` of them: a JSON array, or one a line.
///
/// # Errors
/// They are not so many, a name is blank or there twice, or it is no JSON that begins like an array.
pub fn parse(text: &str, count: usize) -> anyhow::Result<Vec<String>> {
    let text = text.trim_start_matches('\u{feff}').trim_end();
    if text.trim_start().starts_with('[') {
        return of_json(text, count..=count);
    }
    one_a_class(text.lines().map(str::to_owned).collect(), count..=count)
}

/// The labels in a JSON array.
///
/// # Errors
/// As [`parse`].
pub fn of_json(text: &str, counts: RangeInclusive<usize>) -> anyhow::Result<Vec<String>> {
    one_a_class(serde_json::from_str(text).context("expected a JSON array of strings")?, counts)
}

fn one_a_class(labels: Vec<String>, counts: RangeInclusive<usize>) -> anyhow::Result<Vec<String>> {
    let (least, most) = (counts.start(), counts.end());
    let expected = if least == most { most.to_string() } else { format!("{least} to {most}") };
    ensure!(counts.contains(&labels.len()), "expected {expected} names, one a class, found {}", labels.len());
    for (class, name) in labels.iter().enumerate() {
        ensure!(!name.trim().is_empty(), "expected a name for each class, found a blank one for class {class}");
        if let Some(other) = labels[..class].iter().position(|other| other == name) {
            bail!("expected different names, found {name:?} for class {other} and for class {class}");
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_lines_or_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            super::read(&path, 10)
        };
        let lines: Vec<_> = ["T-shirt/top", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(String::from).into();
        assert_eq!(read(&lines.join("\r\n")).unwrap(), lines);
        assert_eq!(read(&(lines.join("\n") + "\n\n")).unwrap(), lines);
        let json = serde_json::to_string_pretty(&lines).unwrap();
        assert_eq!(read(&json).unwrap(), lines);
        assert_eq!(read(&format!("\n {json}\n")).unwrap(), lines);
        let blank = lines.join("\n").replace("\nc\n", "\n \n");
        assert!(read(&blank).unwrap_err().to_string().ends_with("found a blank one for class 2"));
        let twice = lines.join("\n").replace("\nj", "\nd");
        assert!(read(&twice).unwrap_err().to_string().ends_with(r#"found "d" for class 3 and for class 9"#));
        assert_eq!(read("a\nb\n").unwrap_err().to_string(), "expected 10 names, one a class, found 2");
        assert_eq!(read("[1, 2]").unwrap_err().to_string(), "expected a JSON array of strings");
    }
}
