//! No-alloc inference.
#![no_std]
