//! AlexNet as its paper describes it, for colour images of 3×227×227 and the 1,000 classes of ImageNet: Krizhevsky, Sutskever &
//! Hinton 2012, *ImageNet Classification with Deep Convolutional Neural Networks*.
//!
//! A GPU of that time, with 3 GB of memory, could not hold the network. So it lay on two, each with half of the channels, and
//! these two streams met in `conv3` and in the linear layers alone. `groups 2` says that: an output of `conv2`, `conv4` or `conv5`
//! sees the channels of its own stream. (The size of images is 227 rather than the 224 of the paper, with which `conv1` does not
//! give the 55×55 positions that the paper counts.)
//!
//! | layer | output | parameters |
//! |---|---|---|
//! | `conv1`, ReLU | 96×55×55 | 34,944 |
//! | `norm1` | 96×55×55 | |
//! | `pool1` | 96×27×27 | |
//! | `conv2`, 2 groups, ReLU | 256×27×27 | 307,456 |
//! | `norm2` | 256×27×27 | |
//! | `pool2` | 256×13×13 | |
//! | `conv3`, ReLU | 384×13×13 | 885,120 |
//! | `conv4`, 2 groups, ReLU | 384×13×13 | 663,936 |
//! | `conv5`, 2 groups, ReLU | 256×13×13 | 442,624 |
//! | `pool5` | 256×6×6 | |
//! | `linear1`, ReLU | 4096 | 37,752,832 |
//! | `linear2`, ReLU | 4096 | 16,781,312 |
//! | `linear3` | 1000 | 4,097,000 |
//! | all | | 60,965,224 |
//!
//! The normalisation ([`LocalResponseNorm`](crate::layers::LocalResponseNorm)) goes over the channels of both streams.

/// The layers of the AlexNet of 2012, handed to a macro that makes something of them: [`network!`](crate::network), or the
/// trainer's.
#[macro_export]
macro_rules! alexnet_2012 {
    ($then:path) => {
        $then! {
            /// AlexNet of 2012, in two streams: see the table of its module.
            AlexNet2012 "alexnet-2012": 3 x 227;
            conv1: conv 96, kernel 11, stride 4;
            norm1: local_response_norm;
            pool1: max_pool kernel 3, stride 2;
            conv2: conv 256, kernel 5, padding 2, groups 2;
            norm2: local_response_norm;
            pool2: max_pool kernel 3, stride 2;
            conv3: conv 384, kernel 3, padding 1;
            conv4: conv 384, kernel 3, padding 1, groups 2;
            conv5: conv 256, kernel 3, padding 1, groups 2;
            pool5: max_pool kernel 3, stride 2;
            linear1: linear 4096, dropout;
            linear2: linear 4096, dropout;
            linear3: linear 1000 classes;
        }
    };
}

alexnet_2012!(crate::network);
