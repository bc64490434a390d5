//! From an image of the data set to a network's input: augmentation, resize, normalisation.

use image_files::preprocessing::{Normalisation, Preprocessing};

use super::error::TrainError;
use crate::{
    data::{
        Frame, LabelledImages,
        augment::{Augmentation, Changes},
    },
    inputs::{InputDevice, Picture},
    model::Network,
};

/// Normalisation of inputs to mean 0 and standard deviation 1 over the training images: mean and standard deviation of
/// the values of the images at `positions`, channel by channel, before they are resized. Where all values are the same, the deviation
/// is taken to be 1.
pub(super) fn normalisation(data: &LabelledImages, positions: &[usize]) -> Normalisation {
    // Sums of integers: the same on every machine.
    let mut sums = [(0_u64, 0_u64, 0_u64); 3];
    for pixel in positions.iter().flat_map(|&position| data.image(position).chunks_exact(data.channels())) {
        for ((count, sum, squares), value) in sums.iter_mut().zip(pixel) {
            *count += 1;
            *sum += u64::from(*value);
            *squares += u64::from(*value).pow(2);
        }
    }
    let numbers = sums.map(|(count, sum, squares)| {
        let mean = sum as f64 / count.max(1) as f64;
        let std = (squares as f64 / count.max(1) as f64 - mean * mean).max(0.0).sqrt();
        ((mean / 255.0) as f32, if std > 0.0 { (std / 255.0) as f32 } else { 1.0 })
    });
    match (data.channels(), numbers) {
        (1, [(mean, std), ..]) => Normalisation::Gray { mean, std },
        (_, numbers) => Normalisation::Rgb { mean: numbers.map(|(mean, _)| mean), std: numbers.map(|(_, std)| std) },
    }
}

/// Preparation of inputs from images.
pub(super) struct Preparation<'a, D: InputDevice> {
    /// Division of the work on the device.
    pub(super) way: D::Way,
    /// The images.
    pub(super) data: &'a LabelledImages,
    /// Way of an image to the network's input.
    pub(super) preprocessing: Preprocessing,
    /// Augmentation before the resize, with the seed and the epoch.
    pub(super) augmentation: Option<(Augmentation, u64, usize)>,
}

impl<D: InputDevice> Preparation<'_, D> {
    /// Prepares the images at some positions for the network.
    ///
    /// # Errors
    /// The network's preprocessing.
    pub(super) fn batch<N: Network<D>>(&self, positions: &[usize]) -> Result<D::Prepared, TrainError> {
        self.changed::<N>(positions, |position, frame| {
            self.augmentation.map(|(what, seed, epoch)| what.draw(seed, epoch, position, frame))
        })
    }

    /// Prepares the mirrors of the images at some positions, and changes nothing else of them.
    ///
    /// # Errors
    /// The network's preprocessing.
    pub(super) fn mirrored<N: Network<D>>(&self, positions: &[usize]) -> Result<D::Prepared, TrainError> {
        self.changed::<N>(positions, |_, _| Some(Changes::MIRRORED))
    }

    /// Prepares the images at some positions, with changes by their positions and frames.
    fn changed<N: Network<D>>(
        &self,
        positions: &[usize],
        changes: impl Fn(usize, &Frame<'_>) -> Option<Changes>,
    ) -> Result<D::Prepared, TrainError> {
        let picture = |&position| {
            let frame = self.data.frame(position);
            Picture { frame, changes: changes(position, &frame) }
        };
        let pictures: Vec<_> = positions.iter().map(picture).collect();
        Ok(D::prepare::<N>(self.way, &pictures, &self.preprocessing)?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::idx::Idx;

    #[test]
    fn the_training_images_get_mean_0_and_deviation_1() {
        let pixels: Vec<u8> = (0..40_u8).map(|i| i.wrapping_mul(37)).collect();
        let images = Idx::new([10, 2, 2], pixels.clone()).unwrap();
        let labels = Idx::new([10], vec![0; 10]).unwrap();
        let data = LabelledImages::new(images, labels, 1, [Path::new("images"), Path::new("labels")]).unwrap();
        let positions = [0, 2, 5, 9];
        let found = normalisation(&data, &positions);
        let values = positions.iter().flat_map(|p| &pixels[4 * p..4 * p + 4]);
        let mut values: Vec<f32> = values.map(|value| f32::from(*value) / 255.0).collect();
        found.apply(&mut values);
        let sum = |power: i32| values.iter().map(|value| f64::from(*value).powi(power)).sum::<f64>() / 16.0;
        assert!(sum(1).abs() < 1e-6 && (sum(2) - 1.0).abs() < 1e-5, "{} {}", sum(1), sum(2));
        let black = normalisation(&data, &[0][..0]);
        assert_eq!(black, Normalisation::Gray { mean: 0.0, std: 1.0 });
        // The same values as those of one channel of three.
        let mut colours = LabelledImages::of_channels(3, 1);
        let inner = |position: &usize| pixels[4 * position..4 * position + 4].iter();
        positions.iter().flat_map(inner).for_each(|value| colours.push(1, &[7, *value, 255 - value], 0));
        let Normalisation::Rgb { mean, std } = normalisation(&colours, &(0..16).collect::<Vec<_>>()) else {
            panic!("three channels")
        };
        assert_eq!(found, Normalisation::Gray { mean: mean[1], std: std[1] });
        assert!((mean[1] + mean[2] - 1.0).abs() < 1e-6 && (std[1] - std[2]).abs() < 1e-6);
        assert_eq!((mean[0], std[0]), (7.0 / 255.0, 1.0));
    }
}
