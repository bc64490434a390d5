//! The project's own kernels (`kernels/`) as programs: a file of kernels and the constants that it is compiled with.

use std::fmt::Write;

use cudarc::nvrtc::{Ptx, compile_ptx};

use super::compiler::{self, Unit};

/// A file of kernels.
#[derive(Debug)]
pub(crate) struct KernelFile {
    /// Its name without ending.
    pub(crate) name: &'static str,
    source: &'static str,
    /// The kernels in it.
    pub(crate) kernels: &'static [&'static str],
}

impl KernelFile {
    /// The file as it is, for the compiler.
    pub(crate) fn unit(&self) -> Unit<'_> {
        Unit { name: self.name, source: self.source }
    }
}

macro_rules! source {
    ($($file:literal),*) => { concat!($(include_str!(concat!("../../kernels/", $file))),*) };
}

/// Everything that depends on no sizes: one program, which takes less time to compile than several.
pub(crate) static GENERAL: KernelFile = KernelFile {
    name: "general",
    source: source!("common.cuh", "dropout.cu", "optimiser.cu"),
    kernels: &["dropout_mask", "optimiser_squares", "optimiser_clip", "optimiser_adam", "optimiser_sgd"],
};

/// Inputs from the bytes of images, by the channels and the side of the inputs.
pub(crate) static INPUTS: KernelFile = KernelFile {
    name: "inputs",
    source: source!("common.cuh", "inputs.cuh", "inputs.cu"),
    kernels: &["inputs_change", "inputs_resize"],
};

/// Colours of inputs, by the side of the inputs.
pub(crate) static COLOUR: KernelFile = KernelFile {
    name: "colour",
    source: source!("common.cuh", "inputs.cuh", "colour.cu"),
    kernels: &["inputs_colour"],
};

/// Maps of any size, by the size of factors.
pub(crate) static MAPS: KernelFile = KernelFile {
    name: "maps",
    source: source!("common.cuh", "stored.cuh", "maps.cu"),
    kernels: &[
        "tower_bias_relu",
        "tower_relu_backward",
        "tower_bias_gradient",
        "tower_largest",
        "tower_add",
        "tower_factors",
    ],
};

/// The window of a convolution, by its sizes.
pub(crate) static WINDOW: KernelFile = KernelFile {
    name: "window",
    source: source!("common.cuh", "stored.cuh", "window.cu"),
    kernels: &["tower_unfold", "tower_fold"],
};

/// Local response normalisation, by the sizes of the maps.
pub(crate) static NORM: KernelFile = KernelFile {
    name: "norm",
    source: source!("common.cuh", "norm.cu"),
    kernels: &["maps_norm", "maps_norm_backward"],
};

/// A pooling, by its sizes.
pub(crate) static POOL: KernelFile = KernelFile {
    name: "pool",
    source: source!("common.cuh", "stored.cuh", "pool.cu"),
    kernels: &["tower_bias_relu_pool", "tower_pool_relu_backward", "maps_pool", "maps_pool_backward"],
};

/// A file of kernels with the constants that it is compiled with.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) file: &'static KernelFile,
    /// Names and values.
    pub(crate) constants: Vec<(&'static str, u32)>,
}

impl Program {
    /// Key that tells it from others: the file's name and the constants.
    pub(crate) fn key(&self) -> String {
        let mut key = self.file.name.to_string();
        for (name, value) in &self.constants {
            // Writing into a text does not fail.
            let _ = write!(key, " {name}={value}");
        }
        key
    }

    /// The text that is compiled.
    fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.constants {
            let _ = writeln!(text, "#define {name} {value}");
        }
        text + self.file.source
    }
}

/// Compiles programs for the GPU of this thread, on all cores.
///
/// # Errors
/// The first of the compiler's.
pub(crate) fn compile(programs: &[Program]) -> Result<Vec<Ptx>, String> {
    let compiler = compiler::current().map_err(|error| error.to_string())?;
    let texts: Vec<_> = programs.iter().map(|program| (program.key(), program.text())).collect();
    let units: Vec<_> = texts.iter().map(|(name, source)| Unit { name, source }).collect();
    compiler.prepare(&units).map_err(|error| error.to_string())?;
    // cudarc compiles by the same compiler (`libraries::nvrtc`), which has them now.
    texts.iter().map(|(name, text)| compile_ptx(text).map_err(|error| format!("{name}: {error:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_that_is_named_is_in_its_file() {
        for file in [&GENERAL, &INPUTS, &COLOUR, &MAPS, &WINDOW, &NORM, &POOL] {
            let defined = file.source.matches("extern \"C\" __global__ void").count();
            assert_eq!(defined, file.kernels.len(), "{}", file.name);
            for kernel in file.kernels {
                assert!(file.source.contains(&format!("{kernel}(")), "{kernel}");
            }
        }
    }

    #[test]
    fn constants_tell_programs_apart_and_come_first() {
        let program = Program { file: &POOL, constants: vec![("KERNEL", 3), ("STRIDE", 2)] };
        assert_eq!(program.key(), "pool KERNEL=3 STRIDE=2");
        assert!(program.text().starts_with("#define KERNEL 3\n#define STRIDE 2\n// What every"));
    }
}
