//! `compress`: from AlexNet's weights to those of an AlexNet of low rank and to 8-bit integers, which can be evaluated and trained on.

use crate::common;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use dfdx::prelude::Cpu;
use infer_core::{
    alexnet, alexnet_2012, alexnet_imagenet,
    alexnet_low_rank::rank64,
    int8::{Int8Backend, Line, Network as Int8Network, Plan as Int8Plan},
    lenet5,
    preprocess::Resize,
};
use safetensors::{
    SafeTensors, serialize,
    tensor::{Dtype, TensorView},
};
use trainer::{
    data::Frame,
    export::{self, Metadata},
    model::{AlexNet, AlexNet2012, AlexNetImageNet, AlexNetRank64, Initialisation, LeNet5, Network},
};

/// Runs the program in a folder and demands an exit status. Returns stdout and stderr.
fn status(folder: &Path, expected: i32, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    let output = command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(expected), "{arguments:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

/// Random weights of a network that tells ten classes apart, in a file.
fn weights<N: Network<Cpu>>(path: &Path) -> N {
    weights_for(10, path)
}

/// Random weights in a file.
fn weights_for<N: Network<Cpu>>(classes: usize, path: &Path) -> N {
    let network = N::init(&Cpu::default(), classes, Initialisation::He, 5).unwrap();
    let metadata = [("architecture", N::ARCHITECTURE), ("seed", "7"), ("test_accuracy", "0.75")];
    let metadata: Metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string())).into();
    export::save(path, &network, &metadata).unwrap();
    network
}

/// The bytes of a file where weights can be read in place.
fn aligned(path: &Path) -> Vec<Line> {
    let bytes = fs::read(path).unwrap();
    let mut lines = vec![Line::ZERO; bytes.len().div_ceil(Line::SIZE)];
    assert_eq!(bytes.len() % Line::SIZE, 0);
    Line::bytes_mut(&mut lines).copy_from_slice(&bytes);
    lines
}

#[test]
fn weights_of_low_rank_are_evaluated_and_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let dataset = common::dataset();
    let data = dataset.files[0].path.parent().and_then(Path::to_str).unwrap();
    let original: AlexNet<Cpu> = weights(&root.join("alexnet.safetensors"));
    let rest = ["--data", data, "--calibration=12", "--test-limit=8", "--threads=2"];
    // 60 images vary in 59 directions: rank 64 keeps everything, and is the smallest.
    let low = ["compress", "alexnet.safetensors", "--rank=auto", "--output=small.safetensors", "--data", data];
    let of_60 = ["--calibration=60", "--test-limit=32", "--threads=2"];
    let (output, notes) = status(root, 0, &[&low[..], &of_60].concat());
    assert!(
        output.starts_with("small.safetensors (AlexNetRank64): 19,8") && output.contains("before 187,0"),
        "{output}"
    );
    assert!(notes.contains("alexnet-rank64") && !notes.contains("alexnet-rank128"), "{notes}");
    assert_eq!(notes.matches("100.00 %").count(), 2, "{notes}");

    let mut small = AlexNetRank64::<Cpu>::init(&Cpu::default(), 10, Initialisation::He, 0).unwrap();
    let metadata = export::load(&root.join("small.safetensors"), &mut small).unwrap();
    assert_eq!(small.conv5.weight.as_vec(), original.conv5.weight.as_vec());
    assert_eq!(small.linear3.weight.as_vec(), original.linear3.weight.as_vec());
    assert_eq!((&*metadata["parent_test_accuracy"], &*metadata["seed"]), ("0.75", "7"));
    assert_eq!((&*metadata["architecture"], &*metadata["calibration_images"]), ("alexnet-rank64", "60"));
    assert!(metadata["compressed_by"].starts_with("trainer compress alexnet.safetensors"));

    let (table, _) =
        status(root, 0, &["evaluate", "--weights=small.safetensors", "--data", data, "--test-limit=8", "--threads=2"]);
    assert!(table.contains("(alexnet-rank64) on 8 test images"), "{table}");
    let few = ["--epochs=1", "--batch-size=8", "--train-limit=16", "--validation=8", "--test-limit=8", "--threads=2"];
    status(root, 0, &[&["--init=small.safetensors", "--out=run", "--data", data, "-q"][..], &few].concat());
    let config = fs::read_to_string(root.join("run/config.json")).unwrap();
    assert!(config.contains("\"network\": \"alexnet-rank64\""), "{config}");
    assert!(root.join("run/alexnet-rank64.safetensors").is_file());

    // Integers of the low rank, compared with the original; nothing is replaced without a word.
    let integers =
        ["compress", "small.safetensors", "--int8", "--checks", "--parent=alexnet.safetensors", "-oi8.safetensors"];
    let (output, _) = status(root, 0, &[&integers[..], &rest].concat());
    assert!(output.starts_with("i8.safetensors (AlexNetRank64): 5,0"), "{output}");
    let (_, errors) = status(root, 2, &[&integers[..], &rest].concat());
    assert!(errors.contains("i8.safetensors exists; replace it with --force"), "{errors}");
    let lines = aligned(&root.join("i8.safetensors"));
    let plan = &rank64::INT8_WINOGRAD_PLAN;
    let mut transformed = vec![Line::ZERO; plan.transformed_len()];
    let network =
        Int8Network::from_safetensors(plan, Line::bytes(&lines), &mut transformed, Int8Backend::Scalar).unwrap();
    assert_eq!(network.classes(), 10);
    let metadata =
        String::from_utf8_lossy(Line::bytes(&lines)[8..4096].split(|byte| *byte == 0).next().unwrap()).into_owned();
    assert!(metadata.contains("border_at_most") && metadata.contains("probability_at_least"), "{metadata}");

    // The same with weights that are used where they are.
    let in_place = ["compress", "small.safetensors", "--int8", "--in-place", "-oplace.safetensors"];
    status(root, 0, &[&in_place[..], &rest].concat());
    let lines = aligned(&root.join("place.safetensors"));
    let network = Int8Network::from_safetensors(&rank64::INT8_PLAN, Line::bytes(&lines), &mut [], Int8Backend::Scalar);
    assert_eq!(network.map(|network| network.classes()), Ok(10));
    let (_, errors) = status(root, 2, &["compress", "small.safetensors", "--rank=64", "--in-place", "-ox.safetensors"]);
    assert!(errors.contains("--int8"), "{errors}");

    // Weights of 4 bits: half of linear1 and linear2, which are nearly all.
    let halves = ["compress", "alexnet.safetensors", "--int8", "--int4", "-ohalves.safetensors"];
    let (output, _) = status(root, 0, &[&halves[..], &rest].concat());
    assert!(output.starts_with("halves.safetensors (AlexNet): 26,6"), "{output}");
    let lines = aligned(&root.join("halves.safetensors"));
    let plan = infer_core::int8::plan_of(Line::bytes(&lines)).unwrap();
    assert!(std::ptr::eq(plan, &raw const alexnet::INT4_WINOGRAD_PLAN));
    let both = ["compress", "alexnet.safetensors", "--int8", "--rank=64", "--int4", "-ox.safetensors"];
    let (_, errors) = status(root, 2, &both);
    assert!(errors.contains("cannot be used with"), "{errors}");
}

