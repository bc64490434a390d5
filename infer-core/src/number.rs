//! Arithmetic of plans and passes that cannot panic.

/// Quotient and remainder. No divisor is zero where this is called, but that is not for the compiler to see, which would keep
/// a panic.
pub(crate) fn divide(value: usize, divisor: usize) -> (usize, usize) {
    (value.checked_div(divisor).unwrap_or_default(), value.checked_rem(divisor).unwrap_or_default())
}

/// The greater of two numbers, for the compiler too.
pub(crate) const fn greater(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Beginning of a [`hash`] (FNV-1a's, 32 bits).
pub(crate) const HASH: u32 = 0x811C_9DC5;

/// A hash of what was hashed before and some numbers.
pub(crate) const fn hash(mut before: u32, mut numbers: &[usize]) -> u32 {
    while let [number, more @ ..] = numbers {
        before = (before ^ *number as u32).wrapping_mul(0x0100_0193);
        numbers = more;
    }
    before
}
