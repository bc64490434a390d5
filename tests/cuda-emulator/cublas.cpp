// libcublas.so.13 for machines without a GPU: the functions that the trainer calls, for f32 matrices, with the rounding of
// factors that each type of computation stands for.

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

enum Status : unsigned { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
const unsigned R_32F = 0;
const unsigned COMPUTE_32F = 68, COMPUTE_32F_FAST_16BF = 75, COMPUTE_32F_FAST_TF32 = 77;

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

// A column-major matrix, or its transposed one, without gaps and rounded.
std::vector<float> packed(const float *matrix, bool transposed, int rows, int columns, int leading, unsigned dropped) {
    std::vector<float> result(std::size_t(rows) * columns);
    for (std::size_t j = 0; j < std::size_t(columns); j++)
        for (std::size_t i = 0; i < std::size_t(rows); i++)
            result[j * rows + i] = rounded(transposed ? matrix[i * leading + j] : matrix[j * leading + i], dropped);
    return result;
}

int handle;

} // namespace

extern "C" {

unsigned cublasCreate_v2(void **created) { return *created = &handle, SUCCESS; }
unsigned cublasDestroy_v2(void *) { return SUCCESS; }
unsigned cublasSetStream_v2(void *, void *) { return SUCCESS; }

unsigned cublasGemmEx(void *, unsigned trans_a, unsigned trans_b, int m, int n, int k, const void *alpha, const void *a,
                      unsigned type_a, int lda, const void *b, unsigned type_b, int ldb, const void *beta, void *c,
                      unsigned type_c, int ldc, unsigned compute, int) {
    const unsigned dropped = compute == COMPUTE_32F_FAST_16BF ? 16 : compute == COMPUTE_32F_FAST_TF32 ? 13 : 0;
    if (type_a != R_32F || type_b != R_32F || type_c != R_32F || (!dropped && compute != COMPUTE_32F))
        return NOT_SUPPORTED;
    if (m < 0 || n < 0 || k < 0 || lda < (trans_a ? k : m) || ldb < (trans_b ? n : k) || ldc < m || lda < 1 || ldb < 1 ||
        ldc < 1)
        return INVALID_VALUE;
    const auto left = packed(static_cast<const float *>(a), trans_a, m, k, lda, dropped);
    const auto right = packed(static_cast<const float *>(b), trans_b, k, n, ldb, dropped);
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
        float *target = static_cast<float *>(c) + j * ldc;
        // Where beta is 0, what was there is not looked at, not even NaN.
        for (std::size_t i = 0; i < std::size_t(m); i++)
            target[i] = scale * column[i] + (keep == 0.0f ? 0.0f : keep * target[i]);
    }
    return SUCCESS;
}

} // extern "C"
