// 16-bit floats for kernels that NVRTC compiles, which has no headers of its own: what dfdx's kernels need of CUDA's header of
// this name. Arithmetic is done in f32 and rounded once, as a GPU without 16-bit arithmetic does it.
#pragma once

#include "math.h"

struct alignas(2) __half {
    unsigned short bits;

    __half() = default;
    __device__ __half(float value) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value)); }
    __device__ __half(double value) { asm("cvt.rn.f16.f64 %0, %1;" : "=h"(bits) : "d"(value)); }
    __device__ __half(int value) : __half(float(value)) {}
    __device__ __half(unsigned int value) : __half(float(value)) {}
    __device__ __half(long long value) : __half(double(value)) {}
    __device__ __half(unsigned long long value) : __half(double(value)) {}
    __device__ __half(unsigned long value) : __half(double(value)) {}
    __device__ operator float() const {
        float value;
        asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
        return value;
    }
    __device__ __half &operator+=(__half b) { return *this = float(*this) + float(b); }
    __device__ __half &operator-=(__half b) { return *this = float(*this) - float(b); }
    __device__ __half &operator*=(__half b) { return *this = float(*this) * float(b); }
    __device__ __half &operator/=(__half b) { return *this = float(*this) / float(b); }
};

__device__ inline __half operator+(__half a, __half b) { return float(a) + float(b); }
__device__ inline __half operator-(__half a, __half b) { return float(a) - float(b); }
__device__ inline __half operator*(__half a, __half b) { return float(a) * float(b); }
__device__ inline __half operator/(__half a, __half b) { return float(a) / float(b); }
__device__ inline __half operator-(__half a) { return -float(a); }
__device__ inline bool operator<(__half a, __half b) { return float(a) < float(b); }
__device__ inline bool operator>(__half a, __half b) { return float(a) > float(b); }
__device__ inline bool operator<=(__half a, __half b) { return float(a) <= float(b); }
__device__ inline bool operator>=(__half a, __half b) { return float(a) >= float(b); }
__device__ inline bool operator==(__half a, __half b) { return float(a) == float(b); }
__device__ inline bool operator!=(__half a, __half b) { return float(a) != float(b); }

__device__ inline __half __float2half(float a) { return a; }
__device__ inline float __half2float(__half a) { return a; }
__device__ inline unsigned short __half_as_ushort(__half a) { return a.bits; }
__device__ inline __half __ushort_as_half(unsigned short bits) {
    __half result;
    result.bits = bits;
    return result;
}
__device__ inline bool __hisnan(__half a) { return isnan(float(a)); }
__device__ inline __half __habs(__half a) { return fabsf(a); }
__device__ inline __half __hmax(__half a, __half b) { return fmaxf(a, b); }
__device__ inline __half __hmin(__half a, __half b) { return fminf(a, b); }
#if __CUDA_ARCH__ >= 800 // dfdx has its own for older GPUs
__device__ inline __half __hmax_nan(__half a, __half b) { return __hisnan(a) ? a : __hisnan(b) ? b : __hmax(a, b); }
__device__ inline __half __hmin_nan(__half a, __half b) { return __hisnan(a) ? a : __hisnan(b) ? b : __hmin(a, b); }
#endif
__device__ inline __half hcos(__half a) { return cosf(a); }
__device__ inline __half hsin(__half a) { return sinf(a); }
__device__ inline __half hexp(__half a) { return expf(a); }
__device__ inline __half hlog(__half a) { return logf(a); }
__device__ inline __half hsqrt(__half a) { return sqrtf(a); }
__device__ inline __half atomicAdd(__half *address, __half value) {
    __half old;
    asm volatile("atom.add.noftz.f16 %0, [%1], %2;" : "=h"(old.bits) : "l"(address), "h"(value.bits) : "memory");
    return old;
}
