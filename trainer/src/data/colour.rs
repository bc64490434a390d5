//! Colours of training images changed at random, as torchvision's `ColorJitter` does it and as the authors of AlexNet did
//! ("ImageNet classification with deep convolutional neural networks", 2012, section 4.1).
//!
//! Every operation on floats is rounded by itself and sums are whole numbers, so that the bits do not depend on who computes them.

use rand::{Rng, rngs::StdRng, seq::SliceRandom};
use rand_distr::StandardNormal;

/// Principal components of the colours of ImageNet's photographs: a column for each, red to blue.
const COMPONENTS: [[f32; 3]; 3] = [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]];

/// Their variances, of values from 0 to 1.
const VARIANCES: [f32; 3] = [0.2175, 0.0188, 0.0045];

/// Units of the sum of an image's luma: fine enough for f32, and coarse enough for 2⁴⁰ pixels.
pub(crate) const UNITS: u32 = 1 << 22;

/// Most that colours change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// Of the brightness, up or down.
    pub brightness: f32,
    /// Of the contrast.
    pub contrast: f32,
    /// Of the saturation.
    pub saturation: f32,
    /// Of a turn of the hue, 0 to 0.5.
    pub hue: f32,
    /// Standard deviation of the factors of the principal components of colours, 0.1 in the paper.
    pub lighting: f32,
}

/// Change of an image's colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// All values by this factor.
    Brightness(f32),
    /// Differences from the image's mean luma by this factor.
    Contrast(f32),
    /// Differences from each pixel's luma by this factor.
    Saturation(f32),
    /// Hues turned by so many turns, −0.5 to 0.5.
    Hue(f32),
}

impl Step {
    /// Whether it changes nothing.
    pub fn is_none(self) -> bool {
        matches!(self, Self::Brightness(1.0) | Self::Contrast(1.0) | Self::Saturation(1.0) | Self::Hue(0.0))
    }
}

/// Changes of the colours of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colours {
    /// One behind the other, each limited to 0 to 1.
    pub steps: [Step; 4],
    /// Value that is added to red, green and blue, last.
    pub light: [f32; 3],
}

impl Colours {
    /// Draws changes. Everything is drawn, used or not, so that one option does not change what another does.
    pub(super) fn draw(shares: Shares, random: &mut StdRng) -> Self {
        let mut factor = |share: f32| {
            let least = (1.0 - share).max(0.0);
            least + (1.0 + share - least) * random.gen_range(0.0..1.0_f32)
        };
        let mut steps = [
            Step::Brightness(factor(shares.brightness)),
            Step::Contrast(factor(shares.contrast)),
            Step::Saturation(factor(shares.saturation)),
            Step::Hue(shares.hue * random.gen_range(-1.0..1.0_f32)),
        ];
        steps.shuffle(random);
        let factors: [f32; 3] = std::array::from_fn(|_| shares.lighting * random.sample::<f32, _>(StandardNormal));
        let light = COMPONENTS.map(|component| {
            let parts = component.iter().zip(factors).zip(VARIANCES);
            parts.fold(0.0, |sum, ((component, factor), variance)| sum + component * factor * variance)
        });
        Self { steps, light }
    }

    /// Changes an image of three planes, one behind the other, from 0 to 1.
    pub fn apply(&self, image: &mut [f32]) {
        let plane = image.len() / 3;
        let (red, rest) = image.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        for step in self.steps.into_iter().filter(|step| !step.is_none()) {
            let mean = match step {
                Step::Contrast(_) => mean_luma(red, green, blue),
                _ => 0.0,
            };
            let change: &dyn Fn([f32; 3]) -> [f32; 3] = match step {
                Step::Brightness(factor) => &move |pixel| pixel.map(|value| blend(value, 0.0, factor)),
                Step::Contrast(factor) => &move |pixel| pixel.map(|value| blend(value, mean, factor)),
                Step::Saturation(factor) => &move |pixel| pixel.map(|value| blend(value, luma(pixel), factor)),
                Step::Hue(turns) => &move |pixel| turned(pixel, turns),
            };
            for ((red, green), blue) in red.iter_mut().zip(&mut *green).zip(&mut *blue) {
                [*red, *green, *blue] = change([*red, *green, *blue]);
            }
        }
        for (values, light) in [red, green, blue].into_iter().zip(self.light) {
            values.iter_mut().for_each(|value| *value += light);
        }
    }
}

/// A mixture of two values, or what lies beyond the first, from 0 to 1.
fn blend(value: f32, other: f32, factor: f32) -> f32 {
    (factor * value + (1.0 - factor) * other).clamp(0.0, 1.0)
}

