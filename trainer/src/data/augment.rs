//! Training images changed at random, so that a network sees new ones in every epoch. What happens to an image follows
//! from the seed, the epoch and the image's place in the data set, whoever prepares it and in whatever order.

use rand::{Rng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use super::{
    Frame,
    colour::{Colours, Shares},
};
use crate::random;

/// Augmentation of training images, but for their colours before they are resized to the network's input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Whether images are mirrored, left to right, each in every second epoch: half of them in the odd ones, the others in the even
    /// ones.
    ///
    /// Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, section 3.6: a network learns more from both sides of
    /// each image by turns than from sides drawn at random.
    pub flip: bool,
    /// The most pixels by which an image is moved in each direction; black comes in from the border. The same as padding by
    /// so many pixels and cropping at random.
    pub shift: usize,
    /// The most that is added to or taken from all values of a gray image, as a share of white; the most by which those of one in colour
    /// grow or shrink, as a share of them.
    pub brightness: f32,
    /// The most by which differences from the image's mean grow or shrink, as a share of them.
    pub contrast: f32,
    /// The most by which differences of colours from gray grow or shrink, as a share of them. Gray images have none.
    pub saturation: f32,
    /// The most by which hues turn, 0 to 0.5 of a turn.
    pub hue: f32,
    /// Standard deviation of the light that is added along the principal components of ImageNet's colours; 0.1 in AlexNet's paper.
    pub lighting: f32,
    /// Least share of an image's area that a random crop has, which becomes the network's input, its sides 3:4 to 4:3; 0 where
    /// images are not cropped at random. 0.08 in torchvision's `RandomResizedCrop`.
    pub random_crop: f32,
    /// Share of the images in which a rectangle is made black: 2 to 33 % of the area, the sides 0.3 to 3.3 to each other.
    ///
    /// Zhong et al., "Random erasing data augmentation", 2020, algorithm 1.
    pub erase: f32,
}

/// Draws for a rectangle that does not fit before none is made.
const ERASE_ATTEMPTS: usize = 10;

/// Draws for a crop that does not fit before the middle is taken.
const CROP_ATTEMPTS: usize = 10;

impl Augmentation {
    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it changes colours, which gray images do not have.
    pub fn colours(&self) -> bool {
        (self.saturation, self.hue, self.lighting) != (0.0, 0.0, 0.0)
    }

    /// Draws the changes in `epoch` to the image at `position` of the data set.
    pub fn draw(&self, seed: u64, epoch: usize, position: usize, frame: &Frame<'_>) -> Changes {
        let Frame { channels, width, height, .. } = *frame;
        let mut random = random::generator(seed, b"augments", epoch as u64, position as u64);
        let flip =
            self.flip && random::generator(seed, b"mirrored", 0, position as u64).r#gen::<bool>() ^ (epoch % 2 == 1);
        // Everything is drawn, used or not, so that one option does not change what another does.
        let mut offset = || random.gen_range(-1.0_f64..1.0);
        let [right, down] = [offset(), offset()].map(|offset| (offset * (self.shift as f64 + 0.5)).round() as i32);
        let brightness = self.brightness * 255.0 * random.gen_range(-1.0..1.0);
        let contrast = 1.0 + self.contrast * random.gen_range(-1.0..1.0_f32);
        let erase = random.gen_range(0.0..1.0_f32) < self.erase;
        let erased = if erase { draw_rectangle(width, height, &mut random) } else { None };
        let crop = (self.random_crop > 0.0).then(|| {
            let mut random = random::generator(seed, b"cropping", epoch as u64, position as u64);
            draw_crop(self.random_crop.into(), width, height, &mut random)
        });
        let changes = Changes { flip, right, down, brightness, contrast, erased, crop, colours: None };
        if channels == 1 {
            return changes;
        }
        let shares = Shares {
            brightness: self.brightness,
            contrast: self.contrast,
            saturation: self.saturation,
            hue: self.hue,
            lighting: self.lighting,
        };
        let colours = Colours::draw(shares, &mut random::generator(seed, b"coloured", epoch as u64, position as u64));
        Changes { brightness: 0.0, contrast: 1.0, colours: Some(colours), ..changes }
    }
}

