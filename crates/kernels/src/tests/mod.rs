//! Every backend by the same properties: against sums in f64, and against plain Rust.

#[cfg(target_arch = "x86_64")]
pub(crate) mod called;
mod properties;

use crate::*;
use properties::{
    check_direct, check_gemm, check_input, check_norm, check_norm_of_no_numbers, check_output, check_pool,
};

/// The properties, for the kernels that an expression gives.
macro_rules! backend {
    ($name:ident, $kernels:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn matrix_products_equal_the_sums_in_f64() {
                if let Some(kernels) = $kernels {
                    check_gemm(kernels);
                }
            }

            #[test]
            fn inputs_are_transformed_by_the_matrices() {
                if let Some(kernels) = $kernels {
                    check_input(kernels);
                }
            }

            #[test]
            fn outputs_are_transformed_by_the_matrices() {
                if let Some(kernels) = $kernels {
                    check_output(kernels);
                }
            }

            #[test]
            fn direct_convolutions_equal_the_sums_in_f64() {
                if let Some(kernels) = $kernels {
                    check_direct(kernels);
                }
            }

            #[test]
            fn pools_are_the_greatest_of_their_windows() {
                if let Some(kernels) = $kernels {
                    check_pool(kernels);
                }
            }

            #[test]
            fn normalised_values_equal_the_formula_in_f64() {
                if let Some(kernels) = $kernels {
                    check_norm(kernels);
                    check_norm_of_no_numbers(kernels);
                }
            }
        }
    };
}

backend!(backend_scalar, Backend::Scalar.kernels());
backend!(backend_avx2, Backend::Avx2.kernels());
backend!(backend_avx512, Backend::Avx512.kernels());
backend!(backend_neon, Backend::Neon.kernels());

#[cfg(target_arch = "x86_64")]
mod twins;

/// A machine that runs these tests has the common instructions; those that not every machine has are said to be untested.
/// Backends that `ALEXNET_EXPECT_BACKENDS` names, as `avx2,avx512`, must be there.
#[test]
fn backends_are_there_where_the_cpu_has_them() {
    assert!(Backend::Scalar.available());
    assert!(Backend::best().available());
    let names = |available: bool| -> std::vec::Vec<_> {
        let backends = Backend::ALL.iter().copied().filter(|backend| backend.available() == available);
        backends.map(|backend| std::format!("{backend}")).collect()
    };
    std::println!("backends tested: {}; this CPU lacks: {}", names(true).join(", "), names(false).join(", "));
    let expected = std::env::var("ALEXNET_EXPECT_BACKENDS").unwrap_or_default();
    for name in expected.split(',').filter(|name| !name.is_empty()) {
        assert!(
            names(true).iter().any(|found| found == name),
            "ALEXNET_EXPECT_BACKENDS={expected}: there is no {name}"
        );
    }
    if cfg!(target_arch = "aarch64") {
        assert_eq!(Backend::best(), Backend::Neon);
    }
    if cfg!(all(target_arch = "x86_64", not(miri))) {
        assert!(Backend::Avx2.available(), "these tests need a CPU with AVX2, FMA and F16C");
        if let Ok(cpu) = std::fs::read_to_string("/proc/cpuinfo") {
            let listed = cpu.split_whitespace().any(|flag| flag == "avx512f");
            assert_eq!(Backend::Avx512.available(), listed);
            assert_eq!(Backend::best(), if listed { Backend::Avx512 } else { Backend::Avx2 });
        }
    }
}

