//! From an image of the data set to a network's input: augmentation, resize, normalisation.

use image_files::preprocessing::Normalisation;

use super::error::TrainError;
use crate::{
    data::{
        LabelledImages,
        augment::{Augmentation, Changes},
    },
    inputs::{InputDevice, Picture},
    model::Network,
};

/// Normalisation of inputs to mean 0 and standard deviation 1 over the training images: mean and standard deviation of
/// the values of the images at `positions`, before they are resized. Where all values are the same, the deviation is taken to be 1.
pub(super) fn normalisation(data: &LabelledImages, positions: &[usize]) -> Normalisation {
    // Sums of integers: the same on every machine.
    let (mut count, mut sum, mut squares) = (0_u64, 0_u64, 0_u64);
    for value in positions.iter().flat_map(|&position| data.image(position)) {
        count += 1;
        sum += u64::from(*value);
        squares += u64::from(*value).pow(2);
    }
    let mean = sum as f64 / count.max(1) as f64;
    let std = (squares as f64 / count.max(1) as f64 - mean * mean).max(0.0).sqrt();
    Normalisation { mean: (mean / 255.0) as f32, std: if std > 0.0 { (std / 255.0) as f32 } else { 1.0 } }
}

/// Preparation of inputs from images.
pub(super) struct Preparation<'a, D: InputDevice> {
    /// Division of the work on the device.
    pub(super) way: D::Way,
    /// The images.
    pub(super) data: &'a LabelledImages,
    /// Normalisation after the resize.
    pub(super) normalisation: Option<Normalisation>,
    /// Augmentation before the resize, with the seed and the epoch.
    pub(super) augmentation: Option<(Augmentation, u64, usize)>,
}

impl<D: InputDevice> Preparation<'_, D> {
    /// Prepares the images at some positions for the network.
    ///
    /// # Errors
    /// The network's preprocessing.
    pub(super) fn batch<N: Network<D>>(&self, positions: &[usize]) -> Result<D::Prepared, TrainError> {
        self.changed::<N>(positions, |position, size| {
            self.augmentation.map(|(what, seed, epoch)| what.draw(seed, epoch, position, size))
        })
    }

    /// Prepares the mirrors of the images at some positions, and changes nothing else of them.
    ///
    /// # Errors
    /// The network's preprocessing.
    pub(super) fn mirrored<N: Network<D>>(&self, positions: &[usize]) -> Result<D::Prepared, TrainError> {
        self.changed::<N>(positions, |_, _| Some(Changes::MIRRORED))
    }

    /// Prepares the images at some positions, with changes by their positions and sizes.
    fn changed<N: Network<D>>(
        &self,
        positions: &[usize],
        changes: impl Fn(usize, (usize, usize)) -> Option<Changes>,
    ) -> Result<D::Prepared, TrainError> {
        let picture = |&position| {
            let (width, height) = self.data.size(position);
            Picture { width, height, pixels: self.data.image(position), changes: changes(position, (width, height)) }
        };
        let pictures: Vec<_> = positions.iter().map(picture).collect();
        Ok(D::prepare::<N>(self.way, &pictures, self.normalisation)?)
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
        let Normalisation { mean, std } = normalisation(&data, &positions);
        let values = positions.iter().flat_map(|p| &pixels[4 * p..4 * p + 4]);
        let mut values: Vec<f32> = values.map(|value| f32::from(*value) / 255.0).collect();
        normalise(&mut values, mean, std);
        let sum = |power: i32| values.iter().map(|value| f64::from(*value).powi(power)).sum::<f64>() / 16.0;
        assert!(sum(1).abs() < 1e-6 && (sum(2) - 1.0).abs() < 1e-5, "{} {}", sum(1), sum(2));
        let black = normalisation(&data, &[0][..0]);
        assert_eq!(black, Normalisation { mean: 0.0, std: 1.0 });
    }
}
