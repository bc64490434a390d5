//! Images with their labels, in memory as bytes: what every source of data becomes.

use std::{ops::Deref, path::Path, sync::Arc};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::{DataError, idx::Idx};

/// Images, gray or RGB, each of a size of its own, with their labels.
#[derive(Debug, Clone)]
pub struct LabelledImages {
    /// Values of a pixel: 1 or 3.
    channels: usize,
    /// All images' pixels, one image after the other.
    pixels: Bytes,
    places: Vec<Place>,
    labels: Vec<u16>,
    classes: usize,
}

/// Bytes in memory, or in a file that is mapped into it.
#[derive(Debug, Clone)]
enum Bytes {
    Owned(Vec<u8>),
    Mapped(Arc<Mmap>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

/// Where an image lies among the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    start: usize,
    width: usize,
    height: usize,
}

/// An image in memory, or a part of one.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Values of a pixel: 1, gray, or 3, red, green and blue.
    pub channels: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Columns of the whole image, from one row to the next.
    pub stride: usize,
    /// Values from the first pixel to the last, row by row, those of a pixel side by side.
    pub pixels: &'a [u8],
}

impl<'a> Frame<'a> {
    /// A whole image.
    pub fn new(channels: usize, width: usize, height: usize, pixels: &'a [u8]) -> Self {
        Self { channels, width, height, stride: width, pixels }
    }

    /// Number of values from the first pixel to the last.
    pub fn len(&self) -> usize {
        match self.height.checked_sub(1) {
            Some(before) => self.channels * (before * self.stride + self.width),
            None => 0,
        }
    }

    /// Whether there is no pixel.
    pub fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// Appends the values of all rows, and none between them.
    pub fn append_to(&self, values: &mut Vec<u8>) {
        let length = self.channels * self.width;
        for row in self.pixels.chunks((self.channels * self.stride).max(1)) {
            values.extend_from_slice(&row[..length.min(row.len())]);
        }
    }

    /// The part of `width` columns from `left` on and `height` rows from `top` on; all of it where it has no such part.
    #[must_use]
    pub fn part(&self, left: usize, top: usize, width: usize, height: usize) -> Self {
        let part = Self { width, height, ..*self };
        let start = self.channels * (top * self.stride + left);
        let fits = !part.is_empty() && left + width <= self.width && top + height <= self.height;
        match self.pixels.get(start..start + part.len()).filter(|_| fits) {
            Some(pixels) => Self { pixels, ..part },
            None => *self,
        }
    }
}

impl LabelledImages {
    /// No images yet, gray ones of `classes` classes.
    pub fn of_classes(classes: usize) -> Self {
        Self::of_channels(1, classes)
    }

    /// No images yet, of 1 or 3 channels and `classes` classes.
    pub fn of_channels(channels: usize, classes: usize) -> Self {
        Self { channels, pixels: Bytes::Owned(Vec::new()), places: Vec::new(), labels: Vec::new(), classes }
    }

    /// No images yet, which lie in a file that is mapped.
    pub(super) fn mapped(channels: usize, classes: usize, pixels: Arc<Mmap>) -> Self {
        Self { pixels: Bytes::Mapped(pixels), ..Self::of_channels(channels, classes) }
    }

    /// Adds an image that begins at the byte `start` of the file that is mapped.
    pub(super) fn push_mapped(&mut self, start: usize, width: usize, height: usize, label: u16) {
        self.places.push(Place { start, width, height });
        self.labels.push(label);
    }

    /// Joins images with their labels.
    ///
    /// # Errors
    /// [`DataError::Counts`] and [`DataError::Label`], with `files` (images, labels) named in them.
    pub fn new(images: Idx<3>, labels: Idx<1>, classes: usize, files: [&Path; 2]) -> Result<Self, DataError> {
        let [count, height, width] = images.dimensions();
        let labels: Vec<u16> = labels.into_elements().into_iter().map(u16::from).collect();
        if labels.len() != count {
            return Err(DataError::Counts {
                images: files[0].to_path_buf(),
                image_count: count,
                labels: files[1].to_path_buf(),
                label_count: labels.len(),
            });
        }
        if let Some(index) = labels.iter().position(|&label| usize::from(label) >= classes) {
            return Err(DataError::Label {
                path: files[1].to_path_buf(),
                index,
                label: labels[index],
                last: classes.saturating_sub(1),
            });
        }
        let places = (0..count).map(|index| Place { start: index * width * height, width, height }).collect();
        Ok(Self { channels: 1, pixels: Bytes::Owned(images.into_elements()), places, labels, classes })
    }

