//! The inputs that are kept, run by every target's oracle: in every run of the tests, and by scripts/sanitize-images under AddressSanitizer.

use std::{fs, path::Path};

/// A target, by the name of its folder.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 6] = [
    ("image", fuzz::image::run),
    ("int8", fuzz::int8::run),
    ("packed", fuzz::packed::run),
    ("preprocess", fuzz::preprocess::run),
    ("reader", fuzz::reader::run),
    ("weights", fuzz::weights::run),
];

/// Those of what the programs read.
#[cfg(feature = "programs")]
const OF_PROGRAMS: [Target; 5] = [
    ("idx", fuzz::idx::run),
    ("lists", fuzz::lists::run),
    ("onnx", fuzz::onnx::run),
    ("shards", fuzz::shards::run),
    ("state", fuzz::state::run),
];
#[cfg(not(feature = "programs"))]
const OF_PROGRAMS: [Target; 0] = [];

#[test]
fn kept_inputs_are_read_right_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in TARGETS.into_iter().chain(OF_PROGRAMS) {
        let inputs: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty(), "{name} has no kept inputs");
        for input in inputs {
            println!("{}", input.display());
            run(&fs::read(input).unwrap());
        }
    }
}

#[cfg(feature = "programs")]
#[test]
fn every_target_has_a_program_and_inputs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = entries.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let mut targets: Vec<_> = TARGETS.into_iter().chain(OF_PROGRAMS).map(|(name, _)| name.to_string()).collect();
    targets.sort();
    assert_eq!(names("src/bin"), targets);
    assert_eq!(names("corpus"), targets);
}
