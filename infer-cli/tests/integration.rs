//! Tests of the program `infer-cli`, as one program, which is linked once. `kills` is another, for `scripts/kill-runs`.

mod common;

mod classify;
mod failures;
mod files;
mod inspect;
mod interrupt;
mod packed;
mod parquet;
mod partitions;
mod report;
mod shards;
