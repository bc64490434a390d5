//! cuBLAS' functions that cudarc and dfdx call, and the types of computation of matrix products.

use std::{
    cell::Cell,
    ffi::{CStr, c_int, c_uint, c_void},
    ptr,
    sync::{OnceLock, PoisonError, RwLock},
};

use super::CUBLAS;
use crate::{
    cuda::{
        failure::{self, Code},
        timing,
    },
    device::Products,
};

// Values of `cublasComputeType_t`.
const COMPUTE_32F: c_uint = 68;
const COMPUTE_32F_FAST_16F: c_uint = 74;
const COMPUTE_32F_FAST_16BF: c_uint = 75;
const COMPUTE_32F_FAST_TF32: c_uint = 77;

/// The type of computation for products of `f32` matrices.
pub(crate) fn compute_type(products: Products) -> c_uint {
    match products {
        Products::F32 => COMPUTE_32F,
        Products::Tf32 => COMPUTE_32F_FAST_TF32,
        Products::Bf16 => COMPUTE_32F_FAST_16BF,
        Products::F16 => COMPUTE_32F_FAST_16F,
    }
}

thread_local! {
    /// Precision of the handles that this thread makes from now on.
    static NEW: Cell<Products> = const { Cell::new(Products::F32) };
}

/// Precision of each handle that does not multiply in `f32`: a property of the handle, for which cuBLAS has no place.
static HANDLES: RwLock<Vec<(usize, Products)>> = RwLock::new(Vec::new());

/// Does `work`. The handles of cuBLAS that it makes on this thread multiply as `products` says whenever [`cublasSgemm_v2`] is
/// called with them: dfdx, which makes its own, knows of no such choice.
pub fn with_products<T>(products: Products, work: impl FnOnce() -> T) -> T {
    struct Before(Products);
    impl Drop for Before {
        fn drop(&mut self) {
            NEW.set(self.0);
        }
    }
    let _before = Before(NEW.replace(products));
    work()
}

fn products_of(handle: *mut c_void) -> Products {
    let handles = HANDLES.read().unwrap_or_else(PoisonError::into_inner);
    handles.iter().find(|(known, _)| *known == handle as usize).map_or(Products::F32, |(_, products)| *products)
}

fn set_products(handle: *mut c_void, products: Products) {
    let mut handles = HANDLES.write().unwrap_or_else(PoisonError::into_inner);
    handles.retain(|(known, _)| *known != handle as usize);
    if products != Products::F32 {
        handles.push((handle as usize, products));
    }
}

/// A handle that is being made; it gets its products when this is dropped.
struct Created(*mut *mut c_void);

impl Created {
    /// # Safety
    /// The place must be writable until this is dropped.
    unsafe fn new(place: *mut *mut c_void) -> Self {
        // SAFETY: the caller's promise. Where no handle is made, none is there.
        unsafe { *place = ptr::null_mut() };
        Self(place)
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        // SAFETY: the promise of `new`, which wrote to the place.
        let handle = unsafe { *self.0 };
        if !handle.is_null() {
            set_products(handle, NEW.get());
        }
    }
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
    fn cublasDestroy_v2(handle: *mut c_void), during set_products(handle, Products::F32);
}

// What is missing reports CUBLAS_STATUS_NOT_INITIALIZED.
forward! { mod calls of CUBLAS, missing 1, reported;
    fn cublasCreate_v2(handle: *mut *mut c_void), during unsafe {
        // SAFETY: cuBLAS asks its callers for a writable place.
        Created::new(handle)
    };
    fn cublasSetStream_v2(handle: *mut c_void, stream: *mut c_void), during timing::uses_stream(handle, stream);
    fn cublasGemmEx(
        handle: *mut c_void, trans_a: c_uint, trans_b: c_uint, m: c_int, n: c_int, k: c_int, alpha: *const c_void,
        a: *const c_void, type_a: c_uint, lda: c_int, b: *const c_void, type_b: c_uint, ldb: c_int,
        beta: *const c_void, c: *mut c_void, type_c: c_uint, ldc: c_int, compute: c_uint, algorithm: c_int
    );
}

/// `CUDA_R_32F` of `cudaDataType_t`.
pub(crate) const R_32F: c_uint = 0;
/// `CUDA_R_16F` of `cudaDataType_t`.
pub(crate) const R_16F: c_uint = 2;
/// `CUDA_R_16BF` of `cudaDataType_t`.
pub(crate) const R_16BF: c_uint = 14;
/// `CUBLAS_GEMM_DEFAULT` of `cublasGemmAlgo_t`.
pub(crate) const GEMM_DEFAULT: c_int = -1;

/// `c = alpha · op(a) · op(b) + beta · c`, computed as the handle was made for: see [`with_products`].
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
    let compute = compute_type(products_of(handle));
    let _span = timing::product("products of dfdx", handle);
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
