//! Patterns of shards' names, as WebDataset writes them: `name-{000000..000999}.tar`.

use std::path::PathBuf;

/// A range within a name.
struct Range<'t> {
    before: &'t str,
    first: u64,
    last: u64,
    /// Digits of each number.
    width: usize,
    after: &'t str,
}

impl<'t> Range<'t> {
    /// The first range of a name.
    fn find(name: &'t str) -> Option<Self> {
        name.match_indices('{').find_map(|(start, _)| {
            let (inside, after) = name[start + 1..].split_once('}')?;
            let (first, last) = inside.split_once("..")?;
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(first) || !digits(last) {
                return None;
            }
            // As in a shell, numbers are filled up with zeros where one of the two is.
            let filled = [first, last].into_iter().any(|text| text.len() > 1 && text.starts_with('0'));
            let width = if filled { first.len().max(last.len()) } else { 0 };
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            Some(Self { before: &name[..start], first, last, width, after })
        })
    }

    fn name(&self, number: u64) -> PathBuf {
        format!("{}{number:0width$}{}", self.before, self.after, width = self.width).into()
    }
}

/// The paths that a pattern stands for, made as they are needed. A path without a range, or that exists itself, stands for
/// itself.
pub fn paths(pattern: PathBuf) -> Box<dyn Iterator<Item = PathBuf> + Send> {
    let range = pattern.to_str().and_then(Range::find).filter(|_| !pattern.exists());
    let Some(Range { before, first, last, width, after }) = range else {
        return Box::new(std::iter::once(pattern));
    };
    let (before, after) = (before.to_string(), after.to_string());
    let name = move |number| Range { before: &before, first, last, width, after: &after }.name(number);
    // A further range stands behind the first: these are patterns again.
    if first <= last {
        Box::new((first..=last).map(name).flat_map(paths))
    } else {
        Box::new((last..=first).rev().map(name).flat_map(paths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str) -> String {
        paths(pattern.into()).map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
    }

    /// The words that bash makes of the same patterns.
    #[test]
    fn ranges_are_those_of_a_shell() {
        assert_eq!(names("s-{008..011}.tar"), "s-008.tar s-009.tar s-010.tar s-011.tar");
        assert_eq!(names("{8..10}"), "8 9 10");
        assert_eq!(names("{2..0}"), "2 1 0");
        assert_eq!(names("{0..1}-{08..9}.tar"), "0-08.tar 0-09.tar 1-08.tar 1-09.tar");
        assert_eq!(names("{a}{1..2}"), "{a}1 {a}2");
        for unchanged in ["plain.tar", "{x..y}.tar", "{1..}.tar", "{1..2", "{1,2}.tar", "{99999999999999999999..1}.tar"]
        {
            assert_eq!(names(unchanged), unchanged);
        }
    }

    #[test]
    fn a_pattern_that_is_a_file_is_that_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("{0..1}.tar");
        std::fs::write(&path, "").unwrap();
        assert_eq!(paths(path.clone()).collect::<Vec<_>>(), [path]);
    }
}
