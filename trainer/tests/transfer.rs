//! Transfer learning: weights of other programs, frozen layers, learning rates of their own, classes that count alike. The
//! oracle of frozen layers is the same network without frozen ones.

use crate::common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use dfdx::{
    nn::ZeroGrads,
    shapes::Rank0,
    tensor::{Cpu, Gradients, Tensor, TensorFromVec},
    tensor_ops::{Backward, SumTo},
};
use image::{Rgb, RgbImage};
use safetensors::{
    Dtype, SafeTensors,
    tensor::{TensorView, serialize},
};
use trainer::{
    data::{Dataset, LabelledImages},
    export,
    model::{Initialisation, Network, first_learning, frozen_sizes},
    nn::Frozen,
    optimiser::{OptimiserName, OptimiserOptions},
    random::StepKey,
    training::{
        self,
        config::Options,
        interrupt::Interrupt,
        metrics::EpochMetrics,
        start::{self, NewRun},
        transfer::{ClassWeights, Freeze},
    },
};

macro_rules! small {
    ($then:path) => {
        $then! {
            /// A network with a layer of each kind.
            Small "small-transfer": 3 x 24;
            conv1: conv 8, kernel 5, padding 2;
            norm1: local_response_norm;
            pool1: max_pool kernel 3, stride 2;
            conv2: conv 8, kernel 3, padding 1, groups 2;
            conv3: conv 12, kernel 3, padding 1;
            pool3: max_pool kernel 3, stride 2, dropout;
            linear1a: linear 6, no relu;
            linear1b: linear 20, dropout;
            linear2: linear 16;
            linear3: linear 10 classes;
        }
    };
}

mod inference {
    small!(infer_core::network);
}

mod module {
    use super::inference::{DESCRIPTION, LAYERS};
    small!(trainer::network);
}

use inference::DESCRIPTION;
use module::Small;

const SIDE: usize = 24;
const VALUES: usize = 3 * SIDE * SIDE;
/// Layers with weights.
const LAYERS: usize = 7;
const KEY: StepKey = StepKey { seed: 3, epoch: 1, step: 1, drop_features: false };

fn network(seed: u64) -> Small<Cpu> {
    Small::init(&Cpu::default(), 5, Initialisation::He, seed).unwrap()
}

fn inputs(images: usize, seed: usize) -> Vec<f32> {
    (0..images * VALUES).map(|i| ((i + seed).wrapping_mul(2_654_435_761) >> 7) as u8 as f32 / 255.0).collect()
}

fn tensor(values: Vec<f32>, sizes: (usize, usize, usize, usize)) -> Tensor<(usize, usize, usize, usize), f32, Cpu> {
    Cpu::default().tensor_from_vec(values, sizes)
}

fn images(count: usize, seed: usize) -> Tensor<(usize, usize, usize, usize), f32, Cpu> {
    tensor(inputs(count, seed), (count, 3, SIDE, SIDE))
}

/// The logits of a step, and the gradients of all layers' weights in order, by the sum of the logits' squares.
fn step(
    network: &Small<Cpu>,
    inputs: Tensor<(usize, usize, usize, usize), f32, Cpu>,
    frozen: Frozen,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let gradients = network.try_alloc_grads().unwrap();
    let logits = network.train_from(inputs, gradients, KEY, frozen).unwrap();
    let values = logits.as_vec();
    let gradients: Gradients<f32, Cpu> = logits.square().sum::<Rank0, _>().backward();
    let weights = vec![
        gradients.get(&network.conv1.weight).as_vec(),
        gradients.get(&network.conv2.weight).as_vec(),
        gradients.get(&network.conv3.bias).as_vec(),
        gradients.get(&network.linear1a.weight).as_vec(),
        gradients.get(&network.linear1b.bias).as_vec(),
        gradients.get(&network.linear2.weight).as_vec(),
        gradients.get(&network.linear3.weight).as_vec(),
    ];
    (values, weights)
}

