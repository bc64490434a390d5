//! Passes the versions of the engines on, from the lock file.

fn main() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").expect("a lock file");
    for (name, package) in [("TRACT", "tract-onnx"), ("CANDLE", "candle-core")] {
        let version = lock
            .split_once(&format!("name = \"{package}\"\nversion = \""))
            .and_then(|(_, rest)| rest.split_once('"'))
            .map_or("unknown", |(version, _)| version);
        println!("cargo::rustc-env={name}_VERSION={version}");
    }
}
