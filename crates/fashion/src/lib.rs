//! A trained model, compiled into the program: AlexNet with linear layers of rank 128, in 8-bit integers, which tells the ten
//! kinds of clothing of Fashion-MNIST apart, light on black.
//!
//! ```
//! use infer_core::int8::{Int8Backend, Line, Network, Serial};
//!
//! let network = fashion::network(Int8Backend::best())?;
//! let image = vec![fashion::normalise(0.0); 224 * 224];
//! let mut workspace = vec![Line::ZERO; network.workspace_len(1)];
//! let mut logits = [0.0; 10];
//! network.forward(&image, &mut logits, &mut workspace, &Serial)?;
//! # Ok::<(), infer_core::int8::Int8Error>(())
//! ```
#![no_std]
#![deny(unsafe_code)]
