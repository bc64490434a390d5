//! The packed AlexNet against the plain one: every backend, batch size and kind of weights, on weights for which the
//! logits are of order 1 to 20.

use infer_core::alexnet::{AlexNet, CLASSES, Image, PLAN, SIDE, Workspace};
use infer_core::layers::{Conv2d, Linear};
use infer_core::packed::{Backend, Line, LinearWeights, Network, PackedError, Parallel, Serial};
use infer_core::tensor::FloatArray;
use std::sync::LazyLock;

/// `count` values, uniform from −`scale` to `scale`.
fn values(seed: u64, count: usize, scale: f64) -> &'static mut [f32] {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32 * scale as f32
    };
    std::iter::repeat_with(next).take(count).collect::<Vec<f32>>().leak()
}

/// A tensor with values by which activations keep their size (He et al. 2015, eq. 10, for a uniform distribution).
fn tensor<A: FloatArray>(seed: u64) -> &'static A {
    let fan_in: usize = A::SIZES[1..].iter().product();
    let scale = if A::SIZES.len() > 1 { (6.0 / fan_in as f64).sqrt() } else { 0.1 };
    &A::slice(values(seed, A::SIZES.iter().product(), scale))[0]
}

static NETWORK: LazyLock<AlexNet<'static>> = LazyLock::new(|| AlexNet {
    conv1: Conv2d { weight: tensor(1), bias: tensor(2) },
    conv2: Conv2d { weight: tensor(3), bias: tensor(4) },
    conv3: Conv2d { weight: tensor(5), bias: tensor(6) },
    conv4: Conv2d { weight: tensor(7), bias: tensor(8) },
    conv5: Conv2d { weight: tensor(9), bias: tensor(10) },
    linear1: Linear { weight: tensor(11), bias: tensor(12) },
    linear2: Linear { weight: tensor(13), bias: tensor(14) },
    linear3: Linear { weight: tensor(15), bias: tensor(16) },
});

const IMAGES: usize = 32;

static IMAGE: LazyLock<&'static [Image]> = LazyLock::new(|| {
    let pixels = values(17, IMAGES * SIDE * SIDE, 0.5);
    pixels.iter_mut().for_each(|value| *value += 0.5);
    Image::slice(pixels)
});

/// Logits of the plain network.
static EXPECTED: LazyLock<Vec<[f32; CLASSES]>> = LazyLock::new(|| {
    let forward = |images: &[Image]| -> Vec<_> {
        let mut workspace = Box::<Workspace>::default();
        images.iter().map(|image| NETWORK.forward(image, &mut workspace)).collect()
    };
    std::thread::scope(|scope| {
        let halves: Vec<_> = IMAGE.chunks(IMAGES / 2).map(|images| scope.spawn(move || forward(images))).collect();
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    })
});

fn pack(weights: LinearWeights) -> Vec<Line> {
    let mut packed = vec![Line::ZERO; PLAN.packed_len(CLASSES, weights)];
    Network::pack(&PLAN, &NETWORK.weights(), weights, &mut packed).unwrap();
    packed
}

static F32: LazyLock<Vec<Line>> = LazyLock::new(|| pack(LinearWeights::F32));
static F16: LazyLock<Vec<Line>> = LazyLock::new(|| pack(LinearWeights::F16));

/// Logits of the first `batch` images, from a workspace full of NaN.
fn forward(packed: &[Line], backend: Backend, batch: usize, parallel: &impl Parallel) -> Vec<[f32; CLASSES]> {
    let network = Network::from_packed(&PLAN, packed, backend).unwrap();
    #[repr(align(64))]
    struct Bytes([u8; Line::SIZE]);
    let nan = Line::from_bytes(&Bytes([0xFF; Line::SIZE]).0).unwrap()[0];
    let mut workspace = vec![nan; network.workspace_len(batch)];
    let mut logits = vec![[f32::NAN; CLASSES]; batch];
    network.forward(flat(&IMAGE[..batch]), logits.as_flattened_mut(), &mut workspace, parallel).unwrap();
    logits
}

/// The values of images, one behind the other.
fn flat(images: &[Image]) -> &[f32] {
    images.as_flattened().as_flattened().as_flattened()
}

fn backends() -> impl Iterator<Item = Backend> {
    Backend::ALL.iter().copied().filter(|backend| backend.available())
}