/// Changes to one image, in this order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Changes {
    /// Whether it is mirrored, left to right.
    pub flip: bool,
    /// Pixels by which it is moved to the right; black comes in.
    pub right: i32,
    /// Pixels by which it is moved down; black comes in.
    pub down: i32,
    /// Value that is added to all pixels, in steps of 1/255 of white.
    pub brightness: f32,
    /// Factor of the differences from the mean of the values, which is the image's after it was moved.
    pub contrast: f32,
    /// Rectangle that is made black.
    pub erased: Option<Rectangle>,
    /// Rectangle that becomes the network's input.
    pub crop: Option<Rectangle>,
    /// Colours of that input.
    pub colours: Option<Colours>,
}

/// A part of an image, within it and not empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rectangle {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Height.
    pub rows: usize,
    /// Width.
    pub columns: usize,
}

impl Changes {
    /// No change.
    pub const NONE: Self = Self {
        flip: false,
        right: 0,
        down: 0,
        brightness: 0.0,
        contrast: 1.0,
        erased: None,
        crop: None,
        colours: None,
    };

    /// The image mirrored, left to right.
    pub const MIRRORED: Self = Self { flip: true, ..Self::NONE };

    /// Changes the pixels of an image for which this was drawn, whose sizes `frame` has: all that comes before the crop.
    pub fn apply(&self, frame: &Frame<'_>, pixels: &mut [u8]) {
        let Frame { channels, width, height, .. } = *frame;
        let row = (width * channels).max(1);
        if self.flip {
            for row in pixels.chunks_exact_mut(row) {
                row.reverse();
                if channels > 1 {
                    row.chunks_exact_mut(channels).for_each(<[u8]>::reverse);
                }
            }
        }
        if (self.right, self.down) != (0, 0) {
            shift(pixels, frame, self.right as isize, self.down as isize);
        }
        if self.brightness != 0.0 || self.contrast != 1.0 {
            let mean = pixels.iter().map(|&value| u64::from(value)).sum::<u64>() as f32 / pixels.len().max(1) as f32;
            for value in pixels.iter_mut() {
                // A cast from float to integer stops at both ends.
                *value = ((f32::from(*value) - mean) * self.contrast + mean + self.brightness).round() as u8;
            }
        }
        if let Some(Rectangle { top, left, rows, columns }) = self.erased.filter(|_| height > 0) {
            for values in pixels.chunks_exact_mut(row).skip(top).take(rows) {
                values[channels * left..channels * (left + columns)].fill(0);
            }
        }
    }
}

/// Moves an image to the right by `x` and down by `y`.
fn shift(pixels: &mut [u8], frame: &Frame<'_>, x: isize, y: isize) {
    let Frame { channels, width, height, .. } = *frame;
    let source = pixels.to_vec();
    for (row, values) in pixels.chunks_exact_mut((width * channels).max(1)).enumerate() {
        let row = row.checked_add_signed(-y).filter(|row| *row < height);
        for (column, pixel) in values.chunks_exact_mut(channels.max(1)).enumerate() {
            let column = column.checked_add_signed(-x).filter(|column| *column < width);
            match row.zip(column) {
                Some((row, column)) => pixel.copy_from_slice(&source[(row * width + column) * channels..][..channels]),
                None => pixel.fill(0),
            }
        }
    }
}

/// A random crop of at least that share of the area: as torchvision's `RandomResizedCrop`, the middle where none of some fits.
fn draw_crop(least: f64, width: usize, height: usize, random: &mut StdRng) -> Rectangle {
    let (narrowest, widest) = (3.0 / 4.0, 4.0 / 3.0_f64);
    for _ in 0..CROP_ATTEMPTS {
        let area = (width * height) as f64 * (least + (1.0 - least) * random.gen_range(0.0..1.0));
        let aspect = random.gen_range(f64::ln(narrowest)..widest.ln()).exp();
        let [columns, rows] = [(area * aspect).sqrt(), (area / aspect).sqrt()].map(|side| side.round() as usize);
        if (1..=width).contains(&columns) && (1..=height).contains(&rows) {
            let (top, left) = (random.gen_range(0..=height - rows), random.gen_range(0..=width - columns));
            return Rectangle { top, left, rows, columns };
        }
    }
    let (wide, high) = (width as f64, height as f64);
    let (columns, rows) = match wide / high {
        ratio if ratio < narrowest => (width, ((wide / narrowest).round() as usize).clamp(1, height)),
        ratio if ratio > widest => (((high * widest).round() as usize).clamp(1, width), height),
        _ => (width, height),
    };
    Rectangle { top: (height - rows) / 2, left: (width - columns) / 2, rows, columns }
}

