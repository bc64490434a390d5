//! Products of matrices in plain slices, on the calling thread.

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

/// `output = lhs · rhs`, or `output += lhs · rhs`; `output` is row after row.
pub(super) fn multiply(lhs: Matrix, rhs: Matrix, output: &mut [f32], mode: Mode) {
    assert_eq!(lhs.columns, rhs.rows);
    assert_eq!(output.len(), lhs.rows * rhs.columns);
    let (alpha, read_output) = if mode == Mode::Add { (1.0, true) } else { (0.0, false) };
    // SAFETY: `Matrix` has `rows × columns` values within its slice whichever of its strides is 1, both are checked on
    // construction; `output` has exactly `lhs.rows × rhs.columns` values, and as a mutable borrow overlaps neither.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.columns,
            lhs.columns,
            output.as_mut_ptr(),
            1,
            rhs.columns as isize,
            read_output,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            alpha,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