    /// Adds an image of `width` columns: its values, row by row, those of a pixel side by side.
    ///
    /// # Panics
    /// Where the pixels are not whole rows, or `label` is none of the classes.
    pub fn push(&mut self, width: usize, pixels: &[u8], label: u16) {
        let row = width * self.channels;
        assert!(width > 0 && pixels.len().is_multiple_of(row), "{} values in rows of {row}", pixels.len());
        assert!(usize::from(label) < self.classes, "label {label} of {} classes", self.classes);
        let place = Place { start: self.pixels.len(), width, height: pixels.len() / row };
        match &mut self.pixels {
            Bytes::Owned(all) => all.extend_from_slice(pixels),
            // What a file holds stays as it is.
            Bytes::Mapped(all) => self.pixels = Bytes::Owned([all, pixels].concat()),
        }
        self.places.push(place);
        self.labels.push(label);
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of classes; every label is less than that.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Values of a pixel: 1, gray, or 3, red, green and blue.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// One image, with its size.
    ///
    /// # Panics
    /// As [`image`](Self::image).
    pub fn frame(&self, index: usize) -> Frame<'_> {
        let (width, height) = self.size(index);
        Frame::new(self.channels, width, height, self.image(index))
    }

    /// Width and height of one image in pixels.
    ///
    /// # Panics
    /// As [`image`](Self::image).
    pub fn size(&self, index: usize) -> (usize, usize) {
        let Place { width, height, .. } = self.places[index];
        (width, height)
    }

    /// The `width × height` pixels of one image, row by row, the values of each side by side.
    ///
    /// # Panics
    /// Where `index` is not less than [`len`](Self::len), as indexing a slice does.
    pub fn image(&self, index: usize) -> &[u8] {
        let Place { start, width, height } = self.places[index];
        &self.pixels[start..][..width * height * self.channels]
    }

    /// Adds the images, their sizes and labels to a digest.
    pub(super) fn digest(&self, digest: &mut Sha256) {
        for (index, label) in self.labels.iter().enumerate() {
            let (width, height) = self.size(index);
            digest.update(u64::from(*label).to_le_bytes());
            digest.update((width as u64).to_le_bytes());
            digest.update((height as u64).to_le_bytes());
            digest.update(self.image(index));
        }
    }

    /// The labels of all images.
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }
}

/// Sets are equal if their images and labels are, wherever they lie.
impl PartialEq for LabelledImages {
    fn eq(&self, other: &Self) -> bool {
        let same = |index| self.size(index) == other.size(index) && self.image(index) == other.image(index);
        (self.channels, self.classes) == (other.channels, other.classes)
            && self.labels == other.labels
            && (0..self.len()).all(same)
    }
}

impl Eq for LabelledImages {}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(images: u32, labels: Vec<u8>) -> Result<LabelledImages, DataError> {
        LabelledImages::new(
            Idx::new([images, 2, 3], vec![9; 6 * images as usize]).unwrap(),
            Idx::new([labels.len() as u32], labels).unwrap(),
            10,
            [Path::new("the-images"), Path::new("the-labels")],
        )
    }

    #[test]
    fn images_come_with_their_labels() {
        let images = labelled(2, vec![0, 9]).unwrap();
        assert_eq!((images.len(), images.size(1), images.classes()), (2, (3, 2), 10));
        assert_eq!(images.labels(), [0, 9]);
        assert_eq!(images.image(1), [9; 6]);
    }

    #[test]
    fn a_digest_tells_images_apart() {
        let digest = |images: &LabelledImages| {
            let mut digest = Sha256::new();
            images.digest(&mut digest);
            digest.finalize()
        };
        let (one, two) = (labelled(2, vec![0, 9]).unwrap(), labelled(2, vec![0, 8]).unwrap());
        assert_eq!(digest(&one), digest(&one.clone()));
        assert_ne!(digest(&one), digest(&two));
    }

    #[test]
    fn each_image_has_its_own_size() {
        let mut images = LabelledImages::of_classes(3);
        images.push(3, &[1; 6], 2);
        images.push(1, &[2; 4], 0);
        images.push(2, &[3; 2], 1);
        assert_eq!((0..3).map(|index| images.size(index)).collect::<Vec<_>>(), [(3, 2), (1, 4), (2, 1)]);
        assert_eq!((images.image(0), images.image(1), images.image(2)), (&[1; 6][..], &[2; 4][..], &[3; 2][..]));
        assert_eq!(images.labels(), [2, 0, 1]);
    }

    #[test]
    fn a_part_of_a_frame_has_its_rows() {
        let mut images = LabelledImages::of_channels(3, 1);
        images.push(4, &(0..60).collect::<Vec<_>>(), 0);
        let frame = images.frame(0);
        assert_eq!((images.channels(), images.size(0), frame.len()), (3, (4, 5), 60));
        let part = frame.part(1, 2, 2, 3);
        assert_eq!((part.width, part.height, part.pixels[0], part.pixels.last()), (2, 3, 27, Some(&56)));
        assert_eq!(part.len(), part.pixels.len());
        // There is no such part.
        for (left, top, width, height) in [(3, 0, 2, 1), (0, 4, 1, 2), (0, 0, 0, 1)] {
            assert_eq!(frame.part(left, top, width, height).pixels.len(), 60);
        }
    }

    #[test]
    fn labels_that_do_not_fit_are_refused_by_name() {
        assert_eq!(
            labelled(3, vec![1, 2]).unwrap_err().to_string(),
            "the-images holds 3 images, but the-labels holds 2 labels"
        );
        assert_eq!(
            labelled(3, vec![1, 10, 2]).unwrap_err().to_string(),
            "the-labels: label 10 of image 1 is out of range: expected 0 to 9"
        );
    }
}
