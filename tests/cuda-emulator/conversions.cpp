// Checks the processor's form of trainer/kernels/stored.cuh: every half-precision number, and floats of all sizes with every
// pattern of upper bits, against the compiler's half precision and against distances in f64.

#include "include/emulator.h"

#include <cstdio>

dim3 emulated_thread, emulated_block, emulated_block_size, emulated_grid_size;
void emulated_barrier() {}

namespace half_precision {
#define STORED 2
#include "../../trainer/kernels/stored.cuh"
#undef STORED
#undef VECTOR
} // namespace half_precision
namespace bfloat16 {
#define STORED 1
#include "../../trainer/kernels/stored.cuh"
} // namespace bfloat16

// The nearest bfloat16, ties to even, of a number that is not too large for one.
unsigned nearest(unsigned bits) {
    const unsigned below = bits >> 16;
    const double value = emulated_bits<float>(bits);
    const double down = std::fabs(value - emulated_bits<float>(below << 16)), up = std::fabs(emulated_bits<float>((below + 1) << 16) - value);
    return down < up ? below : up < down ? below + 1 : below + (below & 1);
}

int main() {
    unsigned wrong = 0;
    for (unsigned bits = 0; bits < 65536; bits++) {
        const float found = half_precision::from_stored(static_cast<unsigned short>(bits));
        const float expected = emulated_bits<_Float16>(static_cast<unsigned short>(bits));
        wrong += !(found == expected || (std::isnan(found) && std::isnan(expected)));
    }
    for (unsigned upper = 0; upper < 65536; upper++)
        for (unsigned lower : {0u, 1u, 0xFFFu, 0x1000u, 0x1001u, 0x7FFFu, 0x8000u, 0x8001u, 0xEFFFu, 0xF000u, 0xFFFFu}) {
            const unsigned bits = upper << 16 | lower;
            const float value = emulated_bits<float>(bits);
            const unsigned half = half_precision::to_stored(value), brain = bfloat16::to_stored(value);
            if (std::isnan(value)) {
                wrong += (half & 0x7FFF) <= 0x7C00 || (brain & 0x7FFF) <= 0x7F80;
                continue;
            }
            wrong += half != emulated_bits<unsigned short>(static_cast<_Float16>(value));
            wrong += (bits & 0x7FFFFFFF) < 0x7F7F0000 && brain != nearest(bits);
            wrong += std::isinf(value) && brain != upper;
        }
    if (wrong)
        std::fprintf(stderr, "%u conversions are wrong\n", wrong);
    return wrong != 0;
}
