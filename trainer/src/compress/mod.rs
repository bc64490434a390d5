//! Smaller networks: what is made of trained weights.

pub mod int8;
