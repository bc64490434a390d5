//! The kernels of `kernels/tower.cu` and matrix products: sizes in, launches out.

use std::ffi::c_int;

use cudarc::{
    cublas::{result::CublasError, sys::cublasStatus_t},
    driver::{DeviceRepr, DriverError},
};

use crate::{
    cuda::{
        engine::{Address, Engine, blocks},
        libraries::cublas::cublasSgemm_v2,
    },
    ops::Plane,
};

/// `Sizes` of the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Sizes {
    batch: u32,
    channels: u32,
    height: u32,
    width: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
    rows: u32,
    columns: u32,
}

// SAFETY: plain numbers, laid out as the struct of the same name in `tower.cu`.
unsafe impl DeviceRepr for Sizes {}

impl Sizes {
    /// Sizes of a window over a batch; none where a row of elements is too long to be numbered, or the channels or taps are
    /// more than a grid has rows.
    pub(super) fn new(batch: usize, channels: usize, plane: Plane) -> Option<Self> {
        let window = plane.window;
        let longest = batch.checked_mul((plane.height * plane.width).max(plane.positions()))?;
        let taps = channels.checked_mul(window.kernel.checked_mul(window.kernel)?)?;
        let number = |value: usize| u32::try_from(value).ok();
        (longest < 1 << 31 && taps < 1 << 16).then_some(Self {
            batch: number(batch)?,
            channels: number(channels)?,
            height: number(plane.height)?,
            width: number(plane.width)?,
            kernel: number(window.kernel)?,
            stride: number(window.stride)?,
            padding: number(window.padding)?,
            rows: number(plane.rows)?,
            columns: number(plane.columns)?,
        })
    }

    /// Values under the window, over all channels.
    pub(super) fn taps(self) -> u32 {
        self.channels * self.kernel * self.kernel
    }

    /// Channels of the input.
    pub(super) fn channels(self) -> u32 {
        self.channels
    }

    /// Values of one channel of the whole batch, before the window.
    pub(super) fn inputs(self) -> u32 {
        self.batch * self.height * self.width
    }

    /// Positions of the window in the whole batch.
    pub(super) fn positions(self) -> u32 {
        self.batch * self.rows * self.columns
    }
}

/// How pooled values lie: the distance from one channel, and from one image, to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) of_channel: usize,
    pub(super) of_image: usize,
}

/// One matrix of a product, row-major.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor {
    pub(super) values: Address,
    /// Values of a row.
    pub(super) columns: u32,
    /// Whether it is the transposed matrix that is multiplied.
    pub(super) transposed: bool,
}

impl Engine {
    /// # Safety
    /// `input` holds channels × inputs values, `unfolded` taps × positions.
    pub(super) unsafe fn unfold(&self, sizes: Sizes, input: Address, unfolded: Address) -> Result<(), DriverError> {
        // SAFETY: a Sizes and two addresses, which the caller answers for.
        unsafe { self.launch("tower_unfold", blocks(sizes.positions()), sizes.taps(), (sizes, input, unfolded)) }
    }

    /// # Safety
    /// As [`Engine::unfold`].
    pub(super) unsafe fn fold(&self, sizes: Sizes, unfolded: Address, input: Address) -> Result<(), DriverError> {
        // SAFETY: a Sizes and two addresses, which the caller answers for.
        unsafe { self.launch("tower_fold", blocks(sizes.inputs()), sizes.channels, (sizes, unfolded, input)) }
    }

    /// # Safety
    /// `bias` holds `channels` values, `maps` channels × count.
    pub(super) unsafe fn bias_relu(
        &self,
        (channels, count): (u32, u32),
        bias: Address,
        maps: Address,
    ) -> Result<(), DriverError> {
        // SAFETY: a number and two addresses, which the caller answers for.
        unsafe { self.launch("tower_bias_relu", blocks(count), channels, (count, bias, maps)) }
    }

    /// # Safety
    /// `maps` and `gradient` hold channels × count values.
    pub(super) unsafe fn relu_backward(
        &self,
        (channels, count): (u32, u32),
        maps: Address,
        gradient: Address,
    ) -> Result<(), DriverError> {
        // SAFETY: a number and two addresses, which the caller answers for.
        unsafe { self.launch("tower_relu_backward", blocks(count), channels, (count, maps, gradient)) }
    }

