//! From images to inputs.

use dfdx::prelude::*;
use image_files::preprocessing::{Normalisation, Preprocessing};
use trainer::{
    data::{Frame, augment::Augmentation},
    inputs::{InputDevice, Picture},
    model::{AlexNet, LeNet5, ModelError, Network},
};

use crate::{gpu, values, with_all_kernels};

#[test]
fn inputs_are_the_processors_to_the_last_bit() {
    let augmentation =
        Augmentation { flip: true, shift: 3, brightness: 0.3, contrast: 0.4, erase: 0.7, ..Augmentation::default() };
    let sizes = [(28, 28), (1, 1), (7, 31), (90, 13), (56, 56), (29, 27), (3, 200), (28, 28), (400, 2)];
    let images = sizes.map(|(width, height)| -> Vec<u8> {
        values(width * height, (width + height) as u64, Some(127))
            .iter()
            .map(|value| (value * 127.0 + 128.0) as u8)
            .collect()
    });
    // As data sets have them; then with all that augmentation does, in several epochs.
    for epoch in 0..4 {
        let pictures: Vec<_> = images
            .iter()
            .zip(sizes)
            .enumerate()
            .map(|(position, (pixels, (width, height)))| {
                let frame = Frame::new(1, width, height, pixels);
                Picture { frame, changes: (epoch > 0).then(|| augmentation.draw(5, epoch, position, &frame)) }
            })
            .collect();
        for normalisation in [None, Some(Normalisation::Gray { mean: 0.286, std: 0.353 })] {
            let cpu = Cpu::default();
            let preprocessing = Preprocessing { normalisation, ..Preprocessing::PLAIN };
            let prepared = <Cpu as InputDevice>::prepare::<LeNet5<Cpu>>((), &pictures, &preprocessing).unwrap();
            let expected = cpu.inputs(prepared, pictures.len(), LeNet5::<Cpu>::DESCRIPTION.input()).unwrap().as_vec();
            with_all_kernels(|kernels| {
                let prepared =
                    <Cuda as InputDevice>::prepare::<LeNet5<Cuda>>(gpu().way().unwrap(), &pictures, &preprocessing)
                        .unwrap();
                let found =
                    gpu().inputs(prepared, pictures.len(), LeNet5::<Cpu>::DESCRIPTION.input()).unwrap().as_vec();
                assert!(found == expected, "{kernels} kernels, epoch {epoch}, {normalisation:?}");
            });
        }
    }
    let large = [Picture { frame: Frame::new(1, 28, 28, &images[0]), changes: None }];
    let expected = <Cpu as InputDevice>::prepare::<AlexNet<Cpu>>((), &large, &Preprocessing::PLAIN).unwrap();
    with_all_kernels(|_| {
        let prepared =
            <Cuda as InputDevice>::prepare::<AlexNet<Cuda>>(gpu().way().unwrap(), &large, &Preprocessing::PLAIN)
                .unwrap();
        assert!(gpu().inputs(prepared, 1, AlexNet::<Cpu>::DESCRIPTION.input()).unwrap().as_vec() == expected);
    });
    // What cannot be resized is refused before anything reaches the GPU.
    with_all_kernels(|_| {
        for (width, height, pixels) in [(0, 4, &[][..]), (3, 2, &images[2][..5])] {
            let wrong = [Picture { frame: Frame::new(1, width, height, pixels), changes: None }];
            let refusal = |error: ModelError| error.to_string();
            assert_eq!(
                <Cuda as InputDevice>::prepare::<LeNet5<Cuda>>(gpu().way().unwrap(), &wrong, &Preprocessing::PLAIN)
                    .map(|_| ())
                    .map_err(refusal),
                <Cpu as InputDevice>::prepare::<LeNet5<Cpu>>((), &wrong, &Preprocessing::PLAIN)
                    .map(|_| ())
                    .map_err(refusal)
            );
            assert!(
                <Cuda as InputDevice>::prepare::<LeNet5<Cuda>>(gpu().way().unwrap(), &wrong, &Preprocessing::PLAIN)
                    .is_err()
            );
        }
    });
}
