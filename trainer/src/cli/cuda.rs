//! `cuda`: what this machine has for training on NVIDIA GPUs, and whether all kernels compile.

use std::time::Instant;

use anyhow::Context;
use clap::Args;

use super::print;
use trainer::cuda::{self, compiler};

/// Options of `cuda`.
#[derive(Debug, Args)]
pub(super) struct CudaArgs {
    /// Compile all kernels for these architectures, as sm_75, or for `all` that NVRTC knows; needs no GPU
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = architecture)]
    compile: Option<Vec<Architecture>>,
    /// List the architectures that NVRTC knows, of those that the trainer runs on
    #[arg(long, conflicts_with = "compile")]
    architectures: bool,
}

/// Value of `--compile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Architecture {
    All,
    One(u32),
}

fn architecture(text: &str) -> Result<Architecture, String> {
    if text == "all" {
        return Ok(Architecture::All);
    }
    let number = text.strip_prefix("sm_").and_then(|number| number.parse().ok());
    number.map(Architecture::One).ok_or_else(|| "expected all, or an architecture as sm_75".to_string())
}

impl CudaArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match &self.compile {
            Some(architectures) => compile(architectures),
            None if self.architectures => {
                compiler::architectures()?.iter().try_for_each(|architecture| print(&format!("sm_{architecture}\n")))
            }
            None => show(),
        }
    }
}

/// Prints libraries and GPUs.
fn show() -> anyhow::Result<()> {
    for library in [&cuda::libraries::DRIVER, &cuda::libraries::CUBLAS, &cuda::libraries::NVRTC] {
        print(&format!("{library}\n"))?;
    }
    print(&match compiler::kept_by_user() {
        Ok(folder) => format!("compiled kernels: {folder}\n"),
        Err(reason) => format!("compiled kernels are not kept: {reason}\n"),
    })?;
    // The first one that cannot be asked ends the list; without any, the reason is an error.
    print(&format!("{}\n", cuda::find(0)?))?;
    for gpu in (1..).map_while(|ordinal| cuda::find(ordinal).ok()) {
        print(&format!("{gpu}\n"))?;
    }
    Ok(())
}

/// Compiles the kernels and prints what that took.
fn compile(architectures: &[Architecture]) -> anyhow::Result<()> {
    let known = compiler::architectures()?;
    let wanted: Vec<u32> = architectures
        .iter()
        .flat_map(|architecture| match architecture {
            Architecture::All => known.clone(),
            Architecture::One(number) => vec![*number],
        })
        .collect();
    for architecture in wanted {
        let begun = Instant::now();
        let compiler = compiler::for_architecture(architecture)?;
        let files = cuda::compile_all(&compiler).with_context(|| format!("sm_{architecture}"))?;
        print(&format!("sm_{architecture}: {files} files compile, {:.1} s\n", begun.elapsed().as_secs_f64()))?;
    }
    Ok(())
}
