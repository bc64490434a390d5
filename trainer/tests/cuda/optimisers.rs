//! Optimisers, with all that they can be told.

use dfdx::prelude::*;
use trainer::{
    model::{Initialisation, initialise},
    optimiser::{GradientNorm, Optimiser, OptimiserName, OptimiserOptions, StatePart},
    training::TrainDevice,
};

use crate::{assert_close, gpu, values, with_all_kernels};

type Module<D> = (modules::Linear<130, 70, f32, D>, modules::Linear<70, 3, f32, D>);

/// Four steps by the same gradients on every device: the norms, the weights, and what is remembered by part.
fn optimised<D: TrainDevice>(device: &D, options: &OptimiserOptions) -> (Vec<f64>, Vec<f32>, Vec<Vec<f32>>) {
    let mut module: Module<D> = initialise(device, 10, Initialisation::PyTorch, 3).unwrap();
    let mut optimiser = Optimiser::<D>::new(&mut module, options.clone()).unwrap();
    let mut norms = Vec::new();
    for step in 0..4_u64 {
        let scale = 1.0 + step as f32;
        let mut gradients = module.alloc_grads();
        let noise = |count, seed| device.tensor_from_vec(values(count, seed + step, None), (count,));
        // Gradients of Σ noise · weight.
        let loss = |gradients| {
            let sum = |tensor: Tensor<(usize,), f32, D, OwnedTape<f32, D>>, noise| (tensor * noise).sum::<Rank0, _>();
            let weight = module.0.weight.trace(gradients).reshape_like(&(130 * 70,));
            let first = sum(weight, noise(130 * 70, 60));
            let second = sum(module.0.bias.retaped().reshape_like(&(70,)), noise(70, 70));
            let third = sum(module.1.weight.retaped().reshape_like(&(210,)), noise(210, 80));
            let fourth = sum(module.1.bias.retaped().reshape_like(&(3,)), noise(3, 90));
            (first + second + third + fourth) * scale
        };
        gradients = loss(gradients).backward();
        let norm = optimiser.step(&mut module, &mut gradients, 0.01 / f64::from(scale)).unwrap();
        norms.extend(norm.map(|norm| norm.read()));
        assert!(gradients.get(&module.0.weight).as_vec().iter().all(|value| *value == 0.0));
    }
    let parts = StatePart::ALL.map(|part| optimiser.part(part).flat_map(|(_, values)| values.into_owned()).collect());
    let weights = [module.0.weight.as_vec(), module.0.bias.as_vec(), module.1.weight.as_vec(), module.1.bias.as_vec()];
    // What was remembered can be set, and is the same then.
    let mut again = Optimiser::<D>::new(&mut module, options.clone()).unwrap();
    let name_and_part = |part, name: &str| {
        let mut all = optimiser.part(part);
        all.find(|(other, _)| *other == name).map(|(_, values)| values.into_owned()).unwrap()
    };
    again.restore::<D::Err>(4, |part, name| Ok(name_and_part(part, name))).unwrap();
    for part in StatePart::ALL {
        assert!(again.part(part).eq(optimiser.part(part)), "{part:?}");
    }
    (norms, weights.concat(), parts.into())
}

#[test]
fn optimisers_agree_with_the_processor() {
    use OptimiserName::{Adam, AdamW, Sgd};
    let plain = |name| OptimiserOptions { name, momentum: 0.0, ..OptimiserOptions::default() };
    for options in [
        plain(Adam),
        OptimiserOptions { weight_decay: 0.1, clip_norm: Some(0.5), average: Some(0.9), ..plain(Adam) },
        OptimiserOptions { weight_decay: 0.1, average: Some(0.5), ..plain(AdamW) },
        OptimiserOptions { clip_norm: Some(1e9), ..plain(AdamW) },
        OptimiserOptions { weight_decay: 0.1, average: Some(0.9), ..plain(Sgd) },
        OptimiserOptions { momentum: 0.9, weight_decay: 0.1, clip_norm: Some(0.5), ..plain(Sgd) },
    ] {
        let expected = optimised(&Cpu::default(), &options);
        with_all_kernels(|kernels| {
            let found = optimised(&gpu(), &options);
            let what = format!("{kernels} kernels, {options:?}");
            assert_eq!(found.0.len(), expected.0.len(), "{what}");
            let close = |(found, expected): (&f64, &f64)| (found - expected).abs() <= 1e-5 * expected;
            assert!(found.0.iter().zip(&expected.0).all(close), "norms, {what}: {:?}, not {:?}", found.0, expected.0);
            assert_close(&found.1, &expected.1, 2e-5, &format!("weights, {what}"));
            for ((part, found), expected) in StatePart::ALL.iter().zip(&found.2).zip(&expected.2) {
                assert_eq!(found.is_empty(), !part.is_kept(&options), "{part:?}, {what}");
                if part.is_kept(&options) {
                    assert_close(found, expected, 2e-5, &format!("{part:?}, {what}"));
                }
            }
        });
    }
}

#[test]
fn weights_that_others_share_stay_as_they_are() {
    with_all_kernels(|kernels| {
        let device = gpu();
        let mut module: Module<Cuda> = initialise(&device, 10, Initialisation::PyTorch, 3).unwrap();
        let mut optimiser = Optimiser::<Cuda>::new(&mut module, OptimiserOptions::default()).unwrap();
        let (before, shared) = (module.0.weight.as_vec(), module.clone());
        for _ in 0..2 {
            let mut gradients = module.0.weight.trace(module.alloc_grads()).square().sum::<Rank0, _>().backward();
            optimiser.step(&mut module, &mut gradients, 0.01).unwrap();
        }
        assert!(shared.0.weight.as_vec() == before, "{kernels} kernels");
        let after = module.0.weight.as_vec();
        assert!(after.iter().zip(&before).all(|(after, before)| after != before), "{kernels} kernels");
        // Neither step was lost: Adam's first steps are as long as the learning rate.
        let moved =
            |(after, before): (&f32, &f32)| ((after - before).abs() - 0.02).abs() < 0.005 || before.abs() < 0.03;
        assert!(after.iter().zip(&before).all(moved), "{kernels} kernels");
    });
}
