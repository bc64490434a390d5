//! The optimisers: against PyTorch's values, dfdx's own, each other, and themselves after a stop.

use dfdx::{
    nn::{ZeroGrads, modules::Linear},
    optim::{Adam, AdamConfig, Momentum, Optimizer, Sgd, SgdConfig, WeightDecay},
    shapes::Rank1,
    tensor::{AsArray, Cpu, Gradients, Tensor, TensorFromVec},
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};
use trainer::{
    model::{self, Initialisation},
    optimiser::{
        GradientNorm, Optimiser, OptimiserName, OptimiserOptions, OptimiserState, StatePart, average_decay,
        cpu::CpuState, portable::PortableState,
    },
};

type Weights = Tensor<Rank1<4>, f32, Cpu>;

fn options(name: OptimiserName) -> OptimiserOptions {
    OptimiserOptions { name, momentum: 0.0, ..OptimiserOptions::default() }
}

/// `gradient` in `pytorch/optimisers.py`.
fn gradient(step: usize) -> [f32; 4] {
    [0.3 * (step % 3) as f32 - 0.5, 1e-6 * step as f32, 0.0, 1.5 - 0.4 * step as f32]
}

fn set(gradients: &mut Gradients<f32, Cpu>, weights: &Weights, values: &[f32]) {
    gradients.get_or_alloc_mut(weights).unwrap().copy_from_slice(values);
}

/// The weights after five steps.
fn five_steps<Y: OptimiserState<Cpu>>(options: &OptimiserOptions) -> [f32; 4] {
    let mut weights: Weights = Cpu::default().tensor_from_vec(vec![-0.5, -0.25, 0.1, 0.75], Default::default());
    let mut optimiser = Optimiser::<Cpu, Y>::new(&mut weights, options.clone()).unwrap();
    let mut gradients = Gradients::leaky();
    for step in 0..5 {
        set(&mut gradients, &weights, &gradient(step));
        let norm = optimiser.step(&mut weights, &mut gradients, 0.01 * (step + 1) as f64).unwrap();
        let expected = gradient(step).iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
        assert!((norm.unwrap().read() - expected).abs() < 1e-6);
        assert_eq!(gradients.get(&weights).array(), [0.0; 4]);
    }
    assert_eq!(optimiser.steps(), 5);
    weights.array()
}

#[test]
fn five_steps_give_the_weights_that_pytorch_gives() {
    use OptimiserName::{Adam, AdamW, Sgd};
    let decay = |name| OptimiserOptions { weight_decay: 0.1, ..options(name) };
    let momentum = OptimiserOptions { momentum: 0.9, ..options(Sgd) };
    // From pytorch/optimisers.py with PyTorch 2.9.1.
    let cases = [
        (options(Adam), [-0.3885941, -0.3689083, 0.1, 0.6243605]),
        (decay(Adam), [-0.3811601, -0.1028142, -0.0359482, 0.6219401]),
        (decay(AdamW), [-0.38179, -0.3646092, 0.0985085, 0.6139682]),
        (options(Sgd), [-0.464, -0.2500004, 0.1, 0.6849999]),
        (momentum.clone(), [-0.3778475, -0.2500008, 0.1, 0.3561175]),
        (OptimiserOptions { weight_decay: 0.1, ..momentum.clone() }, [-0.3552936, -0.2382867, 0.0953144, 0.324446]),
        (OptimiserOptions { clip_norm: Some(1.0), ..options(Adam) }, [-0.3880241, -0.3680464, 0.1, 0.6184375]),
        (OptimiserOptions { clip_norm: Some(1.0), ..momentum }, [-0.4012924, -0.2500008, 0.1, 0.4325675]),
    ];
    for (options, expected) in cases {
        for weights in [five_steps::<CpuState>(&options), five_steps::<PortableState<Cpu>>(&options)] {
            for (weight, expected) in weights.iter().zip(expected) {
                assert!((weight - expected).abs() < 5e-7, "{options:?}: {weights:?}, expected {expected}");
            }
        }
    }
}

type Module = Linear<300, 130, f32, Cpu>;

fn module() -> Module {
    model::initialise(&Cpu::default(), 10, Initialisation::PyTorch, 5).unwrap()
}

/// Random gradients, the same for the same step.
fn random_gradients(module: &Module, step: u64) -> Gradients<f32, Cpu> {
    let mut random = StdRng::seed_from_u64(step);
    let mut gradients = module.alloc_grads();
    gradients.get_or_alloc_mut(&module.weight).unwrap().fill_with(|| random.gen_range(-1.0..1.0));
    gradients.get_or_alloc_mut(&module.bias).unwrap().fill_with(|| random.gen_range(-1.0..1.0));
    gradients
}

