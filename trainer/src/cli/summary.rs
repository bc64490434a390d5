//! `summary`: a network's table of layers.

use clap::Args;
use dfdx::tensor::Cpu;

use super::{NetworkName, print};
use crate::model::{AlexNet, LeNet5, Network};

/// Options of `summary`.
#[derive(Debug, Args)]
pub(super) struct SummaryArgs {
    /// Network to show
    #[arg(long, value_enum, default_value = "alexnet", value_name = "NAME")]
    network: NetworkName,
}

impl SummaryArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let summary = match self.network {
            NetworkName::Alexnet => <AlexNet<Cpu> as Network<Cpu>>::summary().to_string(),
            NetworkName::Lenet5 => <LeNet5<Cpu> as Network<Cpu>>::summary().to_string(),
        };
        print(&format!("{}\n", summary.trim_end()))
    }
}
