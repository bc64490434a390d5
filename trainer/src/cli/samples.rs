//! `samples`: test images as PNG files, for programs that read images.

use std::{
    fs,
    io::{self, BufWriter},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::Args;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use image_files::class::folder_names;

use super::{DataArgs, MessageArgs, counted, number};
use image_files::atomic;
use infer_core::{alexnet, preprocess::Resize};
use trainer::data::folder::{KEPT_SIDE, Reading};

/// Options of `samples`.
#[derive(Debug, Args)]
pub(super) struct SamplesArgs {
    /// Folder to write to; it gets a folder for each class
    ///
    /// In the names of classes, every character that is neither an ASCII letter or digit nor - becomes _ ("T-shirt/top" becomes
    /// T-shirt_top).
    #[arg(short, long, visible_alias = "output", value_name = "DIR")]
    out: PathBuf,
    /// Number of images, from the first test image on
    ///
    /// Each file is named after its position.
    #[arg(long, value_name = "N", default_value = "100", value_parser = number(1, 1_000_000))]
    count: usize,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    messages: MessageArgs,
}

impl SamplesArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        // Images that are larger than any network takes are written smaller.
        let reading = Reading::of(alexnet::DESCRIPTION.input(), Resize::Exact, KEPT_SIDE, false);
        let dataset = self.data.read(None, reading, self.messages)?;
        let test = &dataset.test;
        ensure!(
            self.count <= test.len(),
            "--count {}: there are only {}",
            self.count,
            counted(test.len(), "test image")
        );
        let folders = folder_names(&dataset.classes);
        for (position, &label) in test.labels().iter().enumerate().take(self.count) {
            let folder = self.out.join(&folders[usize::from(label)]);
            fs::create_dir_all(&folder).with_context(|| format!("cannot write {}", folder.display()))?;
            let path = folder.join(format!("{position:05}.png"));
            let (width, height) = test.size(position);
            let size = (u32::try_from(width)?, u32::try_from(height)?);
            write_png(&path, test.image(position), size).with_context(|| format!("cannot write {}", path.display()))?;
        }
        self.messages.note(&format!("Wrote {} to {}", counted(self.count, "image"), self.out.display()));
        Ok(())
    }
}

fn write_png(path: &Path, gray: &[u8], (width, height): (u32, u32)) -> io::Result<()> {
    atomic::write(path, |file| {
        PngEncoder::new(BufWriter::new(file))
            .write_image(gray, width, height, ExtendedColorType::L8)
            .map_err(io::Error::other)
    })
}
