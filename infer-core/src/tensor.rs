//! Fixed-shape tensors: plain nested arrays, so that the compiler checks every shape, and the casts between flat memory
//! and those arrays. Every layer reads and writes these; the only unsafe code of this crate is here.

#![allow(unsafe_code, reason = "casts of memory without padding")]

/// `C` channels of `H` rows of `W` columns, in channel, row, column order.
pub type Tensor<const C: usize, const H: usize, const W: usize> = [[[f32; W]; H]; C];

/// Views a tensor as a vector of its `N = C·H·W` values, in channel, row, column order.
///
/// A wrong `N` does not compile.
#[must_use]
pub fn flatten<const C: usize, const H: usize, const W: usize, const N: usize>(tensor: &Tensor<C, H, W>) -> &[f32; N] {
    const { assert!(N == C * H * W, "a tensor has C·H·W values") };
    // SAFETY: nested arrays have no padding, so the tensor is N contiguous floats, as the assertion says, with the same
    // alignment and lifetime.
    unsafe { &*core::ptr::from_ref(tensor).cast() }
}

/// Memory for `N` floats that layers write their outputs into, one tensor at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Scratch<const N: usize>([f32; N]);

impl<const N: usize> Scratch<N> {
    /// Zeroed memory.
    #[must_use]
    pub const fn new() -> Self {
        Self([0.0; N])
    }

    /// The first values as a tensor, for the time of the borrow. Its contents are whatever was there before.
    ///
    /// A tensor that does not fit does not compile.
    pub fn tensor<const C: usize, const H: usize, const W: usize>(&mut self) -> &mut Tensor<C, H, W> {
        const { assert!(C * H * W <= N, "the tensor does not fit into this scratch memory") };
        // SAFETY: nested arrays have no padding, so the tensor is C·H·W contiguous floats, which the assertion keeps
        // within the N borrowed here exclusively; alignment and lifetime are the same.
        unsafe { &mut *core::ptr::from_mut(&mut self.0).cast() }
    }

    /// The first values as a vector, for the time of the borrow. Its contents are whatever was there before.
    ///
    /// A vector that does not fit does not compile.
    pub fn vector<const M: usize>(&mut self) -> &mut [f32; M] {
        &mut self.tensor::<1, 1, M>()[0][0]
    }
}

impl<const N: usize> Default for Scratch<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The memory of a network's forward pass. The layers' outputs lie in its two parts by turns.
#[derive(Debug, Clone, PartialEq)]
pub struct Workspace<const EVEN: usize, const ODD: usize> {
    #[doc(hidden)]
    pub even: Scratch<EVEN>,
    #[doc(hidden)]
    pub odd: Scratch<ODD>,
}

impl<const EVEN: usize, const ODD: usize> Workspace<EVEN, ODD> {
    /// Its size in bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// A workspace, as good for the first pass as for any other: a pass writes whatever it reads.
    ///
    /// It may be too large for a stack: keep it in a `static`, or, with the feature `alloc`, take one that is `boxed`.
    #[must_use]
    pub const fn new() -> Self {
        Self { even: Scratch::new(), odd: Scratch::new() }
    }

    /// A workspace on the heap, which does not pass over the stack.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn boxed() -> alloc::boxed::Box<Self> {
        let zeroed = alloc::boxed::Box::<Self>::new_zeroed();
        // SAFETY: a workspace is floats alone, for which bytes of zero are zeros.
        unsafe { zeroed.assume_init() }
    }
}

impl<const EVEN: usize, const ODD: usize> Default for Workspace<EVEN, ODD> {
    fn default() -> Self {
        Self::new()
    }
}

/// A value that begins at a multiple of 64 bytes: of what [`include_aligned!`](crate::include_aligned) makes of a file.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Aligned<T: ?Sized>(pub T);

/// The bytes of a file, compiled into the program (into flash, on a microcontroller) so that they begin at a multiple of 64 and
/// weights can be read in place: a `&'static [u8]`. The path is relative to the source file, as that of `include_bytes!`.
///
/// ```
/// static TEXT: &[u8] = infer_core::include_aligned!("tensor.rs");
/// assert!(TEXT.as_ptr().addr().is_multiple_of(64));
/// assert!(TEXT.starts_with(b"//! Fixed-shape tensors"));
/// ```
#[macro_export]
macro_rules! include_aligned {
    ($path:expr $(,)?) => {{
        static ALIGNED: &$crate::tensor::Aligned<[u8]> = &$crate::tensor::Aligned(*include_bytes!($path));
        &ALIGNED.0
    }};
}

