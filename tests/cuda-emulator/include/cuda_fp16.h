// Stands in for CUDA's header of 16-bit floats: each operation is computed in f32 and rounded to the nearest value, ties to even.
#pragma once

#include "emulator.h"

inline unsigned short emulated_half(float value) {
    const unsigned int bits = __float_as_uint(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000)
        return 0x7FFF;
    if (magnitude >= 0x477FF000) // rounds to 65,536 at least
        return static_cast<unsigned short>(sign | 0x7C00);
    if (magnitude < 0x38800000) // below 2⁻¹⁴: multiples of 2⁻²⁴
        return static_cast<unsigned short>(sign | static_cast<unsigned int>(std::nearbyint(std::fabs(value) * 16777216.0f)));
    return static_cast<unsigned short>(sign | ((magnitude + 0xFFF + (magnitude >> 13 & 1) - 0x38000000) >> 13));
}
inline float emulated_float(unsigned short bits) {
    const unsigned int sign = static_cast<unsigned int>(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3FF;
    if (exponent == 0)
        return __uint_as_float(__float_as_uint(static_cast<float>(fraction) / 16777216.0f) | sign);
    return __uint_as_float(sign | (exponent == 31 ? 0x7F800000 : (exponent + 112) << 23) | fraction << 13);
}

struct __half {
    unsigned short bits;
    __half() = default;
    template <typename T, typename = std::enable_if_t<std::is_arithmetic_v<T>>> __half(T v) : bits(emulated_half(float(v))) {}
    operator float() const { return emulated_float(bits); }
    __half &operator+=(__half b) { return *this = float(*this) + float(b); }
    __half &operator-=(__half b) { return *this = float(*this) - float(b); }
    __half &operator*=(__half b) { return *this = float(*this) * float(b); }
    __half &operator/=(__half b) { return *this = float(*this) / float(b); }
};
inline __half operator+(__half a, __half b) { return float(a) + float(b); }
inline __half operator-(__half a, __half b) { return float(a) - float(b); }
inline __half operator*(__half a, __half b) { return float(a) * float(b); }
inline __half operator/(__half a, __half b) { return float(a) / float(b); }
inline __half operator-(__half a) { return -float(a); }
inline bool operator<(__half a, __half b) { return float(a) < float(b); }
inline bool operator>(__half a, __half b) { return float(a) > float(b); }
inline bool operator<=(__half a, __half b) { return float(a) <= float(b); }
inline bool operator>=(__half a, __half b) { return float(a) >= float(b); }
inline bool operator==(__half a, __half b) { return float(a) == float(b); }
inline bool operator!=(__half a, __half b) { return float(a) != float(b); }

inline __half __float2half(float a) { return a; }
inline __half __float2half_rn(float a) { return a; }
inline float __half2float(__half a) { return a; }
inline bool __hisnan(__half a) { return std::isnan(float(a)); }
inline __half __habs(__half a) { return std::fabs(float(a)); }
inline __half __hmax(__half a, __half b) { return std::fmax(float(a), float(b)); }
inline __half __hmin(__half a, __half b) { return std::fmin(float(a), float(b)); }
#if __CUDA_ARCH__ >= 800 || !defined(__CUDA_ARCH__)
inline __half __hmax_nan(__half a, __half b) { return __hisnan(a) || float(a) > float(b) ? a : b; }
inline __half __hmin_nan(__half a, __half b) { return __hisnan(a) || float(a) < float(b) ? a : b; }
#endif
inline __half hcos(__half a) { return std::cos(float(a)); }
inline __half hsin(__half a) { return std::sin(float(a)); }
inline __half hexp(__half a) { return std::exp(float(a)); }
inline __half hlog(__half a) { return std::log(float(a)); }
inline __half hsqrt(__half a) { return std::sqrt(float(a)); }
inline unsigned short __half_as_ushort(__half a) { return a.bits; }
inline __half __ushort_as_half(unsigned short a) {
    __half result;
    result.bits = a;
    return result;
}