/// Luma with torchvision's factors.
fn luma([red, green, blue]: [f32; 3]) -> f32 {
    0.2989 * red + 0.587 * green + 0.114 * blue
}

/// Mean of the pixels' luma, each rounded to whole [`UNITS`].
fn mean_luma(red: &[f32], green: &[f32], blue: &[f32]) -> f32 {
    let pixels = red.iter().zip(green).zip(blue);
    let sum: u64 = pixels.map(|((red, green), blue)| (luma([*red, *green, *blue]) * UNITS as f32).round() as u64).sum();
    (sum as f64 / red.len().max(1) as f64) as f32 / UNITS as f32
}

/// A pixel with its hue turned, by way of hue, saturation and value.
fn turned([red, green, blue]: [f32; 3], turns: f32) -> [f32; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let range = most - least;
    if range == 0.0 {
        return [red, green, blue];
    }
    let saturation = range / most;
    let [from_red, from_green, from_blue] = [red, green, blue].map(|value| (most - value) / range);
    let sixths = if most == red {
        from_blue - from_green
    } else if most == green {
        2.0 + from_red - from_blue
    } else {
        4.0 + from_green - from_red
    };
    let hue = (sixths / 6.0 + 1.0).rem_euclid(1.0);
    let hue = (hue + turns).rem_euclid(1.0);
    let sector = (hue * 6.0).floor();
    let within = hue * 6.0 - sector;
    let share = |part: f32| (most * (1.0 - saturation * part)).clamp(0.0, 1.0);
    let (low, falling, rising) = (share(1.0), share(within), share(1.0 - within));
    match sector as u8 % 6 {
        0 => [most, rising, low],
        1 => [falling, most, low],
        2 => [low, most, rising],
        3 => [low, falling, most],
        4 => [rising, low, most],
        _ => [most, low, falling],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    const NOTHING: Shares = Shares { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0, lighting: 0.0 };

    #[rustfmt::skip]
    #[test]
    fn steps_are_torchvisions() {
        const PIXELS: [[u8; 3]; 9] = [
            [0, 0, 0], [255, 255, 255], [255, 0, 0], [10, 200, 30], [12, 34, 250], [90, 90, 90], [250, 240, 10], [130, 7, 99], [3, 180, 181],
        ];
        // From tests/pytorch/colours.py with torchvision 0.24.1.
        let cases: &[(&[Step], [f64; 27])] = &[
            (&[Step::Brightness(0.6)], [0.0, 0.6, 0.6, 0.0235294, 0.0282353, 0.211765, 0.588235, 0.305882, 0.00705882, 0.0, 0.6, 0.0, 0.470588, 0.08, 0.211765, 0.564706, 0.0164706, 0.423529, 0.0, 0.6, 0.0, 0.0705882, 0.588235, 0.211765, 0.0235294, 0.232941, 0.425882]),
            (&[Step::Brightness(1.4)], [0.0, 1.0, 1.0, 0.054902, 0.0658824, 0.494118, 1.0, 0.713726, 0.0164706, 0.0, 1.0, 0.0, 1.0, 0.186667, 0.494118, 1.0, 0.0384314, 0.988235, 0.0, 1.0, 0.0, 0.164706, 1.0, 0.494118, 0.054902, 0.543529, 0.993725]),
            (&[Step::Contrast(0.5)], [0.216825, 0.716825, 0.716825, 0.236433, 0.240354, 0.393296, 0.707021, 0.471727, 0.222707, 0.216825, 0.716825, 0.216825, 0.608982, 0.283492, 0.393296, 0.687413, 0.23055, 0.569766, 0.216825, 0.716825, 0.216825, 0.275649, 0.707021, 0.393296, 0.236433, 0.410943, 0.571727]),
            (&[Step::Contrast(1.7)], [0.0, 1.0, 1.0, 0.0, 0.0, 0.296445, 1.0, 0.563112, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.296445, 1.0, 0.0, 0.896445, 0.0, 1.0, 0.0, 0.0, 1.0, 0.296445, 0.0, 0.356445, 0.903112]),
            (&[Step::Saturation(0.3)], [0.0, 0.99993, 0.50923, 0.351633, 0.156986, 0.352916, 0.889104, 0.301868, 0.35268, 0.0, 0.99993, 0.20923, 0.575162, 0.182868, 0.352916, 0.877339, 0.157162, 0.560916, 0.0, 0.99993, 0.20923, 0.375162, 0.436986, 0.352916, 0.606751, 0.265398, 0.562092]),
            (&[Step::Saturation(1.8)], [0.0, 1.0, 1.0, 0.0, 0.0, 0.352969, 1.0, 0.747445, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0767222, 0.352969, 1.0, 0.0, 0.871559, 0.0, 1.0, 0.0, 0.0, 1.0, 0.352969, 0.0, 0.528621, 0.878617]),
            (&[Step::Hue(0.1)], [0.0, 1.0, 1.0, 0.0392157, 0.520785, 0.352941, 0.454902, 0.509804, 0.0117647, 0.0, 1.0, 0.6, 0.784314, 0.0470588, 0.352941, 0.980392, 0.027451, 0.287059, 0.0, 1.0, 0.0, 0.564706, 0.980392, 0.352941, 0.0392157, 0.0988235, 0.709804]),
            (&[Step::Hue(-0.45)], [0.0, 1.0, 0.0, 0.784314, 0.786666, 0.352941, 0.282353, 0.027451, 0.709804, 0.0, 1.0, 0.7, 0.0392157, 0.980392, 0.352941, 0.0392157, 0.509804, 0.225098, 0.0, 1.0, 1.0, 0.482353, 0.0470588, 0.352941, 0.980392, 0.293725, 0.0117647]),
            (&[Step::Hue(0.25), Step::Contrast(1.3), Step::Saturation(0.7), Step::Brightness(1.2)], [0.0, 1.0, 0.700999, 0.0997909, 0.974147, 0.390682, 0.230958, 0.580792, 0.355413, 0.0, 1.0, 1.0, 0.351865, 0.134147, 0.390682, 1.0, 0.45018, 0.0690802, 0.0, 1.0, 0.266925, 0.844335, 0.67742, 0.390682, 0.632915, 0.136012, 0.73226]),
        ];
        for (steps, expected) in cases {
            let mut image: Vec<f32> =
                (0..3).flat_map(|channel| PIXELS.map(|pixel| f32::from(pixel[channel]) / 255.0)).collect();
            let mut all = [Step::Brightness(1.0); 4];
            all.iter_mut().zip(*steps).for_each(|(step, given)| *step = *given);
            Colours { steps: all, light: [0.0; 3] }.apply(&mut image);
            for (found, expected) in image.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 2e-6, "{steps:?}: {found} is not {expected}");
            }
        }
    }

    #[test]
    fn what_is_not_asked_for_changes_nothing() {
        let image: Vec<f32> = (0..300_u16).map(|value| f32::from(value) / 299.0).collect();
        for position in 0..100 {
            let mut changed = image.clone();
            Colours::draw(NOTHING, &mut random::generator(1, b"coloured", 1, position)).apply(&mut changed);
            assert_eq!(changed, image);
        }
    }

    #[test]
    fn changes_are_drawn_from_their_ranges_in_all_orders() {
        let shares = Shares { brightness: 0.4, contrast: 2.0, saturation: 0.3, hue: 0.1, lighting: 0.1 };
        let drawn: Vec<_> = (0..2000)
            .map(|position| Colours::draw(shares, &mut random::generator(1, b"coloured", 1, position)))
            .collect();
        let mut ranges = [(f32::MAX, f32::MIN); 4];
        let mut first = [0; 4];
        for colours in &drawn {
            for (place, step) in colours.steps.iter().enumerate() {
                let (kind, factor) = match *step {
                    Step::Brightness(factor) => (0, factor),
                    Step::Contrast(factor) => (1, factor),
                    Step::Saturation(factor) => (2, factor),
                    Step::Hue(turns) => (3, turns),
                };
                ranges[kind] = (ranges[kind].0.min(factor), ranges[kind].1.max(factor));
                first[kind] += usize::from(place == 0);
            }
        }
        let expected = [(0.6, 1.4), (0.0, 3.0), (0.7, 1.3), (-0.1, 0.1)];
        for ((least, most), (from, to)) in ranges.into_iter().zip(expected) {
            let near = (to - from) * 0.01;
            assert!(from <= least && least < from + near && most <= to && to - near < most, "{least} to {most}");
        }
        assert!(first.iter().all(|count| (420..580).contains(count)), "{first:?}");
        // What is added has the covariance of the components: for red Σ (component · 0.1 · variance)².
        let red: f32 = drawn.iter().map(|colours| colours.light[0].powi(2)).sum::<f32>() / 2000.0;
        let components = COMPONENTS[0].iter().zip(VARIANCES);
        let expected: f32 = components.map(|(component, variance)| (component * 0.1 * variance).powi(2)).sum();
        assert!((red / expected - 1.0).abs() < 0.1, "{red} is not {expected}");
    }
}
