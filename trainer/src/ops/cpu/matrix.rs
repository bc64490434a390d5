//! Products of matrices in plain slices.

use gemm_common::Parallelism;
use gemm_f32::gemm::f32::get_gemm_fn;

/// A matrix in a slice: element (`r`, `c`) is `data[r · row_stride + c · column_stride]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` rows of `columns` values, one after the other.
    pub(super) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns);
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The `count` columns from number `first` on.
    pub(super) fn columns(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.columns && self.column_stride == 1);
        Self { data: &self.data[first..], columns: count, ..self }
    }

    pub(super) fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// Treatment of the values that the output of a product holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Replace,
    Add,
}

/// `output += lhs · rhs` by all threads; `output` is row after row.
pub(super) fn add_product(lhs: Matrix, rhs: Matrix, output: &mut [f32]) {
    assert_eq!(output.len(), lhs.rows * rhs.columns);
    let threads = Parallelism::Rayon(rayon::current_num_threads());
    multiply_by(lhs, rhs, output, rhs.columns, Mode::Add, threads);
}

/// `output = lhs · rhs`, or `output += lhs · rhs`, on the calling thread; `output` is row after row.
pub(super) fn multiply(lhs: Matrix, rhs: Matrix, output: &mut [f32], mode: Mode) {
    assert_eq!(output.len(), lhs.rows * rhs.columns);
    multiply_into(lhs, rhs, output, rhs.columns, mode);
}

/// Like [`multiply`], for an output whose rows are the beginnings of longer ones, `stride` apart.
pub(super) fn multiply_into(lhs: Matrix, rhs: Matrix, output: &mut [f32], stride: usize, mode: Mode) {
    multiply_by(lhs, rhs, output, stride, mode, Parallelism::None);
}

fn multiply_by(lhs: Matrix, rhs: Matrix, output: &mut [f32], stride: usize, mode: Mode, threads: Parallelism) {
    assert_eq!(lhs.columns, rhs.rows);
    assert!(rhs.columns <= stride && lhs.rows.saturating_sub(1) * stride + rhs.columns <= output.len());
    let (alpha, read_output) = if mode == Mode::Add { (1.0, true) } else { (0.0, false) };
    // The crate's kernels want values of a column side by side: they compute the transposed product, `outputᵀ = rhsᵀ · lhsᵀ`. By them and
    // not by `gemm`, which has those of doubles and of complex numbers compiled, too.
    //
    // SAFETY: `Matrix` has `rows` rows of `columns` values within its slice whichever of its strides is 1, which is checked on
    // construction and where columns are chosen; `output` holds `lhs.rows` rows of `rhs.columns` values, `stride` apart, and as a
    // mutable borrow overlaps neither.
    unsafe {
        get_gemm_fn()(
            rhs.columns,
            lhs.rows,
            lhs.columns,
            output.as_mut_ptr(),
            stride as isize,
            1,
            read_output,
            rhs.data.as_ptr(),
            rhs.row_stride as isize,
            rhs.column_stride as isize,
            lhs.data.as_ptr(),
            lhs.row_stride as isize,
            lhs.column_stride as isize,
            alpha,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}
