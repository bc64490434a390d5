//! Finds the images: walks folders in a stable order, one image at a time, so that memory does not grow with their number.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use walkdir::{DirEntry, WalkDir};

use crate::decode::unread_extension;

/// Extensions of image files in folders, in lower case.
const EXTENSIONS: [&str; 17] = [
    "png", "apng", "jpg", "jpeg", "jpe", "jfif", "bmp", "dib", "gif", "webp", "pnm", "pbm", "pgm", "ppm", "pam", "tif",
    "tiff",
];

/// Options of the search of folders.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// With all that is below them.
    pub recursive: bool,
    /// Hidden files and folders too.
    pub hidden: bool,
}

/// A path that was found.
#[derive(Debug)]
pub struct Candidate {
    /// Path as given, or the folder as given joined with the way to the file.
    pub path: PathBuf,
    /// Kind of the file.
    pub kind: Kind,
}

/// Kind of file at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file that should be an image.
    Image,
    /// A file in a folder, of a format that is known, but not read: its name.
    Skipped(&'static str),
    /// It cannot even be tried, and why.
    Problem(String),
}

impl Search {
    /// The images that `root`, an image or a folder, stands for. One that is given is tried whatever its name.
    pub fn images(self, root: PathBuf) -> Box<dyn Iterator<Item = Candidate> + Send> {
        let is_folder = match fs::metadata(&root) {
            Ok(metadata) => metadata.is_dir(),
            Err(error) => {
                return Box::new([Candidate { path: root, kind: Kind::Problem(error.to_string()) }].into_iter());
            }
        };
        if !is_folder {
            return Box::new([Candidate { path: root, kind: Kind::Image }].into_iter());
        }
        let walk = WalkDir::new(&root)
            .follow_links(true)
            .sort_by_file_name()
            .max_depth(if self.recursive { usize::MAX } else { 1 })
            .into_iter()
            .filter_entry(move |entry| self.hidden || entry.depth() == 0 || !is_hidden(entry));
        Box::new(walk.filter_map(move |entry| self.candidate(entry, &root)))
    }

    fn candidate(self, entry: walkdir::Result<DirEntry>, root: &Path) -> Option<Candidate> {
        match entry {
            Ok(entry) => {
                let kind = if is_image(entry.path()) {
                    Some(Kind::Image)
                } else {
                    unread_extension(entry.path()).map(Kind::Skipped)
                };
                kind.filter(|_| entry.file_type().is_file()).map(|kind| Candidate { path: entry.into_path(), kind })
            }
            Err(error) => {
                let path = error.path().unwrap_or(root).to_path_buf();
                let hidden =
                    path != root && path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
                // A link that leads nowhere is left out, unless its name is an image's.
                let dangling =
                    fs::symlink_metadata(&path).is_ok_and(|m| m.is_symlink()) && error.loop_ancestor().is_none();
                if (hidden && !self.hidden) || (dangling && !is_image(&path)) {
                    return None;
                }
                let problem = match error.loop_ancestor() {
                    Some(ancestor) => {
                        format!("this link leads back to {}, which is being searched", ancestor.display())
                    }
                    None => error.io_error().map_or_else(|| error.to_string(), ToString::to_string),
                };
                Some(Candidate { path, kind: Kind::Problem(problem) })
            }
        }
    }
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// Whether the name is that of an image.
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(search: Search, root: &Path) -> Vec<String> {
        search
            .images(root.to_path_buf())
            .map(|candidate| {
                let path = candidate.path.strip_prefix(root).unwrap().display().to_string();
                match candidate.kind {
                    Kind::Image => path,
                    Kind::Skipped(name) => format!("{path} ({name})"),
                    Kind::Problem(_) => format!("{path}!"),
                }
            })
            .collect()
    }

    #[test]
    fn images_come_sorted_and_hidden_files_only_when_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("b/c")).unwrap();
        fs::create_dir_all(root.join(".hidden")).unwrap();
        for file in
            ["z.PNG", "a.jpeg", "b/2.gif", "b/10.tif", "b/c/x.webp", "notes.txt", "png", ".hidden/y.png", ".q.bmp"]
        {
            fs::write(root.join(file), "").unwrap();
        }
        let all = Search { recursive: true, hidden: false };
        assert_eq!(found(all, root), ["a.jpeg", "b/10.tif", "b/2.gif", "b/c/x.webp", "z.PNG"]);
        assert_eq!(found(Search { recursive: false, ..all }, root), ["a.jpeg", "z.PNG"]);
        let hidden = found(Search { hidden: true, ..all }, root);
        assert_eq!(hidden[..2], [".hidden/y.png", ".q.bmp"]);
        assert_eq!(hidden.len(), 7);
    }

    #[test]
    fn formats_that_are_not_read_are_found_as_skipped_in_folders_alone() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["1.HEIC", "2.jpg", "3.avif", "4.dng", "5.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("6.jxl")).unwrap();
        let search = Search { recursive: true, hidden: false };
        let expected = ["1.HEIC (HEIC)", "2.jpg", "3.avif (AVIF)", "4.dng (a camera's raw format)"];
        assert_eq!(found(search, folder.path()), expected);
        let named: Vec<_> = search.images(folder.path().join("1.HEIC")).map(|candidate| candidate.kind).collect();
        assert_eq!(named, [Kind::Image]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_loops_reported() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("set")).unwrap();
        fs::write(root.join("set/1.png"), "").unwrap();
        symlink("1.png", root.join("set/2.png")).unwrap();
        symlink("..", root.join("set/loop")).unwrap();
        symlink("nowhere", root.join("set/3.png")).unwrap();
        symlink("nowhere", root.join("set/other")).unwrap();
        let search = Search { recursive: true, hidden: false };
        assert_eq!(found(search, root), ["set/1.png", "set/2.png", "set/3.png!", "set/loop!"]);
    }
}
