//! From images to inputs.

use dfdx::prelude::*;
use image_files::preprocessing::{Normalisation, Preprocessing};
use infer_core::preprocess::Resize;
use trainer::{
    data::{
        Frame,
        augment::{Augmentation, Changes},
    },
    device::CudaKernels,
    inputs::{InputDevice, Picture},
    model::{AlexNet, LeNet5, Network},
};

use crate::{gpu, values, with_all_kernels};

macro_rules! small {
    ($then:path) => {
        $then! {
            /// A small network in colour.
            Small "small-colour": 3 x 21;
            conv1: conv 2, kernel 3;
            pool1: max_pool kernel 4, stride 4;
            linear1: linear 2 classes;
        }
    };
}

mod inference {
    small!(infer_core::network);
}

mod training {
    use super::inference::{DESCRIPTION, LAYERS};
    small!(trainer::network);
}

use training::Small;

const SIZES: [(usize, usize); 10] =
    [(28, 28), (1, 1), (7, 31), (90, 13), (56, 56), (29, 27), (3, 200), (21, 21), (400, 2), (40, 64)];

const ALL: Augmentation = Augmentation {
    flip: true,
    shift: 3,
    brightness: 0.3,
    contrast: 0.4,
    saturation: 0.5,
    hue: 0.3,
    lighting: 0.1,
    random_crop: 0.2,
    erase: 0.7,
};

/// Images of all sizes; the last one is of one value.
fn images(channels: usize) -> Vec<Vec<u8>> {
    let image = |(width, height): (usize, usize)| {
        let values = values(width * height * channels, (width + height) as u64, Some(127)).into_iter();
        values.map(|value| (value * 127.0 + 128.0) as u8).collect()
    };
    let mut images: Vec<Vec<u8>> = SIZES.into_iter().map(image).collect();
    images.last_mut().unwrap().fill(99);
    images
}

/// The images as data sets have them in epoch 0; then with what augmentation does.
fn pictures(images: &[Vec<u8>], channels: usize, augmentation: Augmentation, epoch: usize) -> Vec<Picture<'_>> {
    let pictures = images.iter().zip(SIZES).enumerate().map(|(position, (pixels, (width, height)))| {
        let frame = Frame::new(channels, width, height, pixels);
        Picture { frame, changes: (epoch > 0).then(|| augmentation.draw(5, epoch, position, &frame)) }
    });
    pictures.collect()
}