#[test]
fn integers_answer_as_the_floats_that_they_were_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let dataset = common::dataset();
    let data = dataset.files[0].path.parent().and_then(Path::to_str).unwrap();
    let floats: LeNet5<Cpu> = weights(&root.join("lenet5.safetensors"));
    let arguments = ["compress", "lenet5.safetensors", "--int8", "-o", "i8.safetensors", "--data", data, "--threads=2"];
    status(root, 0, &arguments);
    let lines = aligned(&root.join("i8.safetensors"));
    let network =
        Int8Network::from_safetensors(&lenet5::INT8_PLAN, Line::bytes(&lines), &mut [], Int8Backend::best()).unwrap();
    let mut workspace = vec![Line::ZERO; network.workspace_len(1)];
    let mut image = vec![0.0; 784];
    // The program's evaluation of the file, and one from scratch: of each image, and of it with its mirror.
    for (option, sides) in [(&[][..], 1), (&["--mirrored"][..], 2)] {
        let evaluate =
            ["evaluate", "--json", "-q", "-wi8.safetensors", "--data", data, "--test-limit=101", "--threads=2"];
        let (json, _) = status(root, 0, &[&evaluate[..], option].concat());
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((report["precision"].as_str(), report["mirrored"].as_bool()), (Some("int8"), Some(sides == 2)));
        let (mut correct, mut loss) = (0, 0.0);
        for position in 0..101 {
            let (width, height) = dataset.test.size(position);
            let mut pixels = dataset.test.image(position).to_vec();
            let mut sum = [0.0_f64; 10];
            for _ in 0..sides {
                let frame = Frame::new(1, width, height, &pixels);
                LeNet5::<Cpu>::preprocess(&frame, Resize::Exact, &mut image).unwrap();
                let mut logits = [0.0; 10];
                network.forward(&image, &mut logits, &mut workspace, &infer_core::int8::Serial).unwrap();
                sum.iter_mut().zip(logits).for_each(|(sum, logit)| *sum += f64::from(logit));
                pixels = (0..width * height).map(|at| pixels[at / width * width + width - 1 - at % width]).collect();
            }
            let label = usize::from(dataset.test.labels()[position]);
            let exponentials = sum.map(|sum| (sum / f64::from(sides)).exp());
            loss -= (exponentials[label] / exponentials.iter().sum::<f64>()).ln();
            correct += usize::from(
                exponentials.iter().enumerate().all(|(class, e)| class == label || *e < exponentials[label]),
            );
        }
        assert_eq!(report["accuracy"].as_f64().unwrap(), correct as f64 / 101.0);
        assert!((report["loss"].as_f64().unwrap() - loss / 101.0).abs() < 1e-5, "{report}: {}", loss / 101.0);
    }
    let evaluate = ["evaluate", "-q", "-wi8.safetensors", "--data", data, "--test-limit=8", "--mirrored"];
    let (table, _) = status(root, 0, &evaluate);
    assert!(table.starts_with("i8.safetensors (lenet5 in int8) on 8 test images and their mirrors of "), "{table}");
    for position in 0..20 {
        LeNet5::<Cpu>::preprocess(&dataset.test.frame(position), Resize::Exact, &mut image).unwrap();
        let expected = floats.logits(&image, 1).unwrap().as_vec();
        let mut logits = [0.0; 10];
        network.forward(&image, &mut logits, &mut workspace, &infer_core::int8::Serial).unwrap();
        let greatest = expected.iter().fold(0.0, |greatest: f32, logit| greatest.max(logit.abs()));
        for (logit, expected) in logits.iter().zip(&expected) {
            assert!((logit - expected).abs() < 0.06 * greatest, "image {position}: {logits:?}, {expected:?}");
        }
    }
}