/// Kernels are safe to call because of these checks.
#[test]
fn sizes_that_do_not_hold_are_seen() {
    let a = [0.0; 64];
    let weights = [0.0; 64];
    let mut c = [0.0; 1024];
    let mut gemm = |stride, depth, rows, room: usize| {
        Gemm { a: &a, stride, weights: &weights[..], depth, rows, c: &mut c[..room] }.fits()
    };
    assert!(gemm(2, 2, 32, 1024) && gemm(0, 2, 9, 288) && gemm(62, 1, 2, 128));
    assert!(!gemm(3, 2, 32, 1024) && !gemm(64, 1, 2, 128) && !gemm(usize::MAX, 2, 3, 96) && !gemm(0, 65, 1, 1024));
    assert!(!gemm(1, usize::MAX, 1, 1024) && !gemm(2, 2, 32, 1023) && !gemm(0, 1, 9, 288) && !gemm(0, 0, 1, 32));
    // Weights that are no whole blocks.
    assert!(!gemm(0, 3, 1, 1024));

    let image = [0.0; 64];
    let mut output = [0.0; 16 * 32];
    let mut tile = |height, width, channels, top| {
        let image = ImageTile { image: &image[..], height, width, channels, top, left: 0 };
        InputTile { image, output: &mut output }.fits(4)
    };
    assert!(tile(2, 2, 16, -1));
    assert!(!tile(2, 3, 16, 0) && !tile(4, 2, 8, 0) && !tile(2, 1, 32, 0) && !tile(2, 2, 16, isize::MIN));
    assert!(!tile(usize::MAX, usize::MAX, 16, 0));

    let products = [0.0; 16 * 64];
    let mut output = [0.0; 256];
    let mut tiles = |plane, tiles, first, width: usize, channels: usize| {
        let output = &mut output[..(2 * width * channels).min(256)];
        OutputTiles { products: &products, plane, tiles, first, bias: &weights[..channels], width, output }.fits(2, 4)
    };
    assert!(tiles(64, 2, 0, 4, 32) && tiles(64, 2, 1, 2, 32));
    assert!(!tiles(64, 2, 1, 4, 32) && !tiles(63, 2, 0, 4, 32) && !tiles(65, 2, 0, 4, 32) && !tiles(64, 2, 0, 4, 16));
    assert!(!tiles(64, 2, 0, 5, 32) && !tiles(usize::MAX, 2, 0, 4, 32) && !tiles(64, 2, usize::MAX, 4, 32));

    let mut output = [0.0; 32];
    let mut row = |width, channels, (kernel, stride), columns: usize| {
        PoolRow { input: &image, width, channels, kernel, stride, output: &mut output[..columns * 16] }.fits()
    };
    assert!(row(1, 16, (3, 2), 0) && row(2, 16, (2, 1), 1) && row(4, 16, (1, 3), 2));
    assert!(!row(1, 16, (3, 2), 1) && !row(3, 16, (3, 2), 1) && !row(0, 16, (3, 2), 1) && !row(1, 8, (3, 2), 0));
    assert!(!row(1, 0, (3, 2), 1) && !row(usize::MAX, 16, (3, 2), 1) && !row(2, 16, (2, 2), 2));
    assert!(!row(4, 16, (0, 1), 2) && !row(4, 16, (1, usize::MAX), 2) && !row(2, 32, (1, 0), 1));

    let mut norm = |inputs: usize, channels, outputs: usize| {
        NormRow { input: &image[..inputs], channels, output: &mut output[..outputs] }.fits()
    };
    assert!(norm(32, 16, 32) && norm(32, 32, 32) && norm(0, 16, 0));
    assert!(!norm(32, 16, 16) && !norm(16, 16, 32) && !norm(8, 8, 8) && !norm(16, 0, 16) && !norm(16, 32, 16));

    let mut output = [0.0; 64];
    let mut conv = |kernel, row, segments, segment, step, columns: usize, pixel: usize, blocks: usize| {
        let (weights, bias) = (&image[..], &a[..blocks * BLOCK]);
        let output = &mut output[..(columns * pixel).min(64)];
        ConvRow { input: &a, kernel, row, segments, between: 4, segment, step, weights, bias, columns, pixel, output }
            .fits()
    };
    // Two values of one window, 32 channels.
    assert!(conv(2, 63, 1, 1, 0, 1, 32, 1) && conv(1, 0, 2, 1, 59, 2, 32, 1));
    assert!(!conv(2, 64, 1, 1, 0, 1, 32, 1) && !conv(1, 0, 2, 1, 60, 2, 32, 1) && !conv(2, 0, 1, 1, 0, 3, 32, 1));
    assert!(!conv(1, 0, 1, 1, 0, 1, 32, 1) && !conv(1, 0, 1, 1, 0, 1, 32, 2) && !conv(2, 0, 1, 1, 0, 1, 24, 1));
    assert!(
        !conv(usize::MAX, 2, 1, 1, 0, 1, 32, 1)
            && !conv(2, usize::MAX, 1, 1, 0, 1, 32, 1)
            && !conv(2, 1, 0, 1, 0, 1, 32, 1)
    );
}
