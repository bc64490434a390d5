//! `summary`: a network's table of layers.

use clap::Args;

use super::{NetworkName, classes, print};
use crate::model::Summary;

/// Options of `summary`.
#[derive(Debug, Args)]
pub(super) struct SummaryArgs {
    /// Network to show
    #[arg(long, value_enum, default_value = "alexnet", value_name = "NAME")]
    network: NetworkName,
    /// Number of classes
    #[arg(long, value_name = "N", default_value = "10", value_parser = classes())]
    classes: usize,
}

impl SummaryArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let summary = Summary::of(self.network.description(), self.classes).to_string();
        print(&format!("{}\n", summary.trim_end()))
    }
}
