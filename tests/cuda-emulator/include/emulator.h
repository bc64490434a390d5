// CUDA C++ on the processor: what kernels need to compile as ordinary C++ and run one thread after the other.
//
// Included before every kernel file. A file's kernels are entered into the emulator's table by EMULATED_KERNEL(name), which the
// emulated NVRTC appends for each of them. With EMULATED_CHECKS, the emulator hears of every access to memory.
#ifndef EMULATOR_H
#define EMULATOR_H

#include <cassert>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#ifndef EMULATED_NAMES // the emulated NVRTC looks for the word
#define __global__
#endif
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
// Threads of a block run in turns within one operating system thread, blocks one after the other: static memory is shared
// by a block's threads. In a section of their own, the emulator finds these variables and fills them for each block.
#define __shared__ static __attribute__((section("emulated_shared")))

struct dim3 {
    unsigned int x = 1, y = 1, z = 1;
};

extern dim3 emulated_thread, emulated_block, emulated_block_size, emulated_grid_size;
#define threadIdx emulated_thread
#define blockIdx emulated_block
#define blockDim emulated_block_size
#define gridDim emulated_grid_size
#define warpSize 32

// Gives the other threads of the block their turn, until all of them have come here or ended.
void emulated_barrier();
#define __syncthreads emulated_barrier
inline void __threadfence() {}
inline void __threadfence_block() {}
void *emulated_dynamic_shared();

// The threads of a warp: each waits for the others of the mask.
void emulated_warp_barrier(unsigned mask);
std::uint64_t emulated_warp_exchange(unsigned mask, std::uint64_t value, unsigned from_lane);
std::uint32_t emulated_warp_ballot(unsigned mask, bool value);
unsigned emulated_lane();

using Launcher = void (*)(void *kernel, void **parameters);
void emulated_register(const char *name, void *kernel, Launcher launcher, std::vector<std::size_t> sizes);

template <typename... Arguments, std::size_t... Index>
void emulated_launch(void (*kernel)(Arguments...), void **parameters, std::index_sequence<Index...>) {
    kernel(*static_cast<std::remove_const_t<Arguments> *>(parameters[Index])...);
}

template <typename... Arguments> struct EmulatedKernel {
    EmulatedKernel(const char *name, void (*kernel)(Arguments...)) {
        emulated_register(
            name, reinterpret_cast<void *>(kernel),
            [](void *kernel, void **parameters) {
                emulated_launch(reinterpret_cast<void (*)(Arguments...)>(kernel), parameters,
                                std::index_sequence_for<Arguments...>{});
            },
            {sizeof(Arguments)...});
    }
};
#define EMULATED_KERNEL(name) static EmulatedKernel emulated_kernel_##name(#name, &name);

using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

template <typename A, typename B> auto min(A a, B b) -> std::common_type_t<A, B> {
    using T = std::common_type_t<A, B>;
    return T(a) < T(b) ? T(a) : T(b);
}
template <typename A, typename B> auto max(A a, B b) -> std::common_type_t<A, B> {
    using T = std::common_type_t<A, B>;
    return T(a) < T(b) ? T(b) : T(a);
}

template <typename To, typename From> To emulated_bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    std::memcpy(&result, &value, sizeof result);
    return result;
}
inline unsigned int __float_as_uint(float value) { return emulated_bits<unsigned int>(value); }
inline float __uint_as_float(unsigned int value) { return emulated_bits<float>(value); }
inline int __float_as_int(float value) { return emulated_bits<int>(value); }
inline float __int_as_float(int value) { return emulated_bits<float>(value); }
inline long long __double_as_longlong(double value) { return emulated_bits<long long>(value); }
inline double __longlong_as_double(long long value) { return emulated_bits<double>(value); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float a) { return std::exp(a); }
inline float __logf(float a) { return std::log(a); }
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
inline double rsqrt(double a) { return 1.0 / std::sqrt(a); }
inline unsigned int __umulhi(unsigned int a, unsigned int b) { return static_cast<unsigned int>(std::uint64_t(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>((unsigned __int128)a * b >> 64);
}
inline int __popc(unsigned int a) { return __builtin_popcount(a); }
inline int __popcll(unsigned long long a) { return __builtin_popcountll(a); }
inline int __clz(int a) { return a ? __builtin_clz(unsigned(a)) : 32; }
inline int __ffs(int a) { return __builtin_ffs(a); }
template <typename T> T __ldg(const T *address) { return *address; }

#define EMULATED_VECTOR(type, name, alignment2, alignment4)                                                            \
    struct alignas(alignment2) name##2 {                                                                               \
        type x, y;                                                                                                     \
    };                                                                                                                 \
    struct name##3 {                                                                                                   \
        type x, y, z;                                                                                                  \
    };                                                                                                                 \
    struct alignas(alignment4) name##4 {                                                                               \
        type x, y, z, w;                                                                                               \
    };                                                                                                                 \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                                   \
    inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                                        \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
