// libcublas for machines without a GPU: the functions that the trainer calls, with the rounding of factors that each type of
// computation stands for. Products are queued on the handle's stream, and what they read and write is checked.
//
// CUDA_EMULATOR_CUBLAS   version, as 120804; without it, that of the library's file name: 12.8.4 or 13.0.0

#include "include/cuda_bf16.h"
#include "include/cuda_fp16.h"
#include "library.h"

#include <algorithm>
#include <cstdlib>

#include <dlfcn.h>
#include <mutex>
#include <set>
#include <string>

namespace {

enum Status : unsigned { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
const unsigned R_32F = 0, R_16F = 2, R_16BF = 14;
const unsigned COMPUTE_32F = 68, COMPUTE_32F_FAST_16F = 74, COMPUTE_32F_FAST_16BF = 75, COMPUTE_32F_FAST_TF32 = 77;

std::size_t size_of(unsigned type) { return type == R_32F ? 4 : 2; }

float load(unsigned type, std::uint64_t address, std::size_t index) {
    switch (type) {
    case R_16F: return reinterpret_cast<const __half *>(address)[index];
    case R_16BF: return reinterpret_cast<const __nv_bfloat16 *>(address)[index];
    default: return reinterpret_cast<const float *>(address)[index];
    }
}

void store(unsigned type, std::uint64_t address, std::size_t index, float value) {
    switch (type) {
    case R_16F: reinterpret_cast<__half *>(address)[index] = value; break;
    case R_16BF: reinterpret_cast<__nv_bfloat16 *>(address)[index] = value; break;
    default: reinterpret_cast<float *>(address)[index] = value;
    }
}

// To the nearest value with 10 bits of mantissa, ties to even.
float tf32(float value) {
    unsigned int bits = __float_as_uint(value);
    if ((bits & 0x7F800000u) != 0x7F800000u)
        bits = (bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFFu;
    return __uint_as_float(bits);
}

// Older GPUs have none of these formats, and compute in f32.
float rounded(unsigned compute, float value) {
    switch (compute) {
    case COMPUTE_32F_FAST_16F: return __half(value);
    case COMPUTE_32F_FAST_16BF: return emulated_capability() >= 80 ? float(__nv_bfloat16(value)) : value;
    case COMPUTE_32F_FAST_TF32: return emulated_capability() >= 80 ? tf32(value) : value;
    default: return value;
    }
}

// A column-major matrix as the caller gave it.
struct Matrix {
    std::uint64_t values;
    unsigned type;
    std::size_t rows, columns, leading;

    bool valid() const {
        const std::size_t count = rows && columns ? (columns - 1) * leading + rows : 0;
        return leading >= rows && leading >= 1 && (!count || emulated_inside(values, count * size_of(type)));
    }
    void accessed(bool write) const {
        for (std::size_t column = 0; column < columns; column++)
            emulated_access(values + column * leading * size_of(type), rows * size_of(type), write);
    }
    // Without gaps, transposed where that is asked for, and rounded.
    std::vector<float> packed(bool transposed, unsigned compute) const {
        std::vector<float> result(rows * columns);
        for (std::size_t j = 0; j < columns; j++)
            for (std::size_t i = 0; i < rows; i++)
                result[transposed ? i * columns + j : j * rows + i] = rounded(compute, load(type, values, j * leading + i));
        return result;
    }
};

struct Handle {
    void *stream = nullptr;
};

std::mutex mutex;
std::set<void *> handles;

Handle *handle_of(void *handle) {
    std::lock_guard lock(mutex);
    return handles.count(handle) ? static_cast<Handle *>(handle) : nullptr;
}

#define CALL(name)                                                                                                     \
    if (const unsigned code = emulated_call(name, EMULATED_CUBLAS))                                                    \
        return code;
#define CALL_WITH(name, pointer)                                                                                       \
    CALL(name)                                                                                                         \
    Handle *handle = handle_of(pointer);                                                                               \
    if (!handle)                                                                                                       \
        return NOT_INITIALIZED;

void multiply(unsigned compute, bool trans_a, bool trans_b, float alpha, float beta, const Matrix &a, const Matrix &b, const Matrix &c) {
    const std::size_t m = c.rows, n = c.columns, k = trans_a ? a.rows : a.columns;
    a.accessed(false);
    b.accessed(false);
    // Where beta is 0, what was there is not looked at, not even NaN.
    if (beta != 0.0f)
        c.accessed(false);
    c.accessed(true);
    const auto left = a.packed(trans_a, compute), right = b.packed(trans_b, compute);
    std::vector<float> column(m);
    for (std::size_t j = 0; j < n; j++) {
        std::fill(column.begin(), column.end(), 0.0f);
        for (std::size_t l = 0; l < k; l++) {
            const float factor = right[j * k + l];
            const float *values = left.data() + l * m;
            for (std::size_t i = 0; i < m; i++)
                column[i] += factor * values[i];
        }
        for (std::size_t i = 0; i < m; i++) {
            const std::size_t at = j * c.leading + i;
            store(c.type, c.values, at, alpha * column[i] + (beta == 0.0f ? 0.0f : beta * load(c.type, c.values, at)));
        }
    }
}

bool supported(unsigned compute, unsigned type_a, unsigned type_b, unsigned type_c) {
    const bool is_fast = compute == COMPUTE_32F_FAST_16F || compute == COMPUTE_32F_FAST_16BF || compute == COMPUTE_32F_FAST_TF32;
    if (type_a != type_b || (compute != COMPUTE_32F && !is_fast))
        return false;
    if (type_a == R_32F)
        return type_c == R_32F;
    const bool exists = type_a == R_16F || (type_a == R_16BF && emulated_capability() >= 80);
    return compute == COMPUTE_32F && exists && (type_c == type_a || type_c == R_32F);
}

} // namespace

extern "C" {

unsigned cublasCreate_v2(void **created) {
    CALL("cublasCreate_v2")
    if (!emulated_context())
        return NOT_INITIALIZED;
    std::lock_guard lock(mutex);
    handles.insert(*created = new Handle);
    return SUCCESS;
}

unsigned cublasDestroy_v2(void *pointer) {
    CALL_WITH("cublasDestroy_v2", pointer)
    std::lock_guard lock(mutex);
    handles.erase(pointer);
    delete handle;
    return SUCCESS;
}

// Major, minor and patch version, by the numbers 0 to 2.
unsigned cublasGetProperty(int kind, int *value) {
    CALL("cublasGetProperty")
    Dl_info information;
    dladdr(reinterpret_cast<void *>(&cublasGetProperty), &information);
    const char *text = std::getenv("CUDA_EMULATOR_CUBLAS");
    const bool is_12 = std::string(information.dli_fname).find(".so.12") != std::string::npos;
    const int version = text && *text ? std::atoi(text) : is_12 ? 120804 : 130000;
    switch (kind) {
    case 0: *value = version / 10000; break;
    case 1: *value = version / 100 % 100; break;
    case 2: *value = version % 100; break;
    default: return INVALID_VALUE;
    }
    return SUCCESS;
}

unsigned cublasSetStream_v2(void *pointer, void *stream) {
    CALL_WITH("cublasSetStream_v2", pointer)
    return handle->stream = stream, SUCCESS;
}

unsigned cublasGemmEx(void *pointer, unsigned trans_a, unsigned trans_b, int m, int n, int k, const void *alpha, const void *a,
                      unsigned type_a, int lda, const void *b, unsigned type_b, int ldb, const void *beta, void *c,
                      unsigned type_c, int ldc, unsigned compute, int) {
    CALL_WITH("cublasGemmEx", pointer)
    if (!supported(compute, type_a, type_b, type_c))
        return NOT_SUPPORTED;
    if (m < 0 || n < 0 || k < 0 || lda < 1 || ldb < 1 || ldc < 1 || trans_a > 1 || trans_b > 1)
        return INVALID_VALUE;
    auto matrix = [](const void *values, unsigned type, int rows, int columns, int leading) {
        return Matrix{std::uint64_t(values), type, std::size_t(rows), std::size_t(columns), std::size_t(leading)};
    };
    const Matrix left = trans_a ? matrix(a, type_a, k, m, lda) : matrix(a, type_a, m, k, lda);
    const Matrix right = trans_b ? matrix(b, type_b, n, k, ldb) : matrix(b, type_b, k, n, ldb);
    const Matrix result = matrix(c, type_c, m, n, ldc);
    if (!left.valid() || !right.valid() || !result.valid())
        return INVALID_VALUE;
    if (!emulated_context())
        return EXECUTION_FAILED;
    const float scale = *static_cast<const float *>(alpha), keep = *static_cast<const float *>(beta);
    const bool queued = emulated_enqueue(handle->stream, [=] { multiply(compute, trans_a, trans_b, scale, keep, left, right, result); });
    return queued ? SUCCESS : EXECUTION_FAILED;
}

} // extern "C"
