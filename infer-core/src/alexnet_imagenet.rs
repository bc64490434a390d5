//! AlexNet as torchvision has it, for colour images of 3×224×224 and the 1,000 classes of ImageNet: the network of Krizhevsky 2014
//! (*One weird trick for parallelizing convolutional neural networks*) in one stream.
//!
//! | layer | output | parameters |
//! |---|---|---|
//! | `conv1`, ReLU | 64×55×55 | 23,296 |
//! | `pool1` | 64×27×27 | |
//! | `conv2`, ReLU | 192×27×27 | 307,392 |
//! | `pool2` | 192×13×13 | |
//! | `conv3`, ReLU | 384×13×13 | 663,936 |
//! | `conv4`, ReLU | 256×13×13 | 884,992 |
//! | `conv5`, ReLU | 256×13×13 | 590,080 |
//! | `pool5` | 256×6×6 | |
//! | `linear1`, ReLU | 4096 | 37,752,832 |
//! | `linear2`, ReLU | 4096 | 16,781,312 |
//! | `linear3` | 1000 | 4,097,000 |
//! | all | | 61,100,840 |
//!
//! Names and layouts of its tensors are those of `torchvision.models.alexnet`, so that a file of its `state_dict()` is a weights file,
//! and the other way round. Its adaptive pooling to 6×6 does nothing here, where the maps have that size.

/// The layers of torchvision's AlexNet, handed to a macro that makes something of them: [`network!`](crate::network), or the
/// trainer's.
#[macro_export]
macro_rules! alexnet_imagenet {
    ($then:path) => {
        $then! {
            /// AlexNet for ImageNet: see the table of its module.
            AlexNetImageNet "alexnet-imagenet": 3 x 224;
            conv1 "features.0": conv 64, kernel 11, stride 4, padding 2;
            pool1: max_pool kernel 3, stride 2;
            conv2 "features.3": conv 192, kernel 5, padding 2;
            pool2: max_pool kernel 3, stride 2;
            conv3 "features.6": conv 384, kernel 3, padding 1;
            conv4 "features.8": conv 256, kernel 3, padding 1;
            conv5 "features.10": conv 256, kernel 3, padding 1;
            pool5: max_pool kernel 3, stride 2, dropout;
            linear1 "classifier.1": linear 4096, dropout;
            linear2 "classifier.4": linear 4096;
            linear3 "classifier.6": linear 1000 classes;
        }
    };
}

alexnet_imagenet!(crate::network);