EMULATED_VECTOR(float, float, 8, 16)
EMULATED_VECTOR(int, int, 8, 16)
EMULATED_VECTOR(unsigned int, uint, 8, 16)
EMULATED_VECTOR(unsigned char, uchar, 2, 4)
EMULATED_VECTOR(unsigned short, ushort, 4, 8)
EMULATED_VECTOR(double, double, 16, 16)

// Lanes of a warp that hand values to each other. Widths other than 32 divide the warp.
template <typename T> T emulated_shuffle(unsigned mask, T value, unsigned from) {
    static_assert(sizeof(T) <= 8);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = emulated_warp_exchange(mask, bits, from);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
template <typename T> T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
    const unsigned lane = emulated_lane(), first = lane & ~unsigned(width - 1);
    return emulated_shuffle(mask, value, first + (unsigned(from) & unsigned(width - 1)));
}
template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    const unsigned lane = emulated_lane(), from = lane + by;
    return emulated_shuffle(mask, value, (lane & unsigned(width - 1)) + by < unsigned(width) ? from : lane);
}
template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    const unsigned lane = emulated_lane();
    return emulated_shuffle(mask, value, (lane & unsigned(width - 1)) >= by ? lane - by : lane);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
    const unsigned lane = emulated_lane(), from = lane ^ unsigned(with);
    return emulated_shuffle(mask, value, (from & ~unsigned(width - 1)) == (lane & ~unsigned(width - 1)) ? from : lane);
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFF) { emulated_warp_barrier(mask); }
inline unsigned __ballot_sync(unsigned mask, int value) { return emulated_warp_ballot(mask, value != 0); }
inline int __any_sync(unsigned mask, int value) { return emulated_warp_ballot(mask, value != 0) != 0; }
inline int __all_sync(unsigned mask, int value) { return emulated_warp_ballot(mask, value != 0) == mask; }

// One thread runs at a time, so that nothing can come between. These accesses are reported as atomic, not as ordinary ones.
#ifdef EMULATED_CHECKS
void emulated_atomic(const void *address, std::size_t bytes);
#define EMULATED_ATOMIC __attribute__((no_sanitize_thread, noinline))
#else
inline void emulated_atomic(const void *, std::size_t) {}
#define EMULATED_ATOMIC
#endif
template <typename T, typename Change> EMULATED_ATOMIC T emulated_change(T *address, const Change &change) {
    emulated_atomic(address, sizeof(T));
    const T old = *address;
    *address = change(old);
    return old;
}
template <typename T, typename V> T atomicAdd(T *address, V value) {
    return emulated_change(address, [value](T old) { return T(old + T(value)); });
}
template <typename T, typename V> T atomicSub(T *address, V value) {
    return emulated_change(address, [value](T old) { return T(old - T(value)); });
}
template <typename T, typename V> T atomicExch(T *address, V value) {
    return emulated_change(address, [value](T) { return T(value); });
}
template <typename T, typename V> T atomicMin(T *address, V value) {
    return emulated_change(address, [value](T old) { return T(value) < old ? T(value) : old; });
}
template <typename T, typename V> T atomicMax(T *address, V value) {
    return emulated_change(address, [value](T old) { return old < T(value) ? T(value) : old; });
}
template <typename T> T atomicCAS(T *address, T expected, T value) {
    return emulated_change(address, [expected, value](T old) { return old == expected ? value : old; });
}

#endif
