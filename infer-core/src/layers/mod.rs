//! The layers that networks are composed of, one file each: formula, shapes, forward pass.
//!
//! Sizes are const generics. An output size that does not follow from the input size does not compile, and neither does
//! a chain of layers that do not fit.

mod conv2d;
mod linear;
mod local_response_norm;
mod max_pool2d;
mod relu;

pub use conv2d::Conv2d;
pub use linear::Linear;
pub use local_response_norm::LocalResponseNorm;
pub use max_pool2d::MaxPool2d;
pub use relu::relu;

/// Output size of a window of `kernel` moved by `stride` over `input + 2·padding` positions:
/// `(input + 2·padding − kernel) / stride + 1`, rounded down. 0 where no window fits.
#[must_use]
pub const fn output_size(input: usize, kernel: usize, stride: usize, padding: usize) -> usize {
    let padded = input + 2 * padding;
    if kernel == 0 || stride == 0 || kernel > padded { 0 } else { (padded - kernel) / stride + 1 }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Helpers of the layers' tests.

    /// `n` reproducible values between −1 and 1.
    pub(crate) fn values(seed: u64, n: usize) -> std::vec::Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..n)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / 8_388_608.0 - 1.0
            })
            .collect()
    }
}
