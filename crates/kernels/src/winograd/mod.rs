//! Convolution by Winograd's minimal filtering: its sizes, its matrices, and the transforms of tiles before and after the matrix
//! products.

pub(crate) mod forward;
pub(crate) mod image_tile;
pub(crate) mod matrices;
pub(crate) mod sides;
pub(crate) mod tile;
