//! Every file of tests is part of a test program. Packages whose tests are one program name its modules by hand (`autotests = false`),
//! and a file that nobody names would not be compiled.

use std::fs;
use std::path::Path;

#[test]
fn every_file_of_tests_is_part_of_a_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for package in ["infer-cli", "tests", "trainer"] {
        let read = |file: &str| fs::read_to_string(root.join(package).join(file)).expect("a file of the package");
        let (manifest, modules) = (read("Cargo.toml"), read("tests/integration.rs"));
        let mut files = 0;
        for entry in fs::read_dir(root.join(package).join("tests")).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_rust = path.extension().is_some_and(|extension| extension == "rs");
            if !(is_rust || path.join("mod.rs").exists() || path.join("main.rs").exists()) {
                continue;
            }
            let name = path.file_stem().expect("a name").to_string_lossy();
            let named =
                modules.contains(&format!("\nmod {name};\n")) || manifest.contains(&format!("name = \"{name}\"\n"));
            assert!(named, "{} is in no program: name it in {package}/tests/integration.rs", path.display());
            files += 1;
        }
        assert!(files > 5, "{package}: {files} files of tests");
    }
}
