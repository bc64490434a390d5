//! The inputs that are kept, run by every target's oracle: without a sanitizer, but in every run of the tests.

use std::{fs, path::Path};

/// A target, by the name of its folder.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 11] = [
    ("idx", fuzz::idx::run),
    ("image", fuzz::image::run),
    ("int8", fuzz::int8::run),
    ("lists", fuzz::lists::run),
    ("onnx", fuzz::onnx::run),
    ("packed", fuzz::packed::run),
    ("preprocess", fuzz::preprocess::run),
    ("reader", fuzz::reader::run),
    ("shards", fuzz::shards::run),
    ("state", fuzz::state::run),
    ("weights", fuzz::weights::run),
];

#[test]
fn kept_inputs_are_read_right_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in TARGETS {
        let inputs: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty(), "{name} has no kept inputs");
        for input in inputs {
            println!("{}", input.display());
            run(&fs::read(input).unwrap());
        }
    }
}

#[test]
fn every_target_has_a_program_and_inputs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = entries.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let targets = TARGETS.map(|(name, _)| name);
    assert_eq!(names("src/bin"), targets);
    assert_eq!(names("corpus"), targets);
}
