//! cuBLAS' functions that cudarc and dfdx call, and the precision of matrix products.

use std::{
    ffi::{CStr, c_int, c_uint, c_void},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use super::CUBLAS;
use crate::{
    cuda::failure::{self, Code},
    device::Precision,
};

// Values of `cublasComputeType_t`.
const COMPUTE_32F: u32 = 68;
const COMPUTE_32F_FAST_16BF: u32 = 75;
const COMPUTE_32F_FAST_TF32: u32 = 77;

static PRECISION: AtomicU32 = AtomicU32::new(COMPUTE_32F);

/// Sets how all matrix products of this process are computed from now on.
pub fn set_precision(precision: Precision) {
    let compute = match precision {
        Precision::F32 => COMPUTE_32F,
        Precision::Tf32 => COMPUTE_32F_FAST_TF32,
        Precision::Bf16 => COMPUTE_32F_FAST_16BF,
    };
    PRECISION.store(compute, Ordering::Relaxed);
}

/// Keeps a failure in mind and passes it on.
fn reported(call: &'static str, code: c_uint) -> c_uint {
    if code != 0 {
        failure::record(call, Code::Cublas(code), false);
    }
    code
}

/// Keeps a failure in mind and reports success.
fn kept(call: &'static str, code: c_uint) -> c_uint {
    if code != 0 {
        failure::record(call, Code::Cublas(code), true);
    }
    0
}

// The call of a destructor.
forward! { mod last_calls of CUBLAS, missing 1, kept;
    fn cublasDestroy_v2(handle: *mut c_void);
}

// What is missing reports CUBLAS_STATUS_NOT_INITIALIZED.
forward! { mod calls of CUBLAS, missing 1, reported;
    fn cublasCreate_v2(handle: *mut *mut c_void);
    fn cublasSetStream_v2(handle: *mut c_void, stream: *mut c_void);
    fn cublasGemmEx(
        handle: *mut c_void, trans_a: c_uint, trans_b: c_uint, m: c_int, n: c_int, k: c_int, alpha: *const c_void,
        a: *const c_void, type_a: c_uint, lda: c_int, b: *const c_void, type_b: c_uint, ldb: c_int,
        beta: *const c_void, c: *mut c_void, type_c: c_uint, ldc: c_int, compute: c_uint, algorithm: c_int
    );
}

/// `CUDA_R_32F` of `cudaDataType_t`.
const R_32F: c_uint = 0;
/// `CUBLAS_GEMM_DEFAULT` of `cublasGemmAlgo_t`.
const GEMM_DEFAULT: c_int = -1;

/// `c = alpha · op(a) · op(b) + beta · c` in the process's [`Precision`].
///
/// # Safety
/// As cuBLAS' documentation of `cublasSgemm` says.
#[unsafe(no_mangle)]
#[allow(non_snake_case, clippy::too_many_arguments, reason = "a C function")]
pub unsafe extern "C" fn cublasSgemm_v2(
    handle: *mut c_void,
    trans_a: c_uint,
    trans_b: c_uint,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const f32,
    a: *const f32,
    lda: c_int,
    b: *const f32,
    ldb: c_int,
    beta: *const f32,
    c: *mut f32,
    ldc: c_int,
) -> c_uint {
    let compute = PRECISION.load(Ordering::Relaxed);
    // SAFETY: the arguments are the caller's, with the types that `cublasSgemm` stands for.
    unsafe {
        cublasGemmEx(
            handle,
            trans_a,
            trans_b,
            m,
            n,
            k,
            alpha.cast(),
            a.cast(),
            R_32F,
            lda,
            b.cast(),
            R_32F,
            ldb,
            beta.cast(),
            c.cast(),
            R_32F,
            ldc,
            compute,
            GEMM_DEFAULT,
        )
    }
}
