//! Our arithmetic gives the bytes that libjpeg's own gives: every sampling, small sizes, sequential and progressive.

use std::ffi::c_uchar;

use proptest::prelude::*;

use super::*;

/// Options by which a test's file is written.
#[derive(Debug, Clone)]
struct Written {
    size: (usize, usize),
    /// Columns and rows of each component; one component is gray.
    factors: Vec<(c_int, c_int)>,
    quality: c_int,
    progressive: bool,
    restart_interval: u32,
    /// Share of noise in the image, of 255.
    noise: u8,
    seed: u32,
}

impl Written {
    /// The image: shapes of strong colours, with noise.
    fn pixels(&self) -> Vec<u8> {
        let mut random = self.seed;
        let mut pixels = Vec::new();
        for y in 0..self.size.1 {
            for x in 0..self.size.0 {
                for component in 0..self.factors.len() {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let shape = ((x / 5 + y / 7) * (component + 3) * 97 + 4 * x) as u8;
                    let noise = (random >> 24) * u32::from(self.noise) / 255;
                    pixels.push(shape.wrapping_add(noise as u8));
                }
            }
        }
        pixels
    }

    fn file(&self) -> Vec<u8> {
        let pixels = self.pixels();
        let (mut bytes, mut length) = (ptr::null_mut::<c_uchar>(), 0);
        // SAFETY: zeros are valid for these C structs; libjpeg's calls come in its order, with rows as long as said; its errors,
        // of which valid parameters have none, would end the process.
        unsafe {
            let mut errors = Box::<jpeg_error_mgr>::new(mem::zeroed());
            let mut state = Box::<jpeg_compress_struct>::new(mem::zeroed());
            state.common.err = jpeg_std_error(&mut errors);
            jpeg_create_compress(&mut *state);
            jpeg_mem_dest(&mut state, &mut bytes, &mut length);
            jpeg_c_set_int_param(&mut state, J_INT_PARAM::JINT_COMPRESS_PROFILE, JCP_FASTEST as c_int);
            (state.image_width, state.image_height) = (self.size.0 as u32, self.size.1 as u32);
            state.input_components = self.factors.len() as c_int;
            state.in_color_space = if self.factors.len() == 1 { JCS_GRAYSCALE } else { JCS_RGB };
            jpeg_set_defaults(&mut state);
            jpeg_set_quality(&mut state, self.quality, 1);
            state.restart_interval = self.restart_interval;
            for (index, factors) in self.factors.iter().enumerate() {
                let component = &mut *state.comp_info.add(index);
                (component.h_samp_factor, component.v_samp_factor) = *factors;
            }
            if self.progressive {
                jpeg_simple_progression(&mut state);
            }
            jpeg_start_compress(&mut state, 1);
            for row in pixels.chunks_exact(self.size.0 * self.factors.len()) {
                jpeg_write_scanlines(&mut state, &row.as_ptr(), 1);
            }
            jpeg_finish_compress(&mut state);
            jpeg_destroy_compress(&mut state);
            let file = std::slice::from_raw_parts(bytes, length as usize).to_vec();
            libc::free(bytes.cast());
            file
        }
    }
}

/// Ours, each kind that this CPU has.
fn ours() -> Vec<Arithmetic> {
    let mut all = vec![Arithmetic::Portable];
    if Arithmetic::best() != Arithmetic::Portable {
        all.push(Arithmetic::best());
    }
    all
}

fn assert_equal(file: &[u8], colours: Colours) {
    let expected = decode_with(None, file, colours, Arithmetic::Libjpeg).unwrap();
    for arithmetic in ours() {
        let found = decode_with(None, file, colours, arithmetic).unwrap();
        assert_eq!((found.width, found.height, found.damage), (expected.width, expected.height, None));
        let differs = found.samples.iter().zip(&expected.samples).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{arithmetic:?}, {colours:?}");
        assert_eq!(found.samples.len(), expected.samples.len());
    }
}

/// Factors of the three components that libjpeg reads; ours are those with steps of 1 and 2.
fn samplings() -> impl Strategy<Value = Vec<(c_int, c_int)>> {
    let usual = [(1, 1), (2, 1), (1, 2), (2, 2)].map(|luma| vec![luma, (1, 1), (1, 1)]);
    let others = [
        vec![(1, 1)],
        vec![(4, 1), (1, 1), (1, 1)],
        vec![(4, 1), (2, 1), (2, 1)],
        vec![(1, 4), (1, 2), (1, 2)],
        vec![(2, 2), (2, 1), (1, 2)],
        vec![(2, 2), (1, 1), (2, 2)],
        vec![(1, 1), (2, 1), (1, 1)],
        vec![(1, 1), (2, 2), (1, 2)],
        vec![(4, 2), (1, 1), (1, 1)],
    ];
    prop::sample::select([&usual[..], &usual[..], &others[..]].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_is_libjpegs(
        size in (1_usize..=40, 1_usize..=40),
        factors in samplings(),
        quality in 5..=100,
        progressive: bool,
        restart_interval in 0_u32..3,
        noise: u8,
        seed: u32,
    ) {
        let file = Written { size, factors, quality, progressive, restart_interval, noise, seed }.file();
        assert_equal(&file, Colours::Converted);
    }
}

#[test]
fn every_byte_of_all_small_sizes_is_libjpegs() {
    for (width, height) in (1..=35).flat_map(|width| [1, 2, 3, 8, 9, 15, 16, 17, 18, 31, 32, 33].map(|h| (width, h))) {
        for luma in [(1, 1), (2, 1), (1, 2), (2, 2)] {
            let written = Written {
                size: (width, height),
                factors: vec![luma, (1, 1), (1, 1)],
                quality: 90,
                progressive: false,
                restart_interval: 0,
                noise: 40,
                seed: (width * 64 + height) as u32,
            };
            assert_equal(&written.file(), Colours::Converted);
        }
    }
}

#[test]
fn other_colours_are_libjpegs_too() {
    let size = (150, 70);
    let factors = vec![(2, 2), (1, 1), (1, 1)];
    let written = Written { size, factors, quality: 80, progressive: false, restart_interval: 2, noise: 20, seed: 3 };
    for colours in [Colours::Converted, Colours::YCbCrToRgb, Colours::YCbCrRepeated, Colours::Kept] {
        assert_equal(&written.file(), colours);
    }
}
