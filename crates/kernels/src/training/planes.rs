//! Transformed tiles as training keeps them: one plane for each place of a tile, all tiles of some images side by side in it.

/// Planes that are read: one for each place of a tile (or of a filter), row after row.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    /// The planes, `stride` from one to the next.
    pub values: &'a [f32],
    /// Floats from one plane to the next.
    pub stride: usize,
    /// Where in each plane the values of this call begin.
    pub offset: usize,
}

impl Planes<'_> {
    /// Whether there are n·n planes that hold `count` values.
    #[inline]
    pub(crate) fn fits(&self, n: usize, count: usize) -> bool {
        let last = self.stride.checked_mul(n * n - 1).and_then(|start| start.checked_add(self.offset));
        last.and_then(|last| last.checked_add(count)).is_some_and(|end| end <= self.values.len())
    }

    /// Where the values lie in each plane.
    #[inline(always)]
    pub(crate) fn positions<const N: usize>(&self) -> [[*const f32; N]; N] {
        core::array::from_fn(|i| {
            core::array::from_fn(|j| self.values.as_ptr().wrapping_add((i * N + j) * self.stride + self.offset))
        })
    }
}

/// Planes that are written: one for each place of a tile (or of a filter), row after row. Each is a slice of its own, so that
/// threads can share the tiles between them.
#[derive(Debug)]
pub struct PlanesMut<'a, 'b> {
    /// The planes.
    pub planes: &'a mut [&'b mut [f32]],
    /// Where in each plane the values of this call begin.
    pub offset: usize,
}

impl PlanesMut<'_, '_> {
    /// Whether there are n·n planes that hold `count` values.
    #[inline]
    pub(crate) fn fits(&self, n: usize, count: usize) -> bool {
        let end = self.offset.checked_add(count);
        self.planes.len() == n * n && end.is_some_and(|end| self.planes.iter().all(|plane| end <= plane.len()))
    }

    /// Where the values from `first` on lie in each plane.
    #[inline(always)]
    pub(crate) fn positions<const N: usize>(&mut self, first: usize) -> [[*mut f32; N]; N] {
        let mut positions = [[core::ptr::null_mut(); N]; N];
        for (position, plane) in positions.as_flattened_mut().iter_mut().zip(&mut *self.planes) {
            *position = plane.as_mut_ptr().wrapping_add(self.offset + first);
        }
        positions
    }
}
