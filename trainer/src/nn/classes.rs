//! The number of classes, which is known when the program runs.

use dfdx::{
    shapes::{ConstDim, Dim},
    tensor::NoneTape,
};

use crate::ops::Vectors;

/// Number of classes: a dimension whose size is a value.
///
/// dfdx lets the tensors of a module have constant dimensions only. As a constant, this one is 0, until
/// [`initialise`](crate::model::initialise) makes tensors of the number of classes at hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Classes(usize);

impl Dim for Classes {
    fn size(&self) -> usize {
        self.0
    }

    fn from_size(size: usize) -> Option<Self> {
        Some(Self(size))
    }
}

impl ConstDim for Classes {
    const SIZE: usize = 0;
}

impl From<usize> for Classes {
    fn from(classes: usize) -> Self {
        Self(classes)
    }
}

/// One value for each class and image, before softmax: batch × classes.
pub type Logits<D, T = NoneTape> = Vectors<Classes, D, T>;
