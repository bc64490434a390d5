//! Writes trainer's completions and pages of the manual below a folder: `cargo run -p alexnet-trainer --example manual -- FOLDER`.

#[allow(dead_code, reason = "of the program, the arguments are asked for alone")]
#[path = "../src/cli/mod.rs"]
mod cli;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("expected a folder to write to"))?;
    reporting::manual::write(<cli::Cli as clap::CommandFactory>::command(), folder.as_ref())
}
