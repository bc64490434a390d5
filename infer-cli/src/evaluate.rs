//! Evaluation by images that lie in folders named after their class.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use image_files::class::{ClassFolders, folder_names};
use reporting::{confusion::Confusion, evaluation};

use crate::{pipeline::Record, text::counted};

/// Counts of what was right and wrong.
#[derive(Debug)]
pub struct Evaluation {
    labels: Vec<String>,
    folders: ClassFolders,
    confusion: Confusion,
    /// Images whose class is among the likeliest ones.
    in_top: u64,
    /// Images that failed.
    failed: u64,
    /// Images in folders with other names.
    unknown: u64,
    /// Folder of the images that the network has learnt from, if that is known.
    learnt_from: Option<PathBuf>,
    /// Images in it.
    learnt: u64,
}

impl Evaluation {
    /// An evaluation for classes with these labels. `data` is the folder of the images that the network was trained on.
    ///
    /// # Errors
    /// Two classes would have the same folder.
    pub fn new(labels: &[String], data: Option<&Path>) -> anyhow::Result<Self> {
        let folders = ClassFolders::new(labels).map_err(|[one, other]| {
            anyhow!("--evaluate: the classes {one:?} and {other:?} would have the same folder")
        })?;
        let learnt_from = data.map(|data| {
            let train = data.join("train");
            if train.is_dir() { train } else { data.to_path_buf() }
        });
        let (labels, confusion) = (labels.to_vec(), Confusion::default());
        Ok(Self { labels, folders, confusion, in_top: 0, failed: 0, unknown: 0, learnt_from, learnt: 0 })
    }

    /// Counts a record.
    pub fn record(&mut self, record: &Record) {
        let class = self.class_of(&record.path);
        let within = |folder: &PathBuf| std::path::absolute(&record.path).is_ok_and(|path| path.starts_with(folder));
        self.learnt += u64::from(self.learnt_from.as_ref().is_some_and(within));
        match (&record.outcome, class) {
            (Err(_), _) => self.failed += 1,
            (Ok(_), None) => self.unknown += 1,
            (Ok(answer), Some(class)) => {
                // There are fewer classes than a u16 counts.
                let [label, predicted] = [class, answer.ranking[0].class].map(|class| class as u16);
                self.confusion.add(label, predicted, self.labels.len());
                self.in_top += u64::from(evaluation::is_in_top(&answer.logits, class));
            }
        }
    }

    /// The class that the nearest folder around an image is named after.
    pub fn class_of(&self, path: &Path) -> Option<usize> {
        let mut folders = path.ancestors().skip(1).filter_map(Path::file_name);
        folders.find_map(|name| self.folders.class_of(&name.to_string_lossy()))
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.confusion.images() == 0 {
            let folders = folder_names(&self.labels).join(", ");
            writeln!(f, "warning: no classified image lies in a folder with the name of a class ({folders}).")?;
        } else {
            let Self { labels, confusion, in_top, .. } = self;
            evaluation::Evaluation { classes: labels, confusion, in_top: Some(*in_top), loss: None }.fmt(f)?;
        }
        if let (Some(folder), 1..) = (&self.learnt_from, self.learnt) {
            writeln!(
                f,
                "warning: {} in {}, whose images this network was trained on: new images may be classified less well",
                if self.learnt == 1 { "1 image lies".to_string() } else { format!("{} lie", images(self.learnt)) },
                folder.display()
            )?;
        }
        if self.unknown > 0 {
            writeln!(f, "Not counted: {} in folders without the name of a class", images(self.unknown))?;
        }
        if self.failed > 0 {
            writeln!(f, "Not counted: {} that could not be classified", images(self.failed))?;
        }
        Ok(())
    }
}

fn images(count: u64) -> String {
    counted(count, "image")
}

#[cfg(test)]
mod tests {
    use super::*;
    use classifier::Answer;
    use infer_core::classify::Prediction;

    fn labels() -> Vec<String> {
        ["T-shirt/top", "Trouser", "Ankle boot", "3", "4", "5", "6", "7", "8", "9"].map(String::from).to_vec()
    }

    fn record(path: &str, class: Option<usize>) -> Record {
        let answer = |class| Answer {
            ranking: vec![Prediction { class, probability: 1.0 }],
            logits: vec![0.0; 10],
            doubt: None,
        };
        Record { path: path.into(), outcome: class.map(answer).ok_or_else(String::new), thumbnail: None }
    }

    #[test]
    fn folders_tell_the_class() {
        let mut evaluation = Evaluation::new(&labels(), None).unwrap();
        for (path, class) in [
            ("x/T-shirt_top/1.png", Some(0)),
            ("T-shirt_top/2.png", Some(1)),
            ("Ankle boot/1.png", Some(2)),
            ("Ankle_boot/1.png", Some(2)),
            ("Trouser/Ankle boot/more/1.png", Some(2)),
            ("elsewhere/1.png", Some(2)),
            ("1.png", Some(2)),
            ("Trouser/1.png", None),
        ] {
            evaluation.record(&record(path, class));
        }
        let matrix = evaluation.confusion.matrix();
        assert_eq!((&matrix[0][..3], matrix[2][2]), (&[1, 1, 0][..], 3));
        let text = evaluation.to_string();
        assert!(text.starts_with("accuracy         80.00 %  (4 of 5 images)\n"), "{text}");
        assert!(text.contains("Not counted: 2 images in folders without the name of a class"), "{text}");
        assert!(text.contains("Not counted: 1 image that could not be classified"), "{text}");
        let shirts = text.lines().filter(|line| line.contains("T-shirt/top"));
        let shirts: Vec<Vec<_>> = shirts.map(|line| line.split_whitespace().skip(2).collect()).collect();
        let scores = ["2", "100.00", "%", "50.00", "%", "66.67", "%"];
        assert_eq!(shirts, [&scores[..], &["1", "1", "·", "·", "·", "·", "·", "·", "·", "·"]]);
    }

    #[test]
    fn says_what_to_do_where_no_folder_fits() {
        let text = Evaluation::new(&labels(), None).unwrap().to_string();
        assert!(text.contains("(T-shirt_top, Trouser, Ankle_boot, 3"), "{text}");
    }

    #[test]
    fn classes_that_share_a_folder_are_refused() {
        let mut labels = labels();
        labels[1] = "T-shirt_top".into();
        let error = Evaluation::new(&labels, None).unwrap_err().to_string();
        assert!(
            error.ends_with(r#"the classes "T-shirt/top" and "T-shirt_top" would have the same folder"#),
            "{error}"
        );
    }
}
