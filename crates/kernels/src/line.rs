//! Memory of the packed network, in cache lines: aligned by its type, viewed as whatever it holds.

use crate::f16::F16;

/// A cache line of packed weights or of a workspace: 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub struct Line([f32; Line::FLOATS]);

impl Line {
    /// Floats in a line.
    pub const FLOATS: usize = 16;

    /// Its size in bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// A line of zeros.
    pub const ZERO: Self = Self([0.0; Self::FLOATS]);

    /// The bytes of lines, to be written to a file.
    #[must_use]
    pub fn bytes(lines: &[Self]) -> &[u8] {
        // SAFETY: a line is 64 bytes without padding, and every byte is a valid u8.
        unsafe { core::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
    }

    /// The bytes of lines, to be written to: memory for a file of weights that is aligned as they must be to be used in place.
    #[must_use]
    pub fn bytes_mut(lines: &mut [Self]) -> &mut [u8] {
        let length = size_of_val(lines);
        // SAFETY: as in `bytes`; whatever is written is a valid line too, and the borrow is exclusive.
        unsafe { core::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), length) }
    }

    /// Bytes viewed as lines, without copying. `None` where they do not begin at a multiple of 64 or are no whole lines.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<&[Self]> {
        const { assert!(cfg!(target_endian = "little"), "packed weights are little-endian and used in place") };
        // SAFETY: every bit pattern is a valid line of floats, and `align_to` hands out only what is aligned.
        let (before, lines, after) = unsafe { bytes.align_to::<Self>() };
        (before.is_empty() && after.is_empty()).then_some(lines)
    }

    /// Lines that hold `bytes` bytes.
    #[must_use]
    pub const fn count(bytes: usize) -> usize {
        bytes.div_ceil(Self::SIZE)
    }
}

/// A plain number type that lines can be viewed as.
///
/// # Safety
/// Every bit pattern is a valid value, the size divides 64, and the alignment is at most 64.
pub unsafe trait Number: Copy + 'static {}

// SAFETY: 4 bytes, every pattern valid.
unsafe impl Number for f32 {}
// SAFETY: 2 bytes, every pattern valid.
unsafe impl Number for F16 {}
// SAFETY: 4 bytes, every pattern valid.
unsafe impl Number for u32 {}
// SAFETY: 4 bytes, every pattern valid.
unsafe impl Number for i32 {}
// SAFETY: 2 bytes, every pattern valid.
unsafe impl Number for i16 {}
// SAFETY: 1 byte, every pattern valid.
unsafe impl Number for u8 {}
// SAFETY: 1 byte, every pattern valid.
unsafe impl Number for i8 {}

/// Lines viewed as numbers.
pub fn numbers<T: Number>(lines: &[Line]) -> &[T] {
    // SAFETY: the lines' bytes are as many numbers as their size says, aligned and valid, as `Number` promises.
    unsafe { core::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines) / size_of::<T>()) }
}

/// Lines viewed as numbers that can be changed.
pub fn numbers_mut<T: Number>(lines: &mut [Line]) -> &mut [T] {
    let count = size_of_val(lines) / size_of::<T>();
    // SAFETY: as in `numbers`; whatever is written is a valid line too, and the borrow is exclusive.
    unsafe { core::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_bytes_are_the_same_memory() {
        let mut lines = [Line::ZERO; 3];
        numbers_mut::<f32>(&mut lines)[17] = 1.5;
        numbers_mut::<F16>(&mut lines)[95] = F16(0x3C00);
        assert_eq!(numbers::<f32>(&lines)[17], 1.5);
        assert_eq!(numbers::<u32>(&lines)[47], 0x3C00_0000);
        Line::bytes_mut(&mut lines)[191] = 0x40;
        assert_eq!(numbers::<u32>(&lines)[47], 0x4000_0000);
        let bytes = Line::bytes(&lines);
        assert_eq!(bytes.len(), 192);
        assert_eq!(Line::from_bytes(bytes), Some(&lines[..]));
        assert_eq!(Line::from_bytes(&bytes[4..68]), None);
        assert_eq!(Line::from_bytes(&bytes[..100]), None);
    }
}
