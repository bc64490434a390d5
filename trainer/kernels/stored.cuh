// Factors of matrix products in memory, and how maps lie there (trainer/src/ops/cuda). STORED says what a factor is: F32, BF16 or
// F16, one of the numbers below.
//
// Feature maps lie as channel × image × row × column ("planes" of one channel of one image each): a convolution of a whole
// batch is then one matrix product, weight (filters × taps) · unfolded input (taps × all positions of all images). Rows of
// matrices begin at multiples of 8 values (their "pitch"), so that a thread can write 16 bytes at once; what lies behind the
// end of a row is written by some, and read by none.

#define F32 0
#define BF16 1
#define F16 2

#if STORED == F32
typedef float Stored;
__device__ inline float to_stored(float value) { return value; }
__device__ inline float from_stored(float value) { return value; }
#elif STORED == BF16
typedef unsigned short Stored;
// To the nearest bfloat16, ties to even; NaN stays NaN.
__device__ inline unsigned short to_stored(float value) {
#ifdef __CUDACC_RTC__
    unsigned short stored;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(stored) : "f"(value));
    return stored;
#else
    const unsigned int bits = __float_as_uint(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return (unsigned short)(bits >> 16 | 0x40u);
    return (unsigned short)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
#endif
}
__device__ inline float from_stored(unsigned short value) { return __uint_as_float((unsigned int)value << 16); }
#else
typedef unsigned short Stored;
// To the nearest half-precision number, ties to even; from 65520 on to infinity; NaN stays NaN.
__device__ inline unsigned short to_stored(float value) {
#ifdef __CUDACC_RTC__
    unsigned short stored;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(stored) : "f"(value));
    return stored;
#else
    const unsigned int bits = __float_as_uint(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7FFFFFFFu;
    if (size > 0x7F800000u)
        return (unsigned short)(sign | 0x7E00u);
    if (size >= 0x477FF000u)
        return (unsigned short)(sign | 0x7C00u);
    // Below 2^-14 the distance of two numbers is 2^-24: that of floats at 0.5.
    if (size < 0x38800000u)
        return (unsigned short)(sign | (__float_as_uint(__uint_as_float(size) + 0.5f) - 0x3F000000u));
    return (unsigned short)(sign | ((size - 0x38000000u + 0xFFFu + (size >> 13 & 1u)) >> 13));
#endif
}
__device__ inline float from_stored(unsigned short value) {
#ifdef __CUDACC_RTC__
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value));
    return result;
#else
    const unsigned int sign = (value & 0x8000u) << 16, size = value & 0x7FFFu;
    if (size >= 0x7C00u)
        return __uint_as_float(sign | 0x7F800000u | size << 13);
    const float two_to_112 = __uint_as_float(0x77800000u);
    return __uint_as_float(sign | __float_as_uint(__uint_as_float(size << 13) * two_to_112));
#endif
}
#endif

// Gradients are small: most would be 0 in half precision. There they are multiplied by a power of two, by which the largest of a
// tensor, whose bits are `largest`, is from 16 to 32; there is room above for what sums make of them. Other factors need no such
// thing, and have no `largest`.
__device__ inline unsigned int scale_exponent(const unsigned int *largest) {
#if STORED == F16
    const unsigned int exponent = *largest >> 23; // 0: nothing is there; 255: no number
    return exponent == 0 || exponent == 255 ? 127 : min(253u, 258u - exponent);
#else
    return 127;
#endif
}
__device__ inline float scale_of(const unsigned int *largest) { return __uint_as_float(scale_exponent(largest) << 23); }
__device__ inline float inverse_scale(const unsigned int *largest) {
    return __uint_as_float((254 - scale_exponent(largest)) << 23);
}

// Factors that a thread writes at once.
#define VECTOR (16 / (unsigned int)sizeof(Stored))

struct alignas(16) Factors {
    Stored values[VECTOR];
};

// The threads of all blocks along x take VECTOR elements each in turns, the first of them `start`.
#define FOR_EACH_VECTOR(start, count)                                                                                  \
    for (unsigned int start = VECTOR * (blockIdx.x * THREADS + threadIdx.x); start < (count);                          \
         start += VECTOR * THREADS * gridDim.x)

// How planes lie: the distances from one channel, and from one image, to the next, in values.
struct Place {
    size_t of_channel, of_image;
};

// Start of a row of a matrix, which may lie beyond 2^32.
__device__ inline size_t row_start(unsigned int row, unsigned int pitch) { return (size_t)row * pitch; }

__device__ inline float relu(float value) { return value < 0.0f ? 0.0f : value; } // NaN stays