fn largest(logits: &[f32]) -> f32 {
    let largest = logits.iter().fold(0.0_f32, |max, logit| max.max(logit.abs()));
    assert!((0.5..20.0).contains(&largest), "logits of that size would prove nothing: {largest}");
    largest
}

/// Compares with the plain network, within `tolerance` of the largest logit, and the top class unless the two best are
/// closer than that.
fn compare(found: &[[f32; CLASSES]], tolerance: f32) {
    for (found, expected) in found.iter().zip(EXPECTED.iter()) {
        let tolerance = tolerance * largest(expected);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < tolerance, "{found} is not {expected}");
        }
        let best = |logits: &[f32; CLASSES]| (0..CLASSES).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        assert!(expected[best(expected)] - expected[best(found)] < tolerance);
    }
}

#[test]
fn logits_are_those_of_the_plain_network() {
    for backend in backends() {
        let all = forward(&F32, backend, IMAGES, &Serial);
        compare(&all, 1e-5);
        // Sums go in the same order whatever the batch: no image's logits depend on the others.
        for batch in [1, 3, 8] {
            assert_eq!(forward(&F32, backend, batch, &Serial), all[..batch], "{backend} {batch}");
        }
    }
}

#[test]
fn half_width_weights_change_logits_by_less_than_a_thousandth() {
    for backend in backends() {
        let found = forward(&F16, backend, 8, &Serial);
        compare(&found, 1e-3);
        assert_eq!(forward(&F16, backend, 1, &Serial), found[..1]);
    }
}

/// Each task on some thread.
struct Threads(usize);

impl Parallel for Threads {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for thread in 0..self.0 {
                scope.spawn(move || (thread..tasks).step_by(self.0).for_each(task));
            }
        });
    }
}

#[test]
fn threads_change_nothing() {
    for (batch, threads) in [(1, 2), (9, 3)] {
        let serial = forward(&F32, Backend::best(), batch, &Serial);
        assert_eq!(forward(&F32, Backend::best(), batch, &Threads(threads)), serial);
    }
}

#[test]
fn packed_memory_can_be_moved_to_a_file_and_back() {
    let bytes = Line::bytes(&F16).to_vec();
    let mut copy = vec![Line::ZERO; F16.len()];
    let lines = Line::from_bytes(&bytes[(64 - bytes.as_ptr() as usize % 64) % 64..]);
    assert_eq!(lines.is_some(), (bytes.as_ptr() as usize).is_multiple_of(64));
    copy.copy_from_slice(&F16);
    assert_eq!(Line::bytes(&copy), bytes);
}

#[test]
fn an_image_that_is_not_finite_spoils_no_other() {
    let mut images = IMAGE[..3].to_vec();
    images[1][0][100][100] = f32::NAN;
    images[1][0][0][0] = f32::INFINITY;
    for backend in backends() {
        let network = Network::from_packed(&PLAN, &F16, backend).unwrap();
        let mut workspace = vec![Line::ZERO; network.workspace_len(3)];
        let mut logits = [[0.0; CLASSES]; 3];
        network.forward(flat(&images), logits.as_flattened_mut(), &mut workspace, &Serial).unwrap();
        let expected = forward(&F16, backend, 3, &Serial);
        assert_eq!((logits[0], logits[2]), (expected[0], expected[2]));
    }
}

#[test]
fn a_weight_beyond_half_width_is_named() {
    let mut weight = Box::new([[0.0; 4096]; CLASSES]);
    weight[3][5] = -65520.0;
    let network = AlexNet { linear3: Linear { weight: &weight, bias: NETWORK.linear3.bias }, ..*NETWORK };
    let mut packed = vec![Line::ZERO; PLAN.packed_len(CLASSES, LinearWeights::F16)];
    assert_eq!(
        Network::pack(&PLAN, &network.weights(), LinearWeights::F16, &mut packed),
        Err(PackedError::TooLarge { tensor: "linear3.weight", index: 3 * 4096 + 5 })
    );
    packed.pop();
    let found = packed.len();
    assert_eq!(
        Network::pack(&PLAN, &network.weights(), LinearWeights::F16, &mut packed),
        Err(PackedError::Length { expected: found + 1, found })
    );
}
