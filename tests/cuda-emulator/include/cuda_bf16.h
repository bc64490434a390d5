// Stands in for CUDA's header of bfloat16: 16 bits, rounded to the nearest value, ties to even.
#pragma once

#include "emulator.h"

struct __nv_bfloat16 {
    unsigned short bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float value) {
        const unsigned int whole = __float_as_uint(value);
        bits = static_cast<unsigned short>(std::isnan(value) ? 0x7FFF : (whole + 0x7FFF + (whole >> 16 & 1)) >> 16);
    }
    operator float() const { return __uint_as_float(static_cast<unsigned int>(bits) << 16); }
};
inline __nv_bfloat16 __float2bfloat16(float a) { return a; }
inline __nv_bfloat16 __float2bfloat16_rn(float a) { return a; }
inline float __bfloat162float(__nv_bfloat16 a) { return a; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 a) { return a.bits; }
