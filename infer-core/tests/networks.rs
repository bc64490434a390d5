//! Networks of many kinds, each a list of layers: the plain pass and the packed one give the same logits, on every backend, for
//! batches and threads, and for 2 to 1,000 classes.

use infer_core::describe::Description;
use infer_core::packed::{Backend, Line, LinearWeights, Network, PackedError, Parallel, Plan, Serial};
use infer_core::safetensors::WeightsError;
use infer_core::tensor::FloatArray;
use infer_core::weights::Weights;

/// `count` values, uniform from −`scale` to `scale`.
fn values(seed: u64, count: usize, scale: f64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (((state >> 40) as f64 / f64::from(1 << 23) - 1.0) * scale) as f32
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A weights file in memory that begins at a multiple of 64.
struct File {
    lines: Vec<Line>,
    length: usize,
}

impl File {
    /// The network's tensors, by values with which activations keep their size (He et al. 2015, eq. 10, for a uniform
    /// distribution).
    fn new(description: &Description, classes: usize, seed: u64) -> Self {
        let (mut entries, mut data) = (Vec::new(), Vec::new());
        for (number, layer) in description.layers(classes).enumerate() {
            let Some([weight, bias]) = layer.tensors else { continue };
            let sizes = &layer.weight_sizes()[..layer.weight_rank()];
            let scale = (6.0 / layer.fan_in() as f64).sqrt();
            for (name, sizes, scale) in [(weight, sizes, scale), (bias, &[layer.output.channels][..], 0.1)] {
                let begin = data.len();
                let seed = seed * 1000 + 2 * number as u64 + u64::from(sizes.len() == 1);
                data.extend(values(seed, sizes.iter().product(), scale).into_iter().flat_map(f32::to_le_bytes));
                let end = data.len();
                entries.push(format!(r#""{name}":{{"dtype":"F32","shape":{sizes:?},"data_offsets":[{begin},{end}]}}"#));
            }
        }
        let mut header = format!("{{{}}}", entries.join(","));
        while (8 + header.len()) % Line::SIZE != 0 {
            header.push(' ');
        }
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
        let mut padded = vec![0; bytes.len() + 2 * Line::SIZE];
        let start = padded.as_ptr().align_offset(Line::SIZE);
        padded[start..start + bytes.len()].copy_from_slice(&bytes);
        let end = start + bytes.len().next_multiple_of(Line::SIZE);
        Self { lines: Line::from_bytes(&padded[start..end]).unwrap().to_vec(), length: bytes.len() }
    }

    fn bytes(&self) -> &[u8] {
        &Line::bytes(&self.lines)[..self.length]
    }
}

/// Each task on one of three threads.
struct Threads;

impl Parallel for Threads {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            let threads = [0, 1, 2].map(|thread| scope.spawn(move || (thread..tasks).step_by(3).for_each(task)));
            // One by one, which ThreadSanitizer sees: scripts/sanitize-threads.
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}

/// Logits of a packed network, from a workspace full of NaN.
fn packed_logits(network: &Network<'_>, images: &[f32], batch: usize, parallel: &impl Parallel) -> Vec<f32> {
    #[repr(align(64))]
    struct Bytes([u8; Line::SIZE]);
    let nan = Line::from_bytes(&Bytes([0xFF; Line::SIZE]).0).unwrap()[0];
    let mut workspace = vec![nan; network.workspace_len(batch)];
    let mut logits = vec![f32::NAN; batch * network.classes()];
    network.forward(images, &mut logits, &mut workspace, parallel).unwrap();
    logits
}

fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |max, logit| max.max(logit.abs()));
    assert!((0.2..50.0).contains(&largest), "{what}: logits of that size would prove nothing: {largest}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance * largest, "{what}: {found} is not {expected}");
    }
}

/// Everything that holds of a packed network, given the plain logits of `batch` images.
fn check(plan: &'static Plan, file: &File, classes: usize, images: &[f32], expected: &[f32]) {
    let description = plan.description();
    let weights = Weights::from_safetensors(description, file.bytes()).unwrap();
    assert_eq!(weights.classes(), classes);
    let batch = expected.len() / classes;
    for (linear, tolerance) in [(LinearWeights::F32, 2e-5), (LinearWeights::F16, 2e-3)] {
        let mut packed = vec![Line::ZERO; plan.packed_len(classes, linear)];
        Network::pack(plan, &weights, linear, &mut packed).unwrap();
        for backend in Backend::ALL.iter().copied().filter(|backend| backend.available()) {
            let network = Network::from_packed(plan, &packed, backend).unwrap();
            network.check_finite().unwrap();
            assert_eq!((network.classes(), network.linear_weights()), (classes, linear));
            let what = format!("{} for {classes} classes, {linear}, {backend}", description.name);
            let all = packed_logits(&network, images, batch, &Serial);
            assert_close(&what, &all, expected, tolerance);
            assert_eq!(packed_logits(&network, images, batch, &Threads), all, "{what}: threads");
            // Sums go in the same order whatever the batch: no image's logits depend on the others.
            let image = images.len() / batch;
            assert_eq!(packed_logits(&network, &images[..image], 1, &Serial), all[..classes], "{what}: alone");
            assert_eq!(packed_logits(&network, &images[image..], batch - 1, &Serial), all[classes..], "{what}: fewer");
        }
    }
}

/// A network by its list, or one of infer-core's, and the property for some numbers of classes.
macro_rules! agrees {
    ($test:ident: $name:ident { $($list:tt)* } for $($classes:literal)* $(, images to $scale:literal)?) => {
        mod $test {
            infer_core::network! { #[doc = "Under test."] $($list)* }
        }

        agrees! { $test: $name of $test for $($classes)* $(, images to $scale)? }
    };
    ($test:ident: $name:ident of $($network:ident)::+ for $($classes:literal)* $(, images to $scale:literal)?) => {
        #[test]
        fn $test() {
            use $($network)::+::{DESCRIPTION, Image, PLAN, Workspace, $name};
            let scale: f64 = [$($scale,)? 1.0][0];
            $(
                // One more than are taken at once, so that there is a remainder.
                let batch = 10;
                let images = values(99, batch * DESCRIPTION.input().values(), scale);
                let file = File::new(&DESCRIPTION, $classes, $classes);
                let network = $name::<$classes>::from_safetensors(file.bytes()).unwrap();
                let mut workspace = Box::<Workspace>::default();
                let plain: Vec<f32> =
                    Image::slice(&images).iter().flat_map(|image| network.forward(image, &mut workspace)).collect();
                check(&PLAN, &file, $classes, &images, &plain);
            )*
        }
    };
}

agrees! { lenet5: LeNet5 of infer_core::lenet5 for 2 10 37 1000 }

// torchvision's AlexNet, a fourth as wide and half as large.
agrees! { colour: Colour {
    Colour "colour": 3 x 112;
    conv1: conv 16, kernel 11, stride 4, padding 2;
    pool1: max_pool kernel 3, stride 2;
    conv2: conv 48, kernel 5, padding 2;
    pool2: max_pool kernel 3, stride 2;
    conv3: conv 96, kernel 3, padding 1;
    conv4: conv 64, kernel 3, padding 1;
    conv5: conv 64, kernel 3, padding 1;
    linear1: linear 100, dropout;
    linear2: linear 10 classes;
} for 2 37 }

// The AlexNet of 2012, a third as wide and half as large. Images as bright as its own, so that normalisation matters.
agrees! { streams: Streams {
    Streams "streams": 3 x 115;
    conv1: conv 32, kernel 11, stride 4;
    norm1: local_response_norm;
    pool1: max_pool kernel 3, stride 2;
    conv2: conv 64, kernel 5, padding 2, groups 2;
    norm2: local_response_norm;
    pool2: max_pool kernel 3, stride 2;
    conv3: conv 96, kernel 3, padding 1;
    conv4: conv 96, kernel 3, padding 1, groups 3;
    conv5: conv 64, kernel 3, padding 1, groups 2;
    linear1: linear 100, dropout;
    linear2: linear 10 classes;
} for 2 37, images to 100.0 }

// Groups that are no whole blocks of channels, down to one channel each; normalisation of fewer channels than it looks at, behind a
// pool, and before a linear layer.
agrees! { groups: Groups {
    Groups "groups": 4 x 30;
    conv1: conv 6, kernel 3, stride 2, groups 2;
    pool1: max_pool kernel 2, stride 1;
    norm1: local_response_norm;
    conv2: conv 48, kernel 3, padding 1, groups 3;
    conv3: conv 48, kernel 3, groups 48;
    conv4: conv 3, kernel 1;
    norm4: local_response_norm;
    linear1: linear 10 classes;
} for 10, images to 300.0 }

// As the first stage of ResNet and the fire modules of SqueezeNet: strides of 2, windows of 7 and 1, no padding, pools that
// overlap and pools that leave gaps.
agrees! { seven: Seven {
    Seven "seven": 3 x 61;
    conv1: conv 24, kernel 7, stride 2, padding 3;
    pool1: max_pool kernel 3, stride 1;
    conv2: conv 40, kernel 1;
    conv3: conv 33, kernel 3, stride 2;
    pool3: max_pool kernel 2, stride 3;
    conv4: conv 70, kernel 2, padding 1;
    linear1: linear 10 classes;
} for 10 }

// Strides of the first layer that are neither 2 nor 4, filters that are no multiple of them, and borders of any width.
agrees! { strides: Strides {
    Strides "strides": 2 x 50;
    conv1: conv 64, kernel 8, stride 3, padding 4;
    conv2: conv 64, kernel 3;
    linear1: linear 10 classes;
} for 2 }

agrees! { wide_strides: Wide {
    Wide "wide strides": 1 x 75;
    conv1: conv 96, kernel 25, stride 5;
    pool1: max_pool kernel 4, stride 1;
    linear1: linear 10 classes;
} for 10 }

// Maps of fewer positions than are worth reading all weights for, from the first layer on; more channels than one tile has.
agrees! { small: Small {
    Small "small": 16 x 5;
    conv1: conv 1040, kernel 3, padding 1;
    conv2: conv 32, kernel 3, padding 1;
    linear1: linear 10 classes;
} for 3 }

// A pool first, and maps of a single position.
agrees! { pool_first: Pool {
    Pool "pool first": 3 x 9;
    pool1: max_pool kernel 3, stride 3;
    conv1: conv 20, kernel 3;
    conv2: conv 50, kernel 1;
    linear1: linear 10 classes;
} for 10 }

agrees! { linear_only: Perceptron {
    Perceptron "perceptron": 1 x 12;
    linear1: linear 50;
    linear2: linear 10 classes;
} for 2 10 }

agrees! { one_layer: Single {
    Single "single": 2 x 6;
    linear1: linear 10 classes;
} for 10000 }

#[test]
fn numbers_of_classes_that_no_network_has_are_refused() {
    for classes in [1, 10_001] {
        let file = File::new(&infer_core::lenet5::DESCRIPTION, classes, 1);
        let error = Weights::from_safetensors(&infer_core::lenet5::DESCRIPTION, file.bytes()).unwrap_err();
        assert!(matches!(error, WeightsError::Classes { tensor: "linear3.weight", .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!("tensor linear3.weight: expected an output for each of 2 to 10000 classes, found {classes}")
        );
    }
    // A typed network is made for so many and no others.
    let file = File::new(&infer_core::lenet5::DESCRIPTION, 37, 1);
    let error = infer_core::lenet5::LeNet5::<10>::from_safetensors(file.bytes()).unwrap_err();
    assert!(matches!(error, WeightsError::Shape { tensor: "linear3.weight", .. }), "{error}");
}

#[test]
fn weights_of_another_network_are_not_packed() {
    let file = File::new(&infer_core::lenet5::DESCRIPTION, 10, 1);
    let weights = Weights::from_safetensors(&infer_core::lenet5::DESCRIPTION, file.bytes()).unwrap();
    let plan = &infer_core::alexnet::PLAN;
    let mut packed = vec![Line::ZERO; plan.packed_len(10, LinearWeights::F32)];
    assert_eq!(
        Network::pack(plan, &weights, LinearWeights::F32, &mut packed),
        Err(PackedError::Network { expected: "alexnet" })
    );
}
