//! Outputs of a tile of sums.

use super::tiles::{POSITIONS, SUMS, Sums};
use crate::int8::row::{Place, finish};
use crate::int8::{INT8_PANEL, Int8Output};
use core::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_cvtsi32_si128, _mm_storeu_si128, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_loadu_si256, _mm256_permutevar8x32_epi32, _mm256_setr_epi32, _mm512_add_epi16, _mm512_add_epi32,
    _mm512_castsi256_si512, _mm512_cvtepi16_epi8, _mm512_loadu_si512, _mm512_min_epu16, _mm512_mulhi_epu16,
    _mm512_packus_epi32, _mm512_permutexvar_epi64, _mm512_set1_epi16, _mm512_setr_epi64, _mm512_slli_epi32,
    _mm512_sra_epi32, _mm512_srl_epi16,
};

/// Where the outputs of a tile go.
pub(super) struct Target<'a> {
    /// The first position, and from one to the next.
    pub(super) position: usize,
    pub(super) every: usize,
    /// Positions of the tile.
    pub(super) count: usize,
    pub(super) panel: usize,
    /// Outputs of a position.
    pub(super) outputs: usize,
    pub(super) bias: &'a [i32],
}

/// Adds the biases to a tile of sums, and writes what becomes of them. With `DIGITS`, the sums are those of the tile and 256 times those of the
/// tile `SUMS / 2` behind it.
///
/// # Safety
/// The sizes of the row hold (see [`Int8Row::fits`](crate::int8::Int8Row)), it has the positions and the panel, and the CPU has AVX-512 BW.
#[inline(always)]
pub(super) unsafe fn write<const DIGITS: bool>(
    sums: &[Sums; SUMS],
    tile: usize,
    target: &Target<'_>,
    output: &mut Int8Output<'_>,
) {
    let Target { position, every, count, panel, outputs, bias } = *target;
    let first = panel * INT8_PANEL;
    if let Int8Output::Activations { values, pixel, scaling } = output
        && scaling.shift2 > 16
        && outputs - first >= INT8_PANEL
    {
        // SAFETY: as the caller says; a tile has at least as many positions.
        unsafe {
            let panel = Panel {
                bias: _mm512_loadu_si512(bias.as_ptr().add(first).cast()),
                multipliers: twice(_mm256_loadu_si256(scaling.multipliers.as_ptr().add(first).cast())),
                shift1: scaling.shift1,
                shift2: scaling.shift2,
            };
            let sums = sums.as_ptr().add(tile).cast::<i32>();
            let to = values.as_mut_ptr().add(position * *pixel + first);
            for number in (0..count).step_by(2) {
                let second = (number + 1).min(count - 1);
                let [a, b] = panel.activations::<DIGITS>(sums, [number, second]);
                _mm_storeu_si128(to.add(number * every * *pixel).cast(), a);
                _mm_storeu_si128(to.add(second * every * *pixel).cast(), b);
            }
        }
        return;
    }
    let (low, high) = (&sums[tile], &sums[(tile + SUMS / 2) % SUMS]);
    for (number, (low, high)) in low.iter().zip(high).enumerate().take(count) {
        let mut sums = *low;
        if DIGITS {
            for (sum, high) in sums.iter_mut().zip(high) {
                *sum = sum.wrapping_add(high << 8);
            }
        }
        let place = Place { position: position + number * every, panel, outputs };
        // SAFETY: as the caller says.
        unsafe { finish(&sums, bias, &place, output) };
    }
}

/// Each four multipliers twice, as the sums of two positions lie beside each other when they have been packed.
///
/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn twice(multipliers: __m256i) -> __m512i {
    // SAFETY: as the caller says.
    unsafe { _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3), _mm512_castsi256_si512(multipliers)) }
}

/// Biases and factors of a panel.
#[derive(Clone, Copy)]
struct Panel {
    bias: __m512i,
    multipliers: __m512i,
    shift1: u32,
    /// More than 16.
    shift2: u32,
}

impl Panel {
    /// Outputs of two positions: with `u` of 16 bits, `(u · multiplier + 2ᵗ⁻¹) >> t` is `(h + 2ᵗ⁻¹⁷) >> (t − 16)` of the upper half `h` of the
    /// product, as `t` is more than 16.
    ///
    /// # Safety
    /// There are sums for both positions, and the CPU has AVX-512 BW.
    #[inline(always)]
    unsafe fn activations<const DIGITS: bool>(self, sums: *const i32, positions: [usize; 2]) -> [__m128i; 2] {
        let Self { bias, multipliers, shift1, shift2 } = self;
        // SAFETY: as the caller says.
        unsafe {
            let shift1 = _mm_cvtsi32_si128((shift1 & 15) as i32);
            let mut units = [bias; 2];
            for (units, position) in units.iter_mut().zip(positions) {
                let sums = sums.add(position * INT8_PANEL);
                let mut sum = _mm512_add_epi32(_mm512_loadu_si512(sums.cast()), bias);
                if DIGITS {
                    let high = _mm512_loadu_si512(sums.add(SUMS / 2 * POSITIONS * INT8_PANEL).cast());
                    sum = _mm512_add_epi32(sum, _mm512_slli_epi32::<8>(high));
                }
                *units = _mm512_sra_epi32(sum, shift1);
            }
            // Below zero is zero, and above 16 bits is their greatest value.
            let units = _mm512_packus_epi32(units[0], units[1]);
            let half = _mm512_set1_epi16(1 << ((shift2 - 17) & 15));
            let shift2 = _mm_cvtsi32_si128((shift2 - 16) as i32);
            let scaled = _mm512_srl_epi16(_mm512_add_epi16(_mm512_mulhi_epu16(units, multipliers), half), shift2);
            let bytes = _mm512_cvtepi16_epi8(_mm512_min_epu16(scaled, _mm512_set1_epi16(127)));
            // By four bytes of one position and the other.
            let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
            [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)]
        }
    }
}
