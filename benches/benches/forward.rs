//! Forward passes of infer-core: each layer of the unpacked AlexNet in multiply-adds a second, and the networks in images a
//! second; loading and packing weights; preprocessing.
//!
//! `cargo bench -p benches --bench forward`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use infer_core::alexnet::AlexNet;
use infer_core::describe::{Kind, Layer, Maps};
use infer_core::layers::{LocalResponseNorm, MaxPool2d};
use infer_core::packed::{Backend, Line, LinearWeights, Network, Serial};
use infer_core::tensor::{FloatArray, Scratch, flatten};
use infer_core::weights::Weights;
use infer_core::{alexnet, lenet5, preprocess};
use std::hint::black_box;
use tests::{file, formula};

/// The allocator of the programs.
#[global_allocator]
static ALLOCATOR: large_pages::LargePages = large_pages::LargePages;

/// Values of the largest output of a layer of AlexNet.
const LARGEST: usize = alexnet::LAYERS[0].output.values();

/// Multiply-adds of a layer of AlexNet, or comparisons of a pool.
fn operations(layer: &Layer) -> usize {
    match layer.kind {
        Kind::MaxPool { kernel, .. } => layer.output.values() * kernel * kernel,
        Kind::LocalResponseNorm => layer.output.values() * (2 * LocalResponseNorm::REACH + 1),
        Kind::Conv { .. } | Kind::Linear { .. } => layer.multiply_adds(),
    }
}

fn networks(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward");
    group.sample_size(10).throughput(Throughput::Elements(1));

    let weights = file::by_formula(&alexnet::DESCRIPTION);
    let network = alexnet::AlexNet::<10>::from_safetensors(weights.bytes()).expect("the weights fit");
    let image = formula::image(alexnet::SIDE);
    let image = alexnet::Image::slice(&image).first().expect("an image");
    let mut workspace = Box::<alexnet::Workspace>::default();
    group.bench_function("alexnet", |b| b.iter(|| network.forward(black_box(image), &mut workspace)));

    let weights = file::by_formula(&lenet5::DESCRIPTION);
    let network = lenet5::LeNet5::<10>::from_safetensors(weights.bytes()).expect("the weights fit");
    let image = formula::image(lenet5::SIDE);
    let image = lenet5::Image::slice(&image).first().expect("an image");
    let mut workspace = lenet5::Workspace::new();
    group.bench_function("lenet5", |b| b.iter(|| network.forward(black_box(image), &mut workspace)));
    group.finish();
}

fn layers(c: &mut Criterion) {
    let weights = file::by_formula(&alexnet::DESCRIPTION);
    let network = alexnet::AlexNet::<10>::from_safetensors(weights.bytes()).expect("the weights fit");
    let image = formula::image(alexnet::SIDE);
    let image = alexnet::Image::slice(&image).first().expect("an image");
    let mut input = Box::<Scratch<LARGEST>>::default();
    input.vector::<LARGEST>().copy_from_slice(&formula::unit(0, LARGEST));
    let mut output = Box::<Scratch<LARGEST>>::default();
    let mut group = c.benchmark_group("alexnet");
    group.sample_size(10);

    macro_rules! layer {
        ($number:literal, $layer:expr, $input:expr, $output:expr) => {
            let layer = &alexnet::LAYERS[$number];
            group.throughput(Throughput::Elements(operations(layer) as u64));
            group.bench_function(layer.name, |b| {
                b.iter(|| {
                    black_box($layer.forward(black_box($input), $output));
                })
            });
        };
    }
    macro_rules! pool {
        ($number:literal) => {
            const POOL: Layer = alexnet::LAYERS[$number];
            let layer = MaxPool2d::<{ POOL.kernel() }, { POOL.stride() }, { POOL.input.side }, { POOL.output.side }>;
            let maps = input.tensor::<{ POOL.input.channels }, { POOL.input.side }, { POOL.input.side }>();
            layer!($number, layer, maps, output.tensor());
        };
    }
    const FLAT: Maps = alexnet::LAYERS[8].input;
    let AlexNet { conv1, conv2, conv3, conv4, conv5, linear1, linear2, linear3 } = network;
    layer!(0, conv1, image, output.tensor());
    {
        pool!(1);
    }
    layer!(2, conv2, input.tensor(), output.tensor());
    {
        pool!(3);
    }
    layer!(4, conv3, input.tensor(), output.tensor());
    layer!(5, conv4, input.tensor(), output.tensor());
    layer!(6, conv5, input.tensor(), output.tensor());
    let maps = input.tensor::<{ FLAT.channels }, { FLAT.side }, { FLAT.side }>();
    layer!(8, linear1, flatten(maps), output.vector());
    layer!(9, linear2, input.vector(), output.vector());
    layer!(10, linear3, input.vector(), output.vector());
    group.finish();
}

