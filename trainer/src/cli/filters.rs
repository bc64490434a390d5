//! `filters`: the filters of a network's first layer as a picture, as every paper on AlexNet shows them.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use image::{ImageFormat, Rgb, RgbImage, imageops};
use infer_core::describe::{Kind, Layer};

use super::{MessageArgs, counted, number, trained};
use image_files::atomic;

/// Background, between the filters.
const BETWEEN: Rgb<u8> = Rgb([255; 3]);

/// Least width of a picture whose scale is not given, in pixels.
const WIDTH: u32 = 800;

/// Options of `filters`.
#[derive(Debug, Args)]
pub(super) struct FiltersArgs {
    /// Weights file (safetensors), or the folder of a run. The network is read from the file
    #[arg(value_name = "FILE")]
    weights: PathBuf,
    /// Picture to write (PNG)
    ///
    /// Gray is 0; the largest weight of a filter, by its size, is white or black. Filters of three channels are shown in colour.
    #[arg(short, long, visible_alias = "output", value_name = "FILE", default_value = "filters.png", value_parser = picture)]
    out: PathBuf,
    /// Pixels of each weight, a side [default: as many as give a picture 800 pixels wide or wider]
    #[arg(long, value_name = "N", value_parser = number(1, 100))]
    scale: Option<usize>,
    #[command(flatten)]
    messages: MessageArgs,
}

impl FiltersArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (weights, file, network) = trained(&self.weights, self.messages)?;
        let path = weights.display();
        let first = network.layers(network.classes()).next();
        let Some(Layer { kind: Kind::Conv { kernel, .. }, tensors: Some([name, _]), input, output, .. }) = first else {
            bail!("{path}: {} does not begin with a convolution, which has filters", network.title);
        };
        let channels = input.channels;
        ensure!(matches!(channels, 1 | 3), "{path}: filters of {channels} channels are no picture, expected 1 or 3");
        let values = file.values(name, &[output.channels, channels, kernel, kernel])?;
        let filters = Filters { values: &values, channels, kernel };
        let picture = filters.picture(output.channels, self.scale.map(u32::try_from).transpose()?)?;
        atomic::write::<io::Error>(&self.out, |file| {
            picture.write_to(&mut io::BufWriter::new(file), ImageFormat::Png).map_err(io::Error::other)
        })
        .with_context(|| format!("cannot write {}", self.out.display()))?;
        let filters = counted(output.channels, "filter");
        self.messages.note(&format!("Wrote {filters} of {kernel}×{kernel} to {}", self.out.display()));
        Ok(())
    }
}

/// Weights of a convolution: filter, channel, row, column.
struct Filters<'a> {
    values: &'a [f32],
    channels: usize,
    kernel: usize,
}

impl Filters<'_> {
    /// All filters, row by row.
    fn picture(&self, count: usize, scale: Option<u32>) -> anyhow::Result<RgbImage> {
        let columns = columns(count);
        let (across, down) = (u32::try_from(columns)?, u32::try_from(count.div_ceil(columns))?);
        let side = u32::try_from(self.kernel)?;
        // A line as wide as a weight lies around each filter.
        let (width, height) = (across * (side + 1) + 1, down * (side + 1) + 1);
        let mut small = RgbImage::from_pixel(width, height, BETWEEN);
        let filters = self.values.chunks_exact(self.channels * self.kernel * self.kernel);
        for (filter, number) in filters.zip(0..) {
            let (left, top) = (1 + number % across * (side + 1), 1 + number / across * (side + 1));
            let largest = filter.iter().fold(0.0, |largest: f32, weight| largest.max(weight.abs()));
            let level = |weight: f32| if largest > 0.0 { 127.5 + 127.5 * weight / largest } else { 127.5 };
            let plane = self.kernel * self.kernel;
            for (place, number) in (0..plane).zip(0..) {
                // One channel is gray: all three are the first.
                let channel = |channel: usize| filter[(channel.min(self.channels - 1)) * plane + place];
                let colour = [0, 1, 2].map(|number| level(channel(number)).round() as u8);
                small.put_pixel(left + number % side, top + number / side, Rgb(colour));
            }
        }
        let scale = scale.unwrap_or_else(|| WIDTH.div_ceil(width));
        Ok(imageops::resize(&small, width * scale, height * scale, imageops::FilterType::Nearest))
    }
}

/// Columns of a picture of so many filters: a little wider than high, with rows that are full if they can be.
fn columns(count: usize) -> usize {
    let square = (1..).find(|side| side * side >= count).unwrap_or(1);
    let full = (square..=2 * square).find(|columns| count.is_multiple_of(*columns));
    full.unwrap_or(square)
}

fn picture(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let png = Path::new(text).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    png.then_some(path).ok_or_else(|| "expected a name that ends in .png".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_full_where_they_can_be() {
        assert_eq!([96, 64, 6, 1, 7, 100].map(columns), [12, 8, 3, 1, 3, 10]);
    }

    #[test]
    fn the_largest_weight_of_a_filter_is_white_or_black() {
        let values = [1.0, -2.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0];
        let picture = Filters { values: &values, channels: 1, kernel: 2 }.picture(2, Some(1)).unwrap();
        let row = |y: u32| (0..picture.width()).map(|x| picture.get_pixel(x, y).0[0]).collect::<Vec<_>>();
        assert_eq!(row(0), [255; 7]);
        assert_eq!(row(1), [255, 191, 0, 255, 128, 128, 255]);
        assert_eq!(row(2), [255, 128, 159, 255, 128, 128, 255]);
        let colour = [1.0, 0.0, -1.0, -0.5, 0.5, 0.0];
        let picture = Filters { values: &colour, channels: 3, kernel: 1 }.picture(2, Some(2)).unwrap();
        assert_eq!((picture.width(), picture.height()), (10, 6));
        assert_eq!(picture.get_pixel(2, 2).0, [255, 128, 0]);
        assert_eq!(picture.get_pixel(7, 3).0, [0, 255, 128]);
    }
}
