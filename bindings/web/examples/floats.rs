//! Networks in f32 by the kernels of WebAssembly's vectors. On this machine, the program prints the bits of their logits by plain Rust; in
//! a module, `logits` has them for `tests/floats.mjs`, which compares. The products of both round as they are added up, so that they have
//! the same bits.
//!
//! The kernels that multiply and add in one rounding (AVX2, AVX-512, NEON) give others, within the bound that infer-core's tests hold.
#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use infer_core::describe::{Layer, MAX_LAYERS};
use infer_core::lenet5;
use infer_core::packed::{Backend, Line, LinearWeights, Network, Plan, Serial};
use infer_core::weights::Weights;

/// A network with what LeNet-5 lacks.
mod colours {
    infer_core::network! {
        /// A convolution with stride, Winograd's ones in groups, and the normalisation of AlexNet's paper.
        Colours "colours": 3 x 31;
        conv1: conv 12, kernel 5, stride 2, padding 1;
        norm1: local_response_norm;
        pool1: max_pool kernel 3, stride 2;
        conv2: conv 24, kernel 5, padding 2, groups 2;
        conv3: conv 20, kernel 3, padding 1;
        pool2: max_pool kernel 2, stride 2;
        linear1: linear 40, dropout;
        linear2: linear 7 classes;
    }
}

/// Images of a batch: some kernels take several at once, and the last ones alone.
const BATCH: usize = 5;

/// Networks and their classes.
static NETWORKS: [(&Plan, usize); 2] = [(&lenet5::PLAN, lenet5::CLASSES), (&colours::PLAN, colours::CLASSES)];

/// The most of a value over both networks.
const fn most(lenet5: usize, colours: usize) -> usize {
    if lenet5 > colours { lenet5 } else { colours }
}

/// Number of weights and biases of a network.
const fn parameters(mut layers: &[Layer]) -> usize {
    let mut sum = 0;
    while let [layer, rest @ ..] = layers {
        sum += layer.parameters();
        layers = rest;
    }
    sum
}

const PARAMETERS: usize = most(parameters(&lenet5::LAYERS), parameters(&colours::LAYERS));
const PACKED: usize = most(
    lenet5::PLAN.packed_len(lenet5::CLASSES, LinearWeights::F32),
    colours::PLAN.packed_len(colours::CLASSES, LinearWeights::F32),
);
const WORKSPACE: usize =
    most(lenet5::PLAN.workspace_len(lenet5::CLASSES, BATCH), colours::PLAN.workspace_len(colours::CLASSES, BATCH));
const IMAGES: usize = BATCH * most(lenet5::DESCRIPTION.input().values(), colours::DESCRIPTION.input().values());
const LOGITS: usize = BATCH * most(lenet5::CLASSES, colours::CLASSES);

/// Memory of the networks, one after the other.
struct Memory {
    parameters: [f32; PARAMETERS],
    packed: [Line; PACKED],
    workspace: [Line; WORKSPACE],
    images: [f32; IMAGES],
    logits: [f32; LOGITS],
}

impl Memory {
    const fn new() -> Self {
        Self {
            parameters: [0.0; PARAMETERS],
            packed: [Line::ZERO; PACKED],
            workspace: [Line::ZERO; WORKSPACE],
            images: [0.0; IMAGES],
            logits: [0.0; LOGITS],
        }
    }
}

/// Logits of a case: each network with linear weights in each format. None behind the last one.
fn logits(case: usize, backend: Backend, memory: &mut Memory) -> Option<&[f32]> {
    let (plan, classes) = *NETWORKS.get(case / LinearWeights::ALL.len())?;
    let linear = LinearWeights::ALL[case % LinearWeights::ALL.len()];
    let mut random = Random(1);
    let mut rest = &mut memory.parameters[..];
    let mut layers: [(&[f32], &[f32]); MAX_LAYERS] = [(&[], &[]); MAX_LAYERS];
    let mut count = 0;
    for layer in plan.description().layers(classes).filter(|layer| layer.tensors.is_some()) {
        let (weight, behind) = rest.split_at_mut_checked(layer.output.channels * layer.fan_in())?;
        let (bias, behind) = behind.split_at_mut_checked(layer.output.channels)?;
        // Weights with which activations keep their size, more or less: by a power of two, which is exact.
        let mut scales = (0..16).map(|exponent| 1.0 / (1_u32 << exponent) as f32);
        let scale = scales.find(|scale| scale * scale * layer.fan_in() as f32 <= 12.0)?;
        weight.fill_with(|| scale * random.next());
        bias.fill_with(|| 0.125 * random.next());
        *layers.get_mut(count)? = (weight, bias);
        (rest, count) = (behind, count + 1);
    }
    let weights = Weights::new(plan.description(), classes, layers.get(..count)?);
    let packed = memory.packed.get_mut(..plan.packed_len(classes, linear))?;
    Network::pack(plan, &weights, linear, packed).ok()?;
    let network = Network::from_packed(plan, packed, backend).ok()?;
    let images = memory.images.get_mut(..BATCH * plan.description().input().values())?;
    images.fill_with(|| random.next().abs());
    let workspace = memory.workspace.get_mut(..network.workspace_len(BATCH))?;
    let logits = memory.logits.get_mut(..BATCH * classes)?;
    network.forward(images, logits, workspace, &Serial).ok()?;
    Some(logits)
}

/// Numbers from −1 to 1, the same ones everywhere.
struct Random(u32);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (self.0 >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    let mut memory = Box::new(Memory::new());
    for case in 0.. {
        let Some(logits) = logits(case, Backend::Scalar, &mut memory) else { break };
        println!("{}", logits.iter().map(|logit| format!("{:x}", logit.to_bits())).collect::<Vec<_>>().join(" "));
    }
}

#[cfg(target_arch = "wasm32")]
mod module {
    use super::{Backend, LOGITS, Memory, logits};
    use core::cell::UnsafeCell;
    use core::panic::PanicInfo;

    /// Memory of the module's only thread.
    struct Alone<T>(UnsafeCell<T>);

    // SAFETY: the module is compiled without threads.
    unsafe impl<T> Sync for Alone<T> {}

    static MEMORY: Alone<Memory> = Alone(UnsafeCell::new(Memory::new()));

    /// Number of logits of a case, 0 behind the last one.
    #[unsafe(no_mangle)]
    pub extern "C" fn logits_of(case: usize) -> usize {
        // SAFETY: this function is the only one that makes a reference to it, and calls neither itself nor the page.
        let memory = unsafe { &mut *MEMORY.0.get() };
        logits(case, Backend::best(), memory).map_or(0, <[f32]>::len)
    }

    /// Address of the logits of the last case.
    #[unsafe(no_mangle)]
    pub extern "C" fn logits_at() -> *const [f32; LOGITS] {
        // SAFETY: the memory is there, and nothing is read.
        unsafe { &raw const (*MEMORY.0.get()).logits }
    }

    /// Whether the module computes with vectors.
    #[unsafe(no_mangle)]
    pub extern "C" fn has_vectors() -> bool {
        Backend::best() == Backend::Simd128
    }

    #[panic_handler]
    fn panic(_: &PanicInfo) -> ! {
        core::arch::wasm32::unreachable()
    }
}
