//! Writes infer-cli's completions and pages of the manual below a folder: `cargo run -p alexnet-infer-cli --example manual -- FOLDER`.

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("expected a folder to write to"))?;
    reporting::manual::write(infer_cli::arguments(), folder.as_ref())
}
