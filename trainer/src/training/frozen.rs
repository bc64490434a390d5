//! Outputs of frozen convolutions for the images of a data set, kept in memory: they do not change, so they are computed once for a
//! whole run, not in every epoch.

use infer_core::describe::{Description, Maps};

use super::{config::Options, error::TrainError, prepare::Preparation};
use crate::{
    data::{LabelledImages, loader},
    inputs::InputDevice,
    model::{Network, frozen_sizes},
    ops::Images,
};

/// Bytes that these may take where nothing else is said.
pub const MOST_BYTES: u64 = 2_000_000_000;

/// Bytes that what frozen convolutions give for so many images takes in memory, where it is kept: it is the same in every epoch if no
/// augmentation changes images.
pub fn bytes_of_frozen(network: &Description, options: &Options, images: usize) -> Option<u64> {
    let frozen = options.frozen(network);
    let values = frozen_sizes(network, frozen).values() as u64;
    (frozen > 0 && options.augmentation.is_none()).then(|| (images as u64).saturating_mul(4 * values))
}

/// Output of the frozen convolutions for some images.
#[derive(Debug)]
pub(super) struct FrozenMaps {
    sizes: Maps,
    /// Place among `values` of each image of the data, by its position.
    places: Vec<Option<usize>>,
    values: Vec<f32>,
}

impl FrozenMaps {
    /// Computes them for the images at some positions, `batch_size` at a time; `progress` is told of each batch, and where it returns an
    /// error, the work ends with it.
    ///
    /// # Errors
    /// [`TrainError`].
    pub(super) fn compute<D: InputDevice, N: Network<D>>(
        network: &N,
        options: &Options,
        data: &LabelledImages,
        positions: &[usize],
        mut progress: impl FnMut(usize) -> Result<(), TrainError>,
    ) -> Result<Self, TrainError> {
        let device = network.device();
        let way = device.way().map_err(TrainError::device)?;
        let preparation = Preparation::<D> { way, data, preprocessing: options.preprocessing(), augmentation: None };
        let layers = options.frozen(N::DESCRIPTION);
        let sizes = frozen_sizes(N::DESCRIPTION, layers);
        let mut values = Vec::with_capacity(positions.len() * sizes.values());
        let prepare = |positions: &[usize]| preparation.batch::<N>(positions);
        loader::for_each_batch(data, positions, options.batch_size, prepare, |batch| {
            let count = batch.labels.len();
            let inputs = device.inputs(batch.images, count, N::DESCRIPTION.input()).map_err(TrainError::device)?;
            values.extend(network.frozen_maps(inputs, layers)?.as_vec());
            progress(count)
        })?;
        let mut places = vec![None; data.len()];
        for (place, &position) in positions.iter().enumerate() {
            places[position] = Some(place);
        }
        Ok(Self { sizes, places, values })
    }

    /// Those of the images at some positions, one after the other; an image that was not computed is left out.
    pub(super) fn batch(&self, positions: &[usize]) -> Vec<f32> {
        let length = self.sizes.values();
        let places = positions.iter().filter_map(|position| self.places.get(*position).copied().flatten());
        places.flat_map(|place| &self.values[place * length..][..length]).copied().collect()
    }

    /// A batch on a device, as [`Network::train_from`] takes it.
    ///
    /// # Errors
    /// The device's own.
    pub(super) fn upload<D: InputDevice>(&self, device: &D, values: &[f32]) -> Result<Images<D>, TrainError> {
        let Maps { channels, side } = self.sizes;
        let batch = values.len() / self.sizes.values().max(1);
        let mut maps = device.try_zeros_like(&(batch, channels, side, side)).map_err(TrainError::device)?;
        maps.copy_from(values);
        Ok(maps)
    }
}
