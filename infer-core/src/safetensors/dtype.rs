//! Data types and shapes of tensors in a file.

use core::fmt;

/// The most dimensions that a tensor may have.
pub const MAX_RANK: usize = 8;

/// A data type of safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are the format's own")]
pub enum Dtype {
    Bool,
    F4,
    F6E2M3,
    F6E3M2,
    U8,
    I8,
    F8E5M2,
    F8E4M3,
    F8E8M0,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    C64,
    F64,
    I64,
    U64,
}

impl Dtype {
    /// All of them, with the name in the file and the width in bits.
    const TABLE: [(Self, &'static str, u64); 20] = [
        (Self::Bool, "BOOL", 8),
        (Self::F4, "F4", 4),
        (Self::F6E2M3, "F6_E2M3", 6),
        (Self::F6E3M2, "F6_E3M2", 6),
        (Self::U8, "U8", 8),
        (Self::I8, "I8", 8),
        (Self::F8E5M2, "F8_E5M2", 8),
        (Self::F8E4M3, "F8_E4M3", 8),
        (Self::F8E8M0, "F8_E8M0", 8),
        (Self::I16, "I16", 16),
        (Self::U16, "U16", 16),
        (Self::F16, "F16", 16),
        (Self::BF16, "BF16", 16),
        (Self::I32, "I32", 32),
        (Self::U32, "U32", 32),
        (Self::F32, "F32", 32),
        (Self::C64, "C64", 64),
        (Self::F64, "F64", 64),
        (Self::I64, "I64", 64),
        (Self::U64, "U64", 64),
    ];

    /// The type of that name, as `is` compares names.
    pub(crate) fn find(is: impl Fn(&str) -> bool) -> Option<Self> {
        Self::TABLE.into_iter().find(|(_, name, _)| is(name)).map(|(dtype, _, _)| dtype)
    }

    fn row(self) -> (&'static str, u64) {
        Self::TABLE.into_iter().find(|(dtype, _, _)| *dtype == self).map_or(("", 0), |(_, name, bits)| (name, bits))
    }

    /// Width of a value in bits.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.row().1
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.row().0)
    }
}

/// The size of each dimension of a tensor, outermost first.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shape {
    sizes: [u32; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// A shape of `sizes`; `None` where there are more than [`MAX_RANK`] or one is
    /// above `u32::MAX`.
    #[must_use]
    pub fn new(sizes: &[usize]) -> Option<Self> {
        let mut shape = Self::default();
        sizes.iter().try_for_each(|size| shape.push(u32::try_from(*size).ok()?))?;
        Some(shape)
    }

    /// Appends a dimension; `None` where there is no room.
    pub(crate) fn push(&mut self, size: u32) -> Option<()> {
        *self.sizes.get_mut(usize::from(self.rank))? = size;
        self.rank += 1;
        Some(())
    }

    /// The sizes.
    #[must_use]
    pub fn sizes(&self) -> &[u32] {
        self.sizes.get(..usize::from(self.rank)).unwrap_or_default()
    }

    /// Number of values; `None` where the number does not fit.
    #[must_use]
    pub fn values(&self) -> Option<u64> {
        self.sizes().iter().try_fold(1_u64, |product, size| product.checked_mul(u64::from(*size)))
    }
}

/// Writes the shape as `[96, 1, 11, 11]`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, size) in self.sizes().iter().enumerate() {
            write!(f, "{}{size}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
