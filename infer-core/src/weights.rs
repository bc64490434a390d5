//! The weights of a network as slices, whatever the network: what packing reads. The number of classes is whatever they are
//! for.

use crate::describe::{CLASSES, Description, MAX_LAYERS};
use crate::safetensors::{SafeTensors, WeightsError};
use heapless::Vec;

/// A network's weights, borrowed.
#[derive(Debug, Clone)]
pub struct Weights<'w> {
    description: &'static Description,
    classes: usize,
    layers: Vec<(&'w [f32], &'w [f32]), MAX_LAYERS>,
}

impl<'w> Weights<'w> {
    /// Weight and bias, row-major, of each layer that has some; those of the last layer are for `classes`.
    #[doc(hidden)]
    #[must_use]
    pub fn new(description: &'static Description, classes: usize, layers: &[(&'w [f32], &'w [f32])]) -> Self {
        // A network has no more layers than there is room for, or it would not compile.
        Self { description, classes, layers: layers.iter().copied().collect() }
    }

    /// The weights of a safetensors file, which stay where they are. How many classes they tell apart is what the file says:
    /// as many as the last layer has outputs.
    ///
    /// # Errors
    /// The file is not valid, lacks one of the network's tensors or has others, or one has another type, shape or alignment,
    /// or a value that is not finite; or the last layer has fewer outputs than 2 or more than 10,000.
    pub fn from_safetensors(description: &'static Description, file: &'w [u8]) -> Result<Self, WeightsError> {
        let file = SafeTensors::<'w, { 2 * MAX_LAYERS }>::parse(file)?;
        let classes = match description.layers.last().and_then(|last| last.tensors) {
            None => 0,
            Some([weight, _]) => {
                let tensor = file.tensor(weight).ok_or(WeightsError::Missing { tensor: weight })?;
                let found = tensor.shape.sizes().first().copied().unwrap_or_default();
                match usize::try_from(found) {
                    Ok(classes) if CLASSES.contains(&classes) => classes,
                    _ => return Err(WeightsError::Classes { tensor: weight, found }),
                }
            }
        };
        let mut weights = Self { description, classes, layers: Vec::new() };
        for layer in description.layers(classes) {
            let Some([weight, bias]) = layer.tensors else { continue };
            let sizes = layer.weight_sizes();
            let sizes = sizes.get(..layer.weight_rank()).unwrap_or_default();
            let values = (file.values(weight, sizes)?, file.values(bias, &[layer.output.channels])?);
            // There is room, or the network would not compile.
            let _ = weights.layers.push(values);
        }
        file.only(description.tensors)?;
        Ok(weights)
    }

    /// The network whose weights these are.
    #[must_use]
    pub fn description(&self) -> &'static Description {
        self.description
    }

    /// Number of classes that the last layer tells apart.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Weight and bias, row-major, of each layer that has some, in order.
    #[must_use]
    pub fn layers(&self) -> &[(&'w [f32], &'w [f32])] {
        &self.layers
    }
}
