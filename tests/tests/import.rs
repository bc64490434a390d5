//! Models that PyTorch's two ONNX exporters wrote (`tests/golden/lenet5-*.onnx`, by `tests/pytorch/models.py`), imported by
//! `trainer import`: weights to the bit, and ONNX Runtime's logits; and our own models, exported and imported again.

use infer_core::{classify::softmax, lenet5, tensor::FloatArray};
use safetensors::SafeTensors;
use std::path::Path;
use std::process::Command;
use tests::{file, formula, golden, program};

/// Runs trainer in a folder; returns what it says.
fn trainer(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program("trainer")).current_dir(folder).args(arguments).output().expect("it starts");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn models_of_pytorchs_exporters_give_onnx_runtimes_logits() {
    let folder = tempfile::tempdir().expect("a folder");
    let values = golden::read("lenet5-onnx.json");
    let expected_weights = file::by_formula(&lenet5::DESCRIPTION);
    let expected_weights = SafeTensors::deserialize(expected_weights.bytes()).expect("a weights file");
    for exporter in ["script", "dynamo"] {
        let model = format!("{}/golden/lenet5-{exporter}.onnx", env!("CARGO_MANIFEST_DIR"));
        let said = trainer(folder.path(), &["import", &model, "-o", exporter]);
        assert!(said.contains(&format!("Wrote LeNet5 for 10 classes to {exporter}")), "{said}");
        assert!(said.contains("the model does not say how an image becomes its input"), "{said}");
        assert_eq!(said.contains("LogSoftmax at the end is left out"), exporter == "script", "{said}");

        let bytes = std::fs::read(folder.path().join(exporter)).expect("the weights");
        let weights = SafeTensors::deserialize(&bytes).expect("a weights file");
        assert_eq!(weights.len(), expected_weights.len());
        for (name, expected) in expected_weights.iter() {
            let found = weights.tensor(name).expect(name);
            assert!(found.shape() == expected.shape() && found.data() == expected.data(), "{exporter}: {name}");
        }
        let bytes = file::Aligned::new(&bytes);
        let network = lenet5::LeNet5::<10>::from_safetensors(bytes.bytes()).expect("the network");
        let image = formula::image(lenet5::SIDE);
        let image = lenet5::Image::slice(&image).first().expect("an image");
        let mut found = network.forward(image, &mut lenet5::Workspace::new());
        if exporter == "script" {
            found = softmax(&found).map(f32::ln);
        }
        let expected = golden::numbers(&values[exporter]);
        assert_eq!(expected.len(), found.len());
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((f64::from(found) - expected).abs() < 1e-5, "{exporter}: {found} is not {expected}");
        }
    }
}

#[test]
fn an_exported_model_is_imported_as_the_same_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let preprocessing =
        r#"{"color":"grayscale-bt601","range":[0,1],"resize":"bilinear-antialias","height":28,"width":28}"#;
    let metadata = [
        ("architecture", "lenet5".to_owned()),
        ("classes", r#"["a","ü","\"c\""]"#.to_owned()),
        ("preprocessing", preprocessing.to_owned()),
    ];
    let weights = file::with_metadata(&file::tensors(&lenet5::DESCRIPTION, 3), formula::parameter, metadata);
    std::fs::write(folder.path().join("weights"), weights.bytes()).expect("a file");
    trainer(folder.path(), &["export", "weights", "--onnx", "model.onnx"]);
    trainer(folder.path(), &["import", "model.onnx", "-o", "again"]);
    let again = std::fs::read(folder.path().join("again")).expect("the weights");
    let [(_, found), (_, expected)] =
        [&again[..], weights.bytes()].map(|bytes| SafeTensors::read_metadata(bytes).expect("a header"));
    assert_eq!(found.metadata(), expected.metadata());
    let [found, expected] =
        [&again[..], weights.bytes()].map(|bytes| SafeTensors::deserialize(bytes).expect("a weights file"));
    assert_eq!(found.len(), expected.len());
    for (name, expected) in expected.iter() {
        let found = found.tensor(name).expect(name);
        assert!(found.shape() == expected.shape() && found.data() == expected.data(), "{name}");
    }
    // And what was imported is exported as the same model.
    trainer(folder.path(), &["export", "again", "--onnx", "again.onnx"]);
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect(name);
    assert!(read("model.onnx") == read("again.onnx"));
}

#[test]
fn what_cannot_be_imported_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |arguments: &[&str], expected: &str| {
        let output =
            Command::new(program("trainer")).current_dir(folder.path()).args(arguments).output().expect("it starts");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.code() == Some(2) && said.contains(expected), "{said}\nexpected: {expected}");
    };
    let model = format!("{}/golden/lenet5-script.onnx", env!("CARGO_MANIFEST_DIR"));
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect(name);
    write("weights", file::by_formula(&lenet5::DESCRIPTION).bytes());
    write("other", b"x");
    write("x.pth", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9");
    write("cut.onnx", &std::fs::read(&model).expect("the model")[..100_000]);
    refused(&["import", "none.onnx", "-o", "new"], "none.onnx: cannot be read");
    refused(&["import", &model, "-o", "other"], "other exists; replace it with --force");
    refused(&["import", "other", "-o", "other", "--force"], "other: this is the model to import; name another file");
    refused(
        &["import", "weights", "-o", "new"],
        "weights: expected an ONNX model, found safetensors, which need no import",
    );
    refused(&["import", "x.pth", "-o", "new"], "x.pth: expected an ONNX model, found a PyTorch checkpoint");
    refused(&["import", "cut.onnx", "-o", "new"], "cut.onnx: not a valid ONNX model: ");
    refused(&["import", &model, "-o", "none/new"], "none/new: cannot be written: there is no folder none");
    // The hint of the other commands.
    refused(
        &["export", &model, "--onnx", "new"],
        "found an ONNX model; `trainer import x.onnx -o x.safetensors` makes weights of it",
    );
    assert!(!folder.path().join("new").exists());
}
