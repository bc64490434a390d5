//! The program: see the library.

fn main() -> std::process::ExitCode {
    infer_cli::run()
}
