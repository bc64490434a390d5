//! Writes infer-cli's completions and pages of the manual below a folder: `cargo run -p alexnet-infer-cli --example manual -- FOLDER`.
#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    reason = "these are modules of the program, of which only the arguments are needed"
)]

#[path = "../src/args/mod.rs"]
mod args;
#[path = "../src/partition.rs"]
mod partition;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("expected a folder to write to"))?;
    reporting::manual::write(<args::Cli as clap::CommandFactory>::command(), folder.as_ref())
}
