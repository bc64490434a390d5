//! Inverse cosine transform of a block (ITU-T T.81, A.3.3), after C. Loeffler, A. Ligtenberg and G. Moschytz, "Practical fast 1-D
//! DCT algorithms with 11 multiplications" (1989).
//!
//! It is the transform that libjpeg calls `islow`: its numbers, bit by bit, as far as coefficients are within what 8-bit samples
//! give. Beyond that, sums of 16 bits wrap and results saturate, as in libjpeg-turbo with SIMD. Eight columns are computed at
//! once, which the compiler makes vectors of.

/// Eight rows of eight values.
type Block<T> = [[T; 8]; 8];

/// Bits behind the binary point of the constants.
const BITS: u32 = 13;

/// Bits behind the binary point of what the columns' pass hands on.
const BETWEEN: u32 = 2;

/// The samples of a block: quantised `coefficients` and their quantisation steps, row by row, become eight rows.
#[inline(always)]
pub fn inverse(coefficients: &[i16; 64], steps: &[u16; 64]) -> Block<u8> {
    let mut others = *coefficients;
    others[0] = 0;
    if others.iter().fold(0, |all, coefficient| all | coefficient) == 0 {
        let level = i32::from(coefficients[0].wrapping_mul(steps[0] as i16));
        return [[sample(((level + 4) >> 3).clamp(-128, 127) as i16); 8]; 8];
    }
    let mut values = Block::default();
    for ((value, coefficient), step) in values.as_flattened_mut().iter_mut().zip(coefficients).zip(steps) {
        *value = coefficient.wrapping_mul(*step as i16);
    }
    let columns = transform::<{ BITS - BETWEEN }>(&values);
    let rows = transform::<{ BITS + BETWEEN + 3 }>(&transposed(&columns));
    let mut samples = Block::default();
    for (out, level) in samples.as_flattened_mut().iter_mut().zip(transposed(&rows).as_flattened()) {
        *out = sample(*level);
    }
    samples
}

/// A level of -128 to 127 as a sample.
#[inline(always)]
fn sample(level: i16) -> u8 {
    (level.clamp(-128, 127) + 128) as u8
}

/// Transforms each column, and rounds `SHIFT` bits away.
#[inline(always)]
fn transform<const SHIFT: u32>(values: &Block<i16>) -> Block<i16> {
    let mut out = Block::default();
    for lane in 0..8 {
        let (v0, v1, v2, v3) = (values[0][lane], values[1][lane], values[2][lane], values[3][lane]);
        let (v4, v5, v6, v7) = (values[4][lane], values[5][lane], values[6][lane], values[7][lane]);
        let scaled = |value: i16| i32::from(value) << BITS;
        let times = |value: i16, constant: i32| i32::from(value).wrapping_mul(constant);

        let z = times(v2, 4433).wrapping_add(times(v6, 4433));
        let (t2, t3) = (z.wrapping_sub(times(v6, 15137)), z.wrapping_add(times(v2, 6270)));
        let (t0, t1) = (scaled(v0.wrapping_add(v4)), scaled(v0.wrapping_sub(v4)));
        let (even0, even3) = (t0.wrapping_add(t3), t0.wrapping_sub(t3));
        let (even1, even2) = (t1.wrapping_add(t2), t1.wrapping_sub(t2));

        let (z3, z4) = (v7.wrapping_add(v3), v5.wrapping_add(v1));
        let z5 = times(z3, 9633).wrapping_add(times(z4, 9633));
        let (z3, z4) = (z5.wrapping_sub(times(z3, 16069)), z5.wrapping_sub(times(z4, 3196)));
        let z1 = times(v7, -7373).wrapping_add(times(v1, -7373));
        let z2 = times(v5, -20995).wrapping_add(times(v3, -20995));
        let odd0 = times(v1, 12299).wrapping_add(z1).wrapping_add(z4);
        let odd1 = times(v3, 25172).wrapping_add(z2).wrapping_add(z3);
        let odd2 = times(v5, 16819).wrapping_add(z2).wrapping_add(z4);
        let odd3 = times(v7, 2446).wrapping_add(z1).wrapping_add(z3);

        let rounded = |sum: i32| {
            (sum.wrapping_add(1 << (SHIFT - 1)) >> SHIFT).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
        };
        out[0][lane] = rounded(even0.wrapping_add(odd0));
        out[1][lane] = rounded(even1.wrapping_add(odd1));
        out[2][lane] = rounded(even2.wrapping_add(odd2));
        out[3][lane] = rounded(even3.wrapping_add(odd3));
        out[4][lane] = rounded(even3.wrapping_sub(odd3));
        out[5][lane] = rounded(even2.wrapping_sub(odd2));
        out[6][lane] = rounded(even1.wrapping_sub(odd1));
        out[7][lane] = rounded(even0.wrapping_sub(odd0));
    }
    out
}

