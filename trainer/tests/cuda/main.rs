//! Training on CUDA agrees with training on the processor: every operation with all of its gradients, whole networks, a
//! seeded run, and files.
//!
//! These tests need a GPU (`scripts/cuda-verify`), or the emulated one (`scripts/cuda-emulate`), and fail where there is none.

#[path = "../common/mod.rs"]
mod common;
mod inputs;
mod networks;
mod operations;
mod optimisers;
mod runs;

use std::collections::BTreeMap;

use dfdx::prelude::*;
use trainer::{
    cuda,
    device::{CudaKernels, Precision},
    model::Network,
    ops::ConvDevice,
};

/// The GPU under test, opened once for each test, as its kernels are compiled then.
fn gpu() -> Cuda {
    thread_local! {
        static GPU: Cuda = cuda::open(0, 11, Precision::F32, |_| ())
            .unwrap_or_else(|error| panic!("these tests need a GPU, or scripts/cuda-emulate: {error}")).0;
    }
    GPU.with(Cuda::clone)
}

/// Deterministic values within ±1; with `steps`, few enough of them that ties are common.
fn values(count: usize, seed: u64, steps: Option<u64>) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 16
    };
    let steps = steps.unwrap_or(1 << 20);
    (0..count).map(|_| (next() % (2 * steps + 1)) as f32 / steps as f32 - 1.0).collect()
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    assert!(largest > 0.0, "{what} is all zero");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= tolerance * largest, "{what}[{index}]: {found}, not {expected}, of {largest}");
    }
}

/// Does the work with one kind of kernels.
fn with_kernels(kernels: CudaKernels, work: impl FnOnce()) {
    cuda::set_kernels(&gpu(), kernels).unwrap();
    work();
}

/// Does the work once with each kind of kernels.
fn with_all_kernels(mut work: impl FnMut(CudaKernels)) {
    for kernels in [CudaKernels::Fused, CudaKernels::Portable] {
        with_kernels(kernels, || work(kernels));
    }
}

/// The values of every tensor of a network, or of its gradient, by name.
struct Tensors<'a, D: ConvDevice> {
    gradients: Option<&'a Gradients<f32, D>>,
    values: BTreeMap<String, Vec<f32>>,
}

impl<D: ConvDevice> TensorVisitor<f32, D> for Tensors<'_, D> {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = D::Err;
    type E2 = f32;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, f32, D>,
        (tensor, name): (&Tensor<S, f32, D>, String),
    ) -> Result<Option<Tensor<S, f32, D>>, D::Err> {
        let values = self.gradients.map_or_else(|| tensor.as_vec(), |gradients| gradients.get(tensor).as_vec());
        self.values.insert(name, values);
        Ok(None)
    }
}

fn tensors<D: ConvDevice, N: Network<D>>(
    network: &N,
    gradients: Option<&Gradients<f32, D>>,
) -> BTreeMap<String, Vec<f32>> {
    let mut tensors = Tensors { gradients, values: BTreeMap::new() };
    N::iter_tensors(&mut RecursiveWalker { m: (network, String::new()), f: &mut tensors }).unwrap();
    tensors.values
}
