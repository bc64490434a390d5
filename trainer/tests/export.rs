//! Weight files: what is saved loads again, and everything that is not exactly right is refused by name.

use std::{collections::BTreeMap, fs, path::Path};

use dfdx::prelude::*;
use proptest::prelude::*;
use safetensors::{
    Dtype, SafeTensors,
    tensor::{TensorView, serialize},
};
use tempfile::TempDir;
use trainer::{
    export::{ExportError, load, save},
    model::{Initialisation, LeNet5, Network},
};

fn lenet(seed: u64) -> LeNet5<Cpu> {
    LeNet5::init(&Cpu::default(), 10, Initialisation::PyTorch, seed).unwrap()
}

fn metadata() -> BTreeMap<String, String> {
    [("format", "pt"), ("architecture", "lenet5"), ("classes", r#"["T-shirt/top","Ümläut"]"#)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Logits of one image, which depend on every weight.
fn logits(network: &LeNet5<Cpu>) -> Vec<f32> {
    let image: Vec<f32> = (0..28 * 28).map(|index| (index % 29) as f32 / 28.0).collect();
    network.logits(image, 1).unwrap().as_vec()
}

/// A saved network in a folder of its own.
fn saved() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lenet5.safetensors");
    save(&path, &lenet(1), &metadata()).unwrap();
    (folder, path)
}

/// Rewrites a file with its tensors changed by `change`, given (name, dtype, shape, bytes) of each.
fn rewrite(path: &Path, change: impl Fn(&mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>)) {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec()))
        .collect();
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}

/// Loads a file that must be refused, and leaves the network as it was.
fn refused(path: &Path) -> String {
    let mut network = lenet(2);
    let error = load(path, &mut network).unwrap_err().to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert_eq!(logits(&network), logits(&lenet(2)));
    error
}

#[test]
fn a_saved_network_loads() {
    let (_folder, path) = saved();
    let mut network = lenet(2);
    assert_ne!(logits(&network), logits(&lenet(1)));
    assert_eq!(load(&path, &mut network).unwrap(), metadata());
    assert_eq!(logits(&network), logits(&lenet(1)));
}

#[test]
fn names_and_layouts_are_pytorchs() {
    let (_folder, path) = saved();
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let shapes: BTreeMap<_, _> = file.iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect();
    let expected = BTreeMap::from([
        ("conv1.weight", vec![6, 1, 5, 5]),
        ("conv1.bias", vec![6]),
        ("conv2.weight", vec![16, 6, 5, 5]),
        ("conv2.bias", vec![16]),
        ("linear1.weight", vec![120, 400]),
        ("linear1.bias", vec![120]),
        ("linear2.weight", vec![84, 120]),
        ("linear2.bias", vec![84]),
        ("linear3.weight", vec![10, 84]),
        ("linear3.bias", vec![10]),
    ]);
    assert_eq!(shapes, expected);
}

#[test]
fn the_same_network_gives_the_same_bytes() {
    let (_first, first) = saved();
    let (_second, second) = saved();
    assert_eq!(fs::read(first).unwrap(), fs::read(second).unwrap());
}

#[test]
fn a_file_without_metadata_loads() {
    let (_folder, path) = saved();
    rewrite(&path, |_| {});
    let mut network = lenet(2);
    assert_eq!(load(&path, &mut network).unwrap(), BTreeMap::new());
    assert_eq!(logits(&network), logits(&lenet(1)));
}

#[test]
fn missing_and_unexpected_tensors_are_refused() {
    let (_folder, path) = saved();
    rewrite(&path, |tensors| tensors.retain(|(name, ..)| name != "conv2.bias"));
    assert!(refused(&path).ends_with("tensor conv2.bias: missing; expected F32 [16]"));

    let (_folder, path) = saved();
    rewrite(&path, |tensors| tensors.push(("conv3.bias".to_owned(), Dtype::F32, vec![1], vec![0; 4])));
    assert!(refused(&path).ends_with("tensor conv3.bias: the network has no such tensor"));
}

#[test]
fn other_types_and_shapes_are_refused() {
    let (_folder, path) = saved();
    rewrite(&path, |tensors| {
        let tensor = tensors.iter_mut().find(|(name, ..)| name == "linear3.bias").unwrap();
        (tensor.1, tensor.3) = (Dtype::F16, vec![0; 20]);
    });
    assert!(refused(&path).ends_with("tensor linear3.bias: expected dtype F32, found F16"));

    let (_folder, path) = saved();
    rewrite(&path, |tensors| {
        let tensor = tensors.iter_mut().find(|(name, ..)| name == "linear1.weight").unwrap();
        tensor.2 = vec![400, 120];
    });
    assert!(refused(&path).ends_with("tensor linear1.weight: expected shape [120, 400], found [400, 120]"));
}

#[test]
fn duplicates_are_refused() {
    let (_folder, path) = saved();
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
    let entry = header.find("\"conv1.bias\"").unwrap();
    let entry = &header[entry..=entry + header[entry..].find('}').unwrap()];
    let mut header = header.replacen('{', &format!("{{{entry},"), 1);
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend_from_slice(header.as_bytes());
    changed.extend_from_slice(&bytes[8 + length..]);
    fs::write(&path, changed).unwrap();
    assert!(refused(&path).ends_with("tensor conv1.bias: there twice"));
}

#[test]
fn values_that_are_not_finite_are_refused() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (_folder, path) = saved();
        rewrite(&path, |tensors| {
            let tensor = tensors.iter_mut().find(|(name, ..)| name == "conv1.weight").unwrap();
            tensor.3[12..16].copy_from_slice(&value.to_le_bytes());
        });
        assert!(
            refused(&path).ends_with(&format!("tensor conv1.weight: expected finite values, found {value} at index 3"))
        );

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("diverged.safetensors");
        let mut network = lenet(1);
        network.linear3.bias[[4]] = value;
        let error = save(&path, &network, &metadata()).unwrap_err().to_string();
        assert!(error.contains("linear3.bias") && error.contains("at index 4"), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn files_that_cannot_be_read_or_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent/lenet5.safetensors");
    assert!(matches!(load(&absent, &mut lenet(1)), Err(ExportError::Read { path, .. }) if path == absent));
    assert!(matches!(save(&absent, &lenet(1), &metadata()), Err(ExportError::Write { path, .. }) if path == absent));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A file cut short or with bytes changed in its header is refused or, where the change does not matter, loads: it
    /// never panics.
    #[test]
    fn damaged_files_do_not_panic(cut in 0..4000_usize, at in 0..900_usize, byte: u8, truncate: bool) {
        let (_folder, path) = saved();
        let mut bytes = fs::read(&path).unwrap();
        if truncate {
            bytes.truncate(cut);
        } else {
            bytes[at] = byte;
        }
        fs::write(&path, &bytes).unwrap();
        let result = load(&path, &mut lenet(2));
        prop_assert!(!truncate || result.is_err());
    }
}
