//! Luma of a pixel in two ways that give the same bits: floating-point arithmetic, and tables for CPUs whose floating-point
//! arithmetic is functions.

const RED: f32 = 0.299;
const GREEN: f32 = 0.587;
const BLUE: f32 = 0.114;

pub(super) fn by_arithmetic([red, green, blue]: [u8; 3]) -> f32 {
    (RED * f32::from(red) + GREEN * f32::from(green) + BLUE * f32::from(blue)) / 255.0
}

/// With 3 KB of tables, two additions and integers: half the instructions on a Cortex-M0, more on one with FPU.
pub(super) fn by_table([red, green, blue]: [u8; 3]) -> f32 {
    static REDS: [f32; 256] = multiples(RED);
    static GREENS: [f32; 256] = multiples(GREEN);
    static BLUES: [f32; 256] = multiples(BLUE);
    divide_by_255(REDS[usize::from(red)] + GREENS[usize::from(green)] + BLUES[usize::from(blue)])
}

const fn multiples(factor: f32) -> [f32; 256] {
    let mut products = [0.0; 256];
    let mut value = 0;
    while value < products.len() {
        products[value] = factor * value as f32;
        value += 1;
    }
    products
}

/// `value / 255.0` for a `value` of 0 or 0.1 to 256.
fn divide_by_255(value: f32) -> f32 {
    const FRACTION: u32 = f32::MANTISSA_DIGITS - 1;
    const HIDDEN: u32 = 1 << FRACTION;
    let bits = value.to_bits();
    if bits == 0 {
        return 0.0;
    }
    // The value is `mantissa · 2^e`, the quotient `256/255 · mantissa · 2^(e − 8)`: as large a mantissa, or one bit longer. Both
    // are rounded to the nearest by adding half of the divisor, since no quotient by an odd number lies halfway.
    let (exponent, mantissa) = (bits >> FRACTION, bits % HIDDEN + HIDDEN);
    let quotient = mantissa + floor_of_255th(mantissa + 127);
    let (exponent, quotient) = if quotient < 2 * HIDDEN {
        (exponent - 8, quotient)
    } else {
        (exponent - 7, floor_of_255th(128 * mantissa + 127))
    };
    // The hidden bit adds the 1 to the exponent that is missing, and carries where rounding made the mantissa longer.
    f32::from_bits(((exponent - 1) << FRACTION) + quotient)
}

/// `value / 255`, at most 2³¹ + 127, by the series 1/255 = 1/256 + 1/256² + …, which is at most one too small.
fn floor_of_255th(value: u32) -> u32 {
    let quotient = (value + (value >> 8) + (value >> 16) + (value >> 24)) >> 8;
    let rest = value - 255 * quotient;
    quotient + u32::from(rest >= 255)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::luma;

    #[test]
    fn all_colours_have_the_same_luma_in_both_ways() {
        for colour in 0..1 << 24 {
            let [_, rgb @ ..] = u32::to_be_bytes(colour);
            assert_eq!(by_table(rgb).to_bits(), by_arithmetic(rgb).to_bits(), "{rgb:?}");
        }
    }

    #[test]
    fn luma_is_a_weighted_mean() {
        assert_eq!(luma([0; 3]), 0.0);
        assert!((luma([255; 3]) - 1.0).abs() < 1e-6);
        assert!((luma([255, 0, 0]) - 0.299).abs() < 1e-6);
        assert!((luma([0, 255, 0]) - 0.587).abs() < 1e-6);
        assert!((luma([0, 0, 255]) - 0.114).abs() < 1e-6);
    }
}
