// Factors of matrix products in memory, and how maps lie there (trainer/src/ops/cuda). STORED_BITS says how many bits a factor
// has: 32 are `float`, 16 are bfloat16.
//
// Feature maps lie as channel × image × row × column ("planes" of one channel of one image each): a convolution of a whole
// batch is then one matrix product, weight (filters × taps) · unfolded input (taps × all positions of all images). Rows of
// matrices begin at multiples of 8 values (their "pitch"), so that a thread can write 16 bytes at once; what lies behind the
// end of a row is written by some, and read by none.

#if STORED_BITS == 32
typedef float Stored;
__device__ inline float to_stored(float value) { return value; }
__device__ inline float from_stored(float value) { return value; }
#else
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
#endif

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