#[test]
fn frozen_layers_have_no_gradients_and_the_others_keep_theirs() {
    let network = network(1);
    let (expected, gradients) = step(&network, images(6, 1), Frozen::default());
    assert!(gradients.iter().all(|gradient| gradient.iter().any(|value| *value != 0.0)));
    for layers in 0..LAYERS {
        let (logits, found) = step(&network, images(6, 1), Frozen { layers, computed: false });
        assert_eq!(logits, expected, "{layers}");
        assert!(found[..layers].iter().flatten().all(|value| *value == 0.0), "{layers}");
        assert_eq!(found[layers..], gradients[layers..], "{layers}");
        if layers == 0 {
            continue;
        }
        // From what the frozen convolutions give, computed in other batches.
        let sizes = frozen_sizes(&DESCRIPTION, layers);
        let all = inputs(6, 1);
        let maps: Vec<f32> = [(0, 1), (1, 5), (5, 6)]
            .into_iter()
            .flat_map(|(from, to)| {
                let some = tensor(all[from * VALUES..to * VALUES].to_vec(), (to - from, 3, SIDE, SIDE));
                network.frozen_maps(some, layers).unwrap().as_vec()
            })
            .collect();
        let maps = || tensor(maps.clone(), (6, sizes.channels, sizes.side, sizes.side));
        let (logits, found) = step(&network, maps(), Frozen { layers, computed: true });
        assert_eq!(logits, expected, "{layers}");
        assert_eq!(found[layers..], gradients[layers..], "{layers}");
        let evaluated = network.evaluate_from(maps(), Frozen { layers, computed: true }).unwrap().as_vec();
        assert_eq!(evaluated, network.evaluate(images(6, 1)).unwrap().as_vec(), "{layers}");
        // Images are no such inputs.
        assert!(network.evaluate_from(images(6, 1), Frozen { layers, computed: true }).is_err());
    }
}

#[test]
fn the_front_ends_before_the_first_layer_that_learns() {
    let sizes = |layers| {
        let maps = frozen_sizes(&DESCRIPTION, layers);
        (maps.channels, maps.side)
    };
    // Behind normalisation and pool; between convolutions; behind the last pool, also where linear layers are frozen.
    assert_eq!([0, 1, 2, 3, 4, 6].map(sizes), [(3, 24), (8, 11), (8, 11), (12, 5), (12, 5), (12, 5)]);
    assert_eq!([0, 1, 3, 6].map(|layers| first_learning(&DESCRIPTION, layers)), [0, 3, 6, 9]);
}

/// Stripes of a colour and a direction that follow from the class: `counts` images of each.
fn data(counts: &[usize]) -> Dataset {
    let set = |seed: usize| {
        let mut images = LabelledImages::of_channels(3, counts.len());
        for (class, count) in counts.iter().enumerate() {
            for number in 0..*count {
                let picture = RgbImage::from_fn(28, 26, |x, y| {
                    let noise =
                        ((x * 31 + y * 17) as usize + 97 * number + seed).wrapping_mul(2_654_435_761) >> 26 & 63;
                    let stripe = if class % 2 == 0 { x } else { y } / (2 + class as u32 / 2) % 2;
                    Rgb([noise as u8 + 120 * stripe as u8, 40 * class as u8, 200 - noise as u8])
                });
                images.push(28, picture.as_raw(), class as u16);
            }
        }
        images
    };
    let names = (0..counts.len()).map(|class| format!("class {class}")).collect();
    Dataset::in_memory(set(0), set(7), names).unwrap()
}

/// Options with everything that changes weights.
fn options() -> Options {
    Options {
        epochs: 3,
        batch_size: 8,
        learning_rate: 0.002,
        optimiser: OptimiserOptions {
            name: OptimiserName::AdamW,
            weight_decay: 0.1,
            clip_norm: Some(0.5),
            average: Some(0.8),
            ..OptimiserOptions::default()
        },
        validation: 5,
        seed: 5,
        ..Options::default()
    }
}

