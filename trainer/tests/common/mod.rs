//! What the tests that need real data share.

use std::env;

use trainer::data::{
    Dataset,
    source::{Files, Lookup},
};

/// Fashion-MNIST's files, from the usual folders; a test never downloads 30 MB.
pub fn files() -> Files {
    let mut lookup = Lookup::new(None, None, &env::current_dir().unwrap());
    lookup.download = None;
    lookup.locate(&|_| {}).unwrap_or_else(|error| panic!("these tests need real data. {error}"))
}

/// Fashion-MNIST.
#[allow(dead_code)] // Each test program compiles this file for itself, and not every one needs all of it.
pub fn dataset() -> Dataset {
    Dataset::read(&files()).unwrap()
}
