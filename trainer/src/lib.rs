//! Placeholder of the skeleton.
pub mod atomic;
pub mod data;
