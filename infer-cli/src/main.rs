//! The program: see the library.

/// The allocator, as weights and activations are read by the megabyte.
#[global_allocator]
static ALLOCATOR: large_pages::LargePages = large_pages::LargePages;

fn main() -> std::process::ExitCode {
    infer_cli::run()
}