fn packed(c: &mut Criterion) {
    for plan in [&alexnet::PLAN, &lenet5::PLAN] {
        let description = plan.description();
        let (classes, image) = (description.classes(), description.input());
        let file = file::by_formula(description);
        let weights = Weights::from_safetensors(description, file.bytes()).expect("the weights fit");
        let image = formula::unit(1000, image.values());
        let mut group = c.benchmark_group(format!("packed/{}", description.name));
        group.sample_size(10);
        for &linear in LinearWeights::ALL {
            let mut lines = vec![Line::ZERO; plan.packed_len(classes, linear)];
            Network::pack(plan, &weights, linear, &mut lines).expect("the weights fit");
            for backend in Backend::ALL.iter().copied().filter(|backend| backend.available()) {
                let network = Network::from_packed(plan, &lines, backend).expect("packed weights");
                for batch in [1, 8, 32] {
                    let images = image.repeat(batch);
                    let mut logits = vec![0.0; batch * classes];
                    let mut workspace = vec![Line::ZERO; network.workspace_len(batch)];
                    group.throughput(Throughput::Elements(batch as u64));
                    group.bench_function(format!("{backend}/{linear}/{batch}"), |b| {
                        b.iter(|| network.forward(black_box(&images), &mut logits, &mut workspace, &Serial))
                    });
                }
            }
        }
        group.finish();
    }
}

fn loading(c: &mut Criterion) {
    let weights = file::by_formula(&alexnet::DESCRIPTION);
    let network = alexnet::AlexNet::<10>::from_safetensors(weights.bytes()).expect("the weights fit");
    let mut group = c.benchmark_group("loading");
    group.sample_size(10).throughput(Throughput::Bytes(weights.bytes().len() as u64));
    group.bench_function("from_safetensors", |b| {
        b.iter(|| alexnet::AlexNet::<10>::from_safetensors(black_box(weights.bytes())).is_ok())
    });
    for &linear in LinearWeights::ALL {
        let plan = &alexnet::PLAN;
        let mut lines = vec![Line::ZERO; plan.packed_len(alexnet::CLASSES, linear)];
        group.bench_function(format!("pack/{linear}"), |b| {
            b.iter(|| Network::pack(plan, black_box(&network.weights()), linear, &mut lines))
        });
    }
    group.finish();
}

fn preprocessing(c: &mut Criterion) {
    let mut group = c.benchmark_group("preprocessing");
    let mut image = Box::<Scratch<{ alexnet::SIDE * alexnet::SIDE }>>::default();
    for (width, height) in [(28, 28), (640, 480), (4000, 3000)] {
        let pixels: Vec<[u8; 3]> = (0..width * height).map(|i| [i as u8, (i / 7) as u8, (i / 31) as u8]).collect();
        group.sample_size(20).throughput(Throughput::Elements(pixels.len() as u64));
        group.bench_function(format!("{width}x{height}"), |b| {
            b.iter(|| {
                let [plane] = image.tensor::<1, { alexnet::SIDE }, { alexnet::SIDE }>();
                let pixel = |x: usize, y: usize| preprocess::luma(pixels[y * width + x]);
                preprocess::resize_bilinear(width, height, pixel, plane)
            })
        });
    }
    group.finish();
}

criterion_group!(benches, networks, layers, packed, loading, preprocessing);
criterion_main!(benches);