    /// # Safety
    /// `bias` holds `channels` values, `maps` channels × inputs, `pooled` and `choices` channels × positions, and `layout`
    /// stays within them.
    pub(super) unsafe fn bias_relu_pool(
        &self,
        sizes: Sizes,
        layout: Layout,
        [bias, maps, pooled, choices]: [Address; 4],
    ) -> Result<(), DriverError> {
        let parameters = (sizes, layout.of_channel, layout.of_image, bias, maps, pooled, choices);
        // SAFETY: a Sizes, two numbers and four addresses, which the caller answers for.
        unsafe { self.launch("tower_bias_relu_pool", blocks(sizes.positions()), sizes.channels, parameters) }
    }

    /// # Safety
    /// `map_gradient` holds channels × inputs values, the others channels × positions, and `layout` stays within them.
    pub(super) unsafe fn pool_relu_backward(
        &self,
        sizes: Sizes,
        layout: Layout,
        [pooled, choices, gradient, map_gradient]: [Address; 4],
    ) -> Result<(), DriverError> {
        let parameters = (sizes, layout.of_channel, layout.of_image, pooled, choices, gradient, map_gradient);
        // SAFETY: a Sizes, two numbers and four addresses, which the caller answers for.
        unsafe { self.launch("tower_pool_relu_backward", blocks(sizes.inputs()), sizes.channels, parameters) }
    }

    /// # Safety
    /// `gradient` holds channels × count values, `bias` `channels`.
    pub(super) unsafe fn bias_gradient(
        &self,
        (channels, count): (u32, u32),
        gradient: Address,
        bias: Address,
    ) -> Result<(), DriverError> {
        // SAFETY: a number and two addresses, which the caller answers for; one block a channel, as the kernel is written.
        unsafe { self.launch("tower_bias_gradient", 1, channels, (count, gradient, bias)) }
    }

    /// `result = left · right + keep · result`, where the product is rows × columns and sums `depth` products.
    ///
    /// # Safety
    /// All three hold as many values as these sizes say.
    pub(super) unsafe fn product(
        &self,
        (rows, depth, columns): (u32, u32, u32),
        left: Factor,
        right: Factor,
        keep: f32,
        result: Address,
    ) -> Result<(), CublasError> {
        // cuBLAS' matrices are column-major: it takes each of ours for its transposed, and computes resultᵀ = rightᵀ · leftᵀ.
        let operation = |factor: Factor| u32::from(factor.transposed);
        let size =
            |value: u32| c_int::try_from(value).map_err(|_| CublasError(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE));
        let one = 1.0_f32;
        // SAFETY: the handle is this engine's, the sizes are those of the matrices, which the caller answers for.
        let status = unsafe {
            cublasSgemm_v2(
                self.blas.handle().cast(),
                operation(right),
                operation(left),
                size(columns)?,
                size(rows)?,
                size(depth)?,
                &one,
                right.values as *const f32,
                size(right.columns)?,
                left.values as *const f32,
                size(left.columns)?,
                &keep,
                result as *mut f32,
                size(columns)?,
            )
        };
        if status == 0 { Ok(()) } else { Err(CublasError(cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Window;

    #[test]
    fn sizes_that_cannot_be_numbered_are_refused() {
        let plane = Plane::new(224, 224, Window { kernel: 11, stride: 4, padding: 1 });
        let sizes = Sizes::new(256, 1, plane).unwrap();
        assert_eq!((sizes.taps(), sizes.inputs(), sizes.positions()), (121, 256 * 224 * 224, 256 * 54 * 54));
        assert!(Sizes::new(42_799, 1, plane).is_some()); // 2³¹ / 224² = 42,799.02
        assert!(Sizes::new(42_800, 1, plane).is_none());
        assert!(Sizes::new(1, 542, plane).is_none()); // 65,582 taps
        assert!(Sizes::new(usize::MAX, 1, plane).is_none());
    }
}