/// One step by random gradients.
fn random_step<Y: OptimiserState<Cpu>>(
    optimiser: &mut Optimiser<Cpu, Y>,
    module: &mut Module,
    step: u64,
    rate: f64,
) -> Option<f64> {
    let mut gradients = random_gradients(module, step);
    let norm = optimiser.step(module, &mut gradients, rate).unwrap();
    assert!(gradients.get(&module.weight).as_vec().iter().all(|g| *g == 0.0));
    norm.map(|norm| norm.read())
}

fn values(module: &Module) -> Vec<f32> {
    [module.weight.as_vec(), module.bias.as_vec()].concat()
}

fn largest_difference(a: &Module, b: &Module) -> f32 {
    values(a).iter().zip(values(b)).fold(0.0, |largest, (a, b)| largest.max((a - b).abs()))
}

#[test]
fn ten_steps_give_the_weights_that_dfdx_gives() {
    let rate = 0.01;
    let decays = [("l2", Some(WeightDecay::L2(0.02))), ("decoupled", Some(WeightDecay::Decoupled(0.02))), ("", None)];
    for (kind, weight_decay) in decays {
        let name = if kind == "decoupled" { OptimiserName::AdamW } else { OptimiserName::Adam };
        let decay = if kind.is_empty() { 0.0 } else { 0.02 };
        let mut theirs = module();
        let mut adam = Adam::new(&theirs, AdamConfig { lr: rate, weight_decay, ..AdamConfig::default() });
        compare(OptimiserOptions { weight_decay: decay, ..options(name) }, rate, |step| {
            let gradients = random_gradients(&theirs, step);
            adam.update(&mut theirs, &gradients).unwrap();
            theirs.clone()
        });
    }
    for momentum in [0.0, 0.9] {
        let mut theirs = module();
        let classic = (momentum > 0.0).then_some(Momentum::Classic(momentum));
        let config = SgdConfig { lr: rate, momentum: classic, weight_decay: Some(WeightDecay::L2(0.02)) };
        let mut sgd = Sgd::new(&theirs, config);
        compare(OptimiserOptions { momentum, weight_decay: 0.02, ..options(OptimiserName::Sgd) }, rate, |step| {
            let gradients = random_gradients(&theirs, step);
            sgd.update(&mut theirs, &gradients).unwrap();
            theirs.clone()
        });
    }
}

/// Ten steps of ours, each beside one of theirs.
fn compare(options: OptimiserOptions, rate: f64, mut theirs: impl FnMut(u64) -> Module) {
    let mut ours = module();
    let mut optimiser = Optimiser::<Cpu>::new(&mut ours, options.clone()).unwrap();
    for step in 0..10 {
        random_step(&mut optimiser, &mut ours, step, rate);
        let difference = largest_difference(&ours, &theirs(step));
        // dfdx computes 1 − β in f32.
        assert!(difference < 5e-6, "{options:?}: {difference} in step {step}");
    }
    assert!(largest_difference(&ours, &module()) > 0.01);
}

fn any_options() -> impl Strategy<Value = OptimiserOptions> {
    (
        prop::sample::select(OptimiserName::NAMES.map(|(_, name)| name).to_vec()),
        prop::sample::select(vec![0.0, 0.1]),
        prop::sample::select(vec![0.0, 0.9]),
        prop::sample::select(vec![None, Some(1.0), Some(1e9)]),
        prop::sample::select(vec![None, Some(0.5), Some(0.999)]),
    )
        .prop_map(|(name, weight_decay, momentum, clip_norm, average)| OptimiserOptions {
            name,
            weight_decay,
            momentum,
            clip_norm,
            average,
        })
}

