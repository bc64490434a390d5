//! Kernels of training, for every backend of this CPU: the transforms make a convolution, each transpose is the transpose of
//! its transform, and poolings find the first of the largest values and carry gradients back to it.

use kernels::training::{MaxPool, MaxPoolGradient, Planes, PlanesMut, TrainingKernels};
use kernels::{Backend, ImageTile, LANES, Misfit, Tile};
use proptest::prelude::*;

/// Every backend of this CPU.
fn backends() -> Vec<&'static TrainingKernels> {
    let kernels: Vec<_> = Backend::ALL.iter().copied().filter_map(Backend::training).collect();
    assert!(!kernels.is_empty());
    kernels
}

/// Every size by every backend.
fn transforms() -> impl Iterator<Item = (&'static TrainingKernels, Tile)> {
    backends().into_iter().flat_map(|kernels| Tile::ALL.map(|tile| (kernels, tile)))
}

/// Deterministic values within ±1.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % (1 << 24)
    };
    (0..count).map(|_| next() as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn dot(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
}

/// Calls `write` with planes of `count` values and returns them, one behind the other.
fn planes(number: usize, count: usize, write: impl FnOnce(PlanesMut<'_, '_>) -> Result<(), Misfit>) -> Vec<f32> {
    let mut values = vec![f32::NAN; number * count];
    let mut planes: Vec<&mut [f32]> = values.chunks_exact_mut(count).collect();
    assert_eq!(write(PlanesMut { planes: &mut planes, offset: 0 }), Ok(()));
    values
}

fn read(values: &[f32], stride: usize) -> Planes<'_> {
    Planes { values, stride, offset: 0 }
}

/// An image and a tile of it, which may lie partly or wholly outside.
#[derive(Debug, Clone)]
struct Place {
    height: usize,
    width: usize,
    channels: usize,
    top: isize,
    left: isize,
}

fn place() -> impl Strategy<Value = Place> {
    (1..12_usize, 1..12_usize, 1..4_usize, -6..13_isize, -6..13_isize)
        .prop_map(|(height, width, blocks, top, left)| Place { height, width, channels: blocks * LANES, top, left })
}

