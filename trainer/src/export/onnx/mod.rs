//! ONNX: networks with their weights as other engines have them, written ([`model()`]) and read ([`read()`]).

mod constants;
mod error;
mod fit;
mod messages;
mod read;
mod steps;
#[cfg(test)]
mod tests;
mod write;

pub use self::{
    error::OnnxError,
    read::{Imported, read},
    write::model,
};