#[test]
fn weights_of_other_programs_are_evaluated_and_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let dataset = common::dataset();
    let data = dataset.files[0].path.parent().and_then(Path::to_str).unwrap();
    let _: LeNet5<Cpu> = weights(&root.join("floats.safetensors"));
    // The upper halves of the floats, as bfloat16 with a wrapper's names, and as the floats that these are.
    let bytes = fs::read(root.join("floats.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let upper = |data: &[u8]| data.as_chunks::<4>().0.iter().map(|bytes| [bytes[2], bytes[3]]).collect::<Vec<_>>();
    let write = |name: &str, prefix: &str, dtype, data: fn(Vec<[u8; 2]>) -> Vec<u8>| {
        let tensors = file.iter().map(|(name, tensor)| (name, tensor.shape().to_vec(), data(upper(tensor.data()))));
        let tensors: Vec<_> = tensors.collect();
        let views = tensors.iter().map(|(name, shape, data)| {
            (format!("{prefix}{name}"), TensorView::new(dtype, shape.clone(), data).unwrap())
        });
        fs::write(root.join(name), serialize(views, None).unwrap()).unwrap();
    };
    write("rounded.safetensors", "", Dtype::F32, |upper| upper.iter().flat_map(|[a, b]| [0, 0, *a, *b]).collect());
    write("other.safetensors", "module.", Dtype::BF16, |upper| upper.concat());
    let both = ["rounded.safetensors", "other.safetensors"].map(|name| {
        let rest = ["--data", data, "--test-limit=40", "--threads=2"];
        let (json, said) = status(root, 0, &[&["evaluate", "--json", "--weights", name][..], &rest].concat());
        let made = ["compress", name, "--int8", "--calibration=20", "--force", "-oi8.safetensors"];
        let (_, said_again) = status(root, 0, &[&made[..], &rest].concat());
        for said in [said, said_again] {
            let words = ["module. is taken off the names of all tensors", "values of BF16 become F32"];
            assert!(words.iter().all(|words| said.contains(words) == name.starts_with("other")), "{said}");
        }
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        let bytes = fs::read(root.join("i8.safetensors")).unwrap();
        let integers = SafeTensors::deserialize(&bytes).unwrap();
        let integers = integers.tensor(lenet5::DESCRIPTION.int8_tensor).unwrap().data().to_vec();
        (report["accuracy"].clone(), report["loss"].clone(), integers)
    });
    assert!(both[0] == both[1], "{:?}, {:?}", (&both[0].0, &both[0].1), (&both[1].0, &both[1].1));
}

/// Makes integers of a network for colour images, compares their logits with those of the floats, and trains the floats for a step.
fn colour<N: Network<Cpu>>(name: &str, plan: &'static Int8Plan) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    common::photos(&root.join("photos"), 4);
    let floats: N = weights_for(3, &root.join("floats.safetensors"));
    let made = ["compress", "floats.safetensors", "--int8", "-oi8.safetensors", "--calibration=6", "--threads=2"];
    let (output, _) = status(root, 0, &[&made[..], &["--data=photos", "--test-limit=2"]].concat());
    assert!(output.starts_with("i8.safetensors (") && output.contains("On 2 test images: accuracy"), "{output}");

    let lines = aligned(&root.join("i8.safetensors"));
    let mut transformed = vec![Line::ZERO; plan.transformed_len()];
    let network =
        Int8Network::from_safetensors(plan, Line::bytes(&lines), &mut transformed, Int8Backend::best()).unwrap();
    let mut workspace = vec![Line::ZERO; network.workspace_len(1)];
    let picture = image::open(root.join("photos/green/001.png")).unwrap().into_rgb8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mut input = vec![0.0; network.plan().description().input().values()];
    N::preprocess(&Frame::new(3, width, height, picture.as_raw()), Resize::Exact, &mut input).unwrap();
    let expected = floats.logits(&input, 1).unwrap().as_vec();
    let mut logits = [0.0; 3];
    network.forward(&input, &mut logits, &mut workspace, &infer_core::int8::Serial).unwrap();
    let greatest = expected.iter().fold(0.0, |greatest: f32, logit| greatest.max(logit.abs()));
    for (logit, expected) in logits.iter().zip(&expected) {
        assert!((logit - expected).abs() < 0.06 * greatest, "{logits:?}, {expected:?}");
    }

    let step = [
        "--init=floats.safetensors",
        "--data=photos",
        "--out=run",
        "--epochs=1",
        "--batch-size=4",
        "--learning-rate=1e-6",
        "-q",
    ];
    let few = ["--train-limit=4", "--validation=0", "--test-limit=2", "--threads=2"];
    status(root, 0, &[&["--network", name][..], &step, &few].concat());
    let tuned = root.join(format!("run/{name}.safetensors"));
    let mut after = N::init(&Cpu::default(), 3, Initialisation::He, 0).unwrap();
    export::load(&tuned, &mut after).unwrap();
    assert_ne!(after.logits(&input, 1).unwrap().as_vec(), expected);
}

#[test]
fn torchvisions_network_becomes_integers_and_is_trained_on() {
    colour::<AlexNetImageNet<Cpu>>("alexnet-imagenet", &alexnet_imagenet::INT8_WINOGRAD_PLAN);
}

#[test]
fn the_papers_network_becomes_integers_and_is_trained_on() {
    colour::<AlexNet2012<Cpu>>("alexnet-2012", &alexnet_2012::INT8_WINOGRAD_PLAN);
}

#[test]
fn what_cannot_be_compressed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let refused = |arguments: &[&str], message: &str| {
        let (output, errors) = status(root, 2, &[&["compress"], arguments].concat());
        assert!(output.is_empty() && errors.contains(message), "{errors}");
    };
    weights::<LeNet5<Cpu>>(&root.join("lenet5.safetensors"));
    let lenet5 = "--rank: lenet5.safetensors holds lenet5, and only alexnet has layers to factor";
    refused(&["lenet5.safetensors", "--rank=64", "--output=small.safetensors"], lenet5);
    refused(&["lenet5.safetensors", "--int8", "--output=lenet5.safetensors"], "lenet5.safetensors exists");
    refused(
        &["lenet5.safetensors", "--int8", "--force", "--output=lenet5.safetensors"],
        "these are the weights to compress",
    );
    refused(&["lenet5.safetensors", "--output=small.safetensors"], "--rank <RANK>");
    refused(&["lenet5.safetensors", "--rank=100", "--output=x"], "possible values: 64, 128, 256, auto");
    refused(
        &["lenet5.safetensors", "--int8", "--int4", "--output=small.safetensors"],
        "--int4: lenet5 has no linear layer for weights of 4 bits; leave it out",
    );
    refused(&["absent.safetensors", "--rank=auto", "--output=x"], "absent.safetensors: cannot be read");
    assert!(!root.join("small.safetensors").exists());
    refused(
        &["lenet5.safetensors", "--int8", "--output=none/i8"],
        "cannot write none/i8: there is no folder none; create",
    );
    // A damaged file of integers.
    let dataset = common::dataset();
    let data = dataset.files[0].path.parent().and_then(Path::to_str).unwrap();
    let made = ["compress", "lenet5.safetensors", "--int8", "-o", "i8.safetensors", "--data", data, "--test-limit=8"];
    status(root, 0, &made);
    let mut file = fs::read(root.join("i8.safetensors")).unwrap();
    *file.last_mut().unwrap() = 1;
    fs::write(root.join("damaged.safetensors"), file).unwrap();
    let (_, errors) = status(root, 2, &["evaluate", "-w", "damaged.safetensors", "--data", data]);
    let expected = "cannot use the weights in damaged.safetensors: int8 weights: a weight of linear3 is out of its range, or one that";
    assert!(errors.contains(expected), "{errors}");
}