/// Nested arrays of floats: what layers work on, and what the tensors of a file are read as.
pub trait FloatArray: Sized {
    /// The size of each dimension, outermost first.
    const SIZES: &'static [usize];

    /// All values, row-major.
    fn values(&self) -> &[f32];

    /// All values, row-major, to be changed.
    fn values_mut(&mut self) -> &mut [f32];

    /// Floats viewed as arrays, one after the other; those that make no whole array are left out. There are none of an array
    /// without values.
    fn slice(floats: &[f32]) -> &[Self];

    /// Like [`slice`](Self::slice), to be changed.
    fn slice_mut(floats: &mut [f32]) -> &mut [Self];

    /// Floats viewed as one such array; `None` where there are more or fewer of them.
    ///
    /// ```
    /// use infer_core::tensor::{FloatArray, Tensor};
    ///
    /// let memory = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    /// assert_eq!(Tensor::<1, 2, 3>::of(&memory), Some(&[[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]]));
    /// assert_eq!(Tensor::<1, 2, 2>::of(&memory), None);
    /// ```
    #[must_use]
    fn of(floats: &[f32]) -> Option<&Self> {
        let fits = floats.len() == Self::SIZES.iter().product::<usize>();
        Self::slice(floats).first().filter(|_| fits)
    }

    /// Like [`of`](Self::of), to be changed.
    #[must_use]
    fn of_mut(floats: &mut [f32]) -> Option<&mut Self> {
        let fits = floats.len() == Self::SIZES.iter().product::<usize>();
        Self::slice_mut(floats).first_mut().filter(|_| fits)
    }
}

impl<const A: usize> FloatArray for [f32; A] {
    const SIZES: &'static [usize] = &[A];

    fn values(&self) -> &[f32] {
        self
    }

    fn values_mut(&mut self) -> &mut [f32] {
        self
    }

    fn slice(floats: &[f32]) -> &[Self] {
        arrays(floats)
    }

    fn slice_mut(floats: &mut [f32]) -> &mut [Self] {
        arrays_mut(floats)
    }
}

impl<const A: usize, const B: usize> FloatArray for [[f32; B]; A] {
    const SIZES: &'static [usize] = &[A, B];

    fn values(&self) -> &[f32] {
        self.as_flattened()
    }

    fn values_mut(&mut self) -> &mut [f32] {
        self.as_flattened_mut()
    }

    fn slice(floats: &[f32]) -> &[Self] {
        arrays(<[f32; B]>::slice(floats))
    }

    fn slice_mut(floats: &mut [f32]) -> &mut [Self] {
        arrays_mut(<[f32; B]>::slice_mut(floats))
    }
}

impl<const A: usize, const B: usize, const C: usize> FloatArray for [[[f32; C]; B]; A] {
    const SIZES: &'static [usize] = &[A, B, C];

    fn values(&self) -> &[f32] {
        self.as_flattened().as_flattened()
    }

    fn values_mut(&mut self) -> &mut [f32] {
        self.as_flattened_mut().as_flattened_mut()
    }

    fn slice(floats: &[f32]) -> &[Self] {
        arrays(<[[f32; C]; B]>::slice(floats))
    }

    fn slice_mut(floats: &mut [f32]) -> &mut [Self] {
        arrays_mut(<[[f32; C]; B]>::slice_mut(floats))
    }
}

impl<const A: usize, const B: usize, const C: usize, const D: usize> FloatArray for [[[[f32; D]; C]; B]; A] {
    const SIZES: &'static [usize] = &[A, B, C, D];

    fn values(&self) -> &[f32] {
        self.as_flattened().as_flattened().as_flattened()
    }

    fn values_mut(&mut self) -> &mut [f32] {
        self.as_flattened_mut().as_flattened_mut().as_flattened_mut()
    }

    fn slice(floats: &[f32]) -> &[Self] {
        arrays(<[[[f32; D]; C]; B]>::slice(floats))
    }

