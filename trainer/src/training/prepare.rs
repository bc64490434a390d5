//! From an image of the data set to a network's input: augmentation, resize, normalisation; and how a weights file says
//! what was done.

use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::{
    data::{LabelledImages, augment::Augmentation},
    inputs::{InputDevice, Picture},
    model::Network,
};

/// What makes inputs have a mean of 0 and a standard deviation of 1 over the training images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Subtracted from values of 0 to 1.
    pub mean: f32,
    /// What the difference is divided by; greater than 0.
    pub std: f32,
}

impl Normalisation {
    /// Mean and standard deviation of the values of the images at `positions`, before they are resized. Where all values
    /// are the same, the deviation is taken to be 1.
    pub fn of(data: &LabelledImages, positions: &[usize]) -> Self {
        // Sums of integers: the same on every machine.
        let (mut count, mut sum, mut squares) = (0_u64, 0_u64, 0_u64);
        for value in positions.iter().flat_map(|&position| data.image(position)) {
            count += 1;
            sum += u64::from(*value);
            squares += u64::from(*value).pow(2);
        }
        let mean = sum as f64 / count.max(1) as f64;
        let std = (squares as f64 / count.max(1) as f64 - mean * mean).max(0.0).sqrt();
        Self { mean: (mean / 255.0) as f32, std: if std > 0.0 { (std / 255.0) as f32 } else { 1.0 } }
    }
}

/// How images become inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Preparation<'a> {
    /// The images.
    pub(super) data: &'a LabelledImages,
    /// What happens to values after the resize.
    pub(super) normalisation: Option<Normalisation>,
    /// What happens to images before it, the seed and the epoch.
    pub(super) augmentation: Option<(Augmentation, u64, usize)>,
}

impl Preparation<'_> {
    /// Prepares the images at some positions for the network.
    ///
    /// # Errors
    /// The network's preprocessing.
    pub(super) fn batch<D: InputDevice, N: Network<D>>(&self, positions: &[usize]) -> Result<D::Prepared, TrainError> {
        let picture = |&position| {
            let (width, height) = self.data.size(position);
            let draw = |(what, seed, epoch): (Augmentation, _, _)| what.draw(seed, epoch, position, (width, height));
            Picture { width, height, pixels: self.data.image(position), changes: self.augmentation.map(draw) }
        };
        let pictures: Vec<_> = positions.iter().map(picture).collect();
        D::prepare::<N>(&pictures, self.normalisation).map_err(TrainError::device)
    }
}

/// The metadata `preprocessing` of a weights file: what a program must do to an image before the network sees it.
pub(super) fn describe(side: usize, normalisation: Option<Normalisation>) -> String {
    let normalised =
        normalisation.map_or(String::new(), |Normalisation { mean, std }| format!(r#","mean":{mean},"std":{std}"#));
    format!(
        r#"{{"color":"grayscale-bt601","range":[0,1],"resize":"bilinear-antialias","height":{side},"width":{side}{normalised}}}"#
    )
}

/// What [`describe`] wrote.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    color: String,
    range: [f64; 2],
    resize: String,
    height: usize,
    width: usize,
    mean: Option<f32>,
    std: Option<f32>,
}

/// The normalisation that the metadata `preprocessing` asks for, if everything else in it is what is done here.
///
/// # Errors
/// In words, where the text asks for anything else.
pub fn understand(text: &str, side: usize) -> Result<Option<Normalisation>, String> {
    let expected = || {
        format!(
            "expected the metadata `preprocessing` to say grayscale-bt601, range 0 to 1, bilinear-antialias, {side}×{side}, \
             and mean and std if at all, found {text}"
        )
    };
    let found: Description = serde_json::from_str(text).map_err(|_| expected())?;
    let same = found.color == "grayscale-bt601"
        && found.range == [0.0, 1.0]
        && found.resize == "bilinear-antialias"
        && (found.height, found.width) == (side, side);
    match (found.mean, found.std) {
        (None, None) if same => Ok(None),
        (Some(mean), Some(std)) if same && mean.is_finite() && std > 0.0 && std.is_finite() => {
            Ok(Some(Normalisation { mean, std }))
        }
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use infer_core::preprocess::normalise;

    use super::*;
    use crate::data::idx::Idx;

    #[test]
    fn the_training_images_get_mean_0_and_deviation_1() {
        let pixels: Vec<u8> = (0..40_u8).map(|i| i.wrapping_mul(37)).collect();
        let images = Idx::new([10, 2, 2], pixels.clone()).unwrap();
        let labels = Idx::new([10], vec![0; 10]).unwrap();
        let data = LabelledImages::new(images, labels, 1, [Path::new("images"), Path::new("labels")]).unwrap();
        let positions = [0, 2, 5, 9];
        let Normalisation { mean, std } = Normalisation::of(&data, &positions);
        let values = positions.iter().flat_map(|p| &pixels[4 * p..4 * p + 4]);
        let mut values: Vec<f32> = values.map(|value| f32::from(*value) / 255.0).collect();
        normalise(&mut values, mean, std);
        let sum = |power: i32| values.iter().map(|value| f64::from(*value).powi(power)).sum::<f64>() / 16.0;
        assert!(sum(1).abs() < 1e-6 && (sum(2) - 1.0).abs() < 1e-5, "{} {}", sum(1), sum(2));
        let black = Normalisation::of(&data, &[0][..0]);
        assert_eq!(black, Normalisation { mean: 0.0, std: 1.0 });
    }

    #[test]
    fn what_is_described_is_understood_and_nothing_else_is() {
        let normalisation = Some(Normalisation { mean: 0.286_040_6, std: 0.353_024_3 });
        for normalisation in [None, normalisation] {
            assert_eq!(understand(&describe(28, normalisation), 28), Ok(normalisation));
        }
        let good = describe(28, normalisation);
        for other in [
            good.replace("bt601", "bt709"),
            good.replace("[0,1]", "[-1,1]"),
            good.replace("\"std\"", "\"deviation\""),
            good.replace("0.3530243", "0"),
            good.replace(",\"mean\":0.2860406", ""),
            "{}".to_string(),
        ] {
            let error = understand(&other, 28).unwrap_err();
            assert!(error.ends_with(&format!("found {other}")), "{error}");
        }
        assert!(understand(&good, 224).is_err());
    }
}
