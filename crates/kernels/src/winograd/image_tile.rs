//! A tile of an image, which may lie partly or wholly outside of it.

use crate::layout::LANES;
use core::ops::Deref;

/// Channels that positions are asked for at a time.
const CHANNELS: usize = 512;

/// A number format of images.
pub(crate) trait Pixel: Sized + 'static {
    /// Channels of a position outside of the image.
    const ZEROS: &'static [Self; CHANNELS];
}

impl Pixel for f32 {
    const ZEROS: &'static [Self; CHANNELS] = &[0.0; CHANNELS];
}

impl Pixel for u8 {
    const ZEROS: &'static [Self; CHANNELS] = &[0; CHANNELS];
}

/// A square tile of an image of `[height][width][channels]`. Outside of the image everything is zero, and nothing is written.
#[derive(Debug, Clone, Copy)]
pub struct ImageTile<T> {
    /// `[height][width][channels]`: `&[f32]` or `&[u8]` where it is read, `&mut [f32]` where it is written.
    pub image: T,
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// A multiple of [`LANES`].
    pub channels: usize,
    /// First row of the tile, which may lie outside.
    pub top: isize,
    /// First column of the tile, which may lie outside.
    pub left: isize,
}

impl<P, T: Deref<Target = [P]>> ImageTile<T> {
    /// Whether the image has as many values as its sizes say, and the tile's place can be computed.
    #[inline]
    pub(crate) fn fits(&self) -> bool {
        let needed = self.height.checked_mul(self.width).and_then(|pixels| pixels.checked_mul(self.channels));
        let near = |place: isize| place.unsigned_abs() <= isize::MAX as usize / 4;
        self.channels.is_multiple_of(LANES)
            && needed == Some(self.image.len())
            && near(self.top)
            && near(self.left)
            && near(self.height as isize)
            && near(self.width as isize)
    }
}

impl<T> ImageTile<T> {
    /// Where the pixel (i, j) of the tile begins in the image; `None` outside.
    #[inline(always)]
    fn pixel(&self, i: usize, j: usize) -> Option<usize> {
        let (y, x) = (self.top + i as isize, self.left + j as isize);
        let inside = (0..self.height as isize).contains(&y) && (0..self.width as isize).contains(&x);
        inside.then(|| (y as usize * self.width + x as usize) * self.channels)
    }
}

#[allow(private_bounds, reason = "its functions are as private")]
impl<P: Pixel> ImageTile<&[P]> {
    /// The first channel and the number of channels of parts of the image that have no more channels than
    /// [`positions`](Self::positions) are good for.
    #[inline(always)]
    pub(crate) fn parts(&self) -> impl Iterator<Item = (usize, usize)> + use<P> {
        let channels = self.channels;
        (0..channels).step_by(CHANNELS).map(move |first| (first, CHANNELS.min(channels - first)))
    }

    /// Each pixel of the tile from channel `first` on: in the image where it lies inside, else of zeros, as many as the parts
    /// have channels.
    #[inline(always)]
    pub(crate) fn positions<const N: usize>(&self, first: usize) -> [[*const P; N]; N] {
        let mut positions = [[P::ZEROS.as_ptr(); N]; N];
        for (i, row) in positions.iter_mut().enumerate() {
            for (j, position) in row.iter_mut().enumerate() {
                if let Some(start) = self.pixel(i, j) {
                    *position = self.image.as_ptr().wrapping_add(start + first);
                }
            }
        }
        positions
    }
}

#[cfg(feature = "training")]
impl ImageTile<&mut [f32]> {
    /// Each pixel of the tile; null outside of the image.
    #[inline(always)]
    pub(crate) fn positions_mut<const N: usize>(&mut self) -> [[*mut f32; N]; N] {
        let image = self.image.as_mut_ptr();
        let mut positions = [[core::ptr::null_mut(); N]; N];
        for (i, row) in positions.iter_mut().enumerate() {
            for (j, position) in row.iter_mut().enumerate() {
                if let Some(start) = self.pixel(i, j) {
                    *position = image.wrapping_add(start);
                }
            }
        }
        positions
    }
}
