//! From folders to pixels: which files are images ([`find`]), what is in them ([`decode`]), and how they become a
//! network's input ([`pixels`]), as a weights file says it ([`preprocessing`], [`checks`], [`weights`]); and which class a folder is named after ([`class`]).
//! infer-cli classifies and trainer learns by the same code, so that an image is the same to both.

/// The code of the README is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub mod atomic;
pub mod checks;
pub mod class;
pub mod decode;
mod error;
pub mod find;
pub mod header;
pub mod panics;
pub mod pixels;
pub mod preprocessing;
pub mod weights;

pub use error::ImageError;
// Its images stand in signatures.
pub use image;