/// Weights of this network for five classes, as another run would leave them.
fn first_weights(folder: &Path) -> PathBuf {
    let path = folder.join("first.safetensors");
    let metadata = [("architecture", DESCRIPTION.name)].map(|(key, value)| (key.to_string(), value.to_string()));
    export::save(&path, &network(9), &metadata.into()).unwrap();
    path
}

/// The weights that a run from `init` leaves, and its measurements but for times.
fn run(
    folder: &Path,
    data: &Dataset,
    init: &Path,
    options: Options,
    frozen_bytes: u64,
) -> (BTreeMap<String, Vec<u8>>, Vec<EpochMetrics>) {
    let new = NewRun { init: Some(init), validation: Some(options.validation), ..NewRun::new(&DESCRIPTION, options) };
    let config = new.config(data).unwrap();
    let mut started = start::begin::<Cpu, Small<Cpu>>(&Cpu::default(), data, folder, config, true).unwrap();
    started.frozen_bytes = frozen_bytes;
    let outcome = started.train(&Cpu::default(), data, &mut (), Interrupt::default()).unwrap();
    let timeless = |epoch: EpochMetrics| EpochMetrics { images_per_second: 0.0, seconds: 0.0, ..epoch };
    (stored(&outcome.weights.unwrap()), outcome.epochs.into_iter().map(timeless).collect())
}

fn stored(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, tensor)| (name.to_string(), tensor.data().to_vec())).collect()
}

#[test]
fn frozen_layers_keep_their_weights_whatever_the_others_do() {
    let folder = tempfile::tempdir().unwrap();
    let init = first_weights(folder.path());
    let (before, data) = (stored(&init), data(&[9, 9, 9, 9, 9]));
    for (freeze, layers) in
        [(None, 0), (Some(Freeze::Layers(1)), 1), (Some(Freeze::Features), 3), (Some(Freeze::Layers(5)), 5)]
    {
        let (after, _) =
            run(&folder.path().join("run"), &data, &init, Options { freeze, ..options() }, training::MOST_BYTES);
        let weighted = DESCRIPTION.layers.iter().filter_map(|layer| layer.tensors).enumerate();
        for (layer, name) in weighted.flat_map(|(layer, tensors)| tensors.map(|name| (layer, name))) {
            assert_eq!(before[name] == after[name], layer < layers, "{name} with {layers} frozen layers");
        }
    }
}

#[test]
fn what_frozen_layers_give_is_kept_without_a_change_of_results() {
    let folder = tempfile::tempdir().unwrap();
    let init = first_weights(folder.path());
    let data = data(&[9, 9, 9, 9, 9]);
    for freeze in [Freeze::Layers(1), Freeze::Features, Freeze::Layers(4)] {
        let options = Options { freeze: Some(freeze), drop_features: true, ..options() };
        let bytes = training::bytes_of_frozen(&DESCRIPTION, &options, 90).unwrap();
        assert_eq!(bytes, 4 * 90 * frozen_sizes(&DESCRIPTION, options.frozen(&DESCRIPTION)).values() as u64);
        let of = |bytes| run(&folder.path().join("run"), &data, &init, options.clone(), bytes);
        let (kept, computed) = (of(bytes), of(bytes - 1));
        assert!(kept == computed, "{freeze:?}: {:?}, {:?}", kept.1, computed.1);
    }
    let mut changing = Options { freeze: Some(Freeze::Features), ..options() };
    changing.augmentation.flip = true;
    assert_eq!(training::bytes_of_frozen(&DESCRIPTION, &changing, 90), None);
    assert_eq!(training::bytes_of_frozen(&DESCRIPTION, &options(), 90), None);
}

#[test]
fn the_last_layer_has_a_learning_rate_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let init = first_weights(folder.path());
    let data = data(&[8, 8, 8, 8, 8]);
    // One step of plain gradient descent: what it changes is the rate times the gradient.
    let plain = OptimiserOptions { name: OptimiserName::Sgd, momentum: 0.0, ..OptimiserOptions::default() };
    let of = |learning_rate, head_learning_rate| {
        let options = Options {
            epochs: 1,
            batch_size: 100,
            validation: 0,
            learning_rate,
            head_learning_rate,
            optimiser: plain.clone(),
            seed: 5,
            ..Options::default()
        };
        run(&folder.path().join("run"), &data, &init, options, 0).0
    };
    let (slow, fast, both) = (of(0.001, None), of(0.016, None), of(0.001, Some(0.016)));
    for (name, bytes) in &both {
        let expected = if name.starts_with("linear3.") { &fast } else { &slow };
        assert!(*bytes == expected[name], "{name}");
        assert!(slow[name] != fast[name], "{name}");
    }
}

