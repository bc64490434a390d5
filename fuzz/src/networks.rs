//! The networks that are fuzzed: a small one with what AlexNet of low rank has, layers without ReLU between others; LeNet-5; and ones with
//! what these two lack.

use std::sync::LazyLock;

use image_files::header::{Entry, header};
use infer_core::{
    describe::Description,
    int8::{self, Ranges},
    lenet5,
    packed::{self, Line, LinearWeights},
    weights::Weights,
};

use crate::only_opened;

/// A network of low rank.
pub mod small {
    infer_core::network! {
        /// A convolution with stride and padding, one for Winograd, poolings, and a linear layer as two factors.
        Small "small": 1 x 13;
        conv1: conv 5, kernel 4, stride 2, padding 1;
        pool1: max_pool kernel 2, stride 1;
        conv2: conv 7, kernel 3, padding 1;
        pool2: max_pool kernel 3, stride 2;
        linear1a: linear 3, no relu;
        linear1b: linear 18, dropout;
        linear2: linear 4 classes;
    }
}

/// A network with Winograd convolutions and weights of 4 bits among the 8-bit integers.
pub mod tiled {
    infer_core::network! {
        /// A convolution for each size of tile, and a linear layer of a multiple of 32 inputs.
        Tiled "tiled": 1 x 9;
        conv1: conv 32, kernel 2, stride 2;
        conv2: conv 32, kernel 5, padding 2;
        conv3: conv 64, kernel 3;
        linear1: linear 20;
        linear2: linear 4 classes;
    }
}

/// A network for colour, with convolutions in groups, of which one is Winograd's, and local response normalisation.
pub mod streams {
    infer_core::network! {
        /// Two streams, as in the AlexNet of 2012.
        Streams "streams": 3 x 13;
        conv1: conv 32, kernel 3, stride 2;
        norm1: local_response_norm;
        pool1: max_pool kernel 2, stride 1;
        conv2: conv 64, kernel 5, padding 2, groups 2;
        norm2: local_response_norm;
        conv3: conv 6, kernel 3, groups 2;
        linear1: linear 5 classes;
    }
}

/// A network and valid files of it.
pub struct Subject {
    /// Its plan for floats.
    pub plan: &'static packed::Plan,
    /// Its plan for integers.
    pub int8_plan: &'static int8::Plan,
    /// Number of classes.
    pub classes: usize,
    /// Weights as they were trained, as safetensors.
    pub file: Vec<u8>,
    /// Packed weights, of linear layers in each format.
    pub packed: [Vec<u8>; 2],
    /// Int8 weights.
    pub int8: Vec<u8>,
    /// Images to run it on; none for a network that is opened only, as running it takes too long.
    images: Vec<f32>,
}

impl Subject {
    /// The network as a table.
    pub fn description(&self) -> &'static Description {
        self.plan.description()
    }

    /// Images to run it on; none where weights are opened only.
    pub fn images(&self) -> &[f32] {
        if only_opened() { &[] } else { &self.images }
    }

    fn new(plan: &'static packed::Plan, int8_plan: &'static int8::Plan, classes: usize, images: usize) -> Self {
        let description = plan.description();
        let mut random = Random(1);
        let layers = description.layers(classes).filter(|layer| layer.tensors.is_some());
        let layers: Vec<(Vec<f32>, Vec<f32>)> = layers
            .map(|layer| {
                let deviation = (2.0 / layer.fan_in() as f32).sqrt();
                let count = layer.output.channels * layer.fan_in();
                let weight = (0..count).map(|_| deviation * random.next()).collect();
                (weight, (0..layer.output.channels).map(|_| 0.1 * random.next()).collect())
            })
            .collect();
        let borrowed: Vec<_> = layers.iter().map(|(weight, bias)| (&weight[..], &bias[..])).collect();
        let weights = Weights::new(description, classes, &borrowed);
        let packed = [LinearWeights::F32, LinearWeights::F16].map(|linear| {
            let mut lines = vec![Line::ZERO; plan.packed_len(classes, linear)];
            packed::Network::pack(plan, &weights, linear, &mut lines).expect("the weights are finite");
            Line::bytes(&lines).to_vec()
        });
        let mut lines = vec![Line::ZERO; int8_plan.packed_len(classes)];
        let ranges = Ranges { input: 1.0, outputs: &vec![4.0; description.layers.len()] };
        int8::Network::pack(int8_plan, &weights, ranges, &mut lines).expect("the weights and ranges are finite");
        let images = (0..images * description.input().values()).map(|_| random.next().abs()).collect();
        let file = trained(description, classes, &borrowed);
        Self { plan, int8_plan, classes, file, packed, int8: Line::bytes(&lines).to_vec(), images }
    }
}

/// A file of safetensors.
fn trained(description: &Description, classes: usize, layers: &[(&[f32], &[f32])]) -> Vec<u8> {
    let (mut shapes, mut names, mut data) = (Vec::new(), Vec::new(), Vec::new());
    let with_weights = description.layers(classes).filter_map(|layer| Some((layer, layer.tensors?)));
    for ((layer, [weight, bias]), (weights, biases)) in with_weights.zip(layers) {
        names.extend([weight, bias]);
        shapes.extend([layer.weight_sizes()[..layer.weight_rank()].to_vec(), vec![layer.output.channels]]);
        data.extend(weights.iter().chain(*biases).flat_map(|value| value.to_le_bytes()));
    }
    let entries = names.iter().zip(&shapes).map(|(name, shape)| Entry {
        name,
        dtype: "F32",
        shape,
        length: 4 * shape.iter().product::<usize>(),
    });
    let metadata = [("architecture".to_string(), description.name.to_string())];
    let mut file = header(metadata, entries, 8).expect("the header is short");
    file.extend(data);
    file
}

/// A file of safetensors with one tensor of bytes, which begins a line.
pub fn whole(name: &str, bytes: &[u8]) -> Vec<u8> {
    let entry = Entry { name, dtype: "U8", shape: &[bytes.len()], length: bytes.len() };
    let metadata = [("made".to_string(), "here".to_string())];
    let mut file = header(metadata, [entry], Line::SIZE).expect("the header is short");
    file.extend(bytes);
    file
}

/// The subjects: the small one, and LeNet-5.
pub static SUBJECTS: LazyLock<[Subject; 2]> = LazyLock::new(|| {
    [
        Subject::new(&small::PLAN, &small::INT8_PLAN, 4, 2),
        Subject::new(&lenet5::PLAN, &lenet5::INT8_PLAN, lenet5::CLASSES, 0),
    ]
});

/// One whose weights in integers are those of Winograd convolutions, and have 4 bits in a linear layer.
pub static TILED: LazyLock<Subject> =
    LazyLock::new(|| Subject::new(&tiled::PLAN, &tiled::INT4_WINOGRAD_PLAN, tiled::CLASSES, 2));

/// One for colour, with groups and normalisation.
pub static STREAMS: LazyLock<Subject> =
    LazyLock::new(|| Subject::new(&streams::PLAN, &streams::INT8_WINOGRAD_PLAN, streams::CLASSES, 2));

/// Numbers from −1 to 1, the same ones always.
struct Random(u32);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as f32 / (u32::MAX / 2) as f32 - 1.0
    }
}
