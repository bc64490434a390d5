//! LeNet-5 (LeCun et al. 1998, section II.B) in its present form, ReLU and max pooling, for one gray image of 28×28: small
//! enough (61,706 parameters, 247 KB) for a microcontroller.
//!
//! | layer | output | parameters |
//! |---|---|---|
//! | `conv1`, ReLU | 6×28×28 | 156 |
//! | `pool1` | 6×14×14 | |
//! | `conv2`, ReLU | 16×10×10 | 2,416 |
//! | `pool2` | 16×5×5 | |
//! | `linear1`, ReLU | 120 | 48,120 |
//! | `linear2`, ReLU | 84 | 10,164 |
//! | `linear3` | 10 | 850 |

/// LeNet-5's layers, handed to a macro that makes something of them: [`network!`](crate::network), or the trainer's.
#[macro_export]
macro_rules! lenet5 {
    ($then:path) => {
        $then! {
            /// LeNet-5: see the table of its module.
            LeNet5 "lenet5": 1 x 28;
            conv1: conv 6, kernel 5, padding 2;
            pool1: max_pool kernel 2, stride 2;
            conv2: conv 16, kernel 5;
            pool2: max_pool kernel 2, stride 2;
            linear1: linear 120;
            linear2: linear 84;
            linear3: linear 10 classes;
        }
    };
}

lenet5!(crate::network);
