//! `summary`: a network's table of layers.

use clap::Args;

use super::{NetworkName, classes, print};
use trainer::model::Summary;

/// Options of `summary`.
#[derive(Debug, Args)]
pub(super) struct SummaryArgs {
    /// Network to show
    #[arg(long, value_enum, default_value = "alexnet", value_name = "NAME")]
    network: NetworkName,
    /// Number of classes [default: 10, or ImageNet's 1000]
    #[arg(long, value_name = "N", value_parser = classes())]
    classes: Option<usize>,
}

impl SummaryArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let network = self.network.description();
        let summary = Summary::of(network, self.classes.unwrap_or(network.classes())).to_string();
        print(&format!("{}\n", summary.trim_end()))
    }
}