#[test]
fn rare_classes_count_as_much_as_others() {
    let folder = tempfile::tempdir().unwrap();
    let init = first_weights(folder.path());
    let (uneven, even) = (data(&[24, 4, 4, 4, 4]), data(&[24, 24, 24, 24, 24]));
    let options = |class_weights| Options {
        class_weights,
        epochs: 12,
        batch_size: 40,
        validation: 0,
        seed: 5,
        ..Options::default()
    };
    let loss = |class_weights| {
        let (_, epochs) = run(&folder.path().join("run"), &uneven, &init, options(class_weights), 0);
        epochs.last().unwrap().train.loss
    };
    assert!(loss(ClassWeights::Equal) != loss(ClassWeights::Balanced));
    // Of even classes, all weights are 1.
    let of = |class_weights| {
        run(&folder.path().join("run"), &even, &init, Options { epochs: 1, ..options(class_weights) }, 0)
    };
    assert!(of(ClassWeights::Equal) == of(ClassWeights::Balanced));
}

/// Rewrites a weights file with other names and values.
fn rewritten(from: &Path, to: &Path, change: impl Fn(&str, &[f32]) -> (String, Dtype, Vec<u8>)) {
    let bytes = fs::read(from).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let changed: Vec<_> = file
        .iter()
        .map(|(name, tensor)| {
            let values: Vec<f32> =
                tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let (name, dtype, data) = change(name, &values);
            (name, dtype, tensor.shape().to_vec(), data)
        })
        .collect();
    let views = changed
        .iter()
        .map(|(name, dtype, shape, data)| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    fs::write(to, serialize(views, None).unwrap()).unwrap();
}

/// The weights that a run begins with, and what is said of them.
fn begun(folder: &Path, data: &Dataset, init: &Path) -> Result<(Small<Cpu>, String), String> {
    let config = NewRun { init: Some(init), ..NewRun::new(&DESCRIPTION, Options::default()) }.config(data);
    let started = config.and_then(|config| start::begin(&Cpu::default(), data, &folder.join("run"), config, true));
    started.map(|started| (started.network, started.notes.join("\n"))).map_err(|error| error.to_string())
}

#[test]
fn weights_of_other_programs_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (init, other) = (first_weights(folder.path()), folder.path().join("other.safetensors"));
    let data = data(&[4, 4, 4, 4, 4]);
    let expected = network(9).evaluate(images(3, 2)).unwrap().as_vec();
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    for (prefix, dtype) in [("module.", Dtype::F32), ("_orig_mod.module.", Dtype::F64), ("model.", Dtype::BF16)] {
        rewritten(&init, &other, |name, values| {
            let data = match dtype {
                Dtype::F64 => values.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect(),
                Dtype::BF16 => values
                    .iter()
                    .flat_map(|value| [value.to_bits().to_le_bytes()[2], value.to_bits().to_le_bytes()[3]])
                    .collect(),
                _ => bytes(values),
            };
            (format!("{prefix}{name}"), dtype, data)
        });
        let (network, said) = begun(folder.path(), &data, &other).unwrap();
        assert!(said.contains(&format!("other.safetensors: {prefix} is taken off the names of all tensors")), "{said}");
        assert_eq!(said.contains(&format!("values of {dtype:?} become F32")), dtype != Dtype::F32, "{said}");
        let found = network.evaluate(images(3, 2)).unwrap().as_vec();
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= if dtype == Dtype::BF16 { 0.1 } else { 0.0 };
        assert!(found.iter().zip(&expected).all(close), "{found:?}, {expected:?}");
    }

    // The last layer is of one output, or there is none.
    let one = |name: &str, values: &[f32]| (name.to_string(), Dtype::F32, bytes(values));
    for outputs in [Some(1), Some(20_000), None] {
        let bytes = fs::read(&init).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors: Vec<_> = file.iter().filter(|(name, _)| !name.starts_with("linear3.")).collect();
        let (weight, bias) = (vec![0; 4 * 16 * outputs.unwrap_or(0)], vec![0; 4 * outputs.unwrap_or(0)]);
        if let Some(outputs) = outputs {
            tensors.push(("linear3.weight", TensorView::new(Dtype::F32, vec![outputs, 16], &weight).unwrap()));
            tensors.push(("linear3.bias", TensorView::new(Dtype::F32, vec![outputs], &bias).unwrap()));
        }
        fs::write(&other, serialize(tensors, None).unwrap()).unwrap();
        let (network, said) = begun(folder.path(), &data, &other).unwrap();
        let expected = match outputs {
            Some(1) => "these weights tell apart 1 class: the last layer, linear3, begins anew",
            Some(_) => "these weights tell apart 20,000 classes: the last layer, linear3, begins anew",
            None => "these weights have no last layer, linear3: it begins anew",
        };
        assert!(said.ends_with(expected), "{said}");
        assert_eq!(network.classes(), 5);
        assert_eq!(network.conv2.weight.as_vec(), self::network(9).conv2.weight.as_vec());
    }

    // A value that F32 cannot hold, integers, and a name that only most tensors have before theirs.
    let refused = |expected: &str| {
        let error = begun(folder.path(), &data, &other).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    rewritten(&init, &other, |name, values| {
        let value = |value: &f32| if name == "conv2.bias" { 1e300_f64 } else { f64::from(*value) }.to_le_bytes();
        (name.to_string(), Dtype::F64, values.iter().flat_map(value).collect())
    });
    refused("tensor conv2.bias: expected values within the range of F32, found 1e300 at index 0");
    rewritten(&init, &other, |name, values| (name.to_string(), Dtype::I32, vec![0; 4 * values.len()]));
    refused("expected dtype F32, F16, BF16 or F64, found I32");
    rewritten(&init, &other, |name, values| {
        one(&if name == "conv1.bias" { name.into() } else { format!("module.{name}") }, values)
    });
    refused("tensor conv1.weight: missing");
}

/// Runs the trainer; its exit status must be `status`. Returns what it said.
fn trainer(folder: &Path, status: i32, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    let output = command.current_dir(folder).args(arguments).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{said}");
    said
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    common::photos(&folder.path().join("photos"), 10);
    let run = ["--network=lenet5", "--data=photos", "--epochs=1", "--batch-size=8"];
    trainer(folder.path(), 0, &[&run[..], &["--out=first"]].concat());
    let refused = |arguments: &[&str], expected: &str| {
        let said = trainer(folder.path(), 2, &[&run[..], &["--out=second"], arguments].concat());
        assert!(said.contains(expected), "{said}");
        assert!(!folder.path().join("second").exists());
    };
    let init = "--init=first/lenet5.safetensors";
    refused(
        &[init, "--freeze=5"],
        "--freeze 5: LeNet5 has 5 layers with weights, of which the last one learns; expected features, or 1 to 4",
    );
    refused(
        &["--freeze=features"],
        "--freeze, --recipe transfer: this run begins with random weights, which must learn; name others with --init",
    );
    refused(&["--recipe=transfer"], "--freeze, --recipe transfer: this run begins with random weights");
    refused(&[init, "--freeze=some"], "expected features, or a number of layers");
    refused(&[init, "--head-learning-rate=0"], "expected a number greater than 0 and at most 10");
    refused(&["--class-weights=equal"], "possible values: none, balanced");
    for (name, content, expected) in [
        (
            "a.pth",
            &b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\x12\0alexnet/data.pkl"[..],
            "found a PyTorch checkpoint; make safetensors of it in Python",
        ),
        ("a.pkl", b"\x80\x02\x8a\nl\xfc\x9cF\xf9", "found a PyTorch checkpoint"),
        ("a.onnx", b"\x08\x08\x12\x07pytorch", "found an ONNX model"),
        ("a.html", b"\n<!doctype html><html>", "found a web page; download the file itself"),
        (
            "a.safetensors",
            b"version https://git-lfs.github.com/spec/v1\n",
            "found a Git LFS pointer, not the file itself; fetch that with `git lfs pull`",
        ),
        ("a.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "found gzipped; unpack it first"),
        ("empty.safetensors", b"", "found an empty file; download or copy it again"),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
        let said = trainer(folder.path(), 2, &["--data=photos", "--out=second", "--init", name]);
        assert!(
            said.contains(&format!("{name}: not a valid safetensors file: expected a safetensors file, {expected}")),
            "{said}"
        );
    }
    // Layouts of our own that cannot be trained.
    trainer(folder.path(), 0, &["compress", "first", "--int8", "-o", "int8.safetensors", "--data=photos"]);
    refused(
        &["--init=int8.safetensors"],
        "int8.safetensors: expected LeNet5's weights as they were trained, found int8 ones, which infer-cli runs; give the file that they were made of",
    );

    // The network follows from the tensors, with whatever before their names.
    rewritten(
        &folder.path().join("first/lenet5.safetensors"),
        &folder.path().join("wrapped.safetensors"),
        |name, values| {
            (format!("model.module.{name}"), Dtype::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
        },
    );
    let few = ["--data=photos", "--out=second", "--epochs=1", "--recipe=transfer", "--init=wrapped.safetensors"];
    let said = trainer(folder.path(), 0, &few);
    assert!(said.contains("wrapped.safetensors: model.module. is taken off the names of all tensors"), "{said}");
    assert!(said.contains("Training LeNet-5 on the CPU") && said.contains("computed once"), "{said}");
}

#[test]
fn a_run_with_frozen_layers_goes_on_as_it_began() {
    let folder = tempfile::tempdir().unwrap();
    common::photos(&folder.path().join("photos"), 12);
    let run =
        ["--network=lenet5", "--data=photos", "--threads=2", "--batch-size=8", "--checkpoint-minutes=0", "--seed=4"];
    trainer(folder.path(), 0, &[&run[..], &["--out=first", "--epochs=1"]].concat());
    let transfer = [
        "--init=first/lenet5.safetensors",
        "--freeze=features",
        "--head-learning-rate=0.01",
        "--class-weights=balanced",
        "--ema=0.9",
        "--clip-norm=1",
    ];
    let said = trainer(folder.path(), 0, &[&run[..], &transfer, &["--out=whole", "--epochs=3"]].concat());
    assert!(said.contains("Outputs of frozen convolutions: computed once, 1 MB in memory"), "{said}");
    let said =
        trainer(folder.path(), 0, &[&run[..], &transfer, &["--out=again", "--epochs=2", "--frozen-memory=0"]].concat());
    assert!(
        said.contains("Outputs of frozen convolutions: computed in every epoch; with --frozen-memory 1, only once"),
        "{said}"
    );
    for (other, began) in
        [("--freeze=1", "features"), ("--head-learning-rate=0.02", "0.01"), ("--class-weights=none", "balanced")]
    {
        let said = trainer(folder.path(), 2, &["--resume=again", "--epochs=3", other]);
        let (flag, value) = other.split_once('=').unwrap();
        assert!(
            said.contains(&format!("{flag} {value}: the run in again began with {began}, and goes on with it")),
            "{said}"
        );
    }
    trainer(folder.path(), 0, &["--resume=again", "--epochs=3", "--freeze=features", "--head-learning-rate=0.01"]);
    let weights = |run: &str| stored(&folder.path().join(run).join("lenet5.safetensors"));
    assert!(weights("whole") == weights("again"));
    let (first, whole) = (weights("first"), weights("whole"));
    assert!(first["conv2.weight"] == whole["conv2.weight"] && first["linear1.weight"] != whole["linear1.weight"]);
}
