//! Names of the classes: a JSON array, or one a line.

use std::{fs, ops::RangeInclusive, path::Path};

use anyhow::{Context, bail, ensure};

/// The labels in a file, `count` of them: a JSON array, or one a line.
pub(crate) fn labels_of(path: &Path, count: usize) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(path)?;
    let text = text.trim_start_matches('\u{feff}').trim_end();
    if text.starts_with('[') {
        return json_labels(text, count..=count);
    }
    one_a_class(text.lines().map(str::to_owned).collect(), count..=count)
}

pub(crate) fn json_labels(text: &str, counts: RangeInclusive<usize>) -> anyhow::Result<Vec<String>> {
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
            labels_of(&path, 10)
        };
        let lines: Vec<_> = ["T-shirt/top", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(String::from).into();
        assert_eq!(read(&lines.join("\r\n")).unwrap(), lines);
        assert_eq!(read(&(lines.join("\n") + "\n\n")).unwrap(), lines);
        assert_eq!(read(&serde_json::to_string(&lines).unwrap()).unwrap(), lines);
        let blank = lines.join("\n").replace("\nc\n", "\n \n");
        assert!(read(&blank).unwrap_err().to_string().ends_with("found a blank one for class 2"));
        let twice = lines.join("\n").replace("\nj", "\nd");
        assert!(read(&twice).unwrap_err().to_string().ends_with(r#"found "d" for class 3 and for class 9"#));
        assert_eq!(read("a\nb\n").unwrap_err().to_string(), "expected 10 names, one a class, found 2");
        assert_eq!(read("[1, 2]").unwrap_err().to_string(), "expected a JSON array of strings");
    }
}
