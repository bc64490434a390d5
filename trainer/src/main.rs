//! The `trainer` program; everything it does is in the library's `cli`.

/// The allocator, as weights and activations are read by the megabyte.
#[global_allocator]
static ALLOCATOR: large_pages::LargePages = large_pages::LargePages;

fn main() -> std::process::ExitCode {
    trainer::cli::run()
}