/// Demands the processor's bits of all kernels. What the fused ones make is not made by the host, unless `host` says so.
fn same<C: Network<Cpu>, G: Network<Cuda>>(pictures: &[Picture<'_>], preprocessing: &Preprocessing, host: bool) {
    let (cpu, gpu) = (Cpu::default(), gpu());
    let input = C::DESCRIPTION.input();
    let prepared = <Cpu as InputDevice>::prepare::<C>((), pictures, preprocessing).unwrap();
    let expected = cpu.inputs(prepared, pictures.len(), input).unwrap().as_vec();
    with_all_kernels(|kernels| {
        let prepared = <Cuda as InputDevice>::prepare::<G>(gpu.way().unwrap(), pictures, preprocessing).unwrap();
        let by_host = format!("{prepared:?}").starts_with("Inputs");
        assert_eq!(by_host, host || kernels == CudaKernels::Portable, "{kernels} kernels, {preprocessing:?}");
        let found = gpu.inputs(prepared, pictures.len(), input).unwrap().as_vec();
        let different = found.iter().zip(&expected).position(|(found, expected)| found.to_bits() != expected.to_bits());
        assert_eq!(different, None, "{kernels} kernels, {preprocessing:?}, {pictures:?}");
        assert_eq!(found.len(), expected.len());
    });
}

#[test]
fn gray_inputs_are_the_processors_to_the_last_bit() {
    let images = images(1);
    let normalisations = [None, Some(Normalisation::Gray { mean: 0.286, std: 0.353 })];
    let resizes = [Resize::Exact, Resize::ShorterSide(28), Resize::ShorterSide(35)];
    let whole = Augmentation { random_crop: 0.0, ..ALL };
    for (epoch, augmentation) in [(0, whole), (1, whole), (2, whole), (1, ALL), (2, ALL)] {
        let pictures = pictures(&images, 1, augmentation, epoch);
        for (normalisation, resize) in normalisations
            .iter()
            .zip(resizes.iter().cycle().skip(epoch))
            .chain(normalisations.iter().rev().zip(&resizes))
        {
            let preprocessing =
                Preprocessing { resize: *resize, normalisation: *normalisation, ..Preprocessing::PLAIN };
            same::<LeNet5<Cpu>, LeNet5<Cuda>>(&pictures, &preprocessing, false);
        }
    }
    let large = [Picture { frame: Frame::new(1, 28, 28, &images[0]), changes: None }];
    same::<AlexNet<Cpu>, AlexNet<Cuda>>(&large, &Preprocessing::PLAIN, false);
}

#[test]
fn inputs_in_colour_are_the_processors_to_the_last_bit() {
    let images = images(3);
    let exact = Preprocessing::PLAIN;
    let centre = Preprocessing {
        resize: Resize::ShorterSide(24),
        normalisation: Some(Normalisation::IMAGENET),
        ..Preprocessing::PLAIN
    };
    let normalised = Preprocessing { normalisation: Some(Normalisation::IMAGENET), ..Preprocessing::PLAIN };
    for preprocessing in [&exact, &centre] {
        same::<Small<Cpu>, Small<Cuda>>(&pictures(&images, 3, ALL, 0), preprocessing, false);
    }
    // Steps come in all orders, also where some of them do nothing.
    let none = Augmentation::default();
    let contrast = Augmentation { contrast: 0.9, lighting: 0.1, ..none };
    let colours = Augmentation { contrast: 0.0, ..ALL };
    let mirrored = Augmentation { flip: true, ..none };
    // Only a part of an image goes to the GPU.
    let cropped = Augmentation { random_crop: 0.2, ..mirrored };
    for augmentation in [ALL, contrast, colours, mirrored, cropped, none] {
        for epoch in 1..4 {
            let mut pictures = pictures(&images, 3, augmentation, epoch);
            // One of a batch may be as it is.
            pictures[epoch].changes = None;
            let preprocessing = [&exact, &centre, &normalised][epoch - 1];
            same::<Small<Cpu>, Small<Cuda>>(&pictures, preprocessing, false);
        }
    }
}

#[test]
fn inputs_of_parts_of_images_are_the_processors() {
    let images = images(3);
    let whole = Frame::new(3, 90, 13, &images[3]);
    for (left, top, width, height) in [(0, 0, 90, 13), (3, 4, 9, 8), (81, 5, 9, 8), (89, 12, 1, 1)] {
        let picture = Picture { frame: whole.part(left, top, width, height), changes: None };
        let mirrored = Picture { changes: Some(Changes::MIRRORED), ..picture };
        same::<Small<Cpu>, Small<Cuda>>(&[picture, mirrored], &Preprocessing::PLAIN, false);
    }
}

/// Changes that a data set does not draw: of the brightness and contrast of bytes in colour.
#[test]
fn bytes_in_colour_change_as_those_of_gray_images() {
    let images = images(3);
    let mut pictures = pictures(&images, 3, ALL, 1);
    for changes in pictures.iter_mut().filter_map(|picture| picture.changes.as_mut()) {
        (changes.brightness, changes.contrast) = (-20.0, 1.3);
    }
    same::<Small<Cpu>, Small<Cuda>>(&pictures, &Preprocessing::PLAIN, false);
}

#[test]
fn the_host_makes_the_inputs_that_kernels_cannot() {
    let images = images(3);
    let whole = Frame::new(3, 28, 28, &images[0]);
    let gray = Frame::new(1, 28, 28, &images[0][..28 * 28]);
    let of = |frame| [Picture { frame, changes: None }];
    same::<Small<Cpu>, Small<Cuda>>(&of(gray), &Preprocessing::PLAIN, true);
    same::<LeNet5<Cpu>, LeNet5<Cuda>>(&of(whole), &Preprocessing::PLAIN, true);
    let for_gray = Some(Normalisation::Gray { mean: 0.3, std: 0.4 });
    let preprocessing = Preprocessing { normalisation: for_gray, ..Preprocessing::PLAIN };
    same::<Small<Cpu>, Small<Cuda>>(&of(whole), &preprocessing, true);
}

#[test]
fn what_cannot_be_resized_is_refused_as_on_the_processor() {
    let images = images(1);
    let small = Preprocessing { resize: Resize::ShorterSide(20), ..Preprocessing::PLAIN };
    for (width, height, pixels, preprocessing) in [
        (0, 4, &[][..], Preprocessing::PLAIN),
        (3, 2, &images[2][..5], Preprocessing::PLAIN),
        (28, 28, &images[0], small),
        (1, 1 << 24, &vec![0; 1 << 24], Preprocessing { resize: Resize::ShorterSide(28), ..Preprocessing::PLAIN }),
    ] {
        let wrong = [Picture { frame: Frame::new(1, width, height, pixels), changes: None }];
        let expected = <Cpu as InputDevice>::prepare::<LeNet5<Cpu>>((), &wrong, &preprocessing).unwrap_err();
        with_all_kernels(|_| {
            let way = gpu().way().unwrap();
            let found = <Cuda as InputDevice>::prepare::<LeNet5<Cuda>>(way, &wrong, &preprocessing).unwrap_err();
            assert_eq!(found.to_string(), expected.to_string());
        });
    }
}
