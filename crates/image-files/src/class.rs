//! Folders that are named after classes.

use std::{
    collections::HashMap,
    path::{Component, Path},
};

/// A class's name with every character that is neither an ASCII letter or digit nor `-` as `_`, so that it is safe in a path on
/// every system: "T-shirt/top" becomes "T-shirt_top".
pub fn safe_name(class: &str) -> String {
    class.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// The names of the classes' folders: safe ones, but the class's own name where the safe one would be another class's too, as
/// "猫" and "犬" would both be "_".
pub fn folder_names(classes: &[String]) -> Vec<String> {
    let mut counts = HashMap::new();
    for class in classes {
        *counts.entry(safe_name(class)).or_insert(0) += 1;
    }
    let name = |class: &String| Some(safe_name(class)).filter(|name| counts[name] == 1);
    classes.iter().map(|class| name(class).unwrap_or_else(|| class.clone())).collect()
}

/// Whether a folder can be called by this name.
pub fn can_be_a_folder(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(component)) if component == name) && components.next().is_none()
}

/// Which class a folder's name stands for.
#[derive(Debug, Clone)]
pub struct ClassFolders {
    own: HashMap<String, usize>,
    safe: HashMap<String, usize>,
}

impl ClassFolders {
    /// The folders of these classes.
    ///
    /// # Errors
    /// Two classes that would have the same folder: because they have one name, or one safe name and no folder can be called
    /// by the names themselves.
    pub fn new(classes: &[String]) -> Result<Self, [String; 2]> {
        let (mut own, mut safe) = (HashMap::new(), HashMap::new());
        for (index, (class, folder)) in classes.iter().zip(folder_names(classes)).enumerate() {
            let other = classes[..index].iter().find(|other| safe_name(other) == safe_name(class));
            if let Some(other) = other
                .filter(|other| *other == class || ![*other, class].map(|c| can_be_a_folder(c)).iter().all(|can| *can))
            {
                return Err([other.clone(), class.clone()]);
            }
            own.insert(class.clone(), index);
            safe.insert(folder, index);
        }
        Ok(Self { own, safe })
    }

    /// The class, by its position, whose name or safe name a folder has.
    pub fn class_of(&self, folder: &str) -> Option<usize> {
        self.own.get(folder).or_else(|| self.safe.get(&safe_name(folder))).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().copied().map(String::from).collect()
    }

    #[test]
    fn folders_are_safe_where_that_tells_classes_apart() {
        assert_eq!(safe_name("../é a"), "_____a");
        let classes = strings(&["T-shirt/top", "猫", "犬", "cat"]);
        assert_eq!(folder_names(&classes), ["T-shirt_top", "猫", "犬", "cat"]);
        let folders = ClassFolders::new(&classes).unwrap();
        for (folder, class) in [
            ("T-shirt_top", Some(0)),
            ("T-shirt top", Some(0)),
            ("猫", Some(1)),
            ("犬", Some(2)),
            ("_", None),
            ("dog", None),
        ] {
            assert_eq!(folders.class_of(folder), class, "{folder}");
        }
        let spaces = ClassFolders::new(&strings(&["a b", "a_b"])).unwrap();
        assert_eq!(["a b", "a_b", "a-b"].map(|folder| spaces.class_of(folder)), [Some(0), Some(1), None]);
    }

    #[test]
    fn classes_that_share_a_folder_are_refused() {
        assert_eq!(ClassFolders::new(&strings(&["x", "a/b", "a_b"])).unwrap_err(), ["a/b", "a_b"]);
        assert_eq!(ClassFolders::new(&strings(&["a", "b", "a"])).unwrap_err(), ["a", "a"]);
    }

    #[test]
    fn a_name_is_a_folders_or_not() {
        for (name, can) in [
            ("a b", true),
            ("...", true),
            ("猫", true),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a/", false),
        ] {
            assert_eq!(can_be_a_folder(name), can, "{name}");
        }
    }
}
