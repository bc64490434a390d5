//! Tests of the library and of the program, as one program, in which each network is compiled once. `resume` is another, for
//! `scripts/kill-runs`, and so are `cuda` and `cuda_precision`, which need a GPU.

mod common;

mod cli;
mod colour;
mod compress;
mod export;
mod folders;
mod infobatch;
mod networks;
mod ops;
mod optimisers;
mod training;
mod transfer;
mod winograd;
