//! The program `infer-cli`, over `classifier`: it classifies images and looks into weights files. A library so that its parts are at
//! hand for manual pages and fuzzing; its interface is the command line, and nothing else is promised.
//!
//! ```text
//! args ─▶ classify: images (list, partition, shard) ─▶ pipeline (worker: a batch of crates/classifier) ─▶ output, evaluate, sheet
//!     └─▶ inspect, pack, bench
//! ```
//!
//! Results go to the standard output, everything else to the standard error. The exit status is 0 if all went well, 1 if
//! some images failed, 2 if nothing could be done or written.

mod args;
mod bench;
mod classify;
mod evaluate;
pub mod images;
mod inspect;
mod interrupt;
pub mod list;
mod output;
mod pack;
mod partition;
mod pipeline;
mod progress;
pub mod shard;
mod sheet;
mod stdout;
mod text;
mod worker;

use std::{io, process::ExitCode};

/// The program: reads the command line, does what it says, and has told of errors.
pub fn run() -> ExitCode {
    let result = match reporting::arguments::parse::<args::Cli>().command {
        args::Command::Classify(args) => classify::run(*args),
        args::Command::Inspect(args) => inspect::run(&args).map(|()| ExitCode::SUCCESS),
        args::Command::Pack(args) => pack::run(&args).map(|()| ExitCode::SUCCESS),
        args::Command::Bench(args) => bench::run(&args).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        // Whoever read the output has seen enough, as `head` does; that is no error.
        if error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(is_broken_pipe) {
            return ExitCode::SUCCESS;
        }
        text::complain(&format!("error: {error:#}"));
        ExitCode::from(2)
    })
}

/// The command line's arguments, for completions and manual pages.
pub fn arguments() -> clap::Command {
    <args::Cli as clap::CommandFactory>::command()
}

fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
