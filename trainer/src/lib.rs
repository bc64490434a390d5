//! Trains image classifiers with shapes checked by the compiler, and exports their weights as safetensors.
//!
//! ```text
//! data ─▶ inputs ─▶ model (nn, ops) ─▶ training (optimiser) ─▶ export
//! ```
//!
//! The program `trainer` is a thin command line over this library (`cli`, beside it). A run is started in a folder of its own
//! ([`training::start`]), which gets its weights, measurements and checkpoints; an [`Observer`](training::progress::Observer) is told
//! how it proceeds, and an [`Interrupt`](training::interrupt::Interrupt) ends it. Errors are types of their own with the error that
//! caused them as source. Nothing is printed.
//!
//! Runs of a process share no setting and no result. Failures, times, precision and kernels of a GPU belong to its device, and random
//! numbers follow from a run's seed. The process keeps only work that is the same for everybody: libraries that
//! are open, kernels that were compiled, by their target, and memory that waits for its next use.
//!
//! LeNet-5 learns to tell stripes apart, gets an epoch more, and its weights are saved once more by hand:
//!
//! ```
//! use trainer::{
//!     data::{Dataset, LabelledImages},
//!     dfdx::tensor::Cpu,
//!     export,
//!     model::{LeNet5, Network},
//!     training::{
//!         config::Options,
//!         interrupt::Interrupt,
//!         metrics::EpochMetrics,
//!         progress::Observer,
//!         start::{self, NewRun},
//!     },
//! };
//!
//! /// Remembers the accuracy of each epoch.
//! #[derive(Default)]
//! struct Accuracies(Vec<f64>);
//!
//! impl Observer for Accuracies {
//!     fn epoch(&mut self, metrics: &EpochMetrics, _best: bool) {
//!         self.0.push(metrics.test.accuracy);
//!     }
//! }
//!
//! /// Images of 28×28 pixels with horizontal (0) or vertical (1) stripes, each at another place.
//! fn stripes(count: u16) -> LabelledImages {
//!     let mut images = LabelledImages::of_classes(2);
//!     for number in 0..count {
//!         let (label, shift) = (number % 2, usize::from(number / 2));
//!         let pixel = |(x, y)| if (shift + if label == 0 { y } else { x }) % 8 < 4 { 255 } else { 0 };
//!         let pixels: Vec<u8> = (0..28 * 28).map(|i| pixel((i % 28, i / 28))).collect();
//!         images.push(28, &pixels, label);
//!     }
//!     images
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let folder = &temporary.path().join("stripes");
//! let (device, mut accuracies) = (Cpu::default(), Accuracies::default());
//! let classes = ["horizontal", "vertical"].map(String::from).to_vec();
//! let data = Dataset::in_memory(stripes(256), stripes(32), classes)?;
//! let options = Options { epochs: 1, batch_size: 16, validation: 32, ..Options::default() };
//! let config = NewRun::new(LeNet5::<Cpu>::DESCRIPTION, options).config(&data)?;
//!
//! let run = start::begin::<_, LeNet5<Cpu>>(&device, &data, folder, config.clone(), false)?;
//! run.train(&device, &data, &mut accuracies, Interrupt::default())?;
//!
//! // The finished run gets an epoch more.
//! let run = start::resume::<_, LeNet5<Cpu>>(&device, &data, folder, config.extended(2)?, true)?;
//! let run = run.ok_or("the run is finished")?;
//! let outcome = run.train(&device, &data, &mut accuracies, Interrupt::default())?;
//! assert_eq!(accuracies.0.len(), 2);
//! assert!(accuracies.0[1] > 0.9);
//!
//! // The best epoch's weights are in the folder; these are the last one's.
//! assert!(outcome.weights.is_some_and(|weights| weights.ends_with("lenet5.safetensors")));
//! export::save(&folder.join("last.safetensors"), &outcome.network, &export::Metadata::new())?;
//! # Ok(())
//! # }
//! ```

pub mod compress;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod data;
pub mod device;
pub mod export;
pub mod inputs;
pub mod model;
pub mod nn;
pub mod ops;
pub mod optimiser;
pub mod random;
pub mod times;
pub mod training;

/// The framework whose tensors and devices networks are made of.
pub use dfdx;
// What `network!` names.
#[doc(hidden)]
pub use {image, image_files, infer_core};