fn parts<Y: OptimiserState<Cpu>>(optimiser: &Optimiser<Cpu, Y>, part: StatePart) -> Vec<(String, Vec<f32>)> {
    optimiser.part(part).map(|(name, values)| (name.to_owned(), values.into_owned())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_one_and_the_portable_one_agree(options in any_options()) {
        let (mut fast, mut portable) = (module(), module());
        let mut one = Optimiser::<Cpu>::new(&mut fast, options.clone()).unwrap();
        let mut other = Optimiser::<Cpu, PortableState<Cpu>>::new(&mut portable, options.clone()).unwrap();
        for step in 0..4 {
            let rate = 0.01 / (step + 1) as f64;
            let norm = random_step(&mut one, &mut fast, step, rate);
            let other_norm = random_step(&mut other, &mut portable, step, rate);
            let (norm, other_norm) = (norm.unwrap(), other_norm.unwrap());
            prop_assert!((norm - other_norm).abs() < 1e-4 * norm, "{norm} and {other_norm}");
        }
        // A two-hundredth of a step: where decay and gradient cancel, Adam's quotient makes much of a rounding error.
        let difference = largest_difference(&fast, &portable);
        prop_assert!(difference < 5e-5, "{difference}");
        for part in StatePart::ALL {
            let (one, other) = (parts(&one, part), parts(&other, part));
            prop_assert_eq!(one.len(), if part.is_kept(&options) { 2 } else { 0 });
            prop_assert_eq!(one.len(), other.len());
            for ((name, one), (other_name, other)) in one.iter().zip(&other) {
                prop_assert_eq!(name, other_name);
                prop_assert!(one.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-5), "{part:?} of {name}");
            }
        }
    }

    #[test]
    fn after_a_stop_it_goes_on_to_the_last_bit(options in any_options(), stop in 0_u64..4) {
        let mut straight = module();
        let mut optimiser = Optimiser::<Cpu>::new(&mut straight, options.clone()).unwrap();
        let mut stopped = None;
        for step in 0..4 {
            if step == stop {
                stopped = Some((values(&straight), StatePart::ALL.map(|part| parts(&optimiser, part))));
            }
            random_step(&mut optimiser, &mut straight, step, 0.01);
        }
        let (weights, remembered) = stopped.unwrap();
        let mut again = module();
        let (weight, bias) = weights.split_at(300 * 130);
        again.weight.copy_from(weight);
        again.bias.copy_from(bias);
        let mut second = Optimiser::<Cpu>::new(&mut again, options.clone()).unwrap();
        second.restore(stop, |part, name| -> Result<_, dfdx::tensor::CpuError> {
            let position = StatePart::ALL.iter().position(|other| *other == part).unwrap();
            let (_, values) = remembered[position].iter().find(|(other, _)| other == name).unwrap();
            Ok(values.clone())
        }).unwrap();
        for step in stop..4 {
            random_step(&mut second, &mut again, step, 0.01);
        }
        prop_assert!(values(&straight) == values(&again));
        prop_assert_eq!(second.steps(), 4);
        for part in StatePart::ALL {
            prop_assert!(parts(&optimiser, part) == parts(&second, part), "{part:?}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut module = module();
            let options = OptimiserOptions { clip_norm: Some(1.0), ..options(OptimiserName::Adam) };
            let mut optimiser = Optimiser::<Cpu>::new(&mut module, options).unwrap();
            let mut norms = Vec::new();
            for step in 0..3 {
                norms.push(random_step(&mut optimiser, &mut module, step, 0.01));
            }
            (values(&module), norms)
        })
    };
    assert!(run(1) == run(3));
}

#[test]
fn the_average_follows_the_weights() {
    let options = OptimiserOptions { average: Some(0.9), ..options(OptimiserName::Sgd) };
    let mut module = module();
    let mut optimiser = Optimiser::<Cpu>::new(&mut module, options).unwrap();
    let mut expected: Vec<f64> = values(&module).into_iter().map(f64::from).collect();
    for step in 0..20 {
        random_step(&mut optimiser, &mut module, step, 0.1);
        // From 2/11 in the first step to 0.9 from the 81st on.
        let decay = average_decay(0.9, step + 1);
        assert_eq!(decay, ((step + 2) as f64 / (step + 11) as f64).min(0.9));
        for (average, weight) in expected.iter_mut().zip(values(&module)) {
            *average = decay * *average + (1.0 - decay) * f64::from(weight);
        }
    }
    let averaged = optimiser.averaged(&module).unwrap().unwrap();
    let far = values(&averaged).iter().zip(&expected).any(|(a, b)| (f64::from(*a) - b).abs() > 1e-6);
    assert!(!far && largest_difference(&averaged, &module) > 0.01);
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let mut module = module();
    let mut optimiser = Optimiser::<Cpu>::new(&mut module, options(OptimiserName::Adam)).unwrap();
    let short = |_: StatePart, _: &str| Ok::<_, dfdx::tensor::CpuError>(vec![0.0; 3]);
    assert!(optimiser.restore(1, short).is_err());
}