/// A random rectangle within an image; none where none of some fits.
fn draw_rectangle(width: usize, height: usize, random: &mut StdRng) -> Option<Rectangle> {
    let log_aspect = 3.3_f64.ln();
    for _ in 0..ERASE_ATTEMPTS {
        let area = (width * height) as f64 * random.gen_range(0.02..0.33);
        let aspect = random.gen_range(-log_aspect..log_aspect).exp();
        let [rows, columns] = [(area * aspect).sqrt(), (area / aspect).sqrt()].map(|side| side.round() as usize);
        if rows == 0 || columns == 0 || rows > height || columns > width {
            continue;
        }
        let (top, left) = (random.gen_range(0..=height - rows), random.gen_range(0..=width - columns));
        return Some(Rectangle { top, left, rows, columns });
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: (usize, usize) = (6, 5);

    /// No value twice, none black.
    fn image() -> Vec<u8> {
        (0..30).map(|i| 50 + 7 * i).collect()
    }

    fn changed(augmentation: Augmentation, seed: u64, epoch: usize, position: usize) -> Vec<u8> {
        let mut changed = image();
        let pixels = image();
        let frame = Frame::new(1, SIZE.0, SIZE.1, &pixels);
        augmentation.draw(seed, epoch, position, &frame).apply(&frame, &mut changed);
        changed
    }

    fn all() -> Augmentation {
        Augmentation { flip: true, shift: 2, brightness: 0.2, contrast: 0.2, erase: 0.5, ..Augmentation::default() }
    }

    proptest! {
        #[test]
        fn nothing_changes_where_nothing_is_asked_for(seed: u64, epoch in 1_usize..100, position in 0_usize..60_000) {
            prop_assert_eq!(changed(Augmentation::default(), seed, epoch, position), image());
            prop_assert_eq!(changed(all(), seed, epoch, position), changed(all(), seed, epoch, position));
        }

        #[test]
        fn a_shift_keeps_what_stays_inside(seed: u64) {
            let shifted = changed(Augmentation { shift: 2, ..Augmentation::default() }, seed, 1, 1);
            let fits = |x: isize, y: isize| {
                (0..5).all(|row| (0..6).all(|column| {
                    let (from_row, from_column) = (row - y, column - x);
                    let inside = (0..5).contains(&from_row) && (0..6).contains(&from_column);
                    let expected = if inside { image()[(from_row * 6 + from_column) as usize] } else { 0 };
                    shifted[(row * 6 + column) as usize] == expected
                }))
            };
            let offsets = (-2..=2).flat_map(|y| (-2..=2).map(move |x| (x, y)));
            prop_assert_eq!(offsets.filter(|(x, y)| fits(*x, *y)).count(), 1);
        }

        #[test]
        fn erasing_makes_one_black_rectangle(seed: u64) {
            let erased = changed(Augmentation { erase: 1.0, ..Augmentation::default() }, seed, 1, 1);
            let black: Vec<(usize, usize)> = (0..30).filter(|i| erased[*i] == 0).map(|i| (i / 6, i % 6)).collect();
            prop_assert!((0..30).all(|i| erased[i] == 0 || erased[i] == image()[i]));
            let span = |values: Vec<usize>| values.iter().max().unwrap() - values.iter().min().unwrap() + 1;
            if !black.is_empty() {
                let rows = span(black.iter().map(|(row, _)| *row).collect());
                let columns = span(black.iter().map(|(_, column)| *column).collect());
                prop_assert_eq!(rows * columns, black.len());
            }
        }
    }

    #[test]
    fn colours_move_as_their_pixels_do() {
        // Each plane is changed as a gray image is.
        let gray = image();
        let colour: Vec<u8> = gray.iter().flat_map(|value| [*value, *value + 1, *value + 2]).collect();
        let moves = Augmentation { brightness: 0.0, contrast: 0.0, ..all() };
        for position in 0..50 {
            let frame = Frame::new(3, SIZE.0, SIZE.1, &colour);
            let mut found = colour.clone();
            moves.draw(1, 1, position, &frame).apply(&frame, &mut found);
            let expected = changed(moves, 1, 1, position);
            let raised = |value: &u8, by: u8| if *value == 0 { 0 } else { value + by };
            let expected: Vec<u8> = expected.iter().flat_map(|value| [0, 1, 2].map(|by| raised(value, by))).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn crops_are_of_every_size_and_place_that_is_asked_for() {
        let crops = Augmentation { random_crop: 0.08, ..Augmentation::default() };
        let draw =
            |width, height, position| crops.draw(1, 1, position, &Frame::new(1, width, height, &[])).crop.unwrap();
        let drawn: Vec<_> = (0..3000).map(|position| draw(400, 300, position)).collect();
        let shares: Vec<f64> = drawn.iter().map(|crop| (crop.rows * crop.columns) as f64 / 120_000.0).collect();
        let mean = shares.iter().sum::<f64>() / 3000.0;
        // Uniform from 0.08 to 1, but for those that do not fit, which are large ones.
        assert!(shares.iter().all(|share| (0.079..=1.0).contains(share)) && (0.42..0.54).contains(&mean), "{mean}");
        for Rectangle { top, left, rows, columns } in drawn {
            let ratio = columns as f64 / rows as f64;
            assert!(left + columns <= 400 && top + rows <= 300 && (0.74..1.35).contains(&ratio), "{ratio}");
        }
        // Too long for any of the ratios and sizes: the middle of the greatest one.
        let whole = Augmentation { random_crop: 1.0, ..Augmentation::default() };
        let crop = |width, height| whole.draw(1, 1, 1, &Frame::new(1, width, height, &[])).crop.unwrap();
        assert_eq!(crop(1000, 30), Rectangle { top: 0, left: 480, rows: 30, columns: 40 });
        assert_eq!(crop(30, 1000), Rectangle { top: 480, left: 0, rows: 40, columns: 30 });
        assert_eq!(crop(1, 1), Rectangle { top: 0, left: 0, rows: 1, columns: 1 });
    }

    #[test]
    fn everything_that_it_follows_from_matters() {
        let first = changed(all(), 1, 1, 1);
        for other in [changed(all(), 2, 1, 1), changed(all(), 1, 2, 1), changed(all(), 1, 1, 2)] {
            assert_ne!(first, other);
        }
    }

    fn mirrored_image() -> Vec<u8> {
        image().chunks(6).flat_map(|row| row.iter().rev().copied()).collect()
    }

    #[test]
    fn half_of_the_images_are_mirrored_by_turns_and_every_shift_comes_about() {
        let flip = Augmentation { flip: true, ..Augmentation::default() };
        let flips = |epoch| (0..1000).map(move |position| changed(flip, 3, epoch, position) == mirrored_image());
        let count = flips(1).filter(|mirrored| *mirrored).count();
        assert!((420..580).contains(&count), "{count}");
        assert!(flips(1).zip(flips(2)).all(|(odd, even)| odd != even));
        assert!(flips(1).eq(flips(3)));
        let shift = Augmentation { shift: 1, ..Augmentation::default() };
        let mut shifts = std::collections::BTreeMap::<_, usize>::new();
        (0..900).for_each(|position| *shifts.entry(changed(shift, 3, 1, position)).or_default() += 1);
        assert!(shifts.len() == 9 && shifts.values().all(|count| (60..150).contains(count)), "{:?}", shifts.values());
    }

    #[test]
    fn brightness_and_contrast_stop_at_black_and_white() {
        let light = Augmentation { brightness: 1.0, contrast: 1.0, ..Augmentation::default() };
        let images: Vec<u8> = (0..100).flat_map(|position| changed(light, 3, 1, position)).collect();
        assert!(images.contains(&0) && images.contains(&255));
    }
}
