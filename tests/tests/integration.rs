//! All tests that span crates, as one program, in which each network is compiled once.

mod agree;
mod documentation;
mod golden;
mod import;
mod losses;
mod network;
mod onnx;
mod photos;
mod pipeline;
mod programs;
mod reader;
mod sizes;
