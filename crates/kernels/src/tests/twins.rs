//! AVX-512's sixteen lanes in plain Rust, on any x86-64.

use super::called::Called;
use super::*;
use crate::table::kernels;
use crate::vector::Portable;

kernels!(wide: Scalar, Called<Portable<16>>, registers: 2, rows: 4);
static WIDE: Kernels = wide::KERNELS;
backend!(backend_wide, Some(&WIDE));

/// Each lane is computed as in any other backend without fused arithmetic: the bits are the same.
#[cfg(feature = "training")]
#[test]
fn wide_vectors_transform_as_narrow_ones() {
    use crate::training::{Planes, PlanesMut};
    let channels = 2 * LANES;
    static WIDE_TRAINING: crate::training::TrainingKernels = wide::TRAINING;
    for tile in Tile::ALL {
        let image = properties::values(1, 5 * 7 * channels);
        let planes = properties::values(2, tile.planes() * channels);
        let [wide, narrow] = [&WIDE_TRAINING, Backend::Scalar.training().unwrap()].map(|kernels| {
            let mut transformed = std::vec![f32::NAN; tile.planes() * channels];
            let mut targets: std::vec::Vec<&mut [f32]> = transformed.chunks_exact_mut(channels).collect();
            let window = ImageTile { image: &image[..], height: 5, width: 7, channels, top: -1, left: 3 };
            let targets = PlanesMut { planes: &mut targets, offset: 0 };
            assert_eq!(kernels.input(tile, window, targets), Ok(()));
            let mut back = image.clone();
            let window = ImageTile { image: &mut back[..], height: 5, width: 7, channels, top: -1, left: 3 };
            let planes = Planes { values: &planes, stride: channels, offset: 0 };
            assert_eq!(kernels.input_transposed(tile, planes, window), Ok(()));
            (transformed, back)
        });
        assert!(wide.0.iter().all(|value| value.is_finite()) && wide == narrow);
    }
}