    fn slice_mut(floats: &mut [f32]) -> &mut [Self] {
        arrays_mut(<[[[f32; D]; C]; B]>::slice_mut(floats))
    }
}

/// Values viewed as arrays of `N`, as many as are whole.
fn arrays<T, const N: usize>(values: &[T]) -> &[[T; N]] {
    if N == 0 { &[] } else { values.as_chunks().0 }
}

/// Like [`arrays`], to be changed.
fn arrays_mut<T, const N: usize>(values: &mut [T]) -> &mut [[T; N]] {
    if N == 0 { &mut [] } else { values.as_chunks_mut().0 }
}

/// Little-endian bytes viewed as floats, without copying. `None` where the address is not a multiple of four or the
/// length is not.
#[must_use]
pub(crate) fn floats(bytes: &[u8]) -> Option<&[f32]> {
    const { assert!(cfg!(target_endian = "little"), "weights are little-endian and read in place") };
    // SAFETY: every bit pattern is a valid f32, and `align_to` hands out only what is aligned.
    let (before, floats, after) = unsafe { bytes.align_to::<f32>() };
    (before.is_empty() && after.is_empty()).then_some(floats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flattening_goes_channel_row_column() {
        let tensor: Tensor<2, 2, 3> = [[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], [[6.0, 7.0, 8.0], [9.0, 10.0, 11.0]]];
        let flat: &[f32; 12] = flatten(&tensor);
        assert!(flat.iter().enumerate().all(|(i, v)| *v == i as f32));
    }

    #[test]
    fn scratch_is_one_memory() {
        let mut scratch = Scratch::<12>::new();
        scratch.tensor::<2, 1, 3>()[1][0][2] = 7.0;
        assert_eq!(scratch.vector::<12>()[5], 7.0);
    }

    #[test]
    fn memory_of_the_right_length_is_a_tensor() {
        let mut memory: std::vec::Vec<f32> = (0..24).map(|i| i as f32).collect();
        for length in [0, 23, 24] {
            assert_eq!(Tensor::<2, 3, 4>::of(&memory[..length]).is_some(), length == 24);
        }
        Tensor::<2, 3, 4>::of_mut(&mut memory).unwrap()[1][2][3] = 7.0;
        assert_eq!(memory[23], 7.0);
        assert!(<[[[[f32; 2]; 2]; 2]; 3]>::of_mut(&mut memory).is_some());
        assert!(<[[f32; 5]; 5]>::of_mut(&mut memory).is_none());
        assert!(<[f32; 0]>::of(&[]).is_none() && <[f32; 0]>::of_mut(&mut []).is_none());
    }

    #[test]
    #[cfg(feature = "alloc")]
    fn a_workspace_on_the_heap_may_be_larger_than_a_stack() {
        let mut workspace = Workspace::<100_000_000, 3>::boxed();
        assert_eq!(
            (workspace.even.vector::<100_000_000>()[99_999_999], workspace.odd.vector::<3>()),
            (0.0, &mut [0.0; 3])
        );
        assert_eq!(*Workspace::<7, 3>::boxed(), Workspace::new());
        assert_eq!(Workspace::<7, 3>::SIZE, 40);
    }

    #[test]
    fn slices_are_of_whole_arrays_and_empty_arrays_are_none() {
        let floats = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(<[[f32; 3]; 1]>::slice(&floats), [[[0.0, 1.0, 2.0]], [[3.0, 4.0, 5.0]]]);
        assert!(<[[f32; 3]; 3]>::slice(&floats).is_empty());
        assert!(<[f32; 0]>::slice(&floats).is_empty());
        assert!(<[[f32; 0]; 2]>::slice(&floats).is_empty());
        assert!(<[[[f32; 2]; 0]; 2]>::slice(&floats).is_empty());
        assert!(<[[[[f32; 1]; 2]; 3]; 0]>::slice(&floats).is_empty());
    }

    #[test]
    fn floats_need_alignment_and_whole_values() {
        let memory = [1.5_f32, -2.0, 3.25];
        // SAFETY: the bytes of three floats.
        let bytes: &[u8] = unsafe { core::slice::from_raw_parts(memory.as_ptr().cast(), 12) };
        assert_eq!(floats(bytes), Some(&memory[..]));
        assert_eq!(floats(&bytes[1..9]), None);
        assert_eq!(floats(&bytes[..7]), None);
    }
}
