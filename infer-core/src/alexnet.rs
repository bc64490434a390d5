//! AlexNet as in *Dive into Deep Learning* (section 8.1), for one gray image of 224×224: its layers chained, its weights,
//! its workspace.
//!
//! | layer | kernel / stride / padding | output |
//! |---|---|---|
//! | conv1 + ReLU | 11 / 4 / 1 | 96×54×54 |
//! | max pool | 3 / 2 | 96×26×26 |
//! | conv2 + ReLU | 5 / 1 / 2 | 256×26×26 |
//! | max pool | 3 / 2 | 256×12×12 |
//! | conv3 + ReLU | 3 / 1 / 1 | 384×12×12 |
//! | conv4 + ReLU | 3 / 1 / 1 | 384×12×12 |
//! | conv5 + ReLU | 3 / 1 / 1 | 256×12×12 |
//! | max pool | 3 / 2 | 256×5×5 |
//! | linear1 + ReLU | | 4096 |
//! | linear2 + ReLU | | 4096 |
//! | linear3 | | 10 |

use crate::layers::{Conv2d, Linear, MaxPool2d, relu};
use crate::safetensors::{SafeTensors, WeightsError};
use crate::tensor::{Scratch, Tensor, flatten};

/// A gray image, 1×224×224, values 0 to 1, as [`preprocess`](crate::preprocess) makes it.
pub type Image = Tensor<1, SIDE, SIDE>;

/// Height and width of the input.
pub const SIDE: usize = 224;

/// Number of classes: [`crate::CLASSES`].
pub const CLASSES: usize = crate::CLASSES;

/// The tensors of a weights file.
pub const TENSORS: [&str; 16] = [
    "conv1.weight",
    "conv1.bias",
    "conv2.weight",
    "conv2.bias",
    "conv3.weight",
    "conv3.bias",
    "conv4.weight",
    "conv4.bias",
    "conv5.weight",
    "conv5.bias",
    "linear1.weight",
    "linear1.bias",
    "linear2.weight",
    "linear2.bias",
    "linear3.weight",
    "linear3.bias",
];

#[allow(missing_docs, reason = "the module's table says what each layer is")]
mod layers {
    use super::{CLASSES, Conv2d, Linear};

    pub type Conv1<'w> = Conv2d<'w, 1, 96, 11, 4, 1, 224, 54>;
    pub type Conv2<'w> = Conv2d<'w, 96, 256, 5, 1, 2, 26, 26>;
    pub type Conv3<'w> = Conv2d<'w, 256, 384, 3, 1, 1, 12, 12>;
    pub type Conv4<'w> = Conv2d<'w, 384, 384, 3, 1, 1, 12, 12>;
    pub type Conv5<'w> = Conv2d<'w, 384, 256, 3, 1, 1, 12, 12>;
    pub type Linear1<'w> = Linear<'w, 6400, 4096>;
    pub type Linear2<'w> = Linear<'w, 4096, 4096>;
    pub type Linear3<'w> = Linear<'w, 4096, CLASSES>;
}
pub use layers::*;

/// The network. Its weights are borrowed: from a weights file in memory, from flash, from arrays.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the module's table says what each layer is")]
pub struct AlexNet<'w> {
    pub conv1: Conv1<'w>,
    pub conv2: Conv2<'w>,
    pub conv3: Conv3<'w>,
    pub conv4: Conv4<'w>,
    pub conv5: Conv5<'w>,
    pub linear1: Linear1<'w>,
    pub linear2: Linear2<'w>,
    pub linear3: Linear3<'w>,
}

/// The memory of a forward pass. The layers' outputs lie in its two parts by turns.
#[derive(Debug, Clone, PartialEq)]
pub struct Workspace {
    even: Scratch<{ 96 * 54 * 54 }>,
    odd: Scratch<{ 96 * 26 * 26 }>,
}

impl Workspace {
    /// Its size in bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// A workspace, as good for the first pass as for any other: a pass writes whatever it reads.
    ///
    /// Large for a stack: keep it in a `static`, or in a `Box` made from zeroed memory.
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

impl<'w> AlexNet<'w> {
    /// The network with the weights of a safetensors file, which stay where they are.
    ///
    /// ```no_run
    /// use infer_core::alexnet::{AlexNet, Image, Workspace};
    ///
    /// static IMAGE: Image = [[[0.0; 224]; 224]];
    /// # fn classify(file: &[u8], workspace: &mut Workspace) -> Result<[f32; infer_core::CLASSES], infer_core::safetensors::WeightsError> {
    /// let network = AlexNet::from_safetensors(file)?; // bytes in flash, a memory-mapped file, …
    /// let logits = network.forward(&IMAGE, workspace);
    /// # Ok(logits)
    /// # }
    /// ```
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
            conv3: Conv2d::from_safetensors(&file, "conv3.weight", "conv3.bias")?,
            conv4: Conv2d::from_safetensors(&file, "conv4.weight", "conv4.bias")?,
            conv5: Conv2d::from_safetensors(&file, "conv5.weight", "conv5.bias")?,
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
        let x = MaxPool2d::<3, 2, 54, 26>.forward(x, odd.tensor());
        let x = relu(self.conv2.forward(x, even.tensor()));
        let x = MaxPool2d::<3, 2, 26, 12>.forward(x, odd.tensor());
        let x = relu(self.conv3.forward(x, even.tensor()));
        let x = relu(self.conv4.forward(x, odd.tensor()));
        let x = relu(self.conv5.forward(x, even.tensor()));
        let x = MaxPool2d::<3, 2, 12, 5>.forward(x, odd.tensor());
        let x = relu(self.linear1.forward(flatten(x), even.vector()));
        let x = relu(self.linear2.forward(x, odd.vector()));
        let mut logits = [0.0; CLASSES];
        self.linear3.forward(x, &mut logits);
        logits
    }
}
