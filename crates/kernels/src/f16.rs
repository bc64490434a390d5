//! Half-width floats (IEEE 754 binary16): how linear weights may be stored. Arithmetic is always f32.

/// The bits of a half-width float: 1 sign, 5 exponent and 10 fraction bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct F16(pub u16);

impl F16 {
    /// The nearest value, of two equally near the even one; infinity from 65,520 on.
    #[must_use]
    #[inline]
    pub fn from_f32(value: f32) -> Self {
        let sign = (value.to_bits() >> 16) as u16 & 0x8000;
        let bits = value.to_bits() & 0x7FFF_FFFF;
        let magnitude = if bits > 0x7F80_0000 {
            0x7E00 // NaN
        } else if bits >= 0x4780_0000 {
            0x7C00 // 65,536 and above, infinity
        } else if bits < 0x3880_0000 {
            // Below 2⁻¹⁴ the result is a multiple of 2⁻²⁴: adding ½ moves these to the end of the fraction, rounded.
            (f32::from_bits(bits) + 0.5).to_bits() - 0.5_f32.to_bits()
        } else {
            // 13 bits are dropped: round them, the tie by the last bit that stays, then move the exponent's bias.
            let rounded = bits + 0x0FFF + ((bits >> 13) & 1);
            (rounded - ((127 - 15) << 23)) >> 13
        };
        Self(sign | magnitude as u16)
    }

    /// Whether it is neither infinity nor NaN.
    #[must_use]
    #[inline]
    pub fn is_finite(self) -> bool {
        self.0 & 0x7C00 != 0x7C00
    }

    /// The value, exactly.
    #[inline(always)]
    #[must_use]
    pub fn to_f32(self) -> f32 {
        let sign = u32::from(self.0 & 0x8000) << 16;
        let magnitude = u32::from(self.0 & 0x7FFF) << 13;
        // The product moves the exponent's bias, and is exact for subnormal values too.
        let scaled = (f32::from_bits(magnitude) * f32::from_bits((127 + 127 - 15) << 23)).to_bits();
        let special = if magnitude >= 0x7C00 << 13 { 0x7F80_0000 } else { 0 };
        f32::from_bits(sign | scaled | special)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition, in f64.
    fn value(bits: u16) -> f64 {
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
        let magnitude = match exponent {
            0 => fraction * 2_f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
        };
        if bits & 0x8000 == 0 { magnitude } else { -magnitude }
    }

    #[test]
    fn every_value_widens_exactly_and_narrows_to_itself() {
        for bits in 0..=u16::MAX {
            let (expected, found) = (value(bits), F16(bits).to_f32());
            if expected.is_nan() {
                assert!(found.is_nan() && F16::from_f32(found).to_f32().is_nan());
            } else {
                assert_eq!(f64::from(found), expected);
                assert_eq!(F16::from_f32(found), F16(bits));
            }
        }
    }

    #[test]
    fn narrowing_rounds_to_the_nearest_even() {
        // Between each value and the next: a little below the middle, the middle, a little above it.
        for bits in 0..0x7BFF_u16 {
            let middle = ((value(bits) + value(bits + 1)) / 2.0) as f32;
            let even = bits + (bits & 1);
            assert_eq!(F16::from_f32(middle), F16(even));
            assert_eq!(F16::from_f32(middle.next_down()), F16(bits));
            assert_eq!(F16::from_f32(-middle.next_up()), F16(0x8000 | (bits + 1)));
        }
        assert_eq!(F16::from_f32(65519.996), F16(0x7BFF));
        assert_eq!(F16::from_f32(65520.0), F16(0x7C00));
        assert_eq!(F16::from_f32(-1e30), F16(0xFC00));
        assert_eq!(F16::from_f32(1e-30), F16(0));
    }
}