impl Place {
    fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn window<'a>(&self, image: &'a [f32]) -> ImageTile<&'a [f32]> {
        let Self { height, width, channels, top, left } = *self;
        ImageTile { image, height, width, channels, top, left }
    }

    fn window_mut<'a>(&self, image: &'a mut [f32]) -> ImageTile<&'a mut [f32]> {
        let Self { height, width, channels, top, left } = *self;
        ImageTile { image, height, width, channels, top, left }
    }

    /// The value of a channel at a place of the tile; 0 outside of the image.
    fn value(&self, image: &[f32], i: usize, j: usize, channel: usize) -> f32 {
        let (y, x) = (self.top + i as isize, self.left + j as isize);
        let inside = (0..self.height as isize).contains(&y) && (0..self.width as isize).contains(&x);
        if inside { image[(y as usize * self.width + x as usize) * self.channels + channel] } else { 0.0 }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

    #[test]
    fn transforms_make_a_convolution(place in place(), seed: u64, relu: bool) {
        let channels = place.channels;
        let image = values(place.len(), seed);
        for (kernels, tile) in transforms() {
            let filters = values(tile.taps().pow(2) * channels, seed ^ 1);
            let bias = values(channels, seed ^ 2);
            let v = planes(tile.planes(), channels, |planes| kernels.input(tile, place.window(&image), planes));
            let u = planes(tile.planes(), channels, |planes| kernels.filter(tile, read(&filters, channels), planes, channels));
            let products: Vec<f32> = u.iter().zip(&v).map(|(u, v)| u * v).collect();
            let m = tile.outputs();
            let mut output = vec![f32::NAN; m * m * channels];
            let window = ImageTile { image: &mut output[..], height: m, width: m, channels, top: 0, left: 0 };
            prop_assert_eq!(kernels.output(tile, read(&products, channels), &bias, relu, window), Ok(()));
            for (index, found) in output.iter().enumerate() {
                let (i, j, channel) = (index / channels / m, index / channels % m, index % channels);
                let mut sum = f64::from(bias[channel]);
                for (k, l) in (0..tile.taps()).flat_map(|k| (0..tile.taps()).map(move |l| (k, l))) {
                    let filter = filters[(k * tile.taps() + l) * channels + channel];
                    sum += f64::from(place.value(&image, i + k, j + l, channel)) * f64::from(filter);
                }
                let expected = if relu { sum.max(0.0) } else { sum };
                prop_assert!((f64::from(*found) - expected).abs() < 3e-4, "{kernels:?} {tile:?}: {found} and {expected}");
            }
        }
    }

    /// `⟨T·x, y⟩ = ⟨x, Tᵀ·y⟩`, and what is added to stays.
    #[test]
    fn transposes_are_transposes(place in place(), seed: u64) {
        let channels = place.channels;
        let image = values(place.len(), seed);
        let close = |(kernels, tile): (&TrainingKernels, Tile), left: f64, right: f64, scale: f64| {
            assert!((left - right).abs() <= 1e-5 * scale.max(1.0), "{kernels:?} {tile:?}: {left} and {right}");
        };
        for (kernels, tile) in transforms() {
            let transformed_tile = values(tile.planes() * channels, seed ^ 3);
            let scale = |transformed: &[f32]| transformed.iter().zip(&transformed_tile).map(|(a, b)| f64::from((a * b).abs())).sum();

            let transformed = planes(tile.planes(), channels, |planes| kernels.input(tile, place.window(&image), planes));
            let mut back = image.clone();
            let added_to = place.window_mut(&mut back);
            prop_assert_eq!(kernels.input_transposed(tile, read(&transformed_tile, channels), added_to), Ok(()));
            let added: Vec<f32> = back.iter().zip(&image).map(|(back, image)| back - image).collect();
            close((kernels, tile), dot(&transformed, &transformed_tile), dot(&image, &added), scale(&transformed));

            let transformed =
                planes(tile.planes(), channels, |planes| kernels.output_transposed(tile, place.window(&image), planes));
            let mut back = vec![0.0; place.len()];
            let (bias, window) = (vec![0.0; channels], place.window_mut(&mut back));
            prop_assert_eq!(kernels.output(tile, read(&transformed_tile, channels), &bias, false, window), Ok(()));
            close((kernels, tile), dot(&transformed, &transformed_tile), dot(&image, &back), scale(&transformed));

            let filters = values(tile.taps().pow(2) * channels, seed ^ 4);
            let transformed =
                planes(tile.planes(), channels, |planes| kernels.filter(tile, read(&filters, channels), planes, channels));
            let back = planes(tile.taps().pow(2), channels, |planes| {
                kernels.filter_transposed(tile, read(&transformed_tile, channels), planes, channels)
            });
            close((kernels, tile), dot(&transformed, &transformed_tile), dot(&filters, &back), scale(&transformed));
        }
    }

    #[test]
    fn poolings_find_the_first_largest_and_go_back_to_it(
        (kernel, stride, rows, columns) in (1..6_usize, 1..4_usize, 1..5_usize, 1..5_usize),
        (extra, blocks) in (0..3_usize, 1..3_usize),
        seed: u64,
        relu: bool,
    ) {
        let channels = blocks * LANES;
        let (height, width) = ((rows - 1) * stride + kernel + extra, (columns - 1) * stride + kernel + extra);
        // Few different values, so that many are equal; with ReLU none is negative.
        let input: Vec<f32> = values(height * width * channels, seed)
            .iter()
            .map(|value| (value * 3.0).round())
            .map(|value| if relu { value.max(0.0) } else { value })
            .collect();
        let gradient: Vec<f32> = values(rows * columns * channels, seed ^ 1).iter().map(|value| (value * 8.0).round()).collect();
        let mut expected = vec![0.0; rows * columns * channels];
        let mut expected_gradient = vec![1.0; input.len()];
        for (index, expected) in expected.iter_mut().enumerate() {
            let (row, column, channel) = (index / channels / columns, index / channels % columns, index % channels);
            let places = (0..kernel).flat_map(|k| (0..kernel).map(move |l| (k, l)));
            let places = places.map(|(k, l)| ((row * stride + k) * width + column * stride + l) * channels + channel);
            let best = places.reduce(|best, place| if input[place] > input[best] { place } else { best }).expect("a place");
            *expected = input[best];
            if !(relu && *expected == 0.0) {
                expected_gradient[best] += gradient[index];
            }
        }
        for kernels in backends() {
            let mut output = vec![f32::NAN; expected.len()];
            let mut winners = vec![255; expected.len()];
            let (out, win) = (&mut output[..], &mut winners[..]);
            let pool = MaxPool { input: &input, width, channels, kernel, stride, columns, output: out, winners: win };
            prop_assert_eq!(kernels.max_pool(pool), Ok(()));
            prop_assert_eq!(&output, &expected);
            let mut input_gradient = vec![1.0; input.len()];
            let pool = MaxPoolGradient {
                output: &output,
                winners: &winners,
                output_gradient: &gradient,
                relu,
                width,
                channels,
                kernel,
                stride,
                columns,
                input_gradient: &mut input_gradient,
            };
            prop_assert_eq!(kernels.max_pool_gradient(pool), Ok(()));
            prop_assert_eq!(&input_gradient, &expected_gradient);
        }
    }
}

