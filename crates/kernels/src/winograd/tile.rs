//! The sizes of Winograd convolution for which there are transforms.

/// Sizes of Winograd convolution for which there are transforms: F(M×M, R×R), M·M outputs at once of a filter of R·R taps, from
/// N·N inputs with N = M + R − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the sizes")]
pub enum Tile {
    F2x3,
    F3x3,
    F4x3,
    F5x3,
    F6x3,
    F4x5,
    F5x5,
}

impl Tile {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 7] = [Self::F2x3, Self::F3x3, Self::F4x3, Self::F5x3, Self::F6x3, Self::F4x5, Self::F5x5];

    /// Rows and columns of outputs: M.
    #[must_use]
    #[inline]
    pub const fn outputs(self) -> usize {
        match self {
            Self::F2x3 => 2,
            Self::F3x3 => 3,
            Self::F4x3 | Self::F4x5 => 4,
            Self::F5x3 | Self::F5x5 => 5,
            Self::F6x3 => 6,
        }
    }

    /// Rows and columns of the filter: R.
    #[must_use]
    #[inline]
    pub const fn taps(self) -> usize {
        match self {
            Self::F2x3 | Self::F3x3 | Self::F4x3 | Self::F5x3 | Self::F6x3 => 3,
            Self::F4x5 | Self::F5x5 => 5,
        }
    }

    /// Rows and columns of inputs: N.
    #[must_use]
    #[inline]
    pub const fn inputs(self) -> usize {
        self.outputs() + self.taps() - 1
    }

    /// Root mean square error of a convolution's outputs, relative to that of the outputs, for inputs as after a ReLU: what
    /// tests hold it to. A direct convolution in f32 has about 5e-7.
    #[must_use]
    #[inline]
    pub const fn error(self) -> f64 {
        match self {
            Self::F2x3 => 4e-7,
            Self::F3x3 => 7e-7,
            Self::F4x3 => 1.2e-6,
            Self::F5x3 => 2e-6,
            Self::F4x5 => 5e-6,
            Self::F6x3 => 6e-6,
            Self::F5x5 => 1e-5,
        }
    }

    /// Multiplications a tile and pair of channels, and planes of products: N·N.
    #[must_use]
    #[inline]
    pub const fn planes(self) -> usize {
        self.inputs() * self.inputs()
    }
}

/// A function of M, R and N for each of [`Tile::ALL`], in that order.
macro_rules! for_each_tile {
    ($function:ident) => {
        [
            $function::<2, 3, 4>,
            $function::<3, 3, 5>,
            $function::<4, 3, 6>,
            $function::<5, 3, 7>,
            $function::<6, 3, 8>,
            $function::<4, 5, 8>,
            $function::<5, 5, 9>,
        ]
    };
}
pub(crate) use for_each_tile;
