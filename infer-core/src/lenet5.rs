//! LeNet-5 (LeCun et al. 1998, section II.B) in its present form, ReLU and max pooling, for one gray image of 28×28: small
//! enough (61,706 parameters, 247 KB) for a microcontroller, and an example of another network from the same layers.
//!
//! | layer | kernel / stride / padding | output |
//! |---|---|---|
//! | conv1 + ReLU | 5 / 1 / 2 | 6×28×28 |
//! | max pool | 2 / 2 | 6×14×14 |
//! | conv2 + ReLU | 5 / 1 / 0 | 16×10×10 |
//! | max pool | 2 / 2 | 16×5×5 |
//! | linear1 + ReLU | | 120 |
//! | linear2 + ReLU | | 84 |
//! | linear3 | | 10 |

use crate::layers::{Conv2d, Linear, MaxPool2d, relu};
use crate::safetensors::{SafeTensors, WeightsError};
use crate::tensor::{Scratch, Tensor, flatten};

/// A gray image, 1×28×28, values 0 to 1, as [`preprocess`](crate::preprocess) makes it.
pub type Image = Tensor<1, SIDE, SIDE>;

/// Height and width of the input.
pub const SIDE: usize = 28;

/// Number of classes: [`crate::CLASSES`].
pub const CLASSES: usize = crate::CLASSES;

/// The tensors of a weights file.
pub const TENSORS: [&str; 10] = [
    "conv1.weight",
    "conv1.bias",
    "conv2.weight",
    "conv2.bias",
    "linear1.weight",
    "linear1.bias",
    "linear2.weight",
    "linear2.bias",
    "linear3.weight",
    "linear3.bias",
];

/// The network. Its weights are borrowed: from a weights file in memory, from flash, from arrays.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the module's table says what each layer is")]
pub struct LeNet5<'w> {
    pub conv1: Conv2d<'w, 1, 6, 5, 1, 2, 28, 28>,
    pub conv2: Conv2d<'w, 6, 16, 5, 1, 0, 14, 10>,
    pub linear1: Linear<'w, 400, 120>,
    pub linear2: Linear<'w, 120, 84>,
    pub linear3: Linear<'w, 84, CLASSES>,
}

/// The memory of a forward pass. The layers' outputs lie in its two parts by turns.
#[derive(Debug, Clone, PartialEq)]
pub struct Workspace {
    even: Scratch<{ 6 * 28 * 28 }>,
    odd: Scratch<{ 6 * 14 * 14 }>,
}

impl Workspace {
    /// Its size in bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// A workspace, as good for the first pass as for any other: a pass writes whatever it reads.
    #[must_use]
    pub const fn new() -> Self {
        Self { even: Scratch::new(), odd: Scratch::new() }
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

impl<'w> LeNet5<'w> {
    /// The network with the weights of a safetensors file, which stay where they are.
    ///
    /// # Errors
    /// The file is not valid, lacks one of [`TENSORS`] or has others, or one has another type, shape or alignment, or a
    /// value that is not finite.
    pub fn from_safetensors(file: &'w [u8]) -> Result<Self, WeightsError> {
        // Room for a few more tensors than there should be, so that the error can name one.
        let file = SafeTensors::<'w, { 2 * TENSORS.len() }>::parse(file)?;
        let network = Self {
            conv1: Conv2d::from_safetensors(&file, "conv1.weight", "conv1.bias")?,
            conv2: Conv2d::from_safetensors(&file, "conv2.weight", "conv2.bias")?,
            linear1: Linear::from_safetensors(&file, "linear1.weight", "linear1.bias")?,
            linear2: Linear::from_safetensors(&file, "linear2.weight", "linear2.bias")?,
            linear3: Linear::from_safetensors(&file, "linear3.weight", "linear3.bias")?,
        };
        file.only(&TENSORS)?;
        Ok(network)
    }

    /// The logits of an image, one a class.
    #[must_use]
    pub fn forward(&self, image: &Image, workspace: &mut Workspace) -> [f32; CLASSES] {
        let Workspace { even, odd } = workspace;
        let x = relu(self.conv1.forward(image, even.tensor()));
        let x = MaxPool2d::<2, 2, 28, 14>.forward(x, odd.tensor());
        let x = relu(self.conv2.forward(x, even.tensor()));
        let x = MaxPool2d::<2, 2, 10, 5>.forward(x, odd.tensor());
        let x = relu(self.linear1.forward(flatten(x), even.vector()));
        let x = relu(self.linear2.forward(x, odd.vector()));
        let mut logits = [0.0; CLASSES];
        self.linear3.forward(x, &mut logits);
        logits
    }
}
