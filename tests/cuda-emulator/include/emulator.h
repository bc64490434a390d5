// CUDA C++ on the processor: what kernels need to compile as ordinary C++ and run one thread after the other.
//
// Included before every kernel file (g++ -include). A file's kernels are entered into the emulator's table by
// EMULATED_KERNEL(name), which scripts/cuda-emulate appends for each of them.
#pragma once

#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#define __CUDA_ARCH__ 900
#ifndef EMULATED_NAMES // compile-kernels looks for the word
#define __global__
#endif
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// Threads of a block run in turns within one operating system thread, blocks one after the other: static memory is shared
// by a block's threads, and its content when a block starts is as undefined as on a GPU.
#define __shared__ static

struct dim3 {
    unsigned int x = 1, y = 1, z = 1;
};

extern dim3 emulated_thread, emulated_block, emulated_block_size, emulated_grid_size;
#define threadIdx emulated_thread
#define blockIdx emulated_block
#define blockDim emulated_block_size
#define gridDim emulated_grid_size

// Gives the other threads of the block their turn, until all of them have come here or ended.
void emulated_barrier();
#define __syncthreads emulated_barrier

using Launcher = void (*)(void *kernel, void **parameters);
void emulated_register(const char *name, void *kernel, Launcher launcher);

template <typename... Arguments, std::size_t... Index>
void emulated_call(void (*kernel)(Arguments...), void **parameters, std::index_sequence<Index...>) {
    kernel(*static_cast<std::remove_const_t<Arguments> *>(parameters[Index])...);
}

template <typename... Arguments> struct EmulatedKernel {
    EmulatedKernel(const char *name, void (*kernel)(Arguments...)) {
        emulated_register(name, reinterpret_cast<void *>(kernel), [](void *kernel, void **parameters) {
            emulated_call(reinterpret_cast<void (*)(Arguments...)>(kernel), parameters,
                          std::index_sequence_for<Arguments...>{});
        });
    }
};
#define EMULATED_KERNEL(name) static EmulatedKernel emulated_kernel_##name(#name, &name);

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

// One thread runs at a time, so that nothing can come between.
template <typename T, typename V> T atomicAdd(T *address, V value) {
    T old = *address;
    *address = old + T(value);
    return old;
}
template <typename T, typename V> T atomicMin(T *address, V value) {
    T old = *address;
    *address = T(value) < old ? T(value) : old;
    return old;
}
template <typename T, typename V> T atomicMax(T *address, V value) {
    T old = *address;
    *address = old < T(value) ? T(value) : old;
    return old;
}
template <typename T> T atomicCAS(T *address, T expected, T value) {
    T old = *address;
    if (old == expected)
        *address = value;
    return old;
}
