//! The architecture that kernels are compiled for.

use std::fmt;

use crate::cuda::{
    Gpu,
    libraries::{Version, nvrtc::Output},
};

/// The oldest architecture that this program runs on, as 75 for 7.5: T4 and the RTX 20 series.
pub const OLDEST: u32 = 75;

/// Target that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// Compute capability, as 90 for 9.0.
    pub architecture: u32,
    /// Machine code, or text that the driver compiles.
    pub output: Output,
}

impl Target {
    /// The best code for a GPU: machine code for its own architecture; for one that NVRTC does not know, machine code for
    /// the newest one of the same major version, which runs on it too; else text for the newest architecture before it,
    /// where the driver is new enough to take NVRTC's.
    ///
    /// # Errors
    /// What to install, where none of these can be.
    pub(super) fn choose(gpu: &Gpu, known: &[u32], driver: Version, nvrtc: Version) -> Result<Self, String> {
        let capability = gpu.capability;
        if capability < OLDEST {
            return Err("it is too old: compute capability 7.5 or newer is needed".to_string());
        }
        let before = known.iter().copied().filter(|architecture| *architecture <= capability).max();
        match before {
            Some(architecture) if architecture / 10 == capability / 10 => {
                Ok(Self { architecture, output: Output::Cubin })
            }
            Some(architecture) if driver >= nvrtc => Ok(Self { architecture, output: Output::Ptx }),
            Some(_) => Err(format!(
                "NVRTC {nvrtc} does not know sm_{capability}, and the driver, of CUDA {driver}, does not take its PTX: install a newer \
                 NVRTC (pip install --upgrade {}), or a newer driver",
                package(driver, "nvidia-cuda-nvrtc")
            )),
            None => Err(format!("NVRTC {nvrtc} compiles for no GPU as old as sm_{capability}: install one of CUDA 12")),
        }
    }

    /// NVRTC's option.
    pub(super) fn option(self) -> String {
        format!("--gpu-architecture={self}")
    }
}

/// The name of a package of PyPI for the driver's version of CUDA.
pub(in crate::cuda) fn package(driver: Version, name: &str) -> String {
    if driver.major >= 13 { name.to_string() } else { format!("{name}-cu12") }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.output {
            Output::Cubin => "sm",
            Output::Ptx => "compute",
        };
        write!(f, "{kind}_{}", self.architecture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUDA_12_8: [u32; 9] = [75, 80, 86, 87, 89, 90, 100, 101, 120];

    fn choose(capability: u32, known: &[u32], driver: u32, nvrtc: u32) -> Result<String, String> {
        let gpu = Gpu { capability, ..Gpu::example() };
        let target = Target::choose(&gpu, known, Version::from_number(driver), Version::from_number(nvrtc))?;
        Ok(target.to_string())
    }

    #[test]
    fn a_gpu_gets_code_of_its_own_architecture_or_one_that_runs_on_it() {
        for (capability, expected) in [(75, "sm_75"), (86, "sm_86"), (88, "sm_87"), (90, "sm_90"), (121, "sm_120")] {
            assert_eq!(choose(capability, &CUDA_12_8, 12000, 12080).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_gpu_of_the_future_gets_text_where_the_driver_takes_it() {
        assert_eq!(choose(130, &CUDA_12_8, 13000, 12080).as_deref(), Ok("compute_120"));
        assert_eq!(choose(110, &CUDA_12_8, 12080, 12080).as_deref(), Ok("compute_101"));
        let refused = choose(130, &CUDA_12_8, 12040, 12080).unwrap_err();
        assert!(refused.contains("pip install --upgrade nvidia-cuda-nvrtc-cu12"), "{refused}");
        let refused = choose(130, &CUDA_12_8, 13000, 13050).unwrap_err();
        assert!(refused.contains("pip install --upgrade nvidia-cuda-nvrtc)"), "{refused}");
    }

    #[test]
    fn old_gpus_are_refused_by_name() {
        assert!(choose(70, &CUDA_12_8, 12080, 12080).unwrap_err().contains("7.5 or newer"));
        assert!(choose(75, &[80, 90], 13000, 14000).unwrap_err().contains("one of CUDA 12"));
    }
}
