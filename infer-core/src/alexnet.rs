//! AlexNet as in *Dive into Deep Learning* (section 8.1), for one gray image of 224×224.
//!
//! Five convolutions find ever larger and more abstract features in the image while pooling makes it smaller, 224×224 pixels
//! in one channel to 5×5 positions in 256; three linear layers tell the classes apart by them. It is the network of
//! Krizhevsky, Sutskever & Hinton 2012 (*ImageNet Classification with Deep Convolutional Neural Networks*) on one GPU's worth
//! of channels more, without local response normalisation.
//!
//! | layer | output | parameters |
//! |---|---|---|
//! | `conv1`, ReLU | 96×54×54 | 11,712 |
//! | `pool1` | 96×26×26 | |
//! | `conv2`, ReLU | 256×26×26 | 614,656 |
//! | `pool2` | 256×12×12 | |
//! | `conv3`, ReLU | 384×12×12 | 885,120 |
//! | `conv4`, ReLU | 384×12×12 | 1,327,488 |
//! | `conv5`, ReLU | 256×12×12 | 884,992 |
//! | `pool5` | 256×5×5 | |
//! | `linear1`, ReLU | 4096 | 26,218,496 |
//! | `linear2`, ReLU | 4096 | 16,781,312 |
//! | `linear3` | 10 | 40,970 |
//!
//! ```no_run
//! use infer_core::alexnet::{AlexNet, Image, Workspace};
//!
//! static IMAGE: Image = [[[0.0; 224]; 224]];
//! # fn classify(file: &[u8], workspace: &mut Workspace) -> Result<[f32; 10], infer_core::safetensors::WeightsError> {
//! let network: AlexNet = AlexNet::from_safetensors(file)?; // bytes in flash, a memory-mapped file, …
//! let logits = network.forward(&IMAGE, workspace);
//! # Ok(logits)
//! # }
//! ```

/// AlexNet's layers, handed to a macro that makes something of them: [`network!`](crate::network), or the trainer's.
///
/// With a name and other linear layers, those of a network that has AlexNet's convolutions, as
/// [`alexnet_low_rank!`](crate::alexnet_low_rank!) has.
#[macro_export]
macro_rules! alexnet {
    ($then:path) => {
        $crate::alexnet! {
            $then,
            /// AlexNet: see the table of its module.
            AlexNet "alexnet";
            linear1: linear 4096, dropout;
            linear2: linear 4096, dropout;
            linear3: linear 10 classes;
        }
    };
    ($then:path, $(#[$doc:meta])* $name:ident $id:literal; $($linear:tt)*) => {
        $then! {
            $(#[$doc])*
            $name $id: 1 x 224;
            conv1: conv 96, kernel 11, stride 4, padding 1;
            pool1: max_pool kernel 3, stride 2;
            conv2: conv 256, kernel 5, padding 2;
            pool2: max_pool kernel 3, stride 2;
            conv3: conv 384, kernel 3, padding 1;
            conv4: conv 384, kernel 3, padding 1;
            conv5: conv 256, kernel 3, padding 1;
            pool5: max_pool kernel 3, stride 2;
            $($linear)*
        }
    };
}

alexnet!(crate::network);