/// Rows as columns, by three perfect shuffles.
#[inline(always)]
fn transposed(block: &Block<i16>) -> Block<i16> {
    shuffled(&shuffled(&shuffled(block)))
}

/// Values of the first four rows and of the last four by turns.
#[inline(always)]
fn shuffled([a, b, c, d, e, f, g, h]: &Block<i16>) -> Block<i16> {
    let [[r0, r1], [r2, r3]] = [by_turns(*a, *e), by_turns(*b, *f)];
    let [[r4, r5], [r6, r7]] = [by_turns(*c, *g), by_turns(*d, *h)];
    [r0, r1, r2, r3, r4, r5, r6, r7]
}

/// Values of two rows by turns.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn by_turns(p: [i16; 8], q: [i16; 8]) -> [[i16; 8]; 2] {
    [[p[0], q[0], p[1], q[1], p[2], q[2], p[3], q[3]], [p[4], q[4], p[5], q[5], p[6], q[6], p[7], q[7]]]
}

/// Values of two rows by turns. The compiler does not find these instructions by itself.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn by_turns(p: [i16; 8], q: [i16; 8]) -> [[i16; 8]; 2] {
    use std::{arch::x86_64, mem::transmute};
    // SAFETY: every CPU of this architecture has SSE2, whose vectors are 16 bytes of any value.
    unsafe {
        let (p, q) = (transmute::<[i16; 8], x86_64::__m128i>(p), transmute::<[i16; 8], x86_64::__m128i>(q));
        transmute([x86_64::_mm_unpacklo_epi16(p, q), x86_64::_mm_unpackhi_epi16(p, q)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn samples_are_the_cosines_sum(coefficients in prop::array::uniform32(-40_i16..40), step in 1_u16..8) {
            let mut block = [0; 64];
            block[..32].copy_from_slice(&coefficients);
            let samples = inverse(&block, &[step; 64]);
            let cosine = |at: usize, wave: usize| {
                let scale = if wave == 0 { 0.5_f64.sqrt() } else { 1.0 };
                scale / 2.0 * ((2 * at + 1) as f64 * wave as f64 * std::f64::consts::PI / 16.0).cos()
            };
            for (y, row) in samples.iter().enumerate() {
                for (x, sample) in row.iter().enumerate() {
                    let term = |k: usize| f64::from(block[k]) * f64::from(step) * cosine(y, k / 8) * cosine(x, k % 8);
                    let expected = ((0..64).map(term).sum::<f64>() + 128.0).clamp(0.0, 255.0);
                    prop_assert!((f64::from(*sample) - expected).abs() < 1.0, "{sample} at {x}, {y}: expected {expected}");
                }
            }
        }

        #[test]
        fn any_numbers_give_samples(coefficients: [[i16; 32]; 2], steps: [[u16; 32]; 2]) {
            inverse(coefficients.as_flattened().try_into().unwrap(), steps.as_flattened().try_into().unwrap());
        }
    }

    #[test]
    fn levels_beyond_samples_saturate() {
        let mut block = [0; 64];
        for (first, expected) in [(3000, 255), (-3000, 0), (-1024, 0), (1016, 255), (0, 128)] {
            block[0] = first;
            assert_eq!(inverse(&block, &[1; 64]), [[expected; 8]; 8]);
        }
        // All of the other waves' nought, but one that is rounded away: the same by the long way.
        (block[0], block[63]) = (-3000, 1);
        assert_eq!(inverse(&block, &[1; 64]), [[0; 8]; 8]);
    }
}