#[test]
fn a_nan_wins_its_window_and_survives_a_relu() {
    for (kernels, tile) in transforms() {
        let mut input = [1.0; 4 * LANES];
        input[LANES + 3] = f32::NAN;
        let (mut output, mut winners) = ([0.0; LANES], [9; LANES]);
        let pool = MaxPool {
            input: &input,
            width: 2,
            channels: LANES,
            kernel: 2,
            stride: 2,
            columns: 1,
            output: &mut output,
            winners: &mut winners,
        };
        assert_eq!(kernels.max_pool(pool), Ok(()));
        assert!(output[3].is_nan() && winners[3] == 1 && output[4] == 1.0 && winners[4] == 0);

        let products = vec![f32::NAN; tile.planes() * LANES];
        let m = tile.outputs();
        let mut output = vec![0.0; m * m * LANES];
        let window = ImageTile { image: &mut output[..], height: m, width: m, channels: LANES, top: 0, left: 0 };
        assert_eq!(kernels.output(tile, read(&products, LANES), &[0.0; LANES], true, window), Ok(()));
        assert!(output.iter().all(|value| value.is_nan()));
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    for (kernels, tile) in transforms() {
        let (image, mut values) = ([1.0; 4 * LANES], vec![f32::NAN; tile.planes() * LANES]);
        let place = Place { height: 2, width: 2, channels: LANES, top: 0, left: 0 };
        let mut input = |place: &Place, count: usize, length: usize| {
            let mut planes: Vec<&mut [f32]> =
                values.chunks_exact_mut(LANES).map(|plane| &mut plane[..length]).collect();
            let planes = PlanesMut { planes: &mut planes[..count], offset: 0 };
            kernels.input(tile, place.window(&image), planes)
        };
        assert_eq!(input(&place, tile.planes() - 1, LANES), Err(Misfit));
        assert_eq!(input(&place, tile.planes(), LANES - 1), Err(Misfit));
        assert_eq!(input(&Place { height: 3, ..place.clone() }, tile.planes(), LANES), Err(Misfit));
        assert_eq!(input(&Place { top: isize::MIN, ..place.clone() }, tile.planes(), LANES), Err(Misfit));
        assert!(values.iter().all(|value| value.is_nan()));

        let values = vec![1.0; tile.planes() * LANES];
        let mut output = [f32::NAN; 4 * LANES];
        let mut back = |bias: usize, stride| {
            kernels.output(tile, read(&values, stride), &values[..bias], true, place.window_mut(&mut output))
        };
        assert_eq!(back(LANES - 1, LANES), Err(Misfit));
        assert_eq!(back(LANES, LANES + 1), Err(Misfit));
        assert_eq!(back(LANES, usize::MAX), Err(Misfit));
        assert!(output.iter().all(|value| value.is_nan()));

        let mut winners = [0; LANES];
        let mut pool = |columns, kernel| {
            let (output, winners) = (&mut output[..LANES], &mut winners);
            kernels.max_pool(MaxPool {
                input: &image,
                width: 2,
                channels: LANES,
                kernel,
                stride: 1,
                columns,
                output,
                winners,
            })
        };
        assert_eq!([pool(1, 3), pool(2, 2), pool(0, 2), pool(1, 0)], [Err(Misfit); 4]);
        assert_eq!(pool(1, 2), Ok(()));
    }
}

/// Parts of an image with more channels than there are zeros for the places outside of it.
#[test]
fn many_channels_are_transformed_as_few_are() {
    for (kernels, tile) in transforms() {
        let (many, few) = (1040, LANES);
        let image = values(4 * many, 7);
        let transformed = |channels: usize, image: &[f32]| {
            let place = Place { height: 2, width: 2, channels, top: -1, left: 1 };
            planes(tile.planes(), channels, |planes| kernels.input(tile, place.window(image), planes))
        };
        let all = transformed(many, &image);
        for first in (0..many).step_by(few) {
            let part: Vec<f32> = image.chunks(many).flat_map(|pixel| &pixel[first..first + few]).copied().collect();
            let found = all.chunks(many).flat_map(|plane| &plane[first..first + few]).copied();
            assert!(transformed(few, &part).into_iter().eq(found), "{kernels:?} {tile:?}");
        }
    }
}
