//! From a weights file and images to classes: what infer-cli and the Python package share.
//!
//! ```text
//! Source ─▶ Weights (mapped) ─▶ Classifier: Model, labels, preprocessing, checks
//!                                    └─▶ Batch, one a thread: Image ─▶ prepare … ─▶ answer ─▶ Answer: ranking, logits, doubt
//! ```
//!
//! A [`Classifier`] owns its weights and is shared by threads; a [`Batch`] is a thread's own memory. An image that cannot be read is an error
//! of [`Batch::prepare`], and takes no place: the images of a batch do not know of each other.

/// The code of the README is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod answer;
mod batch;
mod classifier;
pub mod labels;
pub mod model;
pub mod network;
mod source;
mod threads;
pub mod weights;

pub use answer::Answer;
pub use batch::{BATCH, Batch, Image, Options, guarded};
pub use classifier::Classifier;
pub use model::Model;
pub use source::Source;
pub use threads::{Threads, threads};
