//! The training loop: one for every network and device. An epoch learns from each training image once, in a
//! new order, then measures by the held-out and the test images; the best epoch's weights are exported. Checkpoints make
//! a run that was stopped, in whatever way, go on as if it had not been.

mod background;
pub mod calibration;
pub mod checkpoint;
pub mod config;
pub mod curves;
mod device;
mod division;
pub mod epoch_table;
mod error;
mod estimate;
pub mod evaluate;
mod frozen;
pub mod infobatch;
pub mod interrupt;
pub mod introduction;
mod lock;
mod loss;
pub mod metrics;
pub mod output;
mod prepare;
pub mod progress;
pub mod report;
mod run;
pub mod schedule;
pub mod start;
pub mod state;
pub mod steps;
pub mod transfer;
mod verdict;

use self::{checkpoint::Checkpoint, run::Run};
pub use self::{
    device::{Selected, TrainDevice},
    division::{image_counts, normalisation, test_positions},
    error::{CheckpointError, OutputError, TrainError},
    estimate::estimate,
    frozen::{MOST_BYTES, bytes_of_frozen},
    run::{Outcome, Setting},
    verdict::Verdict,
};
use crate::model::Network;
/// Which class is taken for which, and what follows.
pub use reporting::{confusion, evaluation};

/// Trains `network` for all epochs, or what is left of them after `checkpoint`. With a folder, metrics and curves are
/// written after each epoch, the weights whenever an epoch is the best so far (see [`metrics::EpochMetrics::better_than`]), and
/// checkpoints from time to time.
///
/// # Errors
/// [`TrainError`]; what was written before remains.
pub fn train<D: TrainDevice, N: Network<D>>(
    setting: Setting<'_, D>,
    network: N,
    checkpoint: Option<&Checkpoint>,
) -> Result<Outcome<N>, TrainError> {
    Run::new(setting, network, checkpoint)?.finish()
}
