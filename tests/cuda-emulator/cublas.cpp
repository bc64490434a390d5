// libcublas.so.13 for machines without a GPU: the functions that the trainer calls, for matrices of f32, with the rounding of
// factors that each type of computation stands for, and of bfloat16 and half precision, with sums in f32.

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

enum Status : unsigned { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
const unsigned R_32F = 0, R_16F = 2, R_16BF = 14;
const unsigned COMPUTE_32F = 68, COMPUTE_32F_FAST_16F = 74, COMPUTE_32F_FAST_16BF = 75, COMPUTE_32F_FAST_TF32 = 77;

// To the nearest value with fewer bits of mantissa, ties to even.
float rounded(float value, unsigned dropped) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (dropped && (bits & 0x7F800000u) != 0x7F800000u) {
        const std::uint32_t half = 1u << (dropped - 1);
        bits += half - 1 + (bits >> dropped & 1);
        bits &= ~((1u << dropped) - 1);
    }
    std::memcpy(&value, &bits, sizeof bits);
    return value;
}

bool known(unsigned type) { return type == R_32F || type == R_16F || type == R_16BF; }

float value(const void *matrix, unsigned type, std::size_t at) {
    if (type == R_32F)
        return static_cast<const float *>(matrix)[at];
    if (type == R_16F)
        return float(static_cast<const _Float16 *>(matrix)[at]);
    const std::uint32_t bits = std::uint32_t(static_cast<const std::uint16_t *>(matrix)[at]) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

void set_value(void *matrix, unsigned type, std::size_t at, float result) {
    if (type == R_32F) {
        static_cast<float *>(matrix)[at] = result;
        return;
    }
    if (type == R_16F) {
        static_cast<_Float16 *>(matrix)[at] = _Float16(result);
        return;
    }
    result = rounded(result, 16);
    std::uint32_t bits;
    std::memcpy(&bits, &result, sizeof bits);
    // NaN stays NaN where its lower bits are lost.
    static_cast<std::uint16_t *>(matrix)[at] = std::uint16_t(bits >> 16 | (result != result ? 0x40u : 0u));
}

// A column-major matrix, or its transposed one, without gaps and rounded.
std::vector<float> packed(const void *matrix, unsigned type, bool transposed, int rows, int columns, int leading, unsigned dropped) {
    std::vector<float> result(std::size_t(rows) * columns);
    for (std::size_t j = 0; j < std::size_t(columns); j++)
        for (std::size_t i = 0; i < std::size_t(rows); i++)
            result[j * rows + i] = rounded(value(matrix, type, transposed ? i * leading + j : j * leading + i), dropped);
    return result;
}

// Each has its own address, by which it is told from others.
struct Handle {
    char nothing;
};

} // namespace

extern "C" {

unsigned cublasCreate_v2(void **created) { return *created = new Handle, SUCCESS; }
unsigned cublasDestroy_v2(void *handle) { return delete static_cast<Handle *>(handle), SUCCESS; }
unsigned cublasSetStream_v2(void *, void *) { return SUCCESS; }

unsigned cublasGemmEx(void *, unsigned trans_a, unsigned trans_b, int m, int n, int k, const void *alpha, const void *a,
                      unsigned type_a, int lda, const void *b, unsigned type_b, int ldb, const void *beta, void *c,
                      unsigned type_c, int ldc, unsigned compute, int) {
    const unsigned dropped = compute == COMPUTE_32F_FAST_16BF                                          ? 16
                             : compute == COMPUTE_32F_FAST_TF32 || compute == COMPUTE_32F_FAST_16F ? 13
                                                                                                   : 0;
    // Factors are of one type, and the result is of that or f32; only those of f32 are rounded.
    if (!known(type_a) || type_b != type_a || (type_c != type_a && type_c != R_32F) || (!dropped && compute != COMPUTE_32F) ||
        (dropped && type_a != R_32F))
        return NOT_SUPPORTED;
    if (m < 0 || n < 0 || k < 0 || lda < (trans_a ? k : m) || ldb < (trans_b ? n : k) || ldc < m || lda < 1 || ldb < 1 ||
        ldc < 1)
        return INVALID_VALUE;
    const auto left = packed(a, type_a, trans_a, m, k, lda, dropped);
    const auto right = packed(b, type_b, trans_b, k, n, ldb, dropped);
    const float scale = *static_cast<const float *>(alpha), keep = *static_cast<const float *>(beta);
    std::vector<float> column(m);
    for (std::size_t j = 0; j < std::size_t(n); j++) {
        std::fill(column.begin(), column.end(), 0.0f);
        for (std::size_t l = 0; l < std::size_t(k); l++) {
            const float factor = right[j * k + l];
            const float *values = left.data() + l * m;
            for (std::size_t i = 0; i < std::size_t(m); i++)
                column[i] += factor * values[i];
        }
        // Where beta is 0, what was there is not looked at, not even NaN.
        for (std::size_t i = 0; i < std::size_t(m); i++) {
            const std::size_t at = j * ldc + i;
            set_value(c, type_c, at, scale * column[i] + (keep == 0.0f ? 0.0f : keep * value(c, type_c, at)));
        }
    }
    return SUCCESS;
}

} // extern "C"
