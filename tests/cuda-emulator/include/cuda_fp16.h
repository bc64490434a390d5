// Stands in for CUDA's header of 16-bit floats: dfdx's kernel files define their kernels for that type too. The trainer uses
// none of them, so a float is enough for them to compile.
#pragma once

#include "emulator.h"

struct __half {
    float value;
    __half() = default;
    template <typename T, typename = std::enable_if_t<std::is_arithmetic_v<T>>> __half(T v) : value(float(v)) {}
    operator float() const { return value; }
    __half &operator+=(__half b) { return *this = value + b.value; }
    __half &operator-=(__half b) { return *this = value - b.value; }
    __half &operator*=(__half b) { return *this = value * b.value; }
    __half &operator/=(__half b) { return *this = value / b.value; }
};
inline __half operator+(__half a, __half b) { return a.value + b.value; }
inline __half operator-(__half a, __half b) { return a.value - b.value; }
inline __half operator*(__half a, __half b) { return a.value * b.value; }
inline __half operator/(__half a, __half b) { return a.value / b.value; }
inline __half operator-(__half a) { return -a.value; }
inline bool operator<(__half a, __half b) { return a.value < b.value; }
inline bool operator>(__half a, __half b) { return a.value > b.value; }
inline bool operator<=(__half a, __half b) { return a.value <= b.value; }
inline bool operator>=(__half a, __half b) { return a.value >= b.value; }
inline bool operator==(__half a, __half b) { return a.value == b.value; }
inline bool operator!=(__half a, __half b) { return a.value != b.value; }

inline __half __float2half(float a) { return a; }
inline float __half2float(__half a) { return a.value; }
inline bool __hisnan(__half a) { return std::isnan(a.value); }
inline __half __habs(__half a) { return std::fabs(a.value); }
inline __half __hmax_nan(__half a, __half b) { return __hisnan(a) || a.value > b.value ? a : b; }
inline __half __hmin_nan(__half a, __half b) { return __hisnan(a) || a.value < b.value ? a : b; }
inline __half hcos(__half a) { return std::cos(a.value); }
inline __half hsin(__half a) { return std::sin(a.value); }
inline __half hexp(__half a) { return std::exp(a.value); }
inline __half hlog(__half a) { return std::log(a.value); }
inline __half hsqrt(__half a) { return std::sqrt(a.value); }
inline unsigned short __half_as_ushort(__half a) { return static_cast<unsigned short>(__float_as_uint(a.value) >> 16); }
inline __half __ushort_as_half(unsigned short a) { return __uint_as_float(unsigned(a) << 16); }
