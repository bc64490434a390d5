//! The `trainer` program: a command line over the library.

mod cli;

/// The allocator, as weights and activations are read by the megabyte.
#[global_allocator]
static ALLOCATOR: large_pages::LargePages = large_pages::LargePages;

fn main() -> std::process::ExitCode {
    cli::run()
}
