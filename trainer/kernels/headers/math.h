// Constants of C's header of this name; NVRTC knows its functions without a header.
#pragma once

#define INFINITY __int_as_float(0x7F800000)
#define M_SQRT2 1.41421356237309504880
#define M_SQRT1_2 0.70710678118654752440
#define M_2_SQRTPI 1.12837916709551257390
